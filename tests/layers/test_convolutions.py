"""Convolutional networks, and networks of one's own, in the distribution layers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_one_line, assert_same_arrays, binary_data, compiled
from tfp_aevb.export import export_saved_model
from tfp_aevb.layers import (
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    DiagonalGaussianPosterior,
    GaussianLikelihood,
    StandardNormalPrior,
)
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB

RNG = np.random.default_rng(2)


def _convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3x3 convolution of stride 2, `same` padding as TensorFlow has it, of [H, W, C]."""
    height, width, _ = x.shape
    sizes = [-(-height // 2), -(-width // 2)]
    pads = [max((n - 1) * 2 + 3 - size, 0) for n, size in zip(sizes, (height, width), strict=True)]
    padded = np.pad(x, [(pads[0] // 2, pads[0] - pads[0] // 2), (pads[1] // 2, pads[1] - pads[1] // 2), (0, 0)])  # fmt: skip  # noqa: E501
    out = np.zeros([*sizes, kernel.shape[-1]])
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            patch = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[i, j] = np.tensordot(patch, kernel, 3)
    return out


@pytest.mark.parametrize("shape", [(5, 4), (4, 6, 3)])
def test_the_encoder_convolves_and_then_is_an_mlp(shape: tuple[int, ...]) -> None:
    network = ConvEncoder(3, shape, (2,), activation="tanh", init_stddev=0.5)
    x = RNG.normal(size=[2, *shape])
    found = network(tf.constant(x.reshape(2, -1), tf.float32)).numpy()
    kernel, bias, head, head_bias = (w.astype(np.float64) for w in network.get_weights())
    images = x.reshape(2, *(*shape, 1)[:3])
    hidden = np.tanh([_convolved(image, kernel) + bias for image in images]).reshape(2, -1)
    np.testing.assert_allclose(found, hidden @ head + head_bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network(tf.constant(x, tf.float32)), found, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (4, 6, 3)])
def test_the_decoder_is_the_adjoint_of_convolutions(shape: tuple[int, ...]) -> None:
    """<conv(x), h> = <x, deconv(h)> for one kernel; and a bias for each output."""
    network = ConvDecoder(int(np.prod(shape)), shape, (2,), activation="linear", init_stddev=0.5)
    height, width, channels = (*shape, 1)[:3]
    if height % 2:  # the output is cut: the adjoint holds for the whole
        height += 1
    z = RNG.normal(size=[1, 2])
    found = network(tf.constant(z, tf.float32)).numpy()
    weights = {w.name.split("/")[-1]: v for w, v in zip(network.weights, network.get_weights(), strict=True)}  # fmt: skip  # noqa: E501
    head, head_bias = weights["kernel_0:0"], weights["bias_0:0"]
    kernel, bias = weights["kernel:0"], weights["output_bias:0"]  # [3, 3, out, in]
    hidden = (z @ head + head_bias).reshape(-1, network._small[1], 2)
    image = (found - bias).reshape(shape[0], width, channels)
    x = RNG.normal(size=[height, width, channels])
    x[shape[0] :] = 0.0
    expected = (_convolved(x, kernel) * hidden).sum()
    assert (x[: shape[0]] * image).sum() == pytest.approx(expected, rel=1e-4)


def test_each_parameter_of_a_pixel_has_an_image_of_its_own() -> None:
    network = ConvDecoder(2 * 24, (6, 4), (3,), init_stddev=0.5)
    layer = GaussianLikelihood(24, network=network)
    distribution, params = layer(tf.ones([3, 2])), network(tf.ones([3, 2])).numpy()
    np.testing.assert_allclose(distribution.mean(), params[:, :24], rtol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), np.exp(0.5 * params[:, 24:]), rtol=1e-5)
    half = tf_keras.Sequential([ConvDecoder(24, (6, 4), (3,))])
    bad = GaussianLikelihood(24, network=half)
    assert_one_line(lambda: bad(tf.ones([3, 2])), ValueError, "`network`", "[B, 48]", "24)")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: ConvEncoder(3, (4,)), "`image_shape`"),
        (lambda: ConvEncoder(3, (4, 4), ()), "`filters`"),
        (lambda: ConvDecoder(17, (4, 4)), "`output_size`"),
        (lambda: ConvEncoder(3, (4, 4))(tf.zeros([2, 15])), "16 elements"),
        (lambda: BernoulliLikelihood(4, network=lambda size: size), "`network`"),
    ],
)
def test_what_does_not_fit_is_refused(make, part: str) -> None:
    assert_one_line(make, ValueError, part)


def test_full_vb_refuses_networks_whose_weights_it_cannot_draw() -> None:
    decoder = BernoulliLikelihood(16, network=lambda size: ConvDecoder(size, (4, 4)))
    posterior = DiagonalGaussianPosterior(2, (3,))
    assert_one_line(
        lambda: FullVB(StandardNormalPrior(2), posterior, decoder), ValueError, "`MLP`", "ConvDec"
    )


def _dense(size: int) -> tf_keras.Sequential:
    return tf_keras.Sequential(
        [
            tf_keras.layers.Dense(5, "relu"),
            tf_keras.layers.Dropout(0.0),
            tf_keras.layers.Dense(size),
        ]
    )


def _on_top(head: tf_keras.layers.Layer) -> tf_keras.Sequential:
    return tf_keras.Sequential([tf_keras.layers.Dense(5, "relu"), head])


def _models() -> dict[str, AEVB]:
    conv = {"encoder": lambda n: ConvEncoder(n, (4, 4), (3,)), "decoder": lambda n: ConvDecoder(n, (4, 4), (3,))}  # fmt: skip  # noqa: E501
    pairs = {
        "conv": conv,
        "keras": {"encoder": _dense, "decoder": _dense},
    }
    models = {}
    for name, networks in pairs.items():
        models[name] = AEVB(
            StandardNormalPrior(2),
            DiagonalGaussianPosterior(2, network=networks["encoder"]),
            BernoulliLikelihood(16, network=networks["decoder"]),
        )
    models["heads"] = AEVB(
        StandardNormalPrior(2),
        _on_top(DiagonalGaussianPosterior(2, hidden_units=())),
        _on_top(BernoulliLikelihood(16, hidden_units=())),
    )
    return models


@pytest.mark.compile
@pytest.mark.parametrize("name", ["conv", "keras", "heads"])
def test_models_of_any_network_are_fitted_saved_loaded_and_exported(
    name: str, tmp_path: Path
) -> None:
    tf_keras.utils.set_random_seed(1)
    model, x = compiled(_models()[name]), binary_data(20, 16)
    before = model.get_weights()
    history = model.fit(x, epochs=2, verbose=0).history
    assert np.isfinite(history["elbo"]).all()
    moved = [(a != b).any() for a, b in zip(before, model.get_weights(), strict=True)]
    assert sum(moved) >= len(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    assert_same_arrays(again.get_weights(), model.get_weights())
    expected = model.elbo(x, seed=1).numpy()
    np.testing.assert_allclose(again.elbo(x, seed=1), expected, rtol=1e-6)
    export_saved_model(model, tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported"))
    found = served.encode(tf.constant(x))["loc"]
    np.testing.assert_allclose(found, model.encode(x).mean(), rtol=1e-4, atol=1e-6)
