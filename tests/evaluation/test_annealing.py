"""Annealed importance sampling against exact log p(x), far from 0 and where q is bad."""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian, assert_mean, log_sigmoid_terms
from tfp_aevb.evaluation import AnnealedEstimate, annealed_log_prob
from tfp_aevb.models.aevb import AEVB


class Exact(NamedTuple):
    """A model, its data [B, D] and their log p(x) [B], nats."""

    model: AEVB
    x: np.ndarray
    log_prob: np.ndarray


def linear(
    latent_dim: int, data_dim: int, num_data: int, sd: float | None = None, **encoder: float
) -> Exact:
    exact = LinearGaussian(latent_dim, data_dim, seed=latent_dim)
    if sd is not None:
        exact.variance = sd**2
    model = AEVB(
        exact.prior(tf.float32),
        exact.encoder(dtype=tf.float32, **encoder),
        exact.decoder(tf.float32),
        objective="sgvb_a",
    )
    x = exact.data(num_data).astype(np.float32)
    return Exact(model, x, exact.log_prob(x))


def pixels() -> Exact:
    """One datapoint of 784 pixels, 40 times, under q three posterior sds off in each dimension."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=[2, 784]) * 0.5
    bias = rng.normal(size=784)
    z = rng.normal(size=2)
    x = (rng.random(784) < 1.0 / (1.0 + np.exp(-z @ weights - bias))).astype(np.float32)
    grid = np.linspace(-4.0, 4.0, 401)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    log_joint = log_sigmoid_terms(x, points @ weights + bias).sum(axis=1)
    log_joint -= 0.5 * (points**2).sum(axis=1) + np.log(2.0 * np.pi)
    log_prob = logsumexp(log_joint) + 2.0 * np.log(grid[1] - grid[0])
    mass = np.exp(log_joint - logsumexp(log_joint))[:, np.newaxis]
    mean = (mass * points).sum(axis=0)
    sd = np.sqrt((mass * (points - mean) ** 2).sum(axis=0))

    def encode(x: tf.Tensor) -> tfd.Distribution:
        loc = tf.zeros([tf.shape(x)[0], 2]) + (mean + 3.0 * sd).astype(np.float32)
        return tfd.MultivariateNormalDiag(loc, tf.zeros_like(loc) + sd.astype(np.float32))

    kernel, offset = weights.astype(np.float32), bias.astype(np.float32)

    def decode(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(tf.matmul(z, kernel) + offset, dtype=tf.float32), 1)

    model = AEVB(tfd.MultivariateNormalDiag(tf.zeros([2])), encode, decode, objective="sgvb_a")
    return Exact(model, np.repeat(x[np.newaxis], 40, axis=0), np.full([40], log_prob))


CASES = {
    "log p near -400, q three sds off": (pixels, 5),
    "log p near -126": (lambda: linear(4, 100, 60, shift=0.1, widen=1.5), 5),
    "log p near +130": (lambda: linear(2, 100, 60, sd=0.06, shift=0.01, widen=1.5), 5),
    "q too narrow": (lambda: linear(2, 20, 60, widen=0.2), 10),
    "q too wide": (lambda: linear(2, 20, 60, widen=10.0), 10),
}


@functools.cache
def found(name: str) -> tuple[Exact, AnnealedEstimate]:
    make, num_chains = CASES[name]
    exact = make()
    estimate = annealed_log_prob(exact.model, exact.x, num_chains, seed=1)
    return exact, AnnealedEstimate(*(value.numpy() for value in estimate))


@pytest.mark.parametrize("name", CASES)
def test_weights_are_unbiased_and_their_logarithm_nearly_so(name: str) -> None:
    exact, estimate = found(name)
    difference = estimate.log_prob.astype(np.float64) - exact.log_prob
    assert_mean(np.exp(difference), 1.0, standard_errors=4.0)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    # The bias of a logarithm of a mean is half its variance.
    assert abs(difference.mean() + 0.5 * difference.var()) < 4.0 * error + 0.01
    assert error < 0.08
    assert abs(estimate.acceptance.mean() - 0.95) < 0.02
    assert (estimate.acceptance < 1.0).all()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("log p")])
def test_a_likelihood_one_percent_off_is_seen(name: str) -> None:
    """The tolerances above are far smaller than what one percent of log p(x) is."""
    exact, estimate = found(name)
    difference = estimate.log_prob.astype(np.float64) - 1.01 * exact.log_prob
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert abs(difference.mean() + 0.5 * difference.var()) > 10.0 * error + 0.1
