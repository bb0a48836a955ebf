"""Known models as joint distributions, against exact answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from sklearn.decomposition import FactorAnalysis

import tfp_aevb
from tests.helpers import compiled, gaussian_log_prob
from tests.models.joint.two_levels import gaussian, two_level_data
from tfp_aevb import layers
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions


def test_factor_analysis_reaches_the_maximum_likelihood_of_its_kind() -> None:
    tf_keras.utils.set_random_seed(0)  # from some starts it ends in a lesser maximum
    x = two_level_data(2000)
    loadings = tf.Variable(tf.random.stateless_normal([4, 2], [0, 1]) * 0.3)
    log_scale = tf.Variable(tf.zeros(4))
    joint = tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(2), 1.0),
            "x": lambda z: tfd.MultivariateNormalDiag(
                tf.linalg.matvec(loadings, z), tf.exp(log_scale)
            ),
        }
    )
    encoder = layers.FullCovarianceGaussianPosterior(2, (), init_stddev=0.1)
    model = compiled(JointAEVB(joint, encoder), tf_keras.optimizers.Adam(0.02), jit_compile=True)
    model.fit(x, epochs=60, batch_size=200, verbose=0)
    model.optimizer.learning_rate = 0.002
    model.fit(x, epochs=30, batch_size=200, verbose=0)
    found = loadings.numpy() @ loadings.numpy().T + np.diag(np.exp(2 * log_scale.numpy()))
    log_prob = gaussian_log_prob(x, np.zeros(4), found).mean()
    bound = float(np.mean(model.elbo(x, num_samples=50, seed=0)))
    assert bound == pytest.approx(log_prob, abs=0.02)
    assert log_prob > FactorAnalysis(2).fit(x).score(x) - 0.03


def test_poisson_lognormal_log_prob_is_that_of_quadrature() -> None:
    def make(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Poisson(tf.exp(0.8 * z + 0.5)), 1)

    joint = tfd.JointDistributionNamed({"z": gaussian(tf.zeros(1), 1.0), "x": make})
    model = JointAEVB(joint, lambda x: gaussian(tf.math.log1p(x) - 0.5, 0.6))
    x = np.array([[0.0], [1.0], [7.0]], np.float32)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    densities = tfd.Poisson(np.exp(0.8 * nodes + 0.5)).log_prob(x.astype(np.float64)).numpy()
    exact = np.log(np.exp(densities) @ weights / np.sqrt(2 * np.pi))
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=20_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.02)
    assert (model.elbo(x, num_samples=1000, seed=0).numpy() < exact).all()


def _sunspots(nonlinearity: Callable[[tf.Tensor], tf.Tensor]) -> tfd.JointDistribution:
    """A state-space model of 5 times: z[t] = f(z[t-1]) + 0.5 noise, x[t] = 1.5 z[t] + noise."""
    states = tfd.MarkovChain(
        tfd.Normal(0.0, 1.0), lambda _, z: tfd.Normal(nonlinearity(z), 0.5), num_steps=5
    )
    return tfd.JointDistributionNamed(
        {"z": states, "x": lambda z: tfd.Independent(tfd.Normal(1.5 * z, 1.0), 1)}
    )


def test_linear_state_space_log_prob_is_the_kalman_filters() -> None:
    model = JointAEVB(_sunspots(lambda z: 0.9 * z), lambda x: gaussian(0.5 * x, 0.4))
    x = np.random.default_rng(5).normal(size=[4, 5]).astype(np.float32)
    covariance = np.zeros([5, 5])
    variance = 1.0
    for t in range(5):
        covariance[t, t] = variance
        for s in range(t):
            covariance[t, s] = covariance[s, t] = 0.9 ** (t - s) * covariance[s, s]
        variance = 0.81 * variance + 0.25
    exact = gaussian_log_prob(x, np.zeros(5), 2.25 * covariance + np.eye(5))
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=50_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.03)


def test_nonlinear_state_space_bound_is_below_log_p_and_importance_agrees_with_quadrature() -> None:
    model = JointAEVB(_sunspots(tf.sin), lambda x: gaussian(0.4 * x, 0.4))
    x = np.array([[0.5, -1.0, 0.3, 2.0, 1.0]], np.float32)
    grid = np.linspace(-7.0, 7.0, 1401)  # the forward filter, its integrals on a grid
    step = grid[1] - grid[0]

    def normal(value: Any, mean: Any, stddev: float) -> np.ndarray:
        return np.exp(-0.5 * ((value - mean) / stddev) ** 2) / (stddev * np.sqrt(2 * np.pi))

    density, log_prob = normal(grid, 0.0, 1.0), 0.0
    for value in x[0]:
        joint = density * normal(value, 1.5 * grid, 1.0)
        evidence = joint.sum() * step
        log_prob += np.log(evidence)
        density = normal(grid[:, np.newaxis], np.sin(grid), 0.5) @ (joint / evidence) * step
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=50_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, [log_prob], atol=0.03)
    assert float(np.mean(model.elbo(x, num_samples=2000, seed=0))) < log_prob
