"""Likelihoods p(x|z) of categories and of 8-bit levels."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.elements import ElementDistribution
from tfp_aevb.layers.likelihoods import Likelihood, Support, split_heads
from tfp_aevb.layers.networks import PACKAGE, bounded_log_variance
from tfp_aevb.layers.sizes import as_size

LEVELS = 256
_STEP = 1.0 / (LEVELS - 1)
# Of the components' log s^2 at the start: s = 0.14 suits values in [0, 1].
_LOG_VARIANCE_START = -4.0


class Codes(tfd.Categorical):
    """A categorical distribution over the floats 0 to K - 1, with their mean and variance."""

    def _values(self) -> tuple[tf.Tensor, tf.Tensor]:
        probs = self.probs_parameter()
        return probs, tf.range(tf.shape(probs)[-1], dtype=tf.int32)

    def _mean(self) -> tf.Tensor:
        probs, codes = self._values()
        return tf.reduce_sum(probs * tf.cast(codes, probs.dtype), axis=-1)

    def _variance(self) -> tf.Tensor:
        probs, codes = self._values()
        distance = tf.cast(codes, probs.dtype) - self._mean()[..., tf.newaxis]
        return tf.reduce_sum(probs * distance**2, axis=-1)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class CategoricalLikelihood(Likelihood):
    """p(x|z): independent categories, x the codes 0 to K - 1 as floats, parameterised by logits.

    Its mean is that of the codes, which says something where they are in an order.

    Args:
        event_shape: shape of x, for instance 12 or (28, 28).
        num_categories: K.
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        num_categories: int,
        hidden_units: Sequence[int] = (500,),
        **kwargs,
    ) -> None:
        num_categories = as_size("num_categories", num_categories, least=2)
        super().__init__(event_shape, hidden_units, params_per_element=num_categories, **kwargs)
        self.num_categories = num_categories
        self.support: Support = f"codes:{num_categories}"

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int], num_categories: int) -> tfd.Distribution:
        """Returns the distribution with logits `params` [..., K D], the first D those of code 0."""
        logits = tf.stack(split_heads(params, num_categories, event_shape), axis=-1)
        return tfd.Independent(
            Codes(logits=logits, dtype=params.dtype), reinterpreted_batch_ndims=len(event_shape)
        )

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape, self.num_categories))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_categories": self.num_categories}


class DiscretizedLogistic(ElementDistribution):
    """A logistic rounded to the levels 0, 1/255, ..., 1; the outer levels take the tails.

    With F the logistic's distribution function, P(x) = F(x + 1/510) - F(x - 1/510).

    Args:
        loc: mean of the logistic.
        scale: its scale s.
    """

    def __init__(self, loc: tf.Tensor, scale: tf.Tensor, name: str = "DiscretizedLogistic") -> None:
        parameters = {"loc": loc, "scale": scale, "name": name}
        self.loc, self.scale = loc, scale
        super().__init__(loc.dtype, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict:
        return {name: tfp.util.ParameterProperties() for name in ("loc", "scale")}

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        above = (x + 0.5 * _STEP - self.loc) / self.scale
        below = (x - 0.5 * _STEP - self.loc) / self.scale
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), in logarithms exact
        # in the tails, where the difference itself is 0 in float32.
        log_below_top = tf.math.log_sigmoid(above)
        log_above_bottom = tf.math.log_sigmoid(-below)
        between = log_below_top + log_above_bottom + tfp.math.log1mexp(_STEP / self.scale)
        inner = tf.where(x > 1.0 - 0.5 * _STEP, log_above_bottom, between)
        return tf.where(x < 0.5 * _STEP, log_below_top, inner)

    def _mean(self) -> tf.Tensor:
        # 1 - 1/255 sum{ F(midpoints of the levels) }: a midpoint rule for the integral of F over
        # [0, 1], which is known, as is the rule's first correction. Within 1e-4 for s >= exp(-7).
        low, high = -self.loc / self.scale, (1.0 - self.loc) / self.scale
        integral = self.scale * (tf.nn.softplus(high) - tf.nn.softplus(low))
        slopes = [tf.sigmoid(end) * tf.sigmoid(-end) / self.scale for end in (low, high)]
        return 1.0 - integral + _STEP**2 / 24.0 * (slopes[1] - slopes[0])

    def _variance(self) -> tf.Tensor:
        # About a, the level nearest to the logistic's mean, so that no digits are lost: with
        # T(e) the probability beyond an edge e between two levels, seen from a,
        # E[X - a] = 1/255 sum{ +-T(e) } and E[(X - a)^2] = 2/255 sum{ |e - a| T(e) }. One edge
        # after the other, since all at once would take 255 times the memory.
        nearest = tf.round(tf.clip_by_value(self.loc, 0.0, 1.0) / _STEP) * _STEP

        def add(k: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tuple:
            edge = (tf.cast(k, self.dtype) + 0.5) * _STEP
            side = tf.sign(edge - nearest)
            beyond = _STEP * tf.sigmoid(side * (self.loc - edge) / self.scale)
            second += 2.0 * tf.abs(edge - nearest) * beyond
            return k + 1, first + side * beyond, second

        zeros = tf.zeros_like(self.loc + self.scale)
        start = (tf.constant(0), zeros, zeros)
        _, first, second = tf.while_loop(lambda k, *_: k < LEVELS - 1, add, start)
        return second - first**2

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        real = tfd.Logistic(self.loc, self.scale).sample(n, seed=seed)
        return tf.round(tf.clip_by_value(real, 0.0, 1.0) / _STEP) * _STEP


@tf_keras.saving.register_keras_serializable(PACKAGE)
class DiscretizedLogisticLikelihood(Likelihood):
    """p(x|z): each pixel a mixture of logistics rounded to 256 levels (Salimans et al., 2017).

    x is in {0, 1/255, ..., 1}, as uint8 pixels are read; values are probabilities of levels, so
    that -log2 p(x) / D is bits per pixel. log s^2 of each component is kept within [-14, 14]. At
    the start, where the network's outputs are 0, the means spread over [0, 1].

    Args:
        event_shape: shape of x, for instance 784 or (28, 28).
        num_components: M, of each pixel's mixture.
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    support: Support = "levels"

    def __init__(
        self,
        event_shape: int | Sequence[int],
        num_components: int = 5,
        hidden_units: Sequence[int] = (500,),
        **kwargs,
    ) -> None:
        num_components = as_size("num_components", num_components)
        super().__init__(event_shape, hidden_units, params_per_element=3 * num_components, **kwargs)
        self.num_components = num_components

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int], num_components: int) -> tfd.Distribution:
        """Returns the distribution for `params` [..., 3 M D].

        They are [logits, means, log s^2], each [M, D] in row order; means are (m + 1/2) / M more
        than the parameters for component m, and log s^2 is 4 less.
        """
        heads = split_heads(params, 3 * num_components, event_shape)
        parts = [
            tf.stack(heads[i * num_components : (i + 1) * num_components], axis=-1)
            for i in range(3)
        ]
        logits, raw_loc, raw_log_variance = parts
        start = (tf.range(num_components, dtype=params.dtype) + 0.5) / num_components
        scale = tf.exp(0.5 * bounded_log_variance(raw_log_variance + _LOG_VARIANCE_START))
        mixture = tfd.MixtureSameFamily(
            tfd.Categorical(logits=logits), DiscretizedLogistic(raw_loc + start, scale)
        )
        return tfd.Independent(mixture, reinterpreted_batch_ndims=len(event_shape))

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape, self.num_components))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_components": self.num_components}
