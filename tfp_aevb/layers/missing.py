"""Missing elements of x: left out of p(x|z), and what an encoder sees in their place."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.networks import PACKAGE, RowsLayer


def neutral_value(support: str) -> float:
    """Returns an element of a likelihood's support with a finite density, its gradients too."""
    return 0.5 if support == "open_unit" else 0.0


def fill_missing(x: tf.Tensor, value: float = 0.0) -> tf.Tensor:
    """Returns `x` with `value` in the place of NaN."""
    return tf.where(tf.math.is_nan(x), tf.constant(value, x.dtype), x)


def takes_missing(part: Any) -> bool:
    """Whether a part of a model, or a layer in it, says that it takes NaN: `allows_missing`."""
    layers = part.submodules if isinstance(part, tf.Module) else ()
    return any(getattr(layer, "allows_missing", False) for layer in (part, *layers))


class ObservedElements(tfd.Distribution):
    """Independent elements, of which those that are NaN in x are left out of its density.

    log p(x) is the sum of the others' log densities: the missing ones are marginalised, and their
    parameters have a gradient of 0. `tfd.Independent` in all else.

    Args:
        distribution: of the elements, scalar events.
        reinterpreted_batch_ndims: how many of its last batch dimensions are one event.
        filler: a value of finite density, to evaluate in the place of NaN.

    Attributes:
        allows_missing: True: a model of this p(x|z) takes NaN.
    """

    allows_missing = True

    def __init__(
        self,
        distribution: tfd.Distribution,
        reinterpreted_batch_ndims: int,
        filler: float = 0.0,
        name: str = "ObservedElements",
    ) -> None:
        parameters = dict(locals())
        self.distribution = distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self._filler = filler
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self) -> tf.TensorShape:
        return self.distribution.batch_shape[: -self.reinterpreted_batch_ndims]

    def _batch_shape_tensor(self, **_: Any) -> tf.Tensor:
        return self.distribution.batch_shape_tensor()[: -self.reinterpreted_batch_ndims]

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.batch_shape[-self.reinterpreted_batch_ndims :]

    def _event_shape_tensor(self, **_: Any) -> tf.Tensor:
        return self.distribution.batch_shape_tensor()[-self.reinterpreted_batch_ndims :]

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        # Filled before the density: behind it the gradient would be 0 times NaN.
        log_prob = self.distribution.log_prob(fill_missing(x, self._filler))
        log_prob = tf.where(tf.math.is_nan(x), tf.zeros([], log_prob.dtype), log_prob)
        return tf.reduce_sum(log_prob, axis=range(-self.reinterpreted_batch_ndims, 0))

    def _sample_n(self, n: int | tf.Tensor, seed: Any = None) -> tf.Tensor:
        return self.distribution.sample(n, seed=seed)

    def _mean(self) -> tf.Tensor:
        return self.distribution.mean()

    def _variance(self) -> tf.Tensor:
        return self.distribution.variance()


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ObservedInputs(RowsLayer):
    """What an encoder may see of datapoints with NaN for what is missing: 0 there, and the mask.

    [B, ...event] -> [B, 2 D], the mask 1 where an element is known (Nazabal et al., 2020; Mattei &
    Frellsen, 2019). Put it first in the encoder's `network`; without it a model shows its encoder
    the zeros alone, which it cannot tell from zeros that were seen.

    Attributes:
        allows_missing: True: the model leaves NaN as it is.
    """

    allows_missing = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the values and the mask [B, 2 D]."""
        x = tf.reshape(inputs, [-1, math.prod(inputs.shape[1:])])
        known = tf.cast(~tf.math.is_nan(x), x.dtype)
        return tf.concat([fill_missing(x), known], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Returns [B, 2 D]."""
        return input_shape[0], 2 * tf.TensorShape(input_shape)[1:].num_elements()
