"""What AutoGraph converts: parts of models that users write, not a `graph_function`."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

import tfp_aevb
from tfp_aevb.utils.graphs import graph_function


class Scaled(tf_keras.layers.Layer):
    """Doubles its inputs if their sum is positive: a condition that only AutoGraph can trace."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if tf.reduce_sum(inputs) > 0.0:
            return 2.0 * inputs
        return inputs


class Called(tf.Module):
    """A module that is a function."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def __call__(self, z: tf.Tensor) -> tfd.Distribution:
        return self.function(z)


def test_a_graph_function_is_not_converted_and_a_tf_function_is() -> None:
    seen = []

    def function(x: tf.Tensor) -> tf.Tensor:
        seen.append(sys._getframe().f_code.co_filename)
        return x

    graph_function(function)(tf.constant(1.0))
    tf.function(function)(tf.constant(1.0))
    assert [name == __file__ for name in seen] == [True, False]


def test_a_graph_function_keeps_the_names_of_its_arguments() -> None:
    def difference(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return a - b

    scalar = tf.TensorSpec([], tf.float32)
    function = graph_function(difference, input_signature=[scalar, scalar])
    assert function(b=tf.constant(1.0), a=tf.constant(3.0)).numpy() == 2.0


@pytest.mark.parametrize("as_module", [False, True])
def test_functions_and_modules_of_users_may_ask_what_a_tensor_holds(as_module: bool) -> None:
    weights = tf.Variable(tf.ones([2, 6]))

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        logits = z @ weights
        for _ in tf.range(3):
            if tf.reduce_sum(weights) > 0.0:
                logits += 1.0
        return tfd.Independent(tfd.Bernoulli(logits=logits), 1)

    model = tfp_aevb.AEVB(
        prior=tfp_aevb.StandardNormalPrior(2),
        encoder=tfp_aevb.DiagonalGaussianPosterior(2, [5]),
        decoder=Called(decoder) if as_module else decoder,
    )
    model.compile()
    model.fit(np.ones([8, 6], np.uint8), batch_size=4, verbose=0)
    z = tf.zeros([1, 2])
    logits = tf.function(lambda z: model.decode(z).distribution.logits)(z)
    np.testing.assert_array_equal(logits, np.full([1, 6], 3.0))


def test_layers_of_users_may_ask_what_a_tensor_holds() -> None:
    encoder_network = tf_keras.Sequential([Scaled(), tf_keras.layers.Dense(4)])
    model = tfp_aevb.AEVB(
        prior=tfp_aevb.StandardNormalPrior(2),
        encoder=tfp_aevb.DiagonalGaussianPosterior(2, network=encoder_network),
        decoder=tfp_aevb.BernoulliLikelihood(6, [5]),
    )
    model.compile()
    x = np.ones([8, 6], np.uint8)
    model.fit(x, batch_size=4, verbose=0)
    doubled = encoder_network.layers[1](2.0 * tf.ones([8, 6]))
    loc = tf.function(lambda x: model.encode(x).mean())(tf.ones([8, 6]))
    np.testing.assert_allclose(loc, doubled[:, :2], rtol=1e-5)
