"""A Poisson whose density keeps its digits in float32, however large the counts."""

import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

# From here on Stirling's series is exact in float32, and the usual form begins to lose digits.
LARGE = 16.0
# Below it the deviance's series in v = (x - rate) / (x + rate) is exact in float32.
_NEAR = 0.1


class Poisson(tfd.Poisson):
    """A Poisson with Loader's saddle-point form of the density (2000) for counts from 16.

    x log(rate) - rate - log x! cancels numbers of 1e7 at a count of 1e6: in float32 whole nats are
    lost. The gradient with respect to log(rate) is x - rate.
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        x, log_rate = tf.convert_to_tensor(x, self.dtype), self.log_rate_parameter()
        return _log_density(x + tf.zeros_like(log_rate), log_rate + tf.zeros_like(x))


@tf.custom_gradient
def _log_density(x: tf.Tensor, log_rate: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns log p(x) of the same shape.

    Its gradient is written out: that of the form not chosen may be NaN.
    """
    rate = tf.exp(log_rate)
    small = tf.math.multiply_no_nan(log_rate, x) - rate - tf.math.lgamma(1.0 + x)
    count = tf.maximum(x, LARGE)
    large = -0.5 * (math.log(2.0 * math.pi) + tf.math.log(count)) - _stirling(count)
    deviance = half_deviance(count, count - rate, rate, log_rate)
    value = tf.where(x < LARGE, small, large - deviance)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream * (log_rate - tf.math.digamma(1.0 + x)), upstream * (x - rate)

    return value, gradient


def half_deviance(
    x: tf.Tensor, apart: tf.Tensor, mean: tf.Tensor, log_mean: tf.Tensor
) -> tf.Tensor:
    """Returns x log(x / mean) + mean - x for x > 0, of which `apart` is x - mean."""
    v = apart / (x + mean)
    square = v**2
    series = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))
    near = apart * v + 2.0 * x * v * square * series
    excess = -apart / x
    is_below = excess > -0.5
    log_ratio = tf.math.log1p(tf.where(is_below, excess, 0.0))
    log_ratio = tf.where(is_below, log_ratio, log_mean - tf.math.log(x))
    return tf.where(tf.abs(v) < _NEAR, near, x * (excess - log_ratio))


def log_factorial_excess(x: tf.Tensor) -> tf.Tensor:
    """Returns log x! - (x log x - x) for x >= 0."""
    small, large = tf.minimum(x, LARGE), tf.maximum(x, LARGE)
    exact = tf.math.lgamma(1.0 + small) - tf.math.xlogy(small, small) + small
    series = 0.5 * (math.log(2.0 * math.pi) + tf.math.log(large)) + _stirling(large)
    return tf.where(x < LARGE, exact, series)


def _stirling(x: tf.Tensor) -> tf.Tensor:
    """Returns what Stirling's formula of log x! leaves out, for x >= `LARGE`."""
    inverse = 1.0 / x
    return inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
