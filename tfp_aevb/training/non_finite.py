"""Which term of a bound was not finite, found after the fact and told in words."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.objectives.draws import draw, exact_at_draws
from tfp_aevb.training.batches import Block
from tfp_aevb.training.loops import read_minibatch

_DRAWS = 8  # of each datapoint
_TERMS = {
    "reconstruction": "log p(x|z) is not finite",
    "kl": (
        "the KL term is not finite, log q(z|x) or log p(z) at a draw, perhaps one that float32 has "
        "put on an end of where z may be"
    ),
    "loss": "the parameters' prior, or a loss that a layer adds, is not finite",
}


def unsound_terms(model: Any, purpose: str, block: Block, i: int) -> str:
    """Says which terms of the bound of minibatch `i` of a block are not finite; "" if not found.

    The block's sums tell the reconstruction and the KL term apart. Where the parameters have stayed
    finite the terms are evaluated once more, at draws that need not be the same.
    """
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return ""
    totals = {metric.name: float(metric.total) for metric in model.averages}
    wrong = [name for name in _TERMS if not np.isfinite(totals.get(name, 0.0))]
    bad = bad_parameters(model)
    try:
        found = "" if bad else _of_draws(model, purpose, block, i)
    except Exception:  # of users' functions: there is an error to tell already
        found = ""
    if not found and {"reconstruction", "kl"} <= set(wrong):
        return "log p(x|z), log p(z) or log q(z|x) is not finite at a draw of q"
    return found or next((_TERMS[name] for name in wrong), "")


def bad_parameters(model: Any) -> list[str]:
    """Returns the names of the trainable variables that are not finite."""
    finite = [
        (v.name, bool(tf.reduce_all(tf.math.is_finite(v)))) for v in model.trainable_variables
    ]
    return [name for name, is_finite in finite if not is_finite]


def _of_draws(model: Any, purpose: str, block: Block, i: int) -> str:
    """Says which density is not finite at draws of q for the minibatch's datapoints."""
    batch = read_minibatch(model, purpose, block, i)
    x = batch.x
    posterior, prior = map(exact_at_draws, (model._posterior(x), model.prior_given(x)))
    z, log_q = draw(posterior, _DRAWS, batch.seed)
    if not _is_finite(z):
        return "the draws of q(z|x) are not finite"
    at_draws = (
        "{} is not finite at draws z that are: float32 has put some on an end of where z may be"
    )
    for name, log_prob in (
        ("log q(z|x)", lambda: log_q),
        ("log p(z)", lambda: prior.log_prob(z)),
        # As objectives have it that know the draws alone.
        ("log q(z|x)", lambda: posterior.log_prob(tf.identity(z))),
    ):
        if not _is_finite(log_prob()):
            return at_draws.format(name)
    is_finite = _is_finite(model.log_likelihood(x, z, batch.seed))
    return "" if is_finite else _TERMS["reconstruction"]


def _is_finite(values: tf.Tensor) -> bool:
    return bool(tf.reduce_all(tf.math.is_finite(values)))
