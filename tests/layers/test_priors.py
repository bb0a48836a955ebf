import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_mean, assert_one_line, gaussian_log_prob
from tfp_aevb.layers import DiagonalNormalPrior, GaussianMixturePrior, StandardNormalPrior

RNG = np.random.default_rng(2)
Z = RNG.normal(size=[5, 3])


def test_standard_normal_prior_has_the_standard_density_and_no_parameters() -> None:
    prior = StandardNormalPrior(3)
    assert prior.weights == []
    np.testing.assert_allclose(prior().log_prob(Z), gaussian_log_prob(Z, 0.0, np.eye(3)), rtol=1e-6)


def test_diagonal_prior_starts_standard_and_follows_its_parameters() -> None:
    prior = DiagonalNormalPrior(3)
    np.testing.assert_allclose(prior().log_prob(Z), gaussian_log_prob(Z, 0.0, np.eye(3)), rtol=1e-6)
    loc, log_variance = RNG.normal(size=3), RNG.normal(size=3)
    prior.loc.assign(loc)
    prior.log_variance.assign(log_variance)
    expected = gaussian_log_prob(Z, loc, np.diag(np.exp(log_variance)))
    np.testing.assert_allclose(prior().log_prob(Z), expected, rtol=1e-5)


def test_mixture_prior_is_the_weighted_sum_of_its_components() -> None:
    prior = GaussianMixturePrior(3, 4)
    logits, log_variance = RNG.normal(size=4), RNG.normal(size=[4, 3])
    loc = RNG.normal(size=[4, 3])
    prior.logits.assign(logits)
    prior.loc.assign(loc)
    prior.log_variance.assign(log_variance)
    density = np.zeros(5)
    for k in range(4):
        weight = np.exp(logits[k]) / np.exp(logits).sum()
        component = gaussian_log_prob(Z, loc[k], np.diag(np.exp(log_variance[k])))
        density += weight * np.exp(component)
    np.testing.assert_allclose(prior().log_prob(Z), np.log(density), rtol=1e-5)


def test_mixture_prior_starts_with_equal_weights_unit_variances_and_drawn_means() -> None:
    tf.random.set_seed(5)
    prior = GaussianMixturePrior(100, 1000)
    np.testing.assert_array_equal(prior.logits, np.zeros(1000))
    np.testing.assert_array_equal(prior.log_variance, np.zeros([1000, 100]))
    loc = prior.loc.numpy().ravel()
    assert_mean(loc, 0.0)
    assert_mean(loc**2, 1.0)


@pytest.mark.parametrize("make", [StandardNormalPrior, DiagonalNormalPrior, GaussianMixturePrior])
def test_priors_are_trained_through_their_density(make: type) -> None:
    prior = make(3)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(prior().log_prob(tf.constant(Z, tf.float32)))
    gradients = tape.gradient(value, prior.trainable_variables)
    assert all(np.abs(gradient).max() > 0.0 for gradient in gradients[1:])
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("make", [StandardNormalPrior, DiagonalNormalPrior, GaussianMixturePrior])
def test_priors_refuse_a_bad_size(make: type) -> None:
    assert_one_line(lambda: make(0), ValueError, "`latent_dim`", "0")


def test_mixture_refuses_a_bad_number_of_components() -> None:
    assert_one_line(lambda: GaussianMixturePrior(2, 0), ValueError, "`num_components`", "0")
