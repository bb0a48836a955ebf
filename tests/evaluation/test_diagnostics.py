"""The use of latents against closed forms, in models of 4 latents of which 2 are off."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_mean, assert_one_line, binary_data, small_model
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.diagnostics import (
    aggregate_posterior_test,
    kl_per_dimension,
    latent_statistics,
    random_rows,
)
from tfp_aevb.evaluation.means import mean_and_error
from tfp_aevb.evaluation.scores import score
from tfp_aevb.models.aevb import AEVB

J, D = 4, 3
GAIN = np.array([[0.8, 0.0, 0.1, 0.0], [0.3, 0.0, -0.05, 0.0], [0.0, 0.0, 0.0, 0.0]])
STDDEV = np.array([0.4, 1.0, 0.9, 0.7])
X = np.random.default_rng(0).normal(size=[230, D]).astype(np.float32)


def linear_encoder(shift: float = 0.0, stddev: np.ndarray = STDDEV, gain: np.ndarray = GAIN) -> Any:
    kernel, scale = tf.constant(gain, tf.float32), tf.constant(stddev, tf.float32)

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        mean = tf.matmul(x, kernel) + shift
        return tfd.MultivariateNormalDiag(mean, scale * tf.ones_like(mean))

    return encoder


def linear_model(prior: Any = None, **kwargs) -> AEVB:
    weights = tf.constant(np.random.default_rng(1).normal(size=[J, D]), tf.float32)
    prior = prior or tfd.MultivariateNormalDiag(tf.zeros([J]), tf.ones([J]))
    return AEVB(
        prior,
        kwargs.pop("encoder", linear_encoder()),
        lambda z: tfd.Independent(tfd.Normal(tf.matmul(z, weights), 0.5), 1),
        **kwargs,
    )


@pytest.mark.compile
def test_variances_and_active_units_are_those_of_the_encoder() -> None:
    found = latent_statistics(linear_model(), Observations(X))
    means = X.astype(np.float64) @ GAIN
    np.testing.assert_allclose(found.variances, means.var(axis=0, ddof=1), rtol=1e-4, atol=1e-12)
    assert 0.01 < found.variances[2] < 0.02  # just active
    assert found.active.tolist() == [True, False, True, False]


@pytest.mark.compile
def test_a_latent_just_below_the_threshold_is_inactive() -> None:
    means = X.astype(np.float64) @ GAIN
    factor = np.sqrt(0.0099 / means.var(axis=0, ddof=1)[2])
    model = linear_model(encoder=linear_encoder(gain=GAIN * [1.0, 1.0, factor, 1.0]))
    found = latent_statistics(model, Observations(X))
    assert found.active.tolist() == [True, False, False, False]


@pytest.mark.compile
@pytest.mark.parametrize("own_prior", [False, True])
def test_the_kl_of_each_latent_is_the_closed_form(own_prior: bool) -> None:
    loc, scale = np.zeros(J), np.ones(J)
    if own_prior:
        loc, scale = np.array([0.5, -1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0, 1.5])
    prior = tfd.MultivariateNormalDiag(loc.astype(np.float32), scale.astype(np.float32))
    found = latent_statistics(linear_model(prior), Observations(X))
    means = X.astype(np.float64) @ GAIN
    terms = ((means - loc) / scale) ** 2 + (STDDEV / scale) ** 2 - 1.0
    expected = (0.5 * terms - np.log(STDDEV / scale)).mean(axis=0)
    assert found.kl is not None
    np.testing.assert_allclose(found.kl, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.kl.sum(), found.rate.mean(), rtol=1e-5)


def test_other_products_have_a_kl_of_each_latent_too() -> None:
    q = tfd.Independent(tfd.Gamma(tf.constant([[2.0, 3.0]]), 1.5), 1)
    p = tfd.Independent(tfd.Gamma(tf.constant([1.0, 2.5]), 1.0), 1)
    found = kl_per_dimension(q, p)
    assert found is not None
    assert found.shape == (1, 2)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=-1), tfd.kl_divergence(q, p), rtol=1e-6)
    assert found[0, 0] != found[0, 1]


@pytest.mark.compile
def test_where_there_is_no_kl_of_a_latent_it_is_none() -> None:
    models = [
        small_model(prior=layers.GaussianMixturePrior(2, 3), objective="sgvb_a"),
        small_model(encoder=layers.FullCovarianceGaussianPosterior(2, (5,))),
    ]
    for model in models:
        found = latent_statistics(model, Observations(binary_data()), num_samples=3)
        assert found.kl is None
        assert found.variances.shape == (2,)
    laplace = tfd.Independent(tfd.Laplace(tf.zeros([1, 2]), 1.0), 1)
    cauchy = tfd.Independent(tfd.Cauchy(tf.zeros([2]), 1.0), 1)
    assert kl_per_dimension(laplace, cauchy) is None


@pytest.mark.compile
@pytest.mark.parametrize(
    ("objective", "num_samples"), [("sgvb_a", 2), ("sgvb_b", 2), ("sgvb_a", 250)]
)
def test_rate_and_distortion_are_minus_the_bound_that_evaluate_gives(
    objective: str, num_samples: int
) -> None:
    model, x = linear_model(objective=objective), Observations(X)
    found = latent_statistics(model, x, num_samples=num_samples, seed=3)
    scores = score(model, x, "elbo", num_samples, seed=3)
    np.testing.assert_allclose(-(found.rate + found.distortion), scores.values, rtol=1e-5)
    np.testing.assert_array_equal(found.elbo, -(found.rate + found.distortion))


@pytest.mark.compile
def test_rate_and_distortion_have_their_exact_expectation() -> None:
    found = latent_statistics(linear_model(objective="sgvb_a"), Observations(X), num_samples=2000)
    means, weights = X @ GAIN, np.random.default_rng(1).normal(size=[J, D])
    rate = 0.5 * (means**2 + STDDEV**2 - 1.0) - np.log(STDDEV)
    spread = ((STDDEV[:, None] * weights) ** 2).sum()
    squares = ((X - means @ weights) ** 2).sum(axis=1) + spread
    distortion = squares / (2.0 * 0.25) + 0.5 * D * np.log(2.0 * np.pi * 0.25)
    assert_mean(found.rate - rate.sum(axis=1), 0.0)
    assert_mean(found.distortion - distortion, 0.0)
    for values, exact in ((found.rate, rate.sum(axis=1)), (found.distortion, distortion)):
        assert abs(values.mean() / exact.mean() - 1.0) < 0.005


@pytest.mark.compile
def test_the_aggregate_posterior_of_an_exact_encoder_is_the_prior() -> None:
    # Means N(0, 1 - s^2) and a standard deviation of s: q(z) is N(0, I).
    gain = np.diag(np.sqrt(1.0 - STDDEV[:D] ** 2)) @ np.eye(D, J)
    p_values = []
    for seed, shift in ((0, 0.0), (1, 0.0), (2, 0.0), (0, 0.5)):
        stddev = np.array([*STDDEV[:D], 1.0])
        model = linear_model(encoder=linear_encoder(shift, stddev, gain))
        test = aggregate_posterior_test(model, Observations(X), num_draws=200, seed=seed)
        assert test.draws == (200, 200)
        p_values.append(test.p_value)
    assert min(p_values[:3]) > 0.02
    assert p_values[3] == 1 / 501
    assert test.mmd2 > 0.02


def test_fewer_datapoints_than_draws_are_all_taken() -> None:
    test = aggregate_posterior_test(linear_model(), Observations(X[:20]), permutations=5)
    assert test.draws == (20, 20)
    assert 0 < test.p_value <= 1


def test_the_error_of_a_mean() -> None:
    mean, error = mean_and_error(np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose([mean, error], [3.0, np.sqrt(7.0 / 3.0)])
    assert np.isnan(mean_and_error(np.ones(1))[1])


def test_data_that_do_not_fit_are_one_line_errors() -> None:
    model = linear_model()
    assert_one_line(
        lambda: latent_statistics(model, Observations(X[:, :2])), ValueError, "[3]", "[2]"
    )
    assert_one_line(lambda: latent_statistics(model, Observations(X[:1])), ValueError, "2", "got 1")


def test_weighted_datapoints_count_as_repeated_ones() -> None:
    model = small_model()
    x, weights = binary_data(40), np.random.default_rng(3).integers(0, 4, 40)
    found = latent_statistics(model, Observations(x, weights=weights))
    each = latent_statistics(model, Observations(x))
    repeated = latent_statistics(model, Observations(np.repeat(x, weights, axis=0)))
    np.testing.assert_allclose(found.kl, repeated.kl, rtol=1e-5)
    assert np.abs(found.kl - each.kl).max() > 1e-4
    np.testing.assert_array_equal(found.rate, each.rate)
    count, share = weights.sum(), weights / weights.sum()
    # The repeated rows are no new ones: their variance is smaller by these factors.
    ratio = (1.0 - 1.0 / count) / (1.0 - (share**2).sum())
    np.testing.assert_allclose(found.variances, ratio * repeated.variances, rtol=1e-5)


def test_random_rows_are_drawn_as_often_as_they_count() -> None:
    x = np.arange(4.0, dtype=np.float32)[:, np.newaxis]
    drawn = random_rows(Observations(x, weights=[0.0, 1.0, 0.0, 3.0]), 4000, "test", 0).numpy()
    assert set(drawn.ravel()) == {1.0, 3.0}
    share = float((drawn == 3.0).mean())
    assert abs(share - 0.75) < 4.0 * (0.75 * 0.25 / 4000.0) ** 0.5
