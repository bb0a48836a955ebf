"""The sum of all elements, its value and its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_aevb.objectives.sums import total


@pytest.mark.parametrize("shape", [(), (7,), (5, 3), (2, 3, 4)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_total_is_the_sum_and_its_gradient_the_chain_rule(
    shape: tuple[int, ...], jit_compile: bool
) -> None:
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)

    @tf.function(jit_compile=jit_compile)
    def value_and_gradient() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = 3.0 * total(tf.square(values))
        return result, tape.gradient(result, values)

    result, gradient = value_and_gradient()
    np.testing.assert_allclose(result, 3.0 * np.sum(values.numpy() ** 2), rtol=1e-6)
    np.testing.assert_allclose(gradient, 6.0 * values, rtol=1e-6)
