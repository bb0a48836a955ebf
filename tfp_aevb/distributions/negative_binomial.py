"""A negative binomial whose density keeps its digits in float32, however large the counts."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.elements import ElementDistribution
from tfp_aevb.distributions.poisson import LARGE, half_deviance, log_factorial_excess


class NegativeBinomial(ElementDistribution):
    """Counts of mean m and variance m + m^2 / r: a Poisson of a Gamma of shape r and mean m.

    The log density is in Loader's saddle-point form (2000): with n = x + r, the remainders of log
    factorials L(k) = log k! - k log k + k, and half deviances D(k, l) = k log(k / l) + l - k,

        L(n) - L(r) - L(x) - log(1 + x / r) - D(x, n m / (m + r)) - D(r, n r / (m + r)),

    of which no term is large where the density is not small. The usual one cancels log-gammas of
    1e7 at a count of 1e6, and loses hundredths of a nat to whole ones in float32.

    Args:
        log_mean: log m.
        log_dispersion: log r.
    """

    def __init__(
        self, log_mean: tf.Tensor, log_dispersion: tf.Tensor, name: str = "NegativeBinomial"
    ) -> None:
        parameters = {"log_mean": log_mean, "log_dispersion": log_dispersion, "name": name}
        self.log_mean = tf.convert_to_tensor(log_mean)
        self.log_dispersion = tf.convert_to_tensor(log_dispersion)
        super().__init__(self.log_mean.dtype, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict:
        return {name: tfp.util.ParameterProperties() for name in ("log_mean", "log_dispersion")}

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.convert_to_tensor(x, self.dtype)
        zeros = tf.zeros_like(x + self.log_mean + self.log_dispersion)
        return _log_density(x + zeros, self.log_mean + zeros, self.log_dispersion + zeros)

    def _mean(self) -> tf.Tensor:
        return tf.exp(self.log_mean) + tf.zeros_like(self.log_dispersion)

    def _variance(self) -> tf.Tensor:
        mean = self._mean()
        return mean + mean * tf.exp(self.log_mean - self.log_dispersion)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        # TFP's own draw has no XLA.
        rate_seed, count_seed = tfp.random.split_seed(seed, n=2)
        gamma = tfd.Gamma(tf.exp(self.log_dispersion), log_rate=self.log_dispersion - self.log_mean)
        rate = gamma.sample(n, seed=rate_seed)
        return tfd.Poisson(tf.maximum(rate, 1e-10)).sample(seed=count_seed)


@tf.custom_gradient
def _log_density(
    x: tf.Tensor, log_mean: tf.Tensor, log_dispersion: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Returns log p(x), all of the same shape.

    Its gradient is written out: that of the form not chosen may be NaN, and the digammas of log r
    cancel as the log-gammas do.
    """
    mean, r = tf.exp(log_mean), tf.exp(log_dispersion)
    n, log_total = x + r, tf.math.log(mean + r)
    log_n = tf.math.log(n)
    apart = r * ((x - mean) / (mean + r))  # x - n m / (m + r), and what r is less than its own
    share = n / (mean + r)
    log_share = log_n - log_total
    is_zero = x <= 0.0
    deviance_of_x = tf.where(
        is_zero,
        mean * share,
        half_deviance(tf.where(is_zero, 1.0, x), apart, mean * share, log_mean + log_share),
    )
    deviance_of_r = half_deviance(r, -apart, r * share, log_dispersion + log_share)
    excess = log_factorial_excess(n) - log_factorial_excess(r) - log_factorial_excess(x)
    value = excess - tf.math.log1p(x / r) - deviance_of_x - deviance_of_r

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        of_x = tf.math.digamma(n) - tf.math.digamma(1.0 + x) + log_mean - log_total
        of_r = r * _digamma_excess(x, r, n, log_n) - deviance_of_r
        return upstream * of_x, upstream * apart, upstream * of_r

    return value, gradient


def _digamma_excess(x: tf.Tensor, r: tf.Tensor, n: tf.Tensor, log_n: tf.Tensor) -> tf.Tensor:
    """Returns (digamma(n) - log n) - (digamma(r) - log r) for n = x + r."""

    def series(k: tf.Tensor) -> tf.Tensor:
        inverse = 1.0 / tf.maximum(k, LARGE)
        return -inverse * (0.5 + inverse * (1 / 12 - inverse**2 / 120))

    def direct(k: tf.Tensor, log_k: tf.Tensor) -> tf.Tensor:
        return tf.math.digamma(k) - log_k

    one, other = 1.0 / tf.maximum(r, LARGE), 1.0 / tf.maximum(n, LARGE)
    difference = tf.maximum(x, 0.0) * one * other  # 1 / r - 1 / n
    both = difference * (0.5 + (one + other) * (1 / 12 - (one**2 + other**2) / 120))
    of_n = tf.where(n < LARGE, direct(n, log_n), series(n))
    return tf.where(r < LARGE, of_n - direct(r, tf.math.log(r)), both)
