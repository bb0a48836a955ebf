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
from tfp_aevb.objectives.kl_weight import KLWeight
from tfp_aevb.objectives.sgvb import (
    Bound,
    LogLikelihood,
    analytic_kl,
    evidence_bound,
    minibatch_bound,
    negative_log_parameter_prior,
    score_function,
    sgvb_a,
    sgvb_b,
)

PAPER_OBJECTIVES = {"sgvb_a": sgvb_a, "sgvb_b": sgvb_b, "score_function": score_function}
# Those whose value is the evidence lower bound, Eq. 2.
EVIDENCE_OBJECTIVES = {**PAPER_OBJECTIVES, "stl": sticking_the_landing}
# Those that need no reparameterised draws of q.
SCORE_OBJECTIVES = ("score_function", "vimco", "rws")
OBJECTIVES = {
    **EVIDENCE_OBJECTIVES,
    "iwae": importance_weighted,
    "dreg": doubly_reparameterized,
    "vimco": vimco,
    "rws": reweighted_wake_sleep,
    "renyi": renyi,
    "f_divergence": f_divergence,
}

__all__ = [
    "EVIDENCE_OBJECTIVES",
    "OBJECTIVES",
    "PAPER_OBJECTIVES",
    "SCORE_OBJECTIVES",
    "Bound",
    "KLWeight",
    "LogLikelihood",
    "analytic_kl",
    "doubly_reparameterized",
    "evidence_bound",
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
