"""What y says of x given z: log p(y|z) and p(x|y, z), in closed form."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.missing import fill_missing
from tfp_aevb.models.aevb import AEVB


class Conditional(NamedTuple):
    """p(x|y, z) for each of B pairs of y and z.

    Attributes:
        log_prob: [B] nats, log p(y|z).
        mean: [B, ...event], of p(x|y, z); of a table [B, P], see `layers.tables.Layout`.
        variance: in the shape of the mean.
        sample: a callable from a [2] int32 seed to a draw [B, ...event].
    """

    log_prob: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    sample: Callable[[tf.Tensor], tf.Tensor]


class Evidence(Protocol):
    """What is observed of N datapoints; NaN in `y` [N, ...] is not observed."""

    y: np.ndarray

    def condition(self, likelihood: tfd.Distribution, y: tf.Tensor) -> Conditional:
        """Returns p(x|y, z), given p(x|z) with batch shape [B] and rows `y` [B, ...]."""


def is_binary(model: AEVB) -> bool:
    """Whether the elements of the model's x are 0 or 1, independent given z; see `per_pixel`."""
    return isinstance(pixels_of(model), tfd.Bernoulli)


def pixels_of(model: AEVB) -> tfd.Distribution:
    """Returns p(x|z) of each pixel at z = 0; see `per_pixel`."""
    return per_pixel(model.decode(tf.zeros([1, model.latent_dim])))


def per_pixel(likelihood: tfd.Distribution) -> tfd.Distribution:
    """Returns p(x|z) of each pixel: batch shape [B, ...event], scalar events.

    Raises:
        ValueError: if the pixels are not independent given z, as far as can be seen.
    """
    likelihood = getattr(likelihood, "tensor_distribution", likelihood)  # of a layer
    # Not by class: TFP has another for a distribution that is no composite tensor.
    if hasattr(likelihood, "reinterpreted_batch_ndims"):
        return per_pixel(likelihood.distribution)
    if isinstance(likelihood, tfd.MultivariateNormalDiag):
        return tfd.Normal(likelihood.mean(), likelihood.stddev())
    if likelihood.event_shape.rank != 0:
        raise ValueError(
            "imputation needs pixels that are independent given z (`tfd.Independent`), the decoder "
            f"returns {likelihood.name} with event shape {likelihood.event_shape}"
        )
    return likelihood


class Missing:
    """Some pixels are known exactly and the others not at all. For any independent pixels.

    Args:
        y: [N, ...event], NaN for what is missing.
        filler: a value of finite density, to evaluate in the place of NaN.
    """

    def __init__(self, y: np.ndarray, filler: float = 0.0) -> None:
        self.y, self._filler = y, filler

    def condition(self, likelihood: tfd.Distribution, y: tf.Tensor) -> Conditional:
        """See `Evidence`."""
        pixel, missing = per_pixel(likelihood), tf.math.is_nan(y)
        log_prob = tf.where(missing, 0.0, pixel.log_prob(fill_missing(y, self._filler)))
        return Conditional(
            tf.reduce_sum(log_prob, axis=range(1, y.shape.rank)),
            tf.where(missing, pixel.mean(), y),
            tf.where(missing, pixel.variance(), 0.0),
            lambda seed: tf.where(missing, tf.cast(pixel.sample(seed=seed), y.dtype), y),
        )
