"""Sums over parameters, fast on every backend."""

from typing import Any

import tensorflow as tf


@tf.custom_gradient
def total(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Returns the sum of all `values`, scalar.

    A matrix's is taken by a product with ones: XLA's CPU backend makes a reduction to a scalar on
    one core (144 microseconds for 784 x 500 numbers, against 16).
    """
    if values.shape.rank != 2:
        result = tf.reduce_sum(values)
    else:
        result = tf.reduce_sum(tf.matmul(values, tf.ones([values.shape[1], 1], values.dtype)))
    return result, lambda upstream: tf.fill(tf.shape(values), upstream)
