"""Monte Carlo EM: its chains against exact posteriors, its updates against exact gradients."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import (
    assert_mean,
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    gaussian_log_prob,
    weights_of,
)
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.training.loops import Minibatch

VARIANCE = 0.5
J, D = 2, 3


def linear_model(num_data: int, **kwargs: Any) -> MonteCarloEM:
    """x = W z + b + noise with 3 pixels and 2 latents."""
    tf_keras.utils.set_random_seed(5)
    decoder = layers.GaussianLikelihood(D, (), variance=VARIANCE, init_stddev=0.7)
    model = MonteCarloEM(layers.StandardNormalPrior(J), decoder, num_data=num_data, **kwargs)
    return compiled(model, tf_keras.optimizers.SGD(0.0))


def minibatch(x: np.ndarray, rows: np.ndarray, seed: int, real: int | None = None) -> Minibatch:
    weights = (np.arange(len(rows)) < (len(rows) if real is None else real)).astype(np.float32)
    return Minibatch(
        tf.constant(x[rows], tf.float32),
        tf.constant(weights),
        tf.constant(weights.sum()),
        tf.constant(float(len(x))),
        1,
        tf.constant([seed, 1]),
        tf.constant(rows, tf.int32),
    )


def exact_posterior(model: MonteCarloEM, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [N, J] and covariance [J, J] of p(z|x)."""
    weights, bias = weights_of(model)
    covariance = np.linalg.inv(np.eye(J) + weights @ weights.T / VARIANCE)
    return (x - bias) @ weights.T @ covariance / VARIANCE, covariance


def after_e_steps(model: MonteCarloEM, x: np.ndarray, count: int) -> np.ndarray:
    """The chains after so many E-steps over all rows."""
    rows = np.arange(len(x))
    step = tf.function(lambda seed: model._e_step(minibatch(x, rows, 0)._replace(seed=seed)))
    for seed in range(count):
        model.optimizer.iterations.assign(seed * model.updates_per_batch)
        step(tf.constant([seed, 3]))
    return model.chains.numpy()


@pytest.mark.compile
@pytest.mark.parametrize(
    "options", [{}, {"fresh_chains": True, "e_step_updates": 20}], ids=["persistent", "fresh"]
)
def test_chains_reach_the_exact_posterior(options: dict) -> None:
    x = np.repeat(np.random.default_rng(2).normal(size=[1, D]), 4000, axis=0)
    model = linear_model(len(x), **options)
    draws = after_e_steps(model, x, 60)
    mean, covariance = exact_posterior(model, x[:1])
    assert_mean(draws, mean[0])
    centred = draws - mean
    assert_mean(np.einsum("ni,nj->nij", centred, centred), covariance)


@pytest.mark.compile
def test_step_sizes_come_to_ninety_percent_acceptance() -> None:
    x = np.random.default_rng(2).normal(size=[1000, D])
    model = linear_model(len(x))
    z = tf.constant(after_e_steps(model, x, 80))
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        lambda z: model.log_joint(tf.constant(x, tf.float32), z[tf.newaxis])[0],
        step_size=tf.exp(model.log_step_sizes)[:, tf.newaxis],
        num_leapfrog_steps=10,
    )
    _, results = kernel.one_step(z, kernel.bootstrap_results(z), seed=[1, 2])
    acceptance = np.exp(np.minimum(results.log_accept_ratio.numpy(), 0.0)).mean()
    assert 0.87 < acceptance < 0.93


def test_updates_ascend_log_p_of_x_and_z_at_the_draws() -> None:
    x = np.random.default_rng(3).normal(size=[6, D])
    model = linear_model(6)
    model.optimizer.iterations.assign(1)  # in the middle of an M-step
    z, (weights, bias) = model.chains.numpy().astype(np.float64), weights_of(model)
    rows = np.array([4, 0, 5])
    loss, _, (d_weights, d_bias) = model.losses_and_gradients(minibatch(x, rows, 7))
    np.testing.assert_array_equal(model.chains, z.astype(np.float32))
    residual = x[rows] - z[rows] @ weights - bias
    np.testing.assert_allclose(d_weights, -z[rows].T @ residual / VARIANCE / 3, rtol=1e-4)
    np.testing.assert_allclose(d_bias, -residual.mean(0) / VARIANCE, rtol=1e-4)
    log_joint = gaussian_log_prob(residual, np.zeros(D), VARIANCE * np.eye(D))
    log_joint += gaussian_log_prob(z[rows], np.zeros(J), np.eye(J))
    np.testing.assert_allclose(loss, -log_joint.mean(), rtol=1e-5)


@pytest.mark.compile
def test_map_adds_the_parameter_prior_once() -> None:
    x = np.random.default_rng(3).normal(size=[6, D])
    plain, penalised = linear_model(6), linear_model(6, parameter_prior="normal")
    batch = minibatch(x, np.arange(6), 1)
    difference = penalised.training_loss(batch)[0] - plain.training_loss(batch)[0]
    squares = sum(np.sum(w.astype(np.float64) ** 2) for w in weights_of(plain))
    np.testing.assert_allclose(difference, squares / 2 / 6, rtol=1e-4)


@pytest.mark.compile
def test_an_e_step_moves_its_own_rows_alone() -> None:
    x = np.random.default_rng(3).normal(size=[6, D])
    model = linear_model(6)
    before = model.chains.numpy()
    # The last two places are padding, which holds row 0.
    model._e_step(minibatch(x, np.array([3, 5, 0, 0]), 2, real=2))
    moved = np.any(model.chains.numpy() != before, axis=1)
    np.testing.assert_array_equal(moved, [False, False, False, True, False, True])


@pytest.mark.compile
def test_one_e_step_comes_before_each_five_updates_on_one_minibatch() -> None:
    x = binary_data(7)
    model = compiled(
        MonteCarloEM(layers.StandardNormalPrior(J), layers.BernoulliLikelihood(6, (4,)), num_data=7)
    )
    history = [model.chains.numpy()]

    class Recorder(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            history.append(model.chains.numpy())

    model.compile("sgd", jit_compile=False, steps_per_execution=1)
    model.fit(x, batch_size=4, epochs=1, callbacks=[Recorder()], verbose=0)
    rows_moved = [np.any(a != b, axis=1) for a, b in itertools.pairwise(history)]
    assert [rows.sum() for rows in rows_moved] == [4, 0, 0, 0, 0, 3, 0, 0, 0, 0]
    assert (rows_moved[0] ^ rows_moved[5]).all()


@pytest.mark.compile
def test_updates_see_the_binarised_pixels_of_their_e_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, np.ndarray]] = []

    def recording(name: str) -> Callable:
        original = getattr(MonteCarloEM, name)

        def method(self: MonteCarloEM, batch: Minibatch) -> Any:
            # Wherever XLA or a `tf.cond` runs it.
            tf.py_function(lambda x: seen.append((name, x.numpy())), [batch.x], [])
            return original(self, batch)

        return method

    for name in ("_e_step", "training_loss"):
        monkeypatch.setattr(MonteCarloEM, name, recording(name))
    decoder = layers.BernoulliLikelihood(50, (4,))
    model = MonteCarloEM(layers.StandardNormalPrior(J), decoder, num_data=4)
    model.compile("sgd", jit_compile=False)
    grey = Observations(np.full([4, 50], 0.5), dynamic_binarization=True)
    model.fit(grey, batch_size=4, epochs=2, verbose=0)
    assert [name for name, _ in seen] == ["_e_step", *["training_loss"] * 5] * 2
    first, second = (np.stack([x for _, x in part]) for part in (seen[:6], seen[6:]))
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    assert (first[0] != second[0]).any()


@pytest.mark.compile
def test_fresh_chains_forget_where_they_were() -> None:
    x = np.random.default_rng(3).normal(size=[6, D])
    ends = []
    for offset in (0.0, 3.0):
        model = linear_model(6, fresh_chains=True)
        model.chains.assign_add(tf.fill([6, J], offset))
        model._e_step(minibatch(x, np.arange(6), 2))
        ends.append(model.chains.numpy())
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


@pytest.mark.compile
def test_the_bound_reported_while_training_is_below_the_evidence() -> None:
    x = np.random.default_rng(3).normal(size=[400, D])
    model = linear_model(400, num_samples=50)
    after_e_steps(model, x, 100)
    _, bound = model.training_loss(minibatch(x, np.arange(400), 4))
    weights, bias = weights_of(model)
    evidence = gaussian_log_prob(x, bias, weights.T @ weights + VARIANCE * np.eye(D))
    gap = evidence.mean() - float(tf.reduce_mean(bound.elbo))
    assert 0.0 < gap < 0.5


@pytest.mark.compile
def test_training_reaches_the_maximum_likelihood_of_probabilistic_pca() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=[500, 2]) @ rng.normal(size=[2, 6]) + 0.5 * rng.normal(size=[500, 6])
    tf_keras.utils.set_random_seed(2)
    decoder = layers.GaussianLikelihood(6, (), variance="scalar")
    model = MonteCarloEM(layers.StandardNormalPrior(2), decoder, num_data=500)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.03, 6000)
    model.compile(tf_keras.optimizers.Adam(rate), jit_compile=True)
    model.fit(x, batch_size=100, epochs=240, verbose=0)

    likelihood = model.decode(np.zeros([1, 2], np.float32))
    weights, bias = decoder.parameters[0].numpy(), likelihood.mean().numpy()[0]
    variance = likelihood.variance().numpy()[0, 0]
    reached = gaussian_log_prob(x, bias, weights.T @ weights + variance * np.eye(6)).mean()
    eigenvalues, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = eigenvalues[:4].mean()
    covariance = vectors @ np.diag([*[noise] * 4, *eigenvalues[4:]]) @ vectors.T
    best = gaussian_log_prob(x, x.mean(axis=0), covariance).mean()
    assert best - 0.1 < reached < best + 1e-4
    assert abs(variance / noise - 1.0) < 0.05


@pytest.mark.compile
def test_what_it_cannot_be_fitted_to_is_refused() -> None:
    model = linear_model(4)
    x = np.zeros([5, D], np.float32)
    assert_one_line(lambda: model.fit(x), ValueError, "num_data", "4", "5")
    stream = tf.data.Dataset.from_tensor_slices(x).batch(2)
    assert_one_line(lambda: model.fit(stream, verbose=0), ValueError, "array")
    for name in ("leapfrog_steps", "e_step_updates", "m_step_updates"):
        assert_one_line(lambda name=name: linear_model(4, **{name: 0}), ValueError, name, "0")
    prior = tfp.distributions.Independent(tfp.distributions.Uniform([0.0, 0.0], 1.0), 1)
    assert_one_line(
        lambda: MonteCarloEM(prior, layers.BernoulliLikelihood(6, ()), num_data=4),
        ValueError,
        "R^J",
    )


@pytest.mark.compile
def test_keras_file_round_trip(tmp_path) -> None:
    model = linear_model(6, m_step_updates=3, leapfrog_steps=4)
    x = np.random.default_rng(3).normal(size=[6, D]).astype(np.float32)
    model.fit(x, batch_size=3, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    configs = [m.get_config() for m in (loaded, model)]
    for name in ("leapfrog_steps", "e_step_updates", "m_step_updates", "fresh_chains", "num_data"):
        assert configs[0][name] == configs[1][name]
    assert_same_arrays([v.numpy() for v in loaded.variables], [v.numpy() for v in model.variables])
    np.testing.assert_array_equal(loaded.encode(x).mean(), model.encode(x).mean())
