"""Bijectors whose values float32 does not round onto the ends of where they may be."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb


class OpenSigmoid(tfb.Sigmoid):
    """The sigmoid, its values inside (0, 1) in float32: `tfb.Sigmoid`'s is 1 from x = 17 on.

    Its gradient is finite everywhere: that of `tfb.Sigmoid` is NaN from x = 89 on.
    """

    def __init__(self, name: str = "open_sigmoid") -> None:
        super().__init__(name=name)

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        numbers = np.finfo(x.dtype.as_numpy_dtype)
        return tf.clip_by_value(tf.sigmoid(x), numbers.tiny, 1.0 - numbers.epsneg)
