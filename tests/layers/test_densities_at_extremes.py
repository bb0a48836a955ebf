"""Every likelihood's density and gradient where float32 is short of digits, against SciPy's."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tfp_aevb import layers

Density = Callable[..., np.ndarray]
FAR = np.array([-14.0, -5.0, 0.0, 5.0, 14.0])


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _continuous_bernoulli(x: np.ndarray, logit: np.ndarray) -> np.ndarray:
    near = np.abs(logit) < 1e-4
    half = np.where(near, 1.0, 0.5 * logit)
    log_normaliser = np.where(near, np.log(2.0) + logit**2 / 24, np.log(2.0 * half / np.tanh(half)))
    return x * logit - _softplus(logit) + log_normaliser


def _beta(x: np.ndarray, log_one: np.ndarray, log_zero: np.ndarray) -> np.ndarray:
    one, zero = np.exp(log_one), np.exp(log_zero)
    log_power = (one - 1.0) * np.log(x) + (zero - 1.0) * np.log1p(-x)
    return log_power - special.betaln(one, zero)


def _student_t(x: np.ndarray, loc: np.ndarray, log_variance: np.ndarray, h: np.ndarray) -> Density:
    return stats.t.logpdf(x, 2.0 + np.exp(h), loc, np.exp(0.5 * log_variance))


def _discretized_logistic(x: np.ndarray, loc: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    scale, half = np.exp(0.5 * (log_variance - 4.0)), 0.5 / 255
    above, below = (x + half - loc - 0.5) / scale, (x - half - loc - 0.5) / scale
    width = 2.0 * half / scale
    inner = np.where(width < 0.7, np.log(-np.expm1(-width)), np.log1p(-np.exp(-width)))
    inner = inner - _softplus(-above) - _softplus(below)
    return np.where(x < half, -_softplus(-above), np.where(x > 1 - half, -_softplus(below), inner))


def _poisson(x: np.ndarray, log_rate: np.ndarray) -> np.ndarray:
    return x * log_rate - np.exp(log_rate) - special.gammaln(x + 1.0)


def _inflated(x: np.ndarray, log_rate: np.ndarray, odds: np.ndarray) -> np.ndarray:
    counted = _poisson(x, log_rate) - _softplus(odds)
    return np.where(x > 0.0, counted, np.logaddexp(-_softplus(-odds), counted))


# Likelihood, values of x and of each parameter, and the density in float64.
CASES: dict[str, tuple] = {
    "bernoulli": (
        lambda p: layers.BernoulliLikelihood.new(p, [1]),
        [[0.0, 1.0], [-200.0, -88.0, -30.0, -1e-3, 0.0, 1e-3, 30.0, 88.0, 200.0]],
        lambda x, logit: x * logit - _softplus(logit),
    ),
    "continuous bernoulli": (
        lambda p: layers.ContinuousBernoulliLikelihood.new(p, [1]),
        [
            [0.0, 1e-6, 0.3, 0.5, 0.999, 1.0],
            [-29.9, -8.0, -0.1, -1e-3, 0.0, 1e-6, 1e-4, 3e-3, 0.02, 0.3, 3.0, 15.0, 29.9],
        ],
        _continuous_bernoulli,
    ),
    "gaussian": (
        lambda p: layers.GaussianLikelihood.new(p, [1]),
        [[-1e4, 0.0, 0.5, 1e4], [-3.0, 0.0, 0.5], [-13.9, -5.0, 0.0, 5.0, 13.9]],
        lambda x, loc, log_variance: stats.norm.logpdf(x, loc, np.exp(0.5 * log_variance)),
    ),
    "student t": (
        lambda p: layers.StudentTLikelihood.new(p, [1]),
        [[-1e6, -5.0, 0.0, 3.0, 1e3], [0.1, 0.5], [-13.9, -5.0, 0.0, 13.9], [-6.9, 0.0, 3.0, 6.9]],
        _student_t,
    ),
    "beta": (
        lambda p: layers.BetaLikelihood.new(p, [1]),
        [
            [1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0 - 1e-6],
            [-2.9, -1.0, 0.0, 3.0, 6.9],
            [-2.9, -1.0, 0.0, 3.0, 6.9],
        ],
        _beta,
    ),
    "discretized logistic": (
        lambda p: layers.DiscretizedLogisticLikelihood.new(tf.pad(p, [[0, 0], [1, 0]]), [1], 1),
        [
            [0.0, 1 / 255, 127 / 255, 128 / 255, 254 / 255, 1.0],
            [-1.0, -0.3, 0.0, 0.2, 0.5, 1.0],
            [-9.9, -6.0, -2.0, 0.0, 8.0, 17.0],
        ],
        _discretized_logistic,
    ),
    "categorical": (
        lambda p: layers.CategoricalLikelihood.new(p, [1], 2),
        [[0.0, 1.0], [-100.0, -10.0, 0.0, 100.0], [0.0, 3.0]],
        lambda x, zero, one: np.where(x > 0.0, one, zero) - np.logaddexp(zero, one),
    ),
    "zero-inflated poisson": (
        lambda p: layers.ZeroInflatedPoissonLikelihood.new(p, [1]),
        [[0.0, 1.0, 15.0, 16.0, 1e3, 1e6], [-13.9, -3.0, 0.0, 3.0, 7.0, 13.9], FAR * 0.99],
        _inflated,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_density_and_gradients_are_those_of_float64(name: str) -> None:
    make, values, exact = CASES[name]
    x, *given = (v.ravel().astype(np.float32) for v in np.meshgrid(*values, indexing="ij"))
    params = tf.constant(np.stack(given, axis=1))
    with tf.GradientTape() as tape:
        tape.watch(params)
        found = make(params).log_prob(x[:, np.newaxis])
    wide = [v.astype(np.float64) for v in (x, *given)]
    np.testing.assert_allclose(found, exact(*wide), rtol=2e-6, atol=1e-4)
    for i, gradient in enumerate(tf.unstack(tape.gradient(found, params), axis=1), start=1):
        ends = []
        for step in (-1e-5, 1e-5):
            moved = [v + step * (j == i) for j, v in enumerate(wide)]
            ends.append(exact(*moved))
        slope = (ends[1] - ends[0]) / 2e-5
        rounding = 1e-10 * np.abs(ends[0])  # of the difference
        assert (np.abs(gradient - slope) <= 5e-4 * (1.0 + np.abs(slope)) + rounding).all(), i


@pytest.mark.parametrize("size", [2, 20, 100])
@pytest.mark.parametrize("concentration", [1e-3, 0.1, 1.0, 10.0, 16.0, 1e3, 1e5])
def test_a_dirichlet_of_any_concentration_has_its_density(size: int, concentration: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.dirichlet(np.full(size, max(concentration, 0.1)), 20).clip(1e-30).astype(np.float32)
    exact = z.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    c = float(np.float32(concentration))
    log_prob = (c - 1.0) * np.log(exact).sum(axis=1)
    log_prob += special.gammaln(c * size) - size * special.gammaln(c)
    points = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(points)
        found = layers.DirichletPrior(size, concentration)().log_prob(points)
    np.testing.assert_allclose(found, log_prob, rtol=2e-6, atol=2e-4)

    def along(gradient: np.ndarray) -> np.ndarray:  # the simplex
        return exact * (gradient - (exact * gradient).sum(axis=1, keepdims=True))

    slopes, wanted = along(tape.gradient(found, points).numpy()), along((c - 1.0) / exact)
    np.testing.assert_allclose(slopes, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max() + 1e-6)
