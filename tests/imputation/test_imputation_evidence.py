"""log p(y|z) and p(x|y, z) against enumeration and dense Gaussian conditioning."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_mean, assert_one_line, gaussian_log_prob, log_sigmoid_terms
from tfp_aevb import layers
from tfp_aevb.imputation import Channel, bit_flips, block_means, gaussian_noise
from tfp_aevb.imputation.blocks import BinaryBlocks, GaussianBlocks
from tfp_aevb.imputation.evidence import Evidence, Missing

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=[3, 8])
LOC, STDDEV = RNG.normal(size=[3, 8]), RNG.uniform(0.5, 2.0, [3, 8])
STATES = np.array(list(itertools.product([0, 1], repeat=8)), np.float64)
NAN = np.nan
IMAGE = (2, 4)
LEFT, RIGHT = [0, 1, 4, 5], [2, 3, 6, 7]  # the 2x2 blocks
DRAWS = 20_000


def binary() -> tfd.Distribution:
    return tfd.Independent(tfd.Bernoulli(logits=tf.constant(LOGITS, tf.float32)), 1)


def gaussian() -> tfd.Distribution:
    loc, stddev = tf.constant(LOC, tf.float32), tf.constant(STDDEV, tf.float32)
    return tfd.Independent(tfd.Normal(loc, stddev), 1)


def sampled(evidence: Evidence, likelihood: tfd.Distribution, row: int) -> np.ndarray:
    """Many draws of p(x|y, z) for one row."""
    inner: Any = likelihood.distribution
    parameters = {
        name: tf.repeat(value[row : row + 1], DRAWS, axis=0)
        for name, value in inner.parameters.items()
        if isinstance(value, tf.Tensor)
    }
    many = tfd.Independent(type(inner)(**parameters), 1)
    y = np.repeat(evidence.y[row : row + 1], DRAWS, axis=0)
    return evidence.condition(many, tf.constant(y)).sample(tf.constant([1, 2])).numpy()


def assert_enumerated(evidence: Evidence, log_channel: np.ndarray) -> None:
    """Compares with the sum over all x; `log_channel` [N, 256] is log p(y|x)."""
    log_joint = log_channel + log_sigmoid_terms(STATES, LOGITS[:, np.newaxis]).sum(axis=-1)
    log_prob = np.logaddexp.reduce(log_joint, axis=1)
    probs = np.exp(log_joint - log_prob[:, np.newaxis])
    mean = probs @ STATES
    found = evidence.condition(binary(), tf.constant(evidence.y))
    np.testing.assert_allclose(found.log_prob, log_prob, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    np.testing.assert_allclose(found.variance, mean * (1.0 - mean), atol=1e-6)
    for row in range(3):
        draws = sampled(evidence, binary(), row)
        assert_mean(draws, mean[row])
        pairs = np.einsum("c,ci,cj->ij", probs[row], STATES, STATES)
        assert_mean(draws[:, :, np.newaxis] * draws[:, np.newaxis], pairs)


def test_missing_binary_pixels() -> None:
    y = np.array([[1, NAN, 0, 0, NAN, NAN, 1, 0], [NAN] * 8, [1, 0, 1, 1, 0, 1, 0, 1]], np.float32)
    same: np.ndarray = np.isnan(y[:, np.newaxis]) | (y[:, np.newaxis] == STATES)
    with np.errstate(divide="ignore"):
        assert_enumerated(Missing(y), np.log(same.all(axis=-1)))


def test_flipped_pixels() -> None:
    y = np.array([[1, NAN, 0, 0, 1, 1, 1, 0], [NAN] * 8, [1, 0, 1, 1, 0, 1, 0, 1]], np.float32)
    missing = np.isnan(y)[:, np.newaxis]
    kept = np.log(np.where(y[:, np.newaxis] == STATES, 0.8, np.where(missing, 1.0, 0.2)))
    assert_enumerated(BinaryBlocks(y, bit_flips(0.2), (8,)), kept.sum(axis=-1))


@pytest.mark.parametrize("stddev", [0.0, 0.15])
def test_block_means_of_binary_pixels(stddev: float) -> None:
    y = np.array([[0.5, 0.25], [0.75, NAN], [1.0, 0.0]], np.float32)
    means = np.stack([STATES[:, LEFT].mean(axis=-1), STATES[:, RIGHT].mean(axis=-1)], axis=-1)
    distance = means - y[:, np.newaxis]
    if stddev:
        terms = -0.5 * (distance / stddev) ** 2 - np.log(stddev * np.sqrt(2.0 * np.pi))
    else:
        terms = np.where(distance == 0.0, 0.0, -np.inf)
    terms[np.isnan(distance)] = 0.0
    evidence = BinaryBlocks(y, block_means(IMAGE, stddev), (8,))
    assert_enumerated(evidence, terms.sum(axis=-1))


def assert_gaussian(
    evidence: Evidence, matrix: np.ndarray, noise: np.ndarray, offset: float = 0.0
) -> None:
    """Compares with y = matrix x + offset + N(0, diag(noise)), by dense linear algebra."""
    found = evidence.condition(gaussian(), tf.constant(evidence.y))
    for row, y in enumerate(evidence.y.astype(np.float64) - offset):
        seen = ~np.isnan(y)
        a, y, prior = matrix[seen], y[seen], np.diag(STDDEV[row] ** 2)
        of_y = a @ prior @ a.T + np.diag(noise[seen])
        gain = prior @ a.T @ np.linalg.inv(of_y)
        mean, covariance = LOC[row] + gain @ (y - a @ LOC[row]), prior - gain @ a @ prior
        log_prob = gaussian_log_prob(y[np.newaxis], a @ LOC[row], of_y) if seen.any() else 0.0
        np.testing.assert_allclose(found.log_prob[row], log_prob, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.mean[row], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.variance[row], np.diag(covariance), rtol=1e-4, atol=1e-5)
        centred = sampled(evidence, gaussian(), row) - mean
        assert np.abs(centred.mean(axis=0)).max() < 5.0 * STDDEV.max() / np.sqrt(DRAWS)
        assert_mean(centred[:, :, np.newaxis] * centred[:, np.newaxis], covariance, 6.0)


def test_missing_gaussian_pixels() -> None:
    y = np.where(RNG.random([3, 8]) < 0.5, NAN, RNG.normal(size=[3, 8])).astype(np.float32)
    y[1] = NAN
    found = Missing(y).condition(gaussian(), tf.constant(y))
    seen = ~np.isnan(y)
    terms = -0.5 * ((y - LOC) / STDDEV) ** 2 - np.log(STDDEV * np.sqrt(2.0 * np.pi))
    np.testing.assert_allclose(
        found.log_prob, np.where(seen, terms, 0.0).sum(axis=1), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found.mean, np.where(seen, y, LOC), rtol=1e-6)
    np.testing.assert_allclose(found.variance, np.where(seen, 0.0, STDDEV**2), rtol=1e-5)
    draws = sampled(Missing(y), gaussian(), 0)
    np.testing.assert_array_equal(draws[:, seen[0]], np.repeat(y[:1, seen[0]], DRAWS, axis=0))
    assert_mean(draws[:, ~seen[0]], LOC[0, ~seen[0]])


def test_gaussian_noise_on_gaussian_pixels() -> None:
    y = RNG.normal(size=[3, 8]).astype(np.float32)
    y[0, 3], y[1] = NAN, NAN
    evidence = GaussianBlocks(y, gaussian_noise(0.7), (8,))
    assert_gaussian(evidence, np.eye(8), np.full(8, 0.49))


@pytest.mark.parametrize("stddev", [0.0, 0.3])
def test_block_means_of_gaussian_pixels(stddev: float) -> None:
    y = np.array([[0.5, -0.25], [1.75, NAN], [NAN, NAN]], np.float32)
    matrix = np.zeros([2, 8])
    matrix[0, LEFT], matrix[1, RIGHT] = 0.25, 0.25
    evidence = GaussianBlocks(y, block_means(IMAGE, stddev), (8,))
    assert_gaussian(evidence, matrix, np.full(2, stddev**2))
    spread = sampled(evidence, gaussian(), 0)[:, LEFT].mean(axis=1).std()
    assert spread < 1e-6 if stddev == 0.0 else spread > 0.01


def test_a_channel_of_one_s_own_with_weights_and_an_offset() -> None:
    weights, blocks = np.array([2.0, -0.5], np.float32), np.arange(8)[::-1].reshape(4, 2)
    channel = Channel(lambda x: tfd.Normal(tf.reduce_sum(weights * x, -1) + 0.3, 0.4), blocks)
    y = RNG.normal(size=[3, 4]).astype(np.float32)
    matrix = np.zeros([4, 8])
    matrix[np.arange(4)[:, np.newaxis], blocks] = weights
    assert_gaussian(GaussianBlocks(y, channel, (8,)), matrix, np.full(4, 0.16), offset=0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.ContinuousBernoulliLikelihood.new(tf.constant(LOGITS, tf.float32), (2, 4)),
        lambda: tfd.Independent(tfd.Poisson(STDDEV.reshape(3, 2, 4).astype(np.float32)), 2),
        lambda: tfd.Independent(tfd.Bernoulli(logits=LOGITS.reshape(3, 2, 4)), 2),
    ],
    ids=["continuous_bernoulli", "poisson", "int32_bernoulli"],
)
def test_missing_pixels_of_any_independent_likelihood(make: Callable) -> None:
    likelihood = make()
    whole = tf.cast(likelihood.sample(seed=[1, 2]), likelihood.mean().dtype).numpy()
    y = whole.copy()
    y[:, 0] = NAN
    found = Missing(y).condition(likelihood, tf.constant(y))
    terms = likelihood.distribution.log_prob(whole).numpy()
    np.testing.assert_allclose(found.log_prob, terms[:, 1].sum(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(found.mean[:, 0], likelihood.mean()[:, 0])
    np.testing.assert_array_equal(found.mean[:, 1], whole[:, 1])
    np.testing.assert_allclose(found.variance[:, 0], likelihood.variance()[:, 0])
    assert found.sample(tf.constant([3, 4])).dtype == y.dtype


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: bit_flips(1.2), ("`rate`", "1.2")),
        (lambda: gaussian_noise(-1.0), ("`stddev`", "-1.0")),
        (lambda: gaussian_noise(NAN), ("`stddev`", "nan")),
        (lambda: block_means((3, 4)), ("(3, 4)", "multiples of 2")),
        (lambda: block_means((8,)), ("(8,)",)),
        (lambda: BinaryBlocks(np.zeros([2, 7]), bit_flips(0.1), (8,)), ("8 values", "[2, 7]")),
        (
            lambda: BinaryBlocks(np.zeros([2, 1]), block_means((4, 4), side=4), (16,)),
            ("at most 4", "16"),
        ),
        (
            lambda: BinaryBlocks(
                np.zeros([2, 2]), Channel(lambda x: x, np.zeros([2, 4], int)), (8,)
            ),
            ("`blocks`", "8 pixels once"),
        ),
        (
            lambda: BinaryBlocks(np.zeros([2, 8]), Channel(lambda x: 2.0 * x), (8,)),
            ("`tfd.Distribution`", "Tensor"),
        ),
        (
            lambda: BinaryBlocks(
                np.zeros([2, 8]), Channel(lambda x: tfd.Independent(tfd.Normal(x, 1.0), 1)), (8,)
            ),
            ("batch shape [8]",),
        ),
        (
            lambda: GaussianBlocks(
                np.zeros([2, 8]), Channel(lambda x: tfd.Normal(x**2, 1.0)), (8,)
            ),
            ("linear function",),
        ),
        (
            lambda: GaussianBlocks(
                np.zeros([2, 8]), Channel(lambda x: tfd.Normal(x, tf.exp(x))), (8,)
            ),
            ("same variance",),
        ),
        (
            lambda: GaussianBlocks(np.zeros([2, 8]), Channel(lambda x: tfd.Laplace(x, 1.0)), (8,)),
            ("`tfd.Normal`", "Laplace"),
        ),
    ],
)
def test_what_has_no_closed_form_is_one_line(make, parts: tuple[str, ...]) -> None:
    assert_one_line(make, ValueError, *parts)
