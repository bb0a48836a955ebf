import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_one_line
from tfp_aevb.layers import MLP, BernoulliLikelihood, DiagonalGaussianPosterior
from tfp_aevb.runs.build import INIT_STDDEV

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0.0),
    "elu": lambda a: np.where(a > 0.0, a, np.expm1(a)),
    "softplus": lambda a: np.logaddexp(0.0, a),
}
RNG = np.random.default_rng(3)


def _forward(weights: list, x: np.ndarray, activation: str = "tanh") -> np.ndarray:
    hidden = np.asarray(x, np.float64).reshape(len(x), -1)
    for i in range(0, len(weights), 2):
        hidden = hidden @ np.asarray(weights[i], np.float64) + weights[i + 1]
        if i < len(weights) - 2:
            hidden = ACTIVATIONS[activation](hidden)
    return hidden


def _built(event: tuple[int, ...] = (4,), **kwargs) -> MLP:
    network = MLP(**{"output_size": 3, "hidden_units": (5,), "init_stddev": 0.7, **kwargs})
    network.build((None, *event))
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden_units", [(), (5,), (5, 6)])
def test_forward_pass_equals_numpy(activation: str, hidden_units: tuple[int, ...]) -> None:
    network = _built(activation=activation, hidden_units=hidden_units)
    assert len(network.network_weights) == 2 * len(hidden_units) + 2
    x = RNG.normal(size=[7, 4])
    expected = _forward(network.get_weights(), x, activation)
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)


def test_images_are_flattened_in_row_order() -> None:
    network, x = _built((2, 3)), RNG.normal(size=[7, 2, 3])
    expected = _forward(network.get_weights(), x)
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)


def test_apply_uses_the_weights_it_is_given() -> None:
    network, x = _built(), RNG.normal(size=[7, 4])
    weights = [RNG.normal(size=v.shape) for v in network.network_weights]
    value = network.apply([tf.constant(w, tf.float32) for w in weights], tf.constant(x))
    np.testing.assert_allclose(value, _forward(weights, x), rtol=1e-4, atol=1e-5)


def test_apply_takes_weights_of_their_own_for_each_datapoint() -> None:
    network, x = _built((2, 2)), RNG.normal(size=[7, 2, 2])
    weights = [RNG.normal(size=[7, *v.shape]) for v in network.network_weights]
    value = network.apply([tf.constant(w, tf.float32) for w in weights], tf.constant(x))
    expected = [_forward([w[b] for w in weights], x[b : b + 1])[0] for b in range(7)]
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_distribution_layers_apply_weights_too() -> None:
    layer, x = DiagonalGaussianPosterior(2, (5,), init_stddev=0.5), RNG.normal(size=[7, 4])
    layer(tf.constant(x, tf.float32))
    weights = [2.0 * w for w in layer.network.get_weights()]
    posterior = layer.apply([tf.constant(w) for w in weights], tf.constant(x, tf.float32))
    params = _forward(weights, x)
    np.testing.assert_allclose(posterior.mean(), params[:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(posterior.variance(), np.exp(params[:, 2:]), rtol=1e-4)


@pytest.mark.parametrize(("init", "stddev"), [("variance", 0.01**0.5), ("stddev", 0.01)])
def test_initial_weights_and_biases_have_the_stated_spread(init: str, stddev: float) -> None:
    tf.random.set_seed(1)
    network = MLP(1_000_000, (), init_stddev=INIT_STDDEV[init])
    network.build((None, 1))
    for values in network.get_weights():  # the kernel and the bias
        assert values.size == 1_000_000
        standard_error = stddev / np.sqrt(2.0 * values.size)
        assert abs(values.std() - stddev) < 5.0 * standard_error
        assert abs(values.mean()) < 5.0 * stddev / np.sqrt(values.size)


def test_hidden_layers_have_the_same_spread_as_the_output() -> None:
    tf.random.set_seed(2)
    network = _built((300,), hidden_units=(1000, 300), init_stddev=0.1)
    kernels, biases = network.get_weights()[::2], network.get_weights()[1::2]
    for values in [*kernels, *biases]:
        assert abs(values.std() - 0.1) < 5.0 * 0.1 / np.sqrt(2.0 * values.size)


def test_glorot_initialisation_has_zero_biases_and_the_glorot_limit() -> None:
    tf_keras.utils.set_random_seed(3)
    kernel, bias = _built((800,), hidden_units=(), init_stddev=None, output_size=400).get_weights()
    np.testing.assert_array_equal(bias, np.zeros(400))
    limit = np.sqrt(6.0 / (800 + 400))
    assert 0.999 * limit < np.abs(kernel).max() <= np.float32(limit)


def test_init_stddev_reaches_the_network_of_a_distribution_layer() -> None:
    layer = BernoulliLikelihood(500, (500,), init_stddev=0.01)
    layer.build((None, 500))
    kernel = layer.network.get_weights()[0]
    assert abs(kernel.std() - 0.01) < 5.0 * 0.01 / np.sqrt(2.0 * kernel.size)


@pytest.mark.parametrize(
    ("output_size", "hidden_units", "name"),
    [
        (0, (5,), "`output_size`"),
        (3, (0,), "`hidden_units`"),
        (3, (5, -1), "`hidden_units`"),
        (-2, (), "`output_size`"),
    ],
)
def test_sizes_must_be_positive(output_size: int, hidden_units: tuple[int, ...], name: str) -> None:
    assert_one_line(lambda: MLP(output_size, hidden_units), ValueError, name)


def test_an_unknown_event_size_is_refused() -> None:
    assert_one_line(lambda: MLP(3).build((None, None)), ValueError, "event shape")
