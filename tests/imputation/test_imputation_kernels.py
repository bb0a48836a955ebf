"""The parts of the samplers, each against its formula: moves, proposals, weights, averages."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import LinearGaussian, assert_mean, gaussian_log_prob
from tfp_aevb.distributions.hamiltonian import hamiltonian_update
from tfp_aevb.imputation import gaussian_noise
from tfp_aevb.imputation.blocks import GaussianBlocks
from tfp_aevb.imputation.chains import LEAPFROG_STEPS, Chains, ChainState, mix
from tfp_aevb.imputation.importance import WeightedDraws
from tfp_aevb.models.aevb import AEVB

LINEAR = LinearGaussian(latent_dim=2, data_dim=4, seed=0)
SHIFT, WIDEN = 0.3, 1.2
NOISE = 0.64
RNG = np.random.default_rng(1)
ROWS = 5000
SEEDS = np.array([[1, 2], [3, 4], [5, 6]], np.int32)


@functools.cache
def model() -> AEVB:
    return AEVB(
        LINEAR.prior(tf.float32),
        LINEAR.encoder(SHIFT, WIDEN, tf.float32),
        LINEAR.decoder(tf.float32),
    )


def evidence_of(y: np.ndarray) -> GaussianBlocks:
    return GaussianBlocks(y.astype(np.float32), gaussian_noise(math.sqrt(NOISE)), (4,))


Y = LINEAR.data(ROWS) + RNG.normal(size=[ROWS, 4]) * math.sqrt(NOISE)
Z = RNG.normal(size=[ROWS, 2])


def log_y_given_z(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(y|z) [B], exactly."""
    covariance = (LINEAR.variance + NOISE) * np.eye(4)
    return gaussian_log_prob(y - z @ LINEAR.weights.T, LINEAR.bias, covariance)


def log_prior(z: np.ndarray) -> np.ndarray:
    return gaussian_log_prob(z, np.zeros(2), np.eye(2))


def log_q(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log q(z|x) [B], exactly."""
    mean, covariance = LINEAR.posterior(x)
    return gaussian_log_prob(z - mean, np.full(2, SHIFT), WIDEN**2 * covariance)


def chains(exact_from: int | None = 0, kept_from: int = 0) -> Chains:
    return Chains(model(), evidence_of(Y), kept_from, exact_from, jit_compile=False)


def test_a_mixture_has_the_moments_of_its_parts() -> None:
    first, second = RNG.normal(size=[30, 3, 2]), RNG.normal(size=[20, 3, 2]) * 2.0 + 1.0
    both = np.concatenate([first, second])
    moments = [f(axis=0) for part in (first, second) for f in (part.mean, part.var)]
    mean, variance = mix(tf.constant(0.4, tf.float64), *map(tf.constant, moments))
    np.testing.assert_allclose(mean, both.mean(axis=0))
    np.testing.assert_allclose(variance, both.var(axis=0))
    shares = tf.constant([0.0, 0.4, 1.0], tf.float64)
    mean, variance = mix(shares, *map(tf.constant, moments))
    np.testing.assert_allclose(mean[::2], [moments[0][0], moments[2][2]])
    np.testing.assert_allclose(variance[::2], [moments[1][0], moments[3][2]])


@pytest.mark.parametrize("power", [1.0, 0.3])
def test_a_move_is_an_update_on_the_prior_and_what_is_seen_to_its_power(power: float) -> None:
    steps = np.random.default_rng(5).uniform(0.05, 0.5, ROWS)
    y, z, step_sizes = (tf.constant(value, tf.float32) for value in (Y, Z, steps))
    moved, acceptance = chains()._move(y, z, tf.constant(power), step_sizes, SEEDS[0])
    precision = power / (LINEAR.variance + NOISE)
    gain = tf.constant(LINEAR.weights, tf.float32)

    def log_prob(z: tf.Tensor) -> tf.Tensor:
        residual = y - tf.matmul(z, gain, transpose_b=True) - LINEAR.bias.astype(np.float32)
        squares = precision * tf.reduce_sum(residual**2, axis=1) + tf.reduce_sum(z**2, axis=1)
        return -0.5 * squares

    expected, chance, _ = hamiltonian_update(
        log_prob, z, step_sizes[:, tf.newaxis], LEAPFROG_STEPS, SEEDS[0]
    )
    np.testing.assert_allclose(acceptance, chance, rtol=1e-3, atol=1e-4)
    assert 0.5 < acceptance.numpy().mean() < 0.99
    assert (np.abs(moved - expected).max(axis=1) > 1e-4).sum() <= 2  # ties, up to rounding


@pytest.mark.parametrize(
    ("exact_from", "expected"), [(0, [1.0, 1.0, 1.0, 1.0]), (3, [1 / 3, 2 / 3, 1.0, 1.0])]
)
def test_what_is_seen_gains_its_weight_by_the_first_exact_step(
    exact_from: int, expected: list[float]
) -> None:
    powers = [float(chains(exact_from)._power(tf.constant(i))) for i in range(4)]
    assert powers == pytest.approx(expected)


@pytest.mark.parametrize("exact_from", [0, 1])
def test_proposals_are_accepted_at_the_importance_ratio(exact_from: int) -> None:
    x = LINEAR.data(ROWS, seed=9)
    log_joint = log_prior(Z) + gaussian_log_prob(
        x - Z @ LINEAR.weights.T, LINEAR.bias, LINEAR.variance * np.eye(4)
    )
    values = (tf.constant(value, tf.float32) for value in (Z, x, log_joint))
    state = ChainState(*values, *[tf.zeros([])] * 4)
    accept, z = chains(exact_from)._propose(tf.constant(0), state, SEEDS[0], SEEDS[1])
    proposed = model().encode(x).sample(seed=SEEDS[0]).numpy().astype(np.float64)
    new_joint = log_prior(proposed) + gaussian_log_prob(
        x - proposed @ LINEAR.weights.T, LINEAR.bias, LINEAR.variance * np.eye(4)
    )
    log_ratio = new_joint - log_q(x, proposed) - log_joint + log_q(x, Z)
    uniform = tf.random.stateless_uniform([ROWS], SEEDS[1]).numpy()
    expected = (np.log(uniform) < log_ratio) | (exact_from > 0)
    assert (accept.numpy() != expected).sum() <= 2
    kept = np.where(accept.numpy()[:, np.newaxis] > 0.0, proposed, Z)
    np.testing.assert_allclose(z, kept, atol=1e-6)


def test_averages_are_those_of_the_kept_steps() -> None:
    y, evidence = tf.constant(Y[:20], tf.float32), evidence_of(Y[:20])
    sampler = [chains(None, kept_from) for kept_from in (6, 7)]
    ticks: list[int] = []
    early, late = (sampler[0].run(y, steps, SEEDS[0], ticks.append) for steps in (7, 8))
    last = sampler[1].run(y, 8, SEEDS[0], ticks.append)
    assert sum(ticks) == 7 + 8 + 8
    given = [evidence.condition(model().decode(state.z), y) for state in (early, late)]
    np.testing.assert_allclose(last.mean, given[1].mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.variance, given[1].variance, rtol=1e-5)
    means = np.stack([one.mean for one in given])
    np.testing.assert_allclose(late.mean, means.mean(axis=0), rtol=1e-5, atol=1e-6)
    variance = means.var(axis=0) + np.mean([one.variance for one in given], axis=0)
    np.testing.assert_allclose(late.variance, variance, rtol=1e-4)
    assert np.isnan(late.accepted).all()


@pytest.mark.compile
def test_step_sizes_follow_acceptance_until_averages_are_taken() -> None:
    y = tf.constant(Y[:200], tf.float32)
    sampler = chains(0, kept_from=300)
    before, after = (
        sampler.run(y, steps, SEEDS[0], lambda _: None).log_step.numpy() for steps in (300, 310)
    )
    np.testing.assert_array_equal(before, after)
    state = before[:, np.newaxis] + np.zeros(25)  # the same chains, many times
    rows = np.repeat(Y[:200], 25, axis=0)
    mean, covariance = _posterior_of_y(rows)
    z = mean + RNG.normal(size=mean.shape) @ np.linalg.cholesky(covariance).T
    y, z, step_sizes = (
        tf.constant(value, tf.float32) for value in (rows, z, np.exp(state.ravel()))
    )
    _, acceptance = sampler._move(y, z, tf.constant(1.0), step_sizes, SEEDS[0])
    assert abs(acceptance.numpy().mean() - 0.7) < 0.05


def _posterior_of_y(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    covariance = np.linalg.inv(
        np.eye(2) + LINEAR.weights.T @ LINEAR.weights / (LINEAR.variance + NOISE)
    )
    return (y - LINEAR.bias) @ LINEAR.weights @ covariance / (LINEAR.variance + NOISE), covariance


COMPONENTS, DRAWS = 4, 3


def weighted() -> WeightedDraws:
    return WeightedDraws(model(), evidence_of(Y), COMPONENTS, DRAWS, jit_compile=False)


def test_weights_average_to_the_probability_of_what_is_seen() -> None:
    count, steps = 1000, 200
    rows = np.repeat(Y[:1], count, axis=0)
    tiled = tf.constant(np.concatenate([rows] * COMPONENTS), tf.float32)
    x = np.repeat(LINEAR.data(COMPONENTS - 1, seed=3), count, axis=0)
    sampler = WeightedDraws(model(), evidence_of(rows), COMPONENTS, DRAWS, jit_compile=False)
    found = sampler.run(tiled, tf.constant(x, tf.float32), steps, SEEDS[0], lambda _: None)
    covariance = LINEAR.weights @ LINEAR.weights.T + (LINEAR.variance + NOISE) * np.eye(4)
    exact = gaussian_log_prob(Y[:1], LINEAR.bias, covariance)[0]
    ratio = np.exp(found.log_total.numpy() - math.log(steps * COMPONENTS) - exact)
    assert_mean(ratio, 1.0)
    assert ratio.std() / math.sqrt(count) < 0.002
    side = np.linspace(-7.0, 7.0, 401)
    z = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    densities = [log_prior(z), *(log_q(guess[np.newaxis], z) for guess in x[::count])]
    log_mixture = np.logaddexp.reduce(densities) - math.log(COMPONENTS)
    log_joint = log_y_given_z(Y[:1], z) + log_prior(z) - exact
    square = np.exp(2.0 * log_joint - log_mixture).sum() * (side[1] - side[0]) ** 2
    squares = np.exp(found.log_squares.numpy() - math.log(steps * COMPONENTS) - 2.0 * exact)
    assert_mean(squares, square)
    assert squares.std() / math.sqrt(count) < 0.004 * square


def test_a_mixture_s_density_has_the_prior_and_each_guess() -> None:
    x = LINEAR.data(3 * 7, seed=3)
    z = RNG.normal(size=[COMPONENTS * 7, 2])
    prior = log_prior(z).reshape(COMPONENTS, 7)
    found = weighted()._log_mixture(
        model().encode(x), tf.constant(z, tf.float32), tf.constant(prior, tf.float32)
    )
    for c in range(COMPONENTS):
        at = z.reshape(COMPONENTS, 7, 2)[c]
        terms = [prior[c], *(log_q(guess, at) for guess in x.reshape(3, 7, 4))]
        expected = np.logaddexp.reduce(terms) - math.log(COMPONENTS)
        np.testing.assert_allclose(found[c], expected, rtol=1e-4, atol=1e-5)


def test_moments_of_a_step_are_weighted() -> None:
    log_weights = RNG.normal(size=[COMPONENTS, 5]) * 2.0 - 300.0
    log_weights[1, 2] = -np.inf
    means, variances = RNG.normal(size=[COMPONENTS, 5, 3]), RNG.random([COMPONENTS, 5, 3])
    given = (log_weights, means.reshape(-1, 3), variances.reshape(-1, 3))
    found = weighted()._step_moments(*(tf.constant(value, tf.float32) for value in given))
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))[..., np.newaxis]
    mean = (weights * means).sum(axis=0)
    np.testing.assert_allclose(found[0], mean, rtol=1e-4, atol=5e-5)
    second = (weights * (variances + means**2)).sum(axis=0)
    np.testing.assert_allclose(found[1], second - mean**2, rtol=1e-4, atol=5e-5)


def test_draws_are_kept_by_weight() -> None:
    slots, batch, share = 20_000, 2, 0.3
    sampler = WeightedDraws(model(), evidence_of(Y), COMPONENTS, slots, jit_compile=False)
    log_weights = np.array([[0.0, -1.0], [1.0, -np.inf], [-2.0, 0.5], [0.5, 0.0]])
    z = np.arange(COMPONENTS * batch * 2, dtype=np.float32).reshape(-1, 2)
    kept = tf.fill([slots, batch, 2], -1.0)
    found = sampler._resample(
        tf.constant(log_weights, tf.float32), tf.fill([batch], share), z, kept, SEEDS[0], SEEDS[1]
    ).numpy()
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    for b in range(batch):
        values = z.reshape(COMPONENTS, batch, 2)[:, b, 0]
        assert_mean(found[:, b, :1] == values, share * weights[:, b])
        assert_mean(found[:, b, 0] == -1.0, 1.0 - share)
    np.testing.assert_array_equal((found[..., 1] - found[..., 0])[found[..., 0] >= 0.0], 1.0)
