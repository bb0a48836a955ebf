"""The negative binomial's density at any count and dispersion, against SciPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.helpers import assert_mean
from tfp_aevb.data.columns import Column
from tfp_aevb.distributions.negative_binomial import NegativeBinomial
from tfp_aevb.layers import (
    NegativeBinomialLikelihood,
    ZeroInflatedNegativeBinomialLikelihood,
)
from tfp_aevb.layers.tables import Layout, MixedColumns

FIXED = (0, 1, 2, 5, 15, 16, 17, 100, 10_000, 744_005, 10**7)


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, log m and log r over many decades; out to 5 standard deviations and anywhere."""
    rows = []
    for log_r in np.arange(-10.0, 20.1, 1.5):
        for log_m in np.arange(-14.0, 14.1, 2.0):
            m = np.exp(log_m)
            spreads = (np.sqrt(m + m * m / np.exp(log_r)), np.sqrt(m))
            near = [m + k * s for k in (-5, -2, -1, 0, 1, 2, 5) for s in spreads]
            rows += [(x, log_m, log_r) for x in {*FIXED, *np.maximum(np.round(near), 0.0)}]
    x, log_m, log_r = np.array(rows, np.float32).T
    keep = x <= 1e7
    return x[keep], log_m[keep], log_r[keep]


def _exact(x: np.ndarray, log_m: np.ndarray, log_r: np.ndarray) -> tuple[np.ndarray, ...]:
    """log p(x) and its derivatives with respect to log m and log r."""
    x, log_m, log_r = (np.asarray(v, np.float64) for v in (x, log_m, log_r))
    m, r = np.exp(log_m), np.exp(log_r)
    value = special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1.0)
    value += x * (log_m - np.log(r + m)) - r * np.log1p(m / r)
    digammas = special.digamma(x + r) - special.digamma(r)
    of_r = r * (digammas - np.log1p(m / r) + (m - x) / (r + m))
    return value, r * (x - m) / (r + m), of_r


@pytest.mark.parametrize("xla", [False, True])
def test_density_and_gradients_are_scipys(xla: bool) -> None:
    def evaluate(x: tf.Tensor, log_m: tf.Tensor, log_r: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch([log_m, log_r])
            value = NegativeBinomial(log_m, log_r).log_prob(x)
        return value, *tape.gradient(value, [log_m, log_r])

    grid = _grid()
    assert len(grid[0]) > 4000
    value, of_m, of_r = tf.function(evaluate, jit_compile=xla)(*map(tf.constant, grid))
    exact, exact_of_m, exact_of_r = _exact(*grid)
    np.testing.assert_allclose(value, exact, rtol=3e-6, atol=3e-4)
    few = np.maximum(grid[0], np.exp(grid[1])) < 1e4
    np.testing.assert_allclose(value.numpy()[few], exact[few], rtol=2e-6, atol=3e-5)
    np.testing.assert_allclose(of_r, exact_of_r, rtol=3e-5, atol=3e-5)
    m, r = np.exp(grid[1].astype(float)), np.exp(grid[2].astype(float))
    rounding = 3e-7 * m * r / (m + r)  # of m, by as much as a step of float32 of log m is worth
    assert (np.abs(of_m - exact_of_m) <= 2e-6 * np.abs(exact_of_m) + rounding).all()


def test_the_count_of_the_report_is_right_in_a_table() -> None:
    """Log r = 14, x = 744,005: the usual formula was 0.03 nats off."""
    column = Column("n", "count", shift=13.0)
    log_m = np.float32(13.5)
    columns = MixedColumns(
        tf.fill([1, 1], log_m - 13.0), tf.zeros([0]), tf.constant([14.0]), Layout([column])
    )
    truth = _exact(np.float64(744_005), np.float64(np.float32(log_m - 13.0) + 13.0), 14.0)[0]
    np.testing.assert_allclose(columns.log_prob([[744_005.0]])[0, 0], truth, atol=1e-3)


def test_the_likelihoods_have_it() -> None:
    log_m, log_r, size = np.float32(13.4), np.float32(7.0), 100
    m, r = np.exp(np.float64(log_m)), np.exp(np.float64(log_r))
    truth = stats.nbinom(r, r / (m + r))
    x = truth.rvs([20, size], random_state=0)
    exact = _exact(x, log_m, log_r)[0].sum(axis=1)
    params = tf.concat([tf.fill([20, size], log_m), tf.fill([20, size], log_r)], axis=1)
    counts = x.astype(np.float32)
    found = NegativeBinomialLikelihood.new(params, [size]).log_prob(counts)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=2e-3)
    params = tf.concat([params, tf.zeros([20, size])], axis=1)
    found = ZeroInflatedNegativeBinomialLikelihood.new(params, [size]).log_prob(counts)
    np.testing.assert_allclose(found, exact + size * np.log(0.5), rtol=1e-6, atol=2e-3)


def test_second_derivatives_are_finite_and_right() -> None:
    x, log_m, log_r = (tf.constant(v, tf.float32) for v in ([0, 3, 40, 5000], [1.0] * 4, [2.0] * 4))
    with tf.GradientTape() as outer:
        outer.watch([log_m, log_r])
        with tf.GradientTape() as tape:
            tape.watch(log_m)
            value = NegativeBinomial(log_m, log_r).log_prob(x)
        slope = tape.gradient(value, log_m)
    found = outer.gradient(slope, [log_m, log_r])
    m, r, x = np.exp(1.0), np.exp(2.0), x.numpy().astype(float)
    np.testing.assert_allclose(found[0], -r * m * (r + x) / (r + m) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found[1], r * m * (x - m) / (r + m) ** 2, rtol=1e-5)


def test_draws_mean_and_variance_are_the_distributions() -> None:
    counts = NegativeBinomial(tf.constant([0.5, 2.0]), tf.constant([1.0, -0.5]))
    draws = counts.sample(20_000, seed=[0, 1]).numpy().astype(np.float64)
    mean = np.exp([0.5, 2.0])
    assert_mean(draws, mean)
    assert_mean((draws - mean) ** 2, mean + mean**2 / np.exp([1.0, -0.5]))
    np.testing.assert_allclose(counts.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(counts.variance(), mean + mean**2 / np.exp([1.0, -0.5]), rtol=1e-6)
