"""Every public layer, and the models made of them, keep the same promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_same_arrays, binary_data, compiled, weights_of
from tfp_aevb import layers
from tfp_aevb.model import AEVB

J, D = 2, 6
NET = {"hidden_units": (5,)}
X = binary_data(20)
UNIT = np.random.default_rng(1).random((20, D)).astype(np.float32)


class Case(NamedTuple):
    """The parts of a model, made for a dtype policy; by default the plainest ones."""

    encoder: Callable[..., Any] = lambda **kw: layers.DiagonalGaussianPosterior(J, **NET, **kw)
    decoder: Callable[..., Any] = lambda **kw: layers.BernoulliLikelihood(D, **NET, **kw)
    prior: Callable[..., Any] = lambda **kw: layers.StandardNormalPrior(J, **kw)
    data: np.ndarray = X
    options: dict = {}

    def model(self, optimizer: Any = "sgd", dtype: str = "float32", **compile_options) -> AEVB:
        tf_keras.utils.set_random_seed(2)
        parts = (part(dtype=dtype) for part in (self.prior, self.encoder, self.decoder))
        model = AEVB(*parts, **self.options)
        return compiled(model, optimizer, **compile_options)


def _gaussian(**options) -> Callable[..., Any]:
    return lambda **kw: layers.GaussianLikelihood(D, **NET, **options, **kw)


def _mlp_encoder(**kw) -> tf_keras.Sequential:
    head = layers.DiagonalGaussianPosterior(J, hidden_units=(), **kw)
    return tf_keras.Sequential([tf_keras.Input((D,)), layers.MLP(4, **NET, **kw), head])


CASES = {
    "bernoulli": Case(options={"parameter_prior": "normal"}),
    "estimator_a": Case(options={"objective": "sgvb_a", "num_samples": 2}),
    "score_function": Case(options={"objective": "score_function"}),
    "mlp": Case(encoder=_mlp_encoder),
    "linear": Case(
        encoder=lambda **kw: layers.DiagonalGaussianPosterior(J, (), init_stddev=None, **kw)
    ),
    "full_covariance": Case(
        encoder=lambda **kw: layers.FullCovarianceGaussianPosterior(J, **NET, **kw)
    ),
    "continuous_bernoulli": Case(
        decoder=lambda **kw: layers.ContinuousBernoulliLikelihood(D, **NET, **kw), data=UNIT
    ),
    "grey": Case(
        decoder=lambda **kw: layers.BernoulliLikelihood(D, **NET, allow_grey=True, **kw), data=UNIT
    ),
    "image": Case(
        decoder=lambda **kw: layers.BernoulliLikelihood((2, 3), **NET, **kw),
        data=X.reshape(20, 2, 3),
    ),
    "gaussian": Case(decoder=_gaussian(), data=UNIT),
    "gaussian_sigmoid_global": Case(
        decoder=_gaussian(mean="sigmoid", variance="global"), data=UNIT
    ),
    "gaussian_scalar": Case(decoder=_gaussian(variance="scalar"), data=UNIT),
    "gaussian_fixed": Case(decoder=_gaussian(variance=0.5, activation="relu"), data=UNIT),
    "diagonal_prior": Case(prior=lambda **kw: layers.DiagonalNormalPrior(J, **kw)),
    "mixture_prior": Case(
        prior=lambda **kw: layers.GaussianMixturePrior(J, 3, **kw), options={"objective": "sgvb_a"}
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _public_layers(model: AEVB) -> list[tf_keras.layers.Layer]:
    public = tuple(getattr(layers, name) for name in layers.__all__)
    return [layer for layer in model.submodules if isinstance(layer, public)]


def _fit(model: AEVB, case: Case, epochs: int = 1) -> dict:
    return model.fit(case.data, batch_size=8, epochs=epochs, verbose=0).history


def test_the_table_covers_every_public_layer() -> None:
    covered = {
        type(layer).__name__ for case in CASES.values() for layer in _public_layers(case.model())
    }
    assert covered == set(layers.__all__)


@every_case
def test_layers_are_rebuilt_from_their_configs(case: Case) -> None:
    for layer in _public_layers(case.model()):
        saved = tf_keras.saving.serialize_keras_object(layer)
        copy = tf_keras.saving.deserialize_keras_object(saved, safe_mode=True)
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config()
        assert tf_keras.saving.serialize_keras_object(copy)["config"] == saved["config"]


@every_case
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_keras_files_hold_weights_and_optimizer_slots(
    case: Case, optimizer: str, tmp_path: Path
) -> None:
    model = case.model(optimizer, run_eagerly=True)
    _fit(model, case)
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert model.optimizer.iterations == loaded.optimizer.iterations == 3
    for first, second in ((model, loaded), (model.optimizer, loaded.optimizer)):
        assert len(first.variables) > 1
        assert_same_arrays(
            [v.numpy() for v in first.variables], [v.numpy() for v in second.variables]
        )
    np.testing.assert_array_equal(model.elbo(case.data, seed=1), loaded.elbo(case.data, seed=1))
    histories = [_fit(m, case) for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert_same_arrays(weights_of(model), weights_of(loaded))


@every_case
def test_eager_and_graph_runs_agree(case: Case) -> None:
    eager, graph = case.model(run_eagerly=True), case.model()
    histories = [_fit(model, case) for model in (eager, graph)]
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-5)
    for a, b in zip(weights_of(eager), weights_of(graph), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@every_case
def test_xla_compiles_and_agrees_in_distribution(case: Case) -> None:
    # XLA draws other random numbers: what has no noise agrees, the rest within standard errors.
    model = case.model(tf_keras.optimizers.SGD(0.0), jit_compile=True)
    history = _fit(model, case)
    assert all(np.isfinite(values).all() for values in history.values())
    draws = np.array([model.elbo(case.data, seed=seed).numpy().mean() for seed in range(100)])
    assert abs(history["elbo"][0] - draws.mean()) < 5.0 * draws.std()
    if model.objective == "sgvb_b":
        plain = _fit(case.model(tf_keras.optimizers.SGD(0.0)), case)
        np.testing.assert_allclose(history["kl"], plain["kl"], rtol=1e-5)


@every_case
def test_two_devices_train_as_one(case: Case) -> None:
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2, "tests/conftest.py configures two logical CPU devices"
    one = case.model()
    with tf.distribute.MirroredStrategy(devices).scope():
        two = case.model()
    histories = [_fit(model, case) for model in (one, two)]
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-5)
    for a, b in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    results = [model.evaluate(case.data, batch_size=7, verbose=0) for model in (one, two)]
    np.testing.assert_allclose(*results, rtol=1e-5)


@every_case
def test_mixed_precision_keeps_distributions_in_float32(case: Case) -> None:
    model = case.model(dtype="mixed_bfloat16")
    start = weights_of(model)
    assert all(weight.dtype == np.float32 for weight in start)
    networks = [layer for layer in model.submodules if isinstance(layer, layers.MLP)]
    assert networks
    assert all(network.compute_dtype == "bfloat16" for network in networks)
    history = model.fit(case.data, batch_size=10, verbose=0).history
    assert model.optimizer.iterations == 2
    assert np.isfinite(history["elbo"]).all()
    assert any((a != b).any() for a, b in zip(start, weights_of(model), strict=True))
    prior, posterior = model.prior_distribution(), model.encode(case.data)
    z = posterior.sample(seed=[1, 2])
    for distribution in (prior, posterior, model.decode(z)):
        assert distribution.dtype == tf.float32
        assert distribution.mean().dtype == tf.float32
        assert distribution.stddev().dtype == tf.float32


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_learned_variances_are_not_rounded(dtype: str) -> None:
    log_variance = np.float32(0.1234567)
    decoder = layers.GaussianLikelihood(D, (), variance="global", dtype=dtype)
    prior = layers.DiagonalNormalPrior(J, dtype=dtype)
    decoder(tf.zeros([1, J]))
    for layer in (decoder, prior):
        layer.log_variance.assign(tf.fill(layer.log_variance.shape, log_variance))
    for distribution in (decoder(tf.zeros([1, J])), prior()):
        np.testing.assert_allclose(distribution.stddev(), np.exp(0.5 * 0.1234567), rtol=1e-6)
