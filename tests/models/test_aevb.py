import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import (
    LinearGaussian,
    assert_mean,
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    fresh_model,
    small_model,
    weights_of,
)
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.training.fused import METRICS

tfd = tfp.distributions
X = binary_data()


@pytest.fixture
def model() -> AEVB:
    return fresh_model()


def _fit(model: AEVB, x=X, **kwargs) -> dict:
    return model.fit(x, **{"verbose": 0, "batch_size": 10, **kwargs}).history


def test_a_frozen_part_stays_as_it_is() -> None:
    model = small_model()
    model.decoder.trainable = False
    model = compiled(AEVB(model.prior, model.encoder, model.decoder))
    before = [weight.numpy() for weight in model.decoder.weights]
    assert len(model.trainable_variables) == 4
    _fit(model)
    assert_same_arrays(before, [weight.numpy() for weight in model.decoder.weights])


# Data in, results out.


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x, x),
        lambda x: (Observations(x),),
        lambda x: (tf.constant(x),),
        lambda x: (x.tolist(),),
        lambda x: (x.astype(bool),),
        lambda x: (Observations(255 * x.astype(np.uint8), scale=255.0),),
    ],
    ids=["x, x", "observations", "tensor", "list", "bool", "bytes"],
)
def test_arrays_in_every_form_train_alike(form: Callable) -> None:
    model = fresh_model()
    _fit(model)
    expected, model = weights_of(model), fresh_model()
    model.fit(*form(X), batch_size=10, verbose=0)
    for a, b in zip(expected, weights_of(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("target", [lambda x: (x,), lambda x: (x, x), lambda x: (x, None)])
def test_streams_of_x_or_x_and_itself_train_alike(target: Callable) -> None:
    stream = tf.data.Dataset.from_tensor_slices(X).batch(10)
    model = fresh_model()
    model.fit(stream, verbose=0)
    expected, model = weights_of(model), fresh_model()
    model.fit(stream.map(target), verbose=0)
    assert_same_arrays(expected, weights_of(model))


@pytest.mark.parametrize("y", [X[:, 0], 1.0 - X, X[:20], ["a"] * 25, pytest.param(0, id="0")])
def test_a_target_that_is_not_the_data_is_refused(y) -> None:
    model = fresh_model()
    batches = tf.data.Dataset.from_tensor_slices((X, X[:, 0])).batch(10)
    for action in (
        lambda: model.fit(X, y, verbose=0),
        lambda: model.evaluate(X, y, verbose=0),
        lambda: model.fit(X, validation_data=(X, y), verbose=0),
        lambda: model.fit(batches, verbose=0),
        lambda: model.evaluate(batches, verbose=0),
    ):
        assert_one_line(action, ValueError, "target", "ds.map(lambda x, y: x)", "GaussianNoise")


def test_history_has_the_bound_and_its_terms() -> None:
    history = _fit(fresh_model(), epochs=2, validation_data=X[:5])
    assert set(history) == {*METRICS, *(f"val_{name}" for name in METRICS)}
    assert all(len(values) == 2 for values in history.values())
    for prefix in ("", "val_"):
        elbo, reconstruction, kl, loss = (
            np.array(history[prefix + name]) for name in ("elbo", "reconstruction", "kl", "loss")
        )
        np.testing.assert_allclose(elbo, reconstruction - kl, rtol=1e-5)
        np.testing.assert_allclose(loss, -elbo, rtol=1e-5)


def test_evaluate_returns_the_metrics_in_order_or_by_name(model: AEVB) -> None:
    values = model.evaluate(X, verbose=0)
    named = model.evaluate(X, verbose=0, return_dict=True)
    assert list(named) == list(model.metrics_names) == list(METRICS)
    assert values == list(named.values())


@pytest.mark.parametrize("stream", [False, True])
def test_predict_gives_the_posterior_and_the_reconstruction(model: AEVB, stream: bool) -> None:
    x = tf.data.Dataset.from_tensor_slices((X, X)).batch(10) if stream else X
    result = model.predict(x, verbose=0)
    posterior = model.encode(X)
    assert {name: value.shape for name, value in result.items()} == {
        "loc": (25, 2),
        "stddev": (25, 2),
        "reconstruction": (25, 6),
    }
    mean = model.decode(posterior.mean()).mean()
    np.testing.assert_allclose(result["loc"], posterior.mean(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result["stddev"], posterior.stddev(), rtol=1e-5)
    np.testing.assert_allclose(result["reconstruction"], mean, rtol=1e-5)
    np.testing.assert_allclose(model(X), mean, rtol=1e-5)
    np.testing.assert_allclose(model.reconstruct(X), mean, rtol=1e-5)


def test_images_keep_their_shape() -> None:
    x = binary_data(10, 6).reshape(10, 2, 3)
    image = compiled(small_model(decoder=layers.BernoulliLikelihood((2, 3), (5,))))
    _fit(image, x)
    assert image.event_shape == (2, 3)
    assert image.predict(x, verbose=0)["reconstruction"].shape == (10, 2, 3)
    assert image.sample(4, seed=1).shape == (4, 2, 3)
    assert np.isfinite(image.evaluate(x, verbose=0)).all()


# The bound.


def test_elbo_is_the_bound_of_each_datapoint(model: AEVB) -> None:
    elbo = model.elbo(X, num_samples=3, seed=4)
    assert elbo.shape == (25,)
    np.testing.assert_array_equal(elbo, model.elbo(X, num_samples=3, seed=4))
    assert (elbo.numpy() != model.elbo(X, num_samples=3, seed=5).numpy()).all()
    assert (model.elbo(X).numpy() != model.elbo(X).numpy()).all()  # a fresh seed each


@pytest.mark.parametrize("num_samples", [1, 3])
def test_log_likelihood_decodes_every_sample_of_every_datapoint(model: AEVB, num_samples) -> None:
    z = np.random.default_rng(1).normal(size=[num_samples, 25, 2]).astype(np.float32)
    value = model.log_likelihood(tf.constant(X), tf.constant(z))
    expected = [model.decode(z[i]).log_prob(X) for i in range(num_samples)]
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_num_samples_of_the_model_average(model: AEVB) -> None:
    x = np.tile(X[:1], [20_000, 1])
    spread = [np.std(model.elbo(x, num_samples=n, seed=3)) for n in (1, 4)]
    assert spread[0] / spread[1] == pytest.approx(2.0, rel=0.05)
    several = small_model(num_samples=4)
    np.testing.assert_array_equal(several.elbo(X, seed=3), model.elbo(X, num_samples=4, seed=3))


@pytest.mark.parametrize("objective", ["sgvb_a", "score_function"])
def test_the_exact_posterior_of_a_linear_gaussian_gives_log_p(objective: str) -> None:
    linear = LinearGaussian(data_dim=6)
    x = linear.data(10)
    exact = small_model(
        linear.prior(tf.float32),
        linear.encoder(dtype=tf.float32),
        linear.decoder(tf.float32),
        objective=objective,
    )
    for seed in (1, 2):
        np.testing.assert_allclose(exact.elbo(x, seed=seed), linear.log_prob(x), rtol=1e-5)


def test_samples_have_the_moments_of_a_linear_gaussian() -> None:
    linear = LinearGaussian(data_dim=6)
    parts = [f(dtype=tf.float32) for f in (linear.prior, linear.encoder, linear.decoder)]
    samples = small_model(*parts).sample(400_000, seed=2).numpy().astype(np.float64)
    covariance = linear.weights @ linear.weights.T + linear.variance * np.eye(6)
    assert_mean(samples, linear.bias)
    centred = samples - linear.bias
    assert_mean(np.einsum("ni,nj->nij", centred, centred), covariance)


# Keras.


def test_early_stopping_stops_and_restores_the_best_weights() -> None:
    model = fresh_model(0.0)
    start = weights_of(model)
    callback = tf_keras.callbacks.EarlyStopping(
        "val_elbo", patience=2, mode="max", restore_best_weights=True
    )
    history = _fit(model, epochs=50, validation_data=X[:5], callbacks=[callback])
    assert len(history["elbo"]) == 3
    assert_same_arrays(start, weights_of(model))


def test_model_checkpoints_are_whole_models(tmp_path: Path) -> None:
    model = fresh_model()
    callback = tf_keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    _fit(model, epochs=2, callbacks=[callback])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]
    first = tf_keras.models.load_model(tmp_path / "1.keras", safe_mode=True)
    assert first.optimizer.iterations == 3
    _fit(first)
    assert_same_arrays(weights_of(first), weights_of(model))


def test_a_learning_rate_schedule_is_followed() -> None:
    model = fresh_model()
    start = weights_of(model)
    callback = tf_keras.callbacks.LearningRateScheduler(lambda epoch: 0.0 if epoch < 2 else 0.1)
    _fit(model, epochs=2, callbacks=[callback])
    assert_same_arrays(start, weights_of(model))
    _fit(model, epochs=3, initial_epoch=2, callbacks=[callback])
    assert all((a != b).any() for a, b in zip(start, weights_of(model), strict=True))


@pytest.mark.compile
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    whole, saved = (
        compiled(small_model(parameter_prior="normal", seed=3), "adam", steps_per_execution=2)
        for _ in range(2)
    )
    _fit(whole, epochs=4)
    _fit(saved, epochs=2)
    saved.save(path)
    loaded = tf_keras.models.load_model(path, safe_mode=True)
    assert_same_arrays(weights_of(saved), weights_of(loaded))
    assert_same_arrays(
        [v.numpy() for v in saved.optimizer.variables],
        [v.numpy() for v in loaded.optimizer.variables],
    )
    assert loaded.optimizer.iterations == 6
    assert loaded.get_compile_config() == saved.get_compile_config()
    _fit(loaded, epochs=2)
    assert_same_arrays(weights_of(whole), weights_of(loaded))
    assert loaded.evaluate(X, verbose=0) == whole.evaluate(X, verbose=0)


def test_config_round_trip() -> None:
    model = small_model(
        objective="sgvb_a", num_samples=3, parameter_prior="normal", num_data=99, seed=7, name="m"
    )
    copy = AEVB.from_config(model.get_config())
    assert json.dumps(copy.get_config()) == json.dumps(model.get_config())
    assert (copy.objective.name, copy.num_samples, copy.num_data, copy.seed) == ("sgvb_a", 3, 99, 7)


# The user's own parts.


def _sequential_parts() -> tuple[tf_keras.Model, tf_keras.Model]:
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(5, "tanh", input_shape=(6,)),
            tf_keras.layers.Dense(tfp.layers.MultivariateNormalTriL.params_size(2)),
            tfp.layers.MultivariateNormalTriL(2),
        ]
    )
    decoder = tf_keras.Sequential(
        [tf_keras.layers.Dense(6, input_shape=(2,)), tfp.layers.IndependentBernoulli(6)]
    )
    return encoder, decoder


class _ModuleEncoder(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.fill([6, 2], 0.1))

    def __call__(self, x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(tf.matmul(x, self.kernel), [0.5, 0.5])


@pytest.mark.compile
@pytest.mark.parametrize("objective", ["sgvb_b", "score_function"])
def test_keras_networks_of_the_users_are_trained(objective: str) -> None:
    encoder, decoder = _sequential_parts()
    model = compiled(small_model(None, encoder, decoder, objective=objective))
    start = weights_of(model)
    assert len(start) == 6
    history = _fit(model, epochs=2)
    assert all((a != b).any() for a, b in zip(start, weights_of(model), strict=True))
    assert np.isfinite(history["elbo"]).all()
    assert np.isfinite(model.evaluate(X, verbose=0)).all()
    assert model.predict(X, verbose=0)["reconstruction"].shape == (25, 6)


def test_keras_networks_under_the_packages_heads_are_saved(tmp_path: Path) -> None:
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(5, "relu", input_shape=(6,)),
            layers.DiagonalGaussianPosterior(2, hidden_units=()),
        ]
    )
    model = compiled(small_model(encoder=encoder), "adam")
    _fit(model)
    model.save(tmp_path / "m.keras")
    loaded = tf_keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert_same_arrays(weights_of(model), weights_of(loaded))
    assert model.evaluate(X, verbose=0) == loaded.evaluate(X, verbose=0)


def test_distributions_and_modules_with_variables_are_trained() -> None:
    prior = tfd.MultivariateNormalDiag(tf.Variable([0.5, 0.5]), [1.0, 1.0])
    encoder = _ModuleEncoder()
    model = compiled(small_model(prior, encoder))
    start = weights_of(model)
    assert len(start) == 6
    _fit(model)
    assert all((a != b).any() for a, b in zip(start, weights_of(model), strict=True))


def test_plain_callables_fit_and_evaluate() -> None:
    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(x[:, :2], [0.5, 0.5])

    model = compiled(small_model(lambda: tfd.MultivariateNormalDiag([0.0, 0.0]), encoder))
    _fit(model)
    result = model.evaluate(X, verbose=0, return_dict=True)
    kl = 0.5 * (2 * (0.25 - 1.0 - np.log(0.25)) + X[:, :2].sum(1).mean())
    assert result["kl"] == pytest.approx(kl, rel=1e-5)


def test_variables_that_plain_callables_close_over_are_trained() -> None:
    loc, net = tf.Variable([0.1, 0.2]), tf_keras.layers.Dense(6)
    heads = tf_keras.layers.Dense(2), tf.Variable([0.0, 0.0])
    model = compiled(
        small_model(
            lambda: tfd.MultivariateNormalDiag(loc, [1.0, 1.0]),
            lambda x: tfd.MultivariateNormalDiag(heads[0](x), tf.exp(heads[1])),
            lambda z: tfd.Independent(tfd.Bernoulli(net(z)), 1),
        )
    )
    variables = [loc, *net.variables, *heads[0].variables, heads[1]]
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in variables}
    before = [variable.numpy() for variable in variables]
    _fit(model)
    for old, variable in zip(before, variables, strict=True):
        assert (np.abs(old - variable.numpy()) > 1e-6).all()


@pytest.mark.parametrize("part", ["prior", "encoder", "decoder"])
def test_a_keras_file_refuses_plain_callables(tmp_path: Path, part: str) -> None:
    layer = getattr(small_model(), part)
    model = small_model(**{part: lambda *args: layer(*args)})
    assert_one_line(lambda: model.save(tmp_path / "m.keras"), TypeError, f"the {part}", "function")
