"""What all distributions of single numbers share that TFP does not have."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd


class ElementDistribution(tfd.Distribution):
    """A distribution over single numbers, whose draws have no gradient.

    Each class has `_parameter_properties` of its own: TFP would ask the base class for its own.

    Args:
        dtype: of the draws.
        parameters: the arguments of the constructor, by name.
        name: of the distribution.
    """

    def __init__(self, dtype: tf.DType, parameters: dict[str, Any], name: str) -> None:
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self, **parameters: Any) -> tf.Tensor:
        return tf.constant([], tf.int32)
