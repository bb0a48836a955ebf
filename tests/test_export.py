import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import DATA_DIM, LATENT_DIM, assert_one_line, binary_data, small_model
from tfp_aevb import layers
from tfp_aevb.evaluation import importance_log_prob
from tfp_aevb.export import export_saved_model
from tfp_aevb.model import AEVB

tfd = tfp.distributions
SEED = tf.constant([3, 7])
NATS = {"elbo", "reconstruction", "kl", "log_prob"}


def _gaussian_model() -> AEVB:
    """Returns a model of everything that is not the default: mixed precision and images too."""
    dtype = "mixed_bfloat16"
    return small_model(
        layers.GaussianMixturePrior(LATENT_DIM, 3),
        layers.FullCovarianceGaussianPosterior(LATENT_DIM, (5,), dtype=dtype),
        layers.GaussianLikelihood((3, 2), (5,), mean="sigmoid", variance="global", dtype=dtype),
        objective="sgvb_a",
        num_samples=2,
    )


def _callables() -> AEVB:
    """Returns a model of plain callables, whose variables nothing tracks."""
    kernel = tf.Variable(tf.random.stateless_normal([DATA_DIM, LATENT_DIM], [1, 2]))
    logits = tf.Variable(tf.random.stateless_normal([LATENT_DIM, DATA_DIM], [1, 3]))
    scale = tf.constant([0.5, 2.0])
    prior_loc = tf.Variable([0.1, -0.2])
    return AEVB(
        lambda: tfd.MultivariateNormalDiag(prior_loc + 0.0, tf.ones([LATENT_DIM])),
        lambda x: tfd.MultivariateNormalDiag(tf.tanh(tf.matmul(x, kernel)), scale),
        lambda z: tfd.Independent(tfd.ContinuousBernoulli(logits=tf.matmul(z, logits)), 1),
        objective="score_function",
    )


def _diagonal_prior() -> AEVB:
    prior = layers.DiagonalNormalPrior(LATENT_DIM)
    prior.loc.assign([0.3, -0.4])
    return small_model(prior, decoder=layers.ContinuousBernoulliLikelihood(DATA_DIM, (5, 4)))


MODELS = {
    "default": small_model,
    "gaussian": _gaussian_model,
    "callables": _callables,
    "diagonal_prior": _diagonal_prior,
}


@pytest.fixture(scope="module", params=list(MODELS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AEVB, Any]:
    model = MODELS[request.param]()
    path = tmp_path_factory.mktemp(request.param) / "saved_model"
    export_saved_model(model, path)
    return model, tf.saved_model.load(path)


def _data(model: AEVB, num_data: int) -> tf.Tensor:
    return tf.constant(binary_data(num_data).reshape([num_data, *model.event_shape]))


def _inputs(model: AEVB, signature: str, num_data: int) -> dict[str, tf.Tensor]:
    draws = {"num_samples": tf.constant(5), "seed": SEED}
    if signature == "sample":
        return draws
    if signature == "decode":
        return {"z": tf.random.stateless_normal([num_data, model.latent_dim], SEED)}
    x = {"x": _data(model, num_data)}
    return {**x, **draws} if signature in ("elbo", "log_prob") else x


def _encode(model: AEVB, x: tf.Tensor) -> dict[str, tf.Tensor]:
    posterior = model.encode(x)
    return {"loc": posterior.mean(), "stddev": posterior.stddev()}


def _log_prob(model: AEVB, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    estimate = importance_log_prob(model, **inputs)._asdict()
    del estimate["standard_error"]
    return estimate


LIVE: dict[str, Callable] = {
    "encode": _encode,
    "serving_default": _encode,
    "decode": lambda model, z: {"mean": model.decode(z).mean()},
    "reconstruct": lambda model, x: {"mean": model.reconstruct(x)},
    "sample": lambda model, num_samples, seed: model.sample_with_latents(5, seed)._asdict(),
    "elbo": lambda model, x, num_samples, seed: model.bound(x, seed, 5)._asdict(),
    "log_prob": _log_prob,
}


@pytest.mark.parametrize("num_data", [1, 7])
@pytest.mark.parametrize("signature", list(LIVE))
def test_signature_gives_the_live_models_values(
    exported: tuple[AEVB, Any], signature: str, num_data: int
) -> None:
    model, loaded = exported
    inputs = _inputs(model, signature, num_data)
    # In bfloat16 a graph fuses operations that eager execution rounds one by one.
    expected = tf.function(LIVE[signature])(model, **inputs)
    outputs = loaded.signatures[signature](**inputs)
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        tolerance = {"rtol": 1e-5} if name in NATS else {"rtol": 0.0, "atol": 1e-5}
        np.testing.assert_allclose(value, expected[name], err_msg=name, **tolerance)


@pytest.mark.parametrize("signature", list(LIVE))
def test_float32_signature_gives_the_eager_models_values(tmp_path: Path, signature: str) -> None:
    model = small_model()
    export_saved_model(model, tmp_path / "saved_model")
    loaded = tf.saved_model.load(tmp_path / "saved_model")
    inputs = _inputs(model, signature, 7)
    expected = LIVE[signature](model, **inputs)
    for name, value in loaded.signatures[signature](**inputs).items():
        tolerance = {"rtol": 1e-5} if name in NATS else {"rtol": 0.0, "atol": 1e-5}
        np.testing.assert_allclose(value, expected[name], err_msg=name, **tolerance)
