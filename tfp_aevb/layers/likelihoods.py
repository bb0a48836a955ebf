"""Generative models p(x|z): layers from latents to a distribution over datapoints."""

import math
from collections.abc import Sequence
from typing import Literal

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.bernoulli import LogitBernoulli, LogitBernoullis
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.missing import ObservedElements, neutral_value
from tfp_aevb.layers.networks import PACKAGE, bounded_log_variance
from tfp_aevb.layers.sizes import as_sizes

# A name of `tfp_aevb.data.value_checks`.
Support = str


class Likelihood(NetworkDistribution):
    """A layer from z [B, J] to p(x|z) with batch shape [B] and event shape `event_shape`.

    Args:
        event_shape: shape of x, for instance 784 or (28, 28).
        hidden_units, activation, init_stddev, network: see `NetworkDistribution`.
        params_per_element: the network's outputs for each element of x.
        allow_missing: NaN in x is a missing element, left out of log p(x|z): bounds are on log p of
            what is observed. An encoder sees 0 in its place, or what `ObservedInputs` makes of it.

    Attributes:
        allows_missing: `allow_missing`.
        support: the values an element of x may take: `binary` {0, 1}, `unit` [0, 1], `open_unit`
            (0, 1), `levels` {0, 1/255, ..., 1}, `counts` {0, 1, 2, ...}, `codes:K`
            {0, 1, ..., K - 1} or `real`.
    """

    support: Support = "real"

    def __init__(
        self,
        event_shape: int | Sequence[int],
        hidden_units: Sequence[int] = (500,),
        *,
        params_per_element: int = 1,
        allow_missing: bool = False,
        **kwargs,
    ) -> None:
        self_event_shape = as_sizes("event_shape", event_shape)
        super().__init__(params_per_element * math.prod(self_event_shape), hidden_units, **kwargs)
        self.event_shape = self_event_shape
        self.allows_missing = allow_missing

    def observed(self, elements: tfd.Distribution) -> tfd.Distribution:
        """Returns `elements`, a `tfd.Independent`, leaving missing ones out if it is to."""
        if not self.allows_missing:
            return elements
        filler = neutral_value(self.support)
        return ObservedElements(elements.distribution, len(self.event_shape), filler)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "event_shape": list(self.event_shape),
            "allow_missing": self.allows_missing,
        }


def _to_event(params: tf.Tensor, event_shape: Sequence[int]) -> tf.Tensor:
    """Reshapes [..., D] to [..., *event_shape]."""
    if len(event_shape) == 1:
        return params
    return tf.reshape(params, tf.concat([tf.shape(params)[:-1], event_shape], axis=0))


def split_heads(params: tf.Tensor, num_heads: int, event_shape: Sequence[int]) -> list[tf.Tensor]:
    """Splits a network's outputs [..., P D] into P heads, each [..., *event_shape]."""
    return [_to_event(head, event_shape) for head in tf.split(params, num_heads, axis=-1)]


@tf_keras.saving.register_keras_serializable(PACKAGE)
class BernoulliLikelihood(Likelihood):
    """p(x|z): independent Bernoulli pixels, parameterised by logits (Eq. 11).

    Args:
        event_shape: shape of x, for instance 784 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
        allow_grey: accept pixels between 0 and 1, for which this is not a likelihood.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        hidden_units: Sequence[int] = (500,),
        *,
        allow_grey: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(event_shape, hidden_units, params_per_element=1, **kwargs)
        self.allow_grey = allow_grey
        self.support = "unit" if allow_grey else "binary"

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution with logits `params` [..., D]."""
        logits = _to_event(params, event_shape)
        elements = LogitBernoulli(logits=logits, dtype=params.dtype)
        return LogitBernoullis(elements, reinterpreted_batch_ndims=len(event_shape))

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "allow_grey": self.allow_grey}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ContinuousBernoulliLikelihood(Likelihood):
    """p(x|z): independent continuous Bernoulli pixels on [0, 1] (Loaiza-Ganem & Cunningham, 2019).

    The normalised counterpart of a Bernoulli on grey pixels. Logits are kept within [-30, 30],
    where the density's normaliser and its gradient are finite in float32.

    Args:
        event_shape: shape of x, for instance 784 or (28, 28).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
    """

    support: Support = "unit"

    def __init__(
        self, event_shape: int | Sequence[int], hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        super().__init__(event_shape, hidden_units, params_per_element=1, **kwargs)

    @staticmethod
    def new(params: tf.Tensor, event_shape: Sequence[int]) -> tfd.Distribution:
        """Returns the distribution with logits `params` [..., D]."""
        logits = _to_event(tf.clip_by_value(params, -30.0, 30.0), event_shape)
        return tfd.Independent(
            tfd.ContinuousBernoulli(logits=logits), reinterpreted_batch_ndims=len(event_shape)
        )

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.observed(self.new(params, self.event_shape))


@tf_keras.saving.register_keras_serializable(PACKAGE)
class GaussianLikelihood(Likelihood):
    """p(x|z) = N(x; mu(z), diag(sigma^2)) (Eq. 12).

    Args:
        event_shape: shape of x, for instance 560 or (28, 20).
        hidden_units, activation, init_stddev, allow_missing: see `Likelihood`.
        mean: `linear`, or `sigmoid` for means in (0, 1) as in the paper's Frey Face model.
        variance: `per_pixel` (a log-variance head on the network, the paper's choice), `global`
            (one learned variance a pixel, whatever z), `scalar` (one learned variance) or a
            positive number (fixed). Learned log-variances start at 0 where they do not come
            from z, and are kept within [-14, 14].
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        hidden_units: Sequence[int] = (500,),
        *,
        mean: Literal["linear", "sigmoid"] = "linear",
        variance: Literal["per_pixel", "global", "scalar"] | float = "per_pixel",
        **kwargs,
    ) -> None:
        if mean not in ("linear", "sigmoid"):
            raise ValueError(f"`mean` must be 'linear' or 'sigmoid', got {mean!r}")
        if isinstance(variance, str):
            if variance not in ("per_pixel", "global", "scalar"):
                raise ValueError(
                    "`variance` must be 'per_pixel', 'global', 'scalar' or a positive number, "
                    f"got {variance!r}"
                )
        elif not 0.0 < variance < math.inf:
            raise ValueError(f"a fixed `variance` must be positive and finite, got {variance}")
        heads = 2 if variance == "per_pixel" else 1
        super().__init__(event_shape, hidden_units, params_per_element=heads, **kwargs)
        self.mean = mean
        self.variance = variance

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the network's variables, and the log-variances that do not depend on z."""
        if self.variance in ("global", "scalar"):
            shape = [math.prod(self.event_shape)] if self.variance == "global" else []
            self.log_variance = self.add_weight(
                "log_variance", shape, initializer="zeros", experimental_autocast=False
            )
        super().build(input_shape)

    @staticmethod
    def new(
        params: tf.Tensor,
        event_shape: Sequence[int],
        mean: str = "linear",
        log_variance: tf.Tensor | None = None,
    ) -> tfd.Distribution:
        """Returns the distribution for `params` [..., D], or [..., 2 D] = [mean, log sigma^2].

        `log_variance`, broadcastable to [..., D], takes the place of the second half.
        """
        if log_variance is None:
            params, log_variance = tf.split(params, 2, axis=-1)
        loc = tf.sigmoid(params) if mean == "sigmoid" else params
        scale = tf.exp(0.5 * bounded_log_variance(log_variance)) * tf.ones_like(loc)
        return tfd.Independent(
            tfd.Normal(_to_event(loc, event_shape), _to_event(scale, event_shape)),
            reinterpreted_batch_ndims=len(event_shape),
        )

    @property
    def own_parameters(self) -> list[tf.Variable]:
        """The log-variances that do not depend on z, if they are learned."""
        return [self.log_variance] if self.variance in ("global", "scalar") else []

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        log_variance = None
        if own_parameters or self.own_parameters:
            (log_variance,) = own_parameters or self.own_parameters
            log_variance = tf.cast(log_variance, tf.float32)
        elif not isinstance(self.variance, str):
            log_variance = tf.constant(math.log(self.variance), tf.float32)
        return self.observed(self.new(params, self.event_shape, self.mean, log_variance))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "variance": self.variance}
