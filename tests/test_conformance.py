"""Every public layer, and the models made of them, keep the same promises."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_same_arrays, binary_data, compiled, weights_of
from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB, posterior_moments

J, D = 2, 6
NET = {"hidden_units": (5,)}
X = binary_data(15)
UNIT = np.random.default_rng(1).random((15, D)).astype(np.float32)
COUNTS = np.random.default_rng(2).poisson(2.0, (15, D)).astype(np.float32)
SAMPLED = {"objective": "sgvb_a"}


class Case(NamedTuple):
    """The parts of a model, made for a dtype policy; by default the plainest ones."""

    encoder: Callable[..., Any] = lambda **kw: layers.DiagonalGaussianPosterior(J, **NET, **kw)
    decoder: Callable[..., Any] = lambda **kw: layers.BernoulliLikelihood(D, **NET, **kw)
    prior: Callable[..., Any] = lambda **kw: layers.StandardNormalPrior(J, **kw)
    data: np.ndarray = X
    options: dict = {}

    def parts(self, dtype: str = "float32") -> list[tf_keras.layers.Layer]:
        """Prior, encoder and decoder."""
        tf_keras.utils.set_random_seed(2)
        return [part(dtype=dtype) for part in (self.prior, self.encoder, self.decoder)]

    def model(self, optimizer: Any = "sgd", dtype: str = "float32", **compile_options) -> AEVB:
        """The compiled model."""
        return compiled(AEVB(*self.parts(dtype), **self.options), optimizer, **compile_options)


def _gaussian(**options) -> Callable[..., Any]:
    return lambda **kw: layers.GaussianLikelihood(D, **{**NET, **options}, **kw)


def _mlp_encoder(**kw) -> tf_keras.Sequential:
    head = layers.DiagonalGaussianPosterior(J, hidden_units=(), **kw)
    return tf_keras.Sequential([tf_keras.Input((D,)), layers.MLP(4, **NET, **kw), head])


def _flow(kind: str) -> Callable[..., Any]:
    return lambda **kw: layers.FlowPosterior(
        J, kind, 2, **NET, flow_units=(4,), context_size=3, **kw
    )


def _masked_encoder(**kw) -> layers.DiagonalGaussianPosterior:
    network = tf_keras.Sequential([layers.ObservedInputs(**kw), layers.MLP(2 * J, **NET, **kw)])
    return layers.DiagonalGaussianPosterior(J, network=network, **kw)


CASES = {
    "bernoulli_map": Case(options={"parameter_prior": "normal"}),
    "estimator_a_two_samples": Case(
        decoder=_gaussian(variance="scalar"),
        data=UNIT,
        options={"objective": "sgvb_a", "num_samples": 2},
    ),
    "score_function_linear": Case(
        encoder=lambda **kw: layers.DiagonalGaussianPosterior(J, (), init_stddev=None, **kw),
        options={"objective": "score_function"},
    ),
    "mlp": Case(encoder=_mlp_encoder),
    "full_covariance_images": Case(
        encoder=lambda **kw: layers.FullCovarianceGaussianPosterior(J, **NET, **kw),
        decoder=lambda **kw: layers.BernoulliLikelihood((2, 3), **NET, **kw),
        data=X.reshape(15, 2, 3),
    ),
    "continuous_bernoulli": Case(
        decoder=lambda **kw: layers.ContinuousBernoulliLikelihood(D, **NET, **kw), data=UNIT
    ),
    "gaussian_per_pixel": Case(decoder=_gaussian(), data=UNIT),
    "gaussian_sigmoid_global": Case(
        decoder=_gaussian(mean="sigmoid", variance="global"), data=UNIT
    ),
    "gaussian_fixed_diagonal_prior": Case(
        decoder=_gaussian(variance=0.5, activation="relu"),
        prior=lambda **kw: layers.DiagonalNormalPrior(J, **kw),
        data=UNIT,
    ),
    "grey_mixture_prior": Case(
        decoder=lambda **kw: layers.BernoulliLikelihood(D, **NET, allow_grey=True, **kw),
        prior=lambda **kw: layers.GaussianMixturePrior(J, 3, **kw),
        data=UNIT,
        options={"objective": "sgvb_a"},
    ),
    "low_rank_student_t": Case(
        encoder=lambda **kw: layers.LowRankGaussianPosterior(J, 1, **NET, **kw),
        decoder=lambda **kw: layers.StudentTLikelihood(D, **NET, **kw),
        data=UNIT,
    ),
    "autoregressive_flow_poisson": Case(
        encoder=_flow("iaf"),
        decoder=lambda **kw: layers.PoissonLikelihood(D, **NET, **kw),
        prior=lambda **kw: layers.FlowPrior(J, flow_units=(4,), **kw),
        data=COUNTS,
        options={"objective": "stl"},
    ),
    "vamp_of_coupling_flows_categorical": Case(
        encoder=_flow("realnvp"),
        decoder=lambda **kw: layers.CategoricalLikelihood(D, 3, **NET, **kw),
        prior=lambda **kw: layers.VampPrior(J, D, 3, "codes:3", **kw),
        data=np.minimum(COUNTS, 2.0),
        options=SAMPLED,
    ),
    "unit_zero_inflated_poisson": Case(
        encoder=lambda **kw: layers.ConstrainedPosterior(J, "unit", **NET, **kw),
        decoder=lambda **kw: layers.ZeroInflatedPoissonLikelihood(D, **NET, **kw),
        prior=lambda **kw: layers.UniformPrior(J, **kw),
        data=COUNTS,
        options={"objective": "dreg", "num_samples": 2},
    ),
    "positive_zero_inflated_negative_binomial": Case(
        encoder=lambda **kw: layers.ConstrainedPosterior(J, "positive", **NET, **kw),
        decoder=lambda **kw: layers.ZeroInflatedNegativeBinomialLikelihood(D, **NET, **kw),
        prior=lambda **kw: layers.ExponentialPrior(J, **kw),
        data=COUNTS,
        options=SAMPLED,
    ),
    "log_normal_levels": Case(
        encoder=lambda **kw: layers.ConstrainedPosterior(J, "positive", **NET, **kw),
        decoder=lambda **kw: layers.DiscretizedLogisticLikelihood(D, 2, **NET, **kw),
        prior=lambda **kw: layers.LogNormalPrior(J, **kw),
        data=(np.round(255.0 * UNIT) / 255.0).astype(np.float32),
        options=SAMPLED,
    ),
    "simplex_beta": Case(
        encoder=lambda **kw: layers.ConstrainedPosterior(J, "simplex", **NET, **kw),
        decoder=lambda **kw: layers.BetaLikelihood(D, **NET, **kw),
        prior=lambda **kw: layers.DirichletPrior(J, 1.5, **kw),
        data=UNIT,
        options=SAMPLED,
    ),
    "hierarchy": Case(
        encoder=lambda **kw: layers.HierarchicalPosterior((2, 1), (4,), (3,), **kw),
        decoder=lambda **kw: layers.BernoulliLikelihood(
            D, network=layers.MLP(D, **NET, num_inputs=2, **kw), **kw
        ),
        prior=lambda **kw: layers.HierarchicalPrior((2, 1), (3,), **kw),
        options=SAMPLED,
    ),
    "gaps": Case(
        encoder=_masked_encoder,
        decoder=lambda **kw: layers.BernoulliLikelihood(D, **NET, allow_missing=True, **kw),
        data=np.where(UNIT < 0.3, np.float32(np.nan), X),
    ),
    "negative_binomial": Case(
        decoder=lambda **kw: layers.NegativeBinomialLikelihood(D, **NET, **kw), data=COUNTS
    ),
}


@functools.cache
def _graph_run(name: str) -> tuple[dict, list[np.ndarray]]:
    model = CASES[name].model()
    return _fit(model, CASES[name]), weights_of(model)


# Tables and convolutions have such tests of their own.
TESTED_BY_THEMSELVES = {"TableInputs", "MixedLikelihood", "ConvEncoder", "ConvDecoder"}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_name = pytest.mark.parametrize("name", CASES)


def _public_layers(parts: list[tf_keras.layers.Layer]) -> list[tf_keras.layers.Layer]:
    public = tuple(getattr(layers, name) for name in layers.__all__)
    return [part for top in parts for part in (top, *top.submodules) if isinstance(part, public)]


def _fit(model: AEVB, case: Case) -> dict:
    return model.fit(case.data, batch_size=10, verbose=0).history  # two updates, the last short


def _assert_equals_graph_run(model: AEVB, name: str) -> None:
    history, weights = _graph_run(name)
    result = _fit(model, CASES[name])
    for metric, values in history.items():
        np.testing.assert_allclose(result[metric], values, rtol=1e-5, atol=1e-6)
    for a, b in zip(weights_of(model), weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_table_covers_every_public_layer() -> None:
    covered = {type(p).__name__ for case in CASES.values() for p in _public_layers(case.parts())}
    assert covered | TESTED_BY_THEMSELVES == set(layers.__all__)


@every_case
def test_layers_are_rebuilt_from_their_configs(case: Case) -> None:
    for layer in _public_layers(case.parts()):
        saved = tf_keras.saving.serialize_keras_object(layer)
        copy = tf_keras.saving.deserialize_keras_object(saved, safe_mode=True)
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config()


@pytest.mark.compile(but_first=True)
@every_case
def test_keras_files_hold_weights_and_slots(case: Case, tmp_path: Path) -> None:
    model = case.model("adam", run_eagerly=True)
    model.fit(case.data, batch_size=10, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert model.optimizer.iterations == loaded.optimizer.iterations == 2
    for first, second in ((model, loaded), (model.optimizer, loaded.optimizer)):
        assert_same_arrays(
            [v.numpy() for v in first.variables], [v.numpy() for v in second.variables]
        )
    assert len(loaded.optimizer.variables) > 2 * len(model.trainable_variables)  # slots
    np.testing.assert_array_equal(model.elbo(case.data, seed=1), loaded.elbo(case.data, seed=1))


@pytest.mark.compile(but_first=True)
@every_name
def test_eager_and_graph_runs_agree(name: str) -> None:
    _assert_equals_graph_run(CASES[name].model(run_eagerly=True), name)


@pytest.mark.compile(but_first=True)
@every_case
def test_xla_compiles_and_agrees_in_distribution(case: Case) -> None:
    # XLA draws other random numbers: what has no noise agrees, the rest within standard errors.
    model = case.model(tf_keras.optimizers.SGD(0.0), jit_compile=True)
    history = _fit(model, case)
    assert all(np.isfinite(values).all() for values in history.values())
    repeated = np.concatenate([case.data] * 1000)
    draws = model.elbo(repeated, seed=1).numpy().reshape(1000, 15).mean(axis=1)
    assert abs(history["elbo"][0] - draws.mean()) < 5.0 * draws.std()
    if model.objective.name == "sgvb_b":
        kl = model.bound(tf.constant(case.data), tf.constant([1, 2])).kl.numpy()
        np.testing.assert_allclose(history["kl"], kl.mean(dtype=np.float64), rtol=1e-5)


@pytest.mark.compile(but_first=True)
@every_name
def test_two_devices_train_as_one(name: str, two_devices: tf.distribute.Strategy) -> None:
    with two_devices.scope():
        model = CASES[name].model()
    _assert_equals_graph_run(model, name)


@pytest.mark.compile
@pytest.mark.parametrize("kind", ["OneDeviceStrategy", "MirroredStrategy"])
def test_a_strategy_of_one_device_trains_and_evaluates_as_none(kind: str) -> None:
    case, name = CASES["bernoulli_map"], "bernoulli_map"
    device = "CPU:0" if kind == "OneDeviceStrategy" else ["CPU:0"]
    with getattr(tf.distribute, kind)(device).scope():
        model = case.model()
    _assert_equals_graph_run(model, name)
    one = case.model()
    _fit(one, case)
    assert model.evaluate(X, verbose=0) == pytest.approx(one.evaluate(X, verbose=0), rel=1e-5)


@pytest.mark.compile
def test_two_devices_evaluate_as_one(two_devices: tf.distribute.Strategy) -> None:
    case = CASES["bernoulli_map"]
    one = case.model()
    with two_devices.scope():
        two = case.model()
    stream = tf.data.Dataset.from_tensor_slices(X).batch(7)
    for x, options in ((X, {"batch_size": 7}), (X, {}), (stream, {})):
        results = []
        for model in (one, two):
            model.num_data = 15
            results.append(model.evaluate(x, verbose=0, **options))
        np.testing.assert_allclose(*results, rtol=1e-5)


def test_two_devices_train_networks_in_training_mode(two_devices: tf.distribute.Strategy) -> None:
    kl = tf_keras.layers
    with two_devices.scope():
        norm, dense = kl.BatchNormalization(momentum=0.5), kl.Dense(4, kernel_regularizer="l2")
        network = tf_keras.Sequential([norm, kl.Dropout(0.5), dense])
        encoder = layers.DiagonalGaussianPosterior(J, network=network)
        prior, _, decoder = Case().parts()
        model = compiled(AEVB(prior, encoder, decoder))
    penalty = 0.01 * (dense.kernel.numpy() ** 2).sum()
    history = model.fit(X[:10], batch_size=10, shuffle=False, verbose=0).history
    assert history["loss"][0] + history["elbo"][0] == pytest.approx(penalty, rel=1e-4)
    # The mean over the devices, which have five rows each.
    np.testing.assert_allclose(norm.moving_mean, 0.5 * X[:10].mean(axis=0), rtol=1e-5)


@pytest.mark.compile(but_first=True)
@every_case
def test_mixed_precision_keeps_distributions_in_float32(case: Case) -> None:
    model = case.model(dtype="mixed_bfloat16", run_eagerly=True)
    start = weights_of(model)
    assert all(weight.dtype == np.float32 for weight in start)
    networks = [layer for layer in model.submodules if isinstance(layer, layers.MLP)]
    assert networks
    assert all(network.compute_dtype == "bfloat16" for network in networks)
    history = _fit(model, case)
    assert model.optimizer.iterations == 2
    assert np.isfinite(history["elbo"]).all()
    assert any((a != b).any() for a, b in zip(start, weights_of(model), strict=True))
    prior, posterior = model.prior_distribution(), model.encode(case.data)
    z = posterior.sample(seed=[1, 2])
    for distribution in (prior, posterior, model.decode(z)):
        assert distribution.dtype == tf.float32
        for moment in posterior_moments(distribution):
            assert moment.dtype == tf.float32


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
