"""What AutoGraph converts: layers that users write, and nothing of the package's."""

import sys

import numpy as np
import tensorflow as tf
import tf_keras

import tfp_aevb
from tfp_aevb.graphs import graph_function


class Scaled(tf_keras.layers.Layer):
    """Doubles its inputs if their sum is positive: a condition that only AutoGraph can trace."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if tf.reduce_sum(inputs) > 0.0:
            return 2.0 * inputs
        return inputs


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
