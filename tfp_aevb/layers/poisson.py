"""A Poisson whose density keeps its digits in float32, however large the counts."""

import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

# From here on Stirling's series is exact in float32, and the usual form begins to lose digits.
_LARGE = 16.0
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
    count = tf.maximum(x, _LARGE)
    inverse = 1.0 / count
    stirling = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    large = -0.5 * (math.log(2.0 * math.pi) + tf.math.log(count)) - stirling
    value = tf.where(x < _LARGE, small, large - _half_deviance(count, rate, log_rate))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream * (log_rate - tf.math.digamma(1.0 + x)), upstream * (x - rate)

    return value, gradient


def _half_deviance(x: tf.Tensor, rate: tf.Tensor, log_rate: tf.Tensor) -> tf.Tensor:
    """Returns x log(x / rate) + rate - x for x > 0."""
    v = (x - rate) / (x + rate)
    square = v**2
    series = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))
    near = (x - rate) * v + 2.0 * x * v * square * series
    excess = (rate - x) / x
    log_ratio = tf.where(excess > -0.5, tf.math.log1p(excess), log_rate - tf.math.log(x))
    return tf.where(tf.abs(v) < _NEAR, near, x * (excess - log_ratio))
