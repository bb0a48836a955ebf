"""The decoder's last biases, started where p(x|z) has the mean of the training data."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.layers import BernoulliLikelihood, GaussianLikelihood, MixedLikelihood
from tfp_aevb.training.observations import Observations

# Means are kept this far from 0 and 1, where logits are infinite.
MARGIN = 0.01


def start_output_bias(likelihood: Any, x: Observations) -> None:
    """Sets the output bias of a likelihood's network, so that at weights of 0 p(x|z) has x's mean.

    Logits of Bernoulli pixels are those of means kept within [0.01, 0.99]; a variance that comes
    from z keeps its bias.

    Args:
        likelihood: of Bernoulli, Gaussian or mixed columns, on an `MLP` or a `ConvDecoder`.
        x: the training data.

    Raises:
        ValueError: if the likelihood or its network is another.
    """
    if isinstance(likelihood, MixedLikelihood):
        bias = _mixed(likelihood, x.x)
    else:
        mean = _mean(x.x.reshape(len(x), -1)) / x.scale
        if isinstance(likelihood, BernoulliLikelihood):
            bias = _logit(mean)
        elif isinstance(likelihood, GaussianLikelihood):
            bias = _logit(mean) if likelihood.mean == "sigmoid" else mean
        else:
            raise ValueError(
                "the output bias can be started from data means of Bernoulli, Gaussian and mixed "
                f"likelihoods, not of {type(likelihood).__name__}"
            )
    variable = getattr(likelihood.network, "output_bias", None)
    if variable is None:
        raise ValueError(
            "the output bias can be started from data means of an MLP or a ConvDecoder, not of "
            f"{type(likelihood.network).__name__}"
        )
    variable.assign(tf.concat([tf.constant(bias, variable.dtype), variable[len(bias) :]], axis=0))


def _mean(x: np.ndarray) -> np.ndarray:
    """Returns the mean [D] of what is observed; 0 where nothing is."""
    known = ~np.isnan(x)
    return x.sum(axis=0, dtype=np.float64, where=known) / np.maximum(known.sum(axis=0), 1)


def _logit(mean: np.ndarray) -> np.ndarray:
    mean = np.clip(mean, MARGIN, 1.0 - MARGIN)
    return np.log(mean) - np.log1p(-mean)


def _mixed(likelihood: MixedLikelihood, x: np.ndarray) -> np.ndarray:
    """Returns the bias [P] from the means of what is observed; 0 where nothing is."""
    parts: list[np.ndarray] = []
    for column, values in zip(likelihood.columns, x.astype(np.float64).T, strict=True):
        seen = values[~np.isnan(values)]
        if not seen.size:
            parts.append(np.zeros(column.size))
        elif column.kind == "categorical":
            counts = np.bincount(seen.astype(int), minlength=column.size)
            parts.append(np.log(np.maximum(counts / len(seen), MARGIN / column.size)))
        elif column.kind == "binary":
            parts.append(_logit(seen.mean(keepdims=True)))
        else:
            mean = seen.mean(keepdims=True)
            mean = np.log(np.maximum(mean, MARGIN)) if column.kind == "count" else mean
            parts.append((mean - column.shift) / column.scale)
    return np.concatenate(parts)
