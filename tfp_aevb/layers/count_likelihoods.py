"""Likelihoods p(x|z) of counts: Poisson, negative binomial, and both with extra zeros."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.elements import ElementDistribution
from tfp_aevb.distributions.negative_binomial import NegativeBinomial
from tfp_aevb.distributions.poisson import Poisson
from tfp_aevb.layers.likelihoods import Likelihood, Support, split_heads
from tfp_aevb.layers.networks import PACKAGE, bounded, bounded_log_variance

# log of a negative binomial's dispersion: beyond 1,100 it is a Poisson in float32 anyway.
LOG_DISPERSION_RANGE = (-7.0, 7.0)


class ZeroInflated(ElementDistribution):
    """0 with probability sigmoid(zero_logits), else a draw from a distribution of counts.

    `tfd.Inflated` is the same mixture; its density off the atom is -inf, whose gradient is NaN.

    Args:
        counts: a distribution over whole numbers from 0, event shape [].
        zero_logits: log odds of the extra zeros, of the batch shape of `counts`.
    """

    def __init__(
        self, counts: tfd.Distribution, zero_logits: tf.Tensor, name: str = "ZeroInflated"
    ) -> None:
        parameters = {"counts": counts, "zero_logits": zero_logits, "name": name}
        self.counts = counts
        self.zero_logits = zero_logits
        super().__init__(counts.dtype, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict:
        return {
            "counts": tfp.util.BatchedComponentProperties(),
            "zero_logits": tfp.util.ParameterProperties(),
        }

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_counted = self.counts.log_prob(x) + tf.math.log_sigmoid(-self.zero_logits)
        log_zero = tf.math.log_sigmoid(self.zero_logits)
        return tf.where(x > 0.0, log_counted, tfp.math.log_add_exp(log_zero, log_counted))

    def _mean(self) -> tf.Tensor:
        return tf.sigmoid(-self.zero_logits) * self.counts.mean()

    def _variance(self) -> tf.Tensor:
        zero = tf.sigmoid(self.zero_logits)
        return (1.0 - zero) * (self.counts.variance() + zero * self.counts.mean() ** 2)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        zero_seed, count_seed = tfp.random.split_seed(seed, n=2)
        counts = self.counts.sample(n, seed=count_seed)
        uniform = tf.random.stateless_uniform(tf.shape(counts), zero_seed, dtype=self.dtype)
        return tf.where(uniform < tf.sigmoid(self.zero_logits), tf.zeros_like(counts), counts)


class _CountLikelihood(Likelihood):
    """A likelihood of whole numbers from 0, its heads those of `new`."""

    support: Support = "counts"
    heads = 1
    new: Callable[..., tfd.Distribution]

    def __init__(
        self, event_shape: int | Sequence[int], hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        super().__init__(event_shape, hidden_units, params_per_element=self.heads, **kwargs)

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape))


def _poisson(log_rate: tf.Tensor) -> tfd.Distribution:
    return Poisson(log_rate=bounded_log_variance(log_rate))


def _negative_binomial(log_mean: tf.Tensor, log_dispersion: tf.Tensor) -> tfd.Distribution:
    log_dispersion = bounded(log_dispersion, *LOG_DISPERSION_RANGE)
    return NegativeBinomial(bounded_log_variance(log_mean), log_dispersion)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class PoissonLikelihood(_CountLikelihood):
    """p(x|z): independent Poisson counts; log rates are kept within [-14, 14].

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution with log rates `params` [..., D]."""
        return tfd.Independent(
            _poisson(*split_heads(params, 1, event_shape)),
            reinterpreted_batch_ndims=len(event_shape),
        )


@tf_keras.saving.register_keras_serializable(PACKAGE)
class NegativeBinomialLikelihood(_CountLikelihood):
    """p(x|z): independent negative binomial counts of mean m and variance m + m^2 / r.

    log m is kept within [-14, 14] and log r, the dispersion's, within [-7, 7]; both come from z.

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    heads = 2

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 2 D] = [log m, log r]."""
        return tfd.Independent(
            _negative_binomial(*split_heads(params, 2, event_shape)),
            reinterpreted_batch_ndims=len(event_shape),
        )


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ZeroInflatedPoissonLikelihood(_CountLikelihood):
    """p(x|z): independent counts, 0 by a probability of its own, else Poisson.

    Log rates are kept within [-14, 14], the log odds of the extra zeros within [-14, 14].

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    heads = 2

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 2 D] = [log rates, log odds of 0]."""
        log_rate, odds = split_heads(params, 2, event_shape)
        return tfd.Independent(
            ZeroInflated(_poisson(log_rate), bounded_log_variance(odds)),
            reinterpreted_batch_ndims=len(event_shape),
        )


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ZeroInflatedNegativeBinomialLikelihood(_CountLikelihood):
    """p(x|z): independent counts, 0 by a probability of its own, else negative binomial.

    The log odds of the extra zeros are kept within [-14, 14]; the rest is that of
    `NegativeBinomialLikelihood`.

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    heads = 3

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 3 D] = [log m, log r, log odds of 0]."""
        log_mean, log_dispersion, odds = split_heads(params, 3, event_shape)
        return tfd.Independent(
            ZeroInflated(_negative_binomial(log_mean, log_dispersion), bounded_log_variance(odds)),
            reinterpreted_batch_ndims=len(event_shape),
        )
