"""The gaps of an encoder that is off by a known shift and scale, where p(z|x) is known exactly."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian, assert_one_line, binary_data, small_model
from tfp_aevb import layers
from tfp_aevb.evaluation.amortisation import inference_gaps
from tfp_aevb.evaluation.importance import importance_log_prob
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM

EXACT = LinearGaussian()
_, COVARIANCE = EXACT.posterior(np.zeros([1, EXACT.data_dim]))
PRECISION = np.linalg.inv(COVARIANCE)
BEST = 1.0 / np.sqrt(np.diag(PRECISION))  # the best diagonal q has its mean and these deviations
X = EXACT.data(400).astype(np.float32)
# What refinement leaves behind, nats (measured: 0.0033).
LEFT = 0.006


def diagonal_encoder(shift: float, widen: float) -> Callable:
    gain = tf.constant(EXACT.weights @ COVARIANCE / EXACT.variance, tf.float32)
    bias, scale = tf.constant(EXACT.bias, tf.float32), tf.constant(widen * BEST, tf.float32)

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        mean = tf.matmul(x - bias, gain) + shift
        return tfd.MultivariateNormalDiag(mean, scale * tf.ones_like(mean))

    return encoder


def model_of(encoder: Callable) -> AEVB:
    return AEVB(EXACT.prior(tf.float32), encoder, EXACT.decoder(tf.float32))


def kl_to_posterior(shift: float, covariance: np.ndarray) -> float:
    """KL(N(m + shift, covariance) || p(z|x)), nats."""
    offset = np.full(2, shift)
    trace = np.trace(PRECISION @ covariance) + offset @ PRECISION @ offset - 2.0
    determinants = np.linalg.slogdet(COVARIANCE)[1] - np.linalg.slogdet(covariance)[1]
    return float(0.5 * (trace + determinants))


LEAST = kl_to_posterior(0.0, np.diag(BEST**2))


@pytest.mark.compile
@pytest.mark.parametrize(("shift", "widen"), [(0.3, 1.4), (-0.4, 0.6)])
def test_the_gap_of_an_encoder_that_is_off_is_its_excess_kl(shift: float, widen: float) -> None:
    gaps = inference_gaps(model_of(diagonal_encoder(shift, widen)), X, seed=1)
    exact = kl_to_posterior(shift, np.diag((widen * BEST) ** 2)) - LEAST
    error = gaps.amortisation.std() / np.sqrt(len(X))
    assert error < 0.003 * exact
    assert abs(gaps.amortisation.mean() - exact) < 3.0 * error + LEFT < 0.015 * exact


@pytest.mark.compile
def test_the_best_diagonal_encoder_has_no_gap_and_the_family_s_is_exact() -> None:
    gaps = inference_gaps(model_of(diagonal_encoder(0.0, 1.0)), X, seed=1)
    assert abs(gaps.amortisation.mean()) < LEFT
    assert np.abs(gaps.amortisation).max() < 0.05
    error = gaps.approximation.std() / np.sqrt(len(X))
    assert abs(gaps.approximation.mean() - LEAST) < 4.0 * error + LEFT
    assert abs((gaps.log_prob - EXACT.log_prob(X)).mean()) < 0.02
    assert (gaps.approximation >= 0.0).all()


@pytest.mark.compile
def test_the_three_values_add_up_and_agree_with_the_other_estimators() -> None:
    model = model_of(diagonal_encoder(0.1, 1.1))
    gaps = inference_gaps(model, X[:50], num_samples=2000, seed=1)
    np.testing.assert_allclose(
        gaps.elbo + gaps.amortisation + gaps.approximation, gaps.log_prob, rtol=1e-12
    )
    elbo = model.elbo(X[:50], 2000, seed=2).numpy()
    importance = importance_log_prob(model, X[:50], 20000, seed=2).log_prob.numpy()
    np.testing.assert_allclose(gaps.elbo, elbo, atol=0.25)
    assert abs((gaps.elbo - elbo).mean()) < 0.03
    assert abs((gaps.log_prob - importance).mean()) < 0.02


@pytest.mark.compile
def test_a_full_covariance_is_refined_to_the_posterior_itself() -> None:
    model = model_of(EXACT.encoder(0.3, 1.4, tf.float32))
    gaps = inference_gaps(model, X, seed=1)
    exact = kl_to_posterior(0.3, 1.4**2 * COVARIANCE)
    error = gaps.amortisation.std() / np.sqrt(len(X))
    assert abs(gaps.amortisation.mean() - exact) < 3.0 * error + LEFT
    assert 0.0 <= gaps.approximation.mean() < 2.0 * LEFT
    np.testing.assert_allclose(gaps.log_prob, EXACT.log_prob(X), atol=0.02)


@pytest.mark.compile
def test_any_reparameterised_family_over_all_of_the_space_is_refined() -> None:
    exact = diagonal_encoder(0.0, 1.0)

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        q = exact(x)
        return tfd.Independent(tfd.Laplace(q.mean() + 0.5, q.stddev()), 1)

    model = AEVB(EXACT.prior(tf.float32), encoder, EXACT.decoder(tf.float32), objective="sgvb_a")
    gaps = inference_gaps(model, X[:100], seed=1)
    assert gaps.amortisation.mean() > 0.3
    assert gaps.approximation.mean() > LEAST  # no Laplace is as good as the best Gaussian
    assert abs((gaps.log_prob - EXACT.log_prob(X[:100])).mean()) < 0.05


@pytest.mark.compile
def test_a_mixture_prior_and_a_model_without_an_encoder_have_gaps_too() -> None:
    mixture = small_model(prior=layers.GaussianMixturePrior(2, 3), objective="sgvb_a")
    em = MonteCarloEM(
        layers.StandardNormalPrior(2), layers.BernoulliLikelihood(6, (5,)), num_data=5
    )
    for model in (mixture, em):
        gaps = inference_gaps(model, binary_data(5), num_steps=20, num_samples=20, seed=1)
        assert gaps.amortisation.shape == (5,)
        assert np.isfinite(gaps).all()


def test_gaps_that_are_not_defined_say_why() -> None:
    prior, encoder = layers.StandardNormalPrior(2), layers.DiagonalGaussianPosterior(2, (5,))
    full_vb = FullVB(prior, encoder, layers.BernoulliLikelihood(6, (5,)), num_data=5)
    assert_one_line(lambda: inference_gaps(full_vb, binary_data(5)), NotImplementedError, "random")

    def bounded(x: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.LogNormal(tf.zeros([tf.shape(x)[0], 2]), 1.0), 1)

    positive = tfd.Independent(tfd.LogNormal(tf.zeros([2]), 1.0), 1)
    model = small_model(prior=positive, encoder=bounded)
    assert_one_line(lambda: inference_gaps(model, binary_data(5)), NotImplementedError, "R^J")
    for name in ("num_steps", "num_samples"):
        assert_one_line(
            partial(inference_gaps, small_model(), binary_data(5), **{name: 0}),
            ValueError,
            f"`{name}`",
        )
