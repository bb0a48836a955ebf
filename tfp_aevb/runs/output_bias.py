"""The decoder's last biases, started where p(x|z) has the mean of the training data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb import layers
from tfp_aevb.data.observations import Observations

# Means are kept this far from 0 and 1, where logits are infinite; a continuous Bernoulli's this
# far, within the logits that its layer allows.
MARGIN = 0.01
CONTINUOUS_MARGIN = 0.05


def start_output_bias(likelihood: Any, x: Observations) -> None:
    """Sets the output bias of a likelihood's network, so that at weights of 0 p(x|z) has x's mean.

    Means on [0, 1] are kept within [0.01, 0.99], a continuous Bernoulli's within [0.05, 0.95],
    means of counts from 0.01 on, and frequencies of K categories from 0.01 / K on. What else comes
    from z, as a variance, keeps its bias.

    Args:
        likelihood: a likelihood layer of this package, on an `MLP` or a `ConvDecoder`.
        x: the training data.

    Raises:
        ValueError: if the likelihood or its network is another.
    """
    variable = getattr(likelihood.network, "output_bias", None)
    if variable is None:
        raise ValueError(
            "the output bias can be started from data means of an MLP or a ConvDecoder, not of "
            f"{type(likelihood.network).__name__}"
        )
    variable.assign(_bias(likelihood, x, variable.numpy().astype(np.float64)))


def _bias(likelihood: Any, x: Observations, bias: np.ndarray) -> np.ndarray:
    """Returns `bias` [P], those of it that the mean depends on set."""
    if isinstance(likelihood, layers.MixedLikelihood):
        return _mixed(likelihood, x.x)
    values = x.x.reshape(len(x), -1)
    mean = _mean(values) / x.scale
    size = mean.size
    match likelihood:
        case layers.BernoulliLikelihood():
            heads = _logit(mean)
        case layers.GaussianLikelihood():
            heads = _logit(mean) if likelihood.mean == "sigmoid" else mean
        case layers.StudentTLikelihood():
            heads = mean
        case layers.BetaLikelihood():  # mean a / (a + b); log a and log b are as far from 0
            heads = np.concatenate([0.5 * _logit(mean), -0.5 * _logit(mean)])
        case layers.PoissonLikelihood() | layers.NegativeBinomialLikelihood():
            heads = np.log(np.maximum(mean, MARGIN))
        case (
            layers.ZeroInflatedPoissonLikelihood() | layers.ZeroInflatedNegativeBinomialLikelihood()
        ):  # a share sigmoid(-odds) of the counts' mean
            heads = np.log(np.maximum(mean, MARGIN)) + np.logaddexp(0.0, bias[-size:])
        case layers.CategoricalLikelihood():
            heads = _log_frequencies(values, likelihood.num_categories).ravel()
        case layers.ContinuousBernoulliLikelihood():
            inside = np.clip(mean, CONTINUOUS_MARGIN, 1.0 - CONTINUOUS_MARGIN)
            heads = _solve(lambda logits: _mean_at(likelihood, logits), inside, 30.0)
        case layers.DiscretizedLogisticLikelihood():  # all components are moved alike
            count = likelihood.num_components
            is_mean = np.repeat([0.0, 1.0, 0.0], count * size)
            heads = bias + is_mean * np.tile(
                _solve(
                    lambda shift: _mean_at(likelihood, bias + is_mean * np.tile(shift, 3 * count)),
                    np.clip(mean, MARGIN, 1.0 - MARGIN),
                    10.0,
                ),
                3 * count,
            )
        case _:
            raise ValueError(
                "the output bias can be started from data means of this package's likelihoods, "
                f"not of {type(likelihood).__name__}"
            )
    return np.concatenate([heads, bias[heads.size :]])


def _mean_at(likelihood: Any, params: np.ndarray) -> np.ndarray:
    """Returns the mean [D] of p(x|z) where the network's outputs are `params` [P]."""
    outputs = tf.constant(params[np.newaxis], tf.float32)
    return likelihood.distribution(outputs).mean().numpy().ravel()


def _solve(function: Callable, target: np.ndarray, bound: float) -> np.ndarray:
    """Returns where an increasing function of each element is `target`, within [-bound, bound]."""
    low, high = np.full(target.shape, -bound), np.full(target.shape, bound)
    for _ in range(40):
        middle = 0.5 * (low + high)
        is_below = function(middle) < target
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return 0.5 * (low + high)


def _mean(x: np.ndarray) -> np.ndarray:
    """Returns the mean [D] of what is observed; 0 where nothing is."""
    known = ~np.isnan(x)
    return x.sum(axis=0, dtype=np.float64, where=known) / np.maximum(known.sum(axis=0), 1)


def _logit(mean: np.ndarray) -> np.ndarray:
    mean = np.clip(mean, MARGIN, 1.0 - MARGIN)
    return np.log(mean) - np.log1p(-mean)


def _log_frequencies(x: np.ndarray, size: int) -> np.ndarray:
    """Returns log frequencies [K, D] of the codes 0 to K - 1 in what is observed of `x` [N, D]."""
    counts = np.stack([(x == code).sum(axis=0) for code in range(size)])
    seen = np.maximum(counts.sum(axis=0), 1)
    return np.log(np.maximum(counts / seen, MARGIN / size))


def _mixed(likelihood: layers.MixedLikelihood, x: np.ndarray) -> np.ndarray:
    """Returns the bias [P] from the means of what is observed; 0 where nothing is."""
    parts: list[np.ndarray] = []
    for column, values in zip(likelihood.columns, x.astype(np.float64).T, strict=True):
        seen = values[~np.isnan(values)]
        if not seen.size:
            parts.append(np.zeros(column.size))
        elif column.kind == "categorical":
            parts.append(_log_frequencies(seen, column.size))
        elif column.kind == "binary":
            parts.append(_logit(seen.mean(keepdims=True)))
        else:
            mean = seen.mean(keepdims=True)
            mean = np.log(np.maximum(mean, MARGIN)) if column.kind == "count" else mean
            parts.append((mean - column.shift) / column.scale)
    return np.concatenate(parts)
