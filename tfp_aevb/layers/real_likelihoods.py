"""Likelihoods p(x|z) of real values that are not Gaussian: Student's t, and beta on (0, 1)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.likelihoods import Likelihood, Support, split_heads
from tfp_aevb.layers.networks import PACKAGE, bounded, bounded_log_variance

# Concentrations from 0.05 to 1,100.
LOG_CONCENTRATION_RANGE = (-3.0, 7.0)
_SMALLEST_DRAW = 1e-6
# Degrees of freedom less 2 from 0.0009 to 1,100: the variance is finite.
LOG_FREEDOM_RANGE = (-7.0, 7.0)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class StudentTLikelihood(Likelihood):
    """p(x|z): independent Student-t elements, for data with outliers.

    Location, scale and degrees of freedom come from z. log scale^2 is kept within [-14, 14]; the
    degrees of freedom are 2 + exp(h), h within [-7, 7], so that mean and variance are finite.

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    def __init__(
        self, event_shape: int | Sequence[int], hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        super().__init__(event_shape, hidden_units, params_per_element=3, **kwargs)

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 3 D] = [loc, log scale^2, h]."""
        loc, log_variance, raw_freedom = split_heads(params, 3, event_shape)
        freedom = 2.0 + tf.exp(bounded(raw_freedom, *LOG_FREEDOM_RANGE))
        scale = tf.exp(0.5 * bounded_log_variance(log_variance))
        return tfd.Independent(
            tfd.StudentT(freedom, loc, scale), reinterpreted_batch_ndims=len(event_shape)
        )

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape))


class OpenBeta(tfd.Beta):
    """A beta distribution on the open interval.

    Draws, in float32, do not reach the ends: within 1e-6 of them. The density has its gradient at
    concentrations of 1 too, where `tf.math.xlogy`, by which TFP has it, leaves out that of a 0.
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        of_one, of_zero = self.concentration1, self.concentration0
        log_power = (of_one - 1.0) * tf.math.log(x) + (of_zero - 1.0) * tf.math.log1p(-x)
        return log_power - tfp.math.lbeta(of_one, of_zero)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        draws = super()._sample_n(n, seed)
        return tf.clip_by_value(draws, _SMALLEST_DRAW, 1.0 - _SMALLEST_DRAW)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class BetaLikelihood(Likelihood):
    """p(x|z): independent beta elements on the open interval (0, 1).

    Both concentrations come from z; their logarithms are kept within [-3, 7].

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    support: Support = "open_unit"

    def __init__(
        self, event_shape: int | Sequence[int], hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        super().__init__(event_shape, hidden_units, params_per_element=2, **kwargs)

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 2 D], log concentrations of 1 and of 0."""
        of_one, of_zero = (
            tf.exp(bounded(head, *LOG_CONCENTRATION_RANGE))
            for head in split_heads(params, 2, event_shape)
        )
        return tfd.Independent(
            OpenBeta(of_one, of_zero), reinterpreted_batch_ndims=len(event_shape)
        )

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape))
