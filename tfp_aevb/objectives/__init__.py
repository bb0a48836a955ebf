"""Estimators of the lower bound, and of tighter ones: distributions in, [B] nats out."""

from tfp_aevb.objectives.divergences import f_divergence
from tfp_aevb.objectives.importance_weighted import (
    doubly_reparameterized,
    importance_weighted,
    renyi,
    reweighted_wake_sleep,
    sticking_the_landing,
    vimco,
)
from tfp_aevb.objectives.sgvb import (
    Bound,
    LogLikelihood,
    analytic_kl,
    minibatch_bound,
    negative_log_parameter_prior,
    score_function,
    sgvb_a,
    sgvb_b,
)

PAPER_OBJECTIVES = {"sgvb_a": sgvb_a, "sgvb_b": sgvb_b, "score_function": score_function}
OBJECTIVES = {
    **PAPER_OBJECTIVES,
    "stl": sticking_the_landing,
    "iwae": importance_weighted,
    "dreg": doubly_reparameterized,
    "vimco": vimco,
    "rws": reweighted_wake_sleep,
    "renyi": renyi,
    "f_divergence": f_divergence,
}

__all__ = [
    "OBJECTIVES",
    "PAPER_OBJECTIVES",
    "Bound",
    "LogLikelihood",
    "analytic_kl",
    "doubly_reparameterized",
    "f_divergence",
    "importance_weighted",
    "minibatch_bound",
    "negative_log_parameter_prior",
    "renyi",
    "reweighted_wake_sleep",
    "score_function",
    "sgvb_a",
    "sgvb_b",
    "sticking_the_landing",
    "vimco",
]
