"""Draws of p(x|y) against exact posteriors: linear-Gaussian models, and quadrature over z."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tests.helpers import (
    LinearGaussian,
    assert_mean,
    assert_one_line,
    binary_data,
    log_sigmoid_terms,
    small_model,
)
from tfp_aevb import layers
from tfp_aevb.imputation import (
    Channel,
    Imputation,
    bit_flips,
    block_means,
    gaussian_noise,
    impute,
    sampling,
)
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB

LINEAR = LinearGaussian(latent_dim=2, data_dim=4, seed=0)
X = LINEAR.data(1)[0]
NAN = np.nan
COPIES = 400
EXACT = ("metropolis", "importance")
SAMPLES = {"gibbs": 100, "metropolis": 100, "importance": 500}


def linear_model(shift: float = 0.0, widen: float = 1.0) -> AEVB:
    encoder = LINEAR.encoder(shift, widen, tf.float32)
    return AEVB(LINEAR.prior(tf.float32), encoder, LINEAR.decoder(tf.float32))


def repeated(model: AEVB, y: np.ndarray, method: str, channel: Channel | None) -> Imputation:
    """Estimates for one datapoint, many times over."""
    rows = np.repeat(y[np.newaxis].astype(np.float32), COPIES, axis=0)
    samples, burn_in = SAMPLES[method], 60
    options: dict[str, Any] = {
        "method": method,
        "num_draws": 2,
        "num_samples": samples,
        "burn_in": burn_in,
    }
    return impute(model, rows, channel=channel, seed=1, jit_compile=False, **options)


def gaussian_posterior(
    y: np.ndarray, matrix: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x given y = matrix x + N(0, noise), exactly."""
    prior = LINEAR.weights @ LINEAR.weights.T + LINEAR.variance * np.eye(4)
    gain = prior @ matrix.T @ np.linalg.inv(matrix @ prior @ matrix.T + noise * np.eye(len(y)))
    return LINEAR.bias + gain @ (y - matrix @ LINEAR.bias), prior - gain @ matrix @ prior


MASKED = np.array([X[0], NAN, X[2], NAN])
BLOCKS = np.eye(4).reshape(2, 2, 4).mean(axis=1)
LINEAR_CASES = {
    "missing": (None, MASKED, np.eye(4)[[0, 2]], 0.0),
    "noise": (gaussian_noise(0.8), X, np.eye(4), 0.64),
    "block_means": (
        Channel(lambda x: tfd.Normal(tf.reduce_mean(x, -1), 0.5), np.arange(4).reshape(2, 2)),
        BLOCKS @ X,
        BLOCKS,
        0.25,
    ),
}


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("case", LINEAR_CASES)
def test_a_wrong_encoder_leaves_the_exact_gaussian_posterior(case: str, method: str) -> None:
    channel, y, matrix, noise = LINEAR_CASES[case]
    mean, covariance = gaussian_posterior(y[~np.isnan(y)], matrix, noise)
    found = repeated(linear_model(shift=0.4, widen=1.3), y, method, channel)
    free = np.diag(covariance) > 1e-6
    assert_mean(found.mean[:, free], mean[free])
    # A row's variance is around its own mean: what is between rows belongs to the whole variance.
    spread = found.stddev[:, free] ** 2 + (found.mean[:, free] - mean[free]) ** 2
    assert_mean(spread, np.diag(covariance)[free])
    draws = found.draws.reshape(-1, 4)[:, free]
    assert_mean(draws, mean[free])
    centred = draws - mean[free]
    products = centred[:, :, np.newaxis] * centred[:, np.newaxis]
    assert_mean(products, covariance[np.ix_(free, free)])
    # Less than a percent is a standard error of what is compared above.
    scale = np.sqrt(np.diag(covariance)[free])
    for values, unit in ((found.mean[:, free], scale), (spread, scale**2)):
        assert (values.std(axis=0) / np.sqrt(COPIES) < 0.008 * unit).all()


def test_pseudo_gibbs_is_exact_for_the_exact_encoder_alone() -> None:
    mean, _ = gaussian_posterior(X[[0, 2]], np.eye(4)[[0, 2]], 0.0)
    right = repeated(linear_model(), MASKED, "gibbs", None)
    assert_mean(right.mean[:, [1, 3]], mean[[1, 3]])
    wrong = repeated(linear_model(shift=0.1), MASKED, "gibbs", None).mean[:, [1, 3]]
    error = np.abs(wrong.mean(axis=0) - mean[[1, 3]])
    assert (error > 20.0 * wrong.std(axis=0) / np.sqrt(COPIES)).all()


# A model of 2x2 binary pixels with one latent, whose posterior is known by quadrature.
WEIGHTS, BIAS = np.array([2.0, -1.5, 1.0, 0.7]), np.array([-0.3, 0.2, 0.5, -0.6])
STATES = np.array(list(itertools.product([0, 1], repeat=4)), np.float64)


def binary_model() -> AEVB:
    """Its encoder is not the posterior."""
    weights, bias = (tf.constant(value[np.newaxis], tf.float32) for value in (WEIGHTS, BIAS))

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        loc = 0.4 * tf.reduce_sum((x - 0.5) * weights, axis=-1, keepdims=True)
        return tfd.MultivariateNormalDiag(loc, tf.fill(tf.shape(loc), 0.8))

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=z * weights + bias), 1)

    prior = tfd.MultivariateNormalDiag(tf.zeros([1]), tf.ones([1]))
    return AEVB(prior, encoder, decoder, objective="sgvb_a")


def by_quadrature(log_channel: np.ndarray) -> np.ndarray:
    """p(x|y) [16] for log p(y|x) [16]."""
    z, step = np.linspace(-9.0, 9.0, 2001, retstep=True)
    log_x = log_sigmoid_terms(STATES[:, np.newaxis], z[:, np.newaxis] * WEIGHTS + BIAS).sum(axis=-1)
    log_prior = -0.5 * z**2 - 0.5 * np.log(2.0 * np.pi) + np.log(step)
    log_joint = np.logaddexp.reduce(log_x + log_prior, axis=1) + log_channel
    return np.exp(log_joint - np.logaddexp.reduce(log_joint))


def _log(condition: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(condition.astype(np.float64))


FLIPPED = np.array([1.0, NAN, 0.0, 1.0])
BINARY_CASES = {
    "missing": (None, np.array([1.0, NAN, NAN, 0.0]), _log(STATES[:, 0] * (1.0 - STATES[:, 3]))),
    "nothing_seen": (None, np.full(4, NAN), np.zeros(16)),
    "flips": (
        bit_flips(0.2),
        FLIPPED,
        np.nansum(np.where(STATES == FLIPPED, np.log(0.8), np.log(0.2)) + 0.0 * FLIPPED, axis=1),
    ),
    "mean": (block_means((2, 2)), np.array([0.5]), _log(STATES.mean(axis=1) == 0.5)),
    "noisy_mean": (
        block_means((2, 2), stddev=0.3),
        np.array([0.3]),
        -0.5 * ((STATES.mean(axis=1) - 0.3) / 0.3) ** 2,
    ),
}


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("case", BINARY_CASES)
def test_binary_pixels_have_the_posterior_of_quadrature(case: str, method: str) -> None:
    channel, y, log_channel = BINARY_CASES[case]
    probs = by_quadrature(log_channel)
    found = repeated(binary_model(), y, method, channel)
    mean = probs @ STATES
    free = (mean > 1e-6) & (mean < 1.0 - 1e-6)
    assert_mean(found.mean[:, free], mean[free])
    assert (found.mean[:, free].std(axis=0) / np.sqrt(COPIES) < 0.003).all()
    variance = found.stddev[:, free] ** 2 + (found.mean[:, free] - mean[free]) ** 2
    assert_mean(variance, (mean * (1.0 - mean))[free])
    numbers = found.draws.reshape(-1, 4) @ [8, 4, 2, 1]
    assert_mean(numbers[:, np.newaxis] == np.arange(16), probs)


@pytest.mark.compile
def test_what_is_known_exactly_stays_and_has_no_spread() -> None:
    model, x = small_model(), binary_data(7)
    mask = np.random.default_rng(0).random(x.shape) < 0.5
    mask[0], mask[1] = True, False
    options: dict[str, Any] = {"num_samples": 20, "burn_in": 4, "seed": 2, "jit_compile": False}
    for method in sampling.METHODS:
        found = impute(model, x, mask=mask, method=method, **options)
        np.testing.assert_array_equal(found.mean[mask], x[mask])
        np.testing.assert_array_equal(found.stddev[mask], 0.0)
        assert (found.stddev[~mask] > 0.0).all()
        assert found.draws.shape == (10, *x.shape)
        np.testing.assert_array_equal(found.draws[:, mask], np.repeat([x[mask]], 10, axis=0))
        assert np.isnan(found.acceptance).all() == (method != "metropolis")
        assert np.isnan(found.effective_sample_size).all() == (method != "importance")


def test_proposals_from_the_posterior_are_all_accepted() -> None:
    y = np.repeat(MASKED[np.newaxis], 20, axis=0)
    found = impute(linear_model(), y, num_samples=30, burn_in=10, seed=1, jit_compile=False)
    np.testing.assert_allclose(found.acceptance, 1.0, atol=1e-3)


def test_weights_are_equal_where_nothing_is_seen_and_q_is_the_prior() -> None:
    decoder = small_model().decoder
    prior = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
    model = AEVB(
        prior, lambda x: tfd.BatchBroadcast(prior, tf.shape(x)[:1]), decoder, objective="sgvb_a"
    )
    y = np.full([3, 6], NAN, np.float32)
    options: dict[str, Any] = {"num_samples": 45, "burn_in": 2, "seed": 1, "jit_compile": False}
    found = impute(model, y, method="importance", **options)
    np.testing.assert_allclose(found.effective_sample_size, 50.0, rtol=1e-5)  # rounded up to tens


@pytest.mark.compile
def test_results_depend_on_the_seed_alone_and_rows_are_padded(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "ROWS", 20)
    model, x = small_model(), binary_data(5)
    x[:, :3] = NAN
    options: dict[str, Any] = {
        "num_draws": 10,
        "num_samples": 5,
        "burn_in": 3,
        "jit_compile": False,
    }
    for method in sampling.METHODS:
        first, again, other = (
            impute(model, x, method=method, seed=seed, **options) for seed in (1, 1, 2)
        )
        for name in Imputation._fields[:3]:
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
            assert not np.array_equal(getattr(first, name), getattr(other, name))
        assert first.mean.shape == first.stddev.shape == (5, 6)
        assert not np.array_equal(first.mean[0], first.mean[2])  # batches differ in their noise


@pytest.mark.compile
def test_full_vb_takes_its_parameters_at_their_mean() -> None:
    parts = small_model()
    tf_keras.utils.set_random_seed(1)
    decoder: Any = parts.decoder
    full = FullVB(parts.prior, parts.encoder, decoder, num_data=10, initial_stddev=2.0)
    x = binary_data(3)
    x[:, 3:] = NAN
    options: dict[str, Any] = {"num_samples": 5, "burn_in": 3, "seed": 1, "jit_compile": False}
    np.testing.assert_array_equal(impute(full, x, **options).mean, impute(parts, x, **options).mean)


@pytest.mark.compile
def test_images_and_xla() -> None:
    decoder = layers.GaussianLikelihood((2, 2), (4,), variance="global")
    model = small_model(decoder=decoder)
    y = np.array([[[0.3, NAN], [0.1, 0.5]], [[NAN, NAN], [NAN, NAN]]])
    found = impute(model, y, num_samples=3, burn_in=2, num_draws=2, seed=1)
    assert found.mean.shape == (2, 2, 2)
    np.testing.assert_array_equal(
        found.mean[0][~np.isnan(y[0])], np.array([0.3, 0.1, 0.5], np.float32)
    )
    np.testing.assert_array_equal(found.stddev[0][~np.isnan(y[0])], 0.0)
    assert found.draws.shape == (2, 2, 2, 2)
    coarse = impute(model, [[0.2], [NAN]], channel=block_means((2, 2)), num_samples=3, seed=1)
    np.testing.assert_allclose(coarse.draws[:, 0].mean(axis=(1, 2)), 0.2, atol=1e-5)


def _impute(decoder: object = None, y: object = None, **options) -> Callable[[], object]:
    y = binary_data(3) if y is None else y
    return lambda: impute(small_model(decoder=decoder), y, **options)


GREY = np.full([3, 6], 0.5)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("action", "parts"),
    [
        (_impute(method="guess"), ("`method`", "'guess'", "metropolis")),
        (_impute(num_draws=0), ("`num_draws`", "0")),
        (_impute(num_samples=-1), ("`num_samples`", "-1")),
        (_impute(burn_in=-1), ("`burn_in`", "-1")),
        (_impute(y=np.zeros([3, 5])), ("[6]", "[5]")),
        (_impute(y=np.zeros([0, 6])), ("`y`", "[0, 6]")),
        (_impute(y=np.zeros(6)), ("`y`", "[6]")),
        (_impute(y=np.full([3, 6], "a")), ("`y`", "numbers")),
        (_impute(y=np.full([3, 6], np.inf)), ("`y`", "infinite")),
        (_impute(y=GREY), ("0 or 1", "0.5")),
        (_impute(layers.BernoulliLikelihood(6, (), allow_grey=True), GREY), ("0 or 1", "0.5")),
        (_impute(mask=np.ones([3, 5], bool)), ("`mask`", "[3, 5]")),
        (_impute(mask=np.ones([3, 6])), ("`mask`", "bool", "float64")),
        (_impute(y=np.full([3, 6], NAN), mask=np.ones([3, 6], bool)), ("NaN", "`mask`")),
        (_impute(y=GREY, channel=bit_flips(0.1)), ("`y`", "0, 1 or NaN")),
        (
            _impute(
                layers.BernoulliLikelihood(4, ()), np.array([[0.3]]), channel=block_means((2, 2))
            ),
            ("row 0", "probability 0"),
        ),
        (
            _impute(layers.ContinuousBernoulliLikelihood(6, ()), channel=gaussian_noise(0.1)),
            ("`channel`", "ContinuousBernoulli"),
        ),
        (_impute(layers.GaussianLikelihood(6, ()), channel=bit_flips(0.1)), ("Bernoulli",)),
        (
            _impute(lambda z: tfd.MultivariateNormalTriL(tf.matmul(z, tf.ones([2, 6])), tf.eye(6))),
            ("independent given z", "MultivariateNormalTriL"),
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line(action: Callable[[], object], parts: tuple[str, ...]) -> None:
    assert_one_line(action, ValueError, *parts)
