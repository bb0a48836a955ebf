"""Posteriors with networks of their own beside one that is given: any tf_keras network will do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_same_arrays, binary_data, compiled
from tfp_aevb import layers
from tfp_aevb.export import export_saved_model
from tfp_aevb.models.aevb import AEVB

DIMS = (2, 1)
KINDS = ("iaf", "realnvp", "spline")
OPTIONS = {"activation": "relu", "init_stddev": 0.3}


def _sequential(size: int) -> tf_keras.Sequential:
    dense = tf_keras.layers.Dense
    return tf_keras.Sequential([dense(4, activation="relu"), dense(size)])


def _masked(size: int) -> tf_keras.Sequential:
    return tf_keras.Sequential([layers.ObservedInputs(), layers.MLP(size, (4,))])


NETWORKS = {"sequential": _sequential, "dense": tf_keras.layers.Dense, "masked": _masked}


def _posterior(kind: str, network: Callable, **kwargs) -> layers.base.NetworkDistribution:
    tf_keras.utils.set_random_seed(1)
    if kind == "hierarchy":
        return layers.HierarchicalPosterior(DIMS, network=network, **kwargs)
    return layers.FlowPosterior(2, kind, network=network, **kwargs)


def _model(kind: str, network: Callable) -> AEVB:
    posterior = _posterior(kind, network)
    hierarchy = layers.HierarchicalPrior(DIMS, (3,))
    prior = hierarchy if kind == "hierarchy" else layers.StandardNormalPrior(2)
    decoder = layers.MLP(6, (4,), num_inputs=2)
    likelihood = layers.BernoulliLikelihood(6, network=decoder, allow_missing=True)
    return compiled(AEVB(prior, posterior, likelihood, objective="sgvb_a"))


@pytest.mark.compile
@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *((kind, "sequential") for kind in (*KINDS, "hierarchy")),
        *(("iaf", "masked"), ("hierarchy", "dense")),
    ],
)
def test_it_trains_and_survives_its_keras_file(kind: str, network: str, tmp_path: Path) -> None:
    x = binary_data(20)
    if network == "masked":
        x[0, :3] = np.nan
    model = _model(kind, NETWORKS[network])
    history = model.fit(x, batch_size=10, epochs=10, verbose=0).history
    assert np.isfinite(history["elbo"]).all()
    assert history["elbo"][-1] > history["elbo"][0]
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert_same_arrays([v.numpy() for v in model.variables], [v.numpy() for v in loaded.variables])
    np.testing.assert_array_equal(loaded.elbo(x, seed=1), model.elbo(x, seed=1))


@pytest.mark.compile
@pytest.mark.parametrize("kind", [*KINDS, "hierarchy"])
def test_it_is_exported(kind: str, tmp_path: Path) -> None:
    model, x = _model(kind, _sequential), binary_data(5)
    export_saved_model(model, tmp_path)
    served = tf.saved_model.load(tmp_path)
    elbo = served.elbo(x, 3, [1, 2])["elbo"]
    log_prob = served.log_prob(x, 500, [1, 2])["log_prob"]
    np.testing.assert_allclose(elbo, model.elbo(x, 3, seed=tf.constant([1, 2])), rtol=1e-5)
    assert (log_prob.numpy() > model.elbo(x, 2000, seed=1).numpy() - 0.1).all()
    assert (log_prob.numpy() < 0.0).all()


@pytest.mark.parametrize("kind", [*KINDS, "hierarchy"])
def test_its_own_networks_have_the_options_that_are_given(kind: str) -> None:
    for kwargs, options in ({}, {"activation": "tanh", "init_stddev": 0.1}), (OPTIONS, OPTIONS):
        posterior = _posterior(kind, _sequential, **kwargs)
        copy = type(posterior).from_config(posterior.get_config())
        for step in (*posterior.steps, *copy.steps):
            assert {name: getattr(step, name) for name in options} == options
