import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_mean, gaussian_log_prob
from tfp_aevb.layers import DiagonalGaussianPosterior, FullCovarianceGaussianPosterior

tfd = tfp.distributions
RNG = np.random.default_rng(1)


def _cholesky(params: np.ndarray, latent_dim: int) -> np.ndarray:
    factor = np.zeros([latent_dim, latent_dim])
    factor[np.diag_indices(latent_dim)] = np.exp(0.5 * params[latent_dim : 2 * latent_dim])
    factor[np.tril_indices(latent_dim, -1)] = params[2 * latent_dim :]
    return factor


def _gaussian_kl(mean: np.ndarray, covariance: np.ndarray) -> float:
    """KL(N(mean, covariance) || N(0, I))."""
    log_det = np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(covariance) + mean @ mean - len(mean) - log_det)


def test_diagonal_posterior_is_the_gaussian_of_its_parameters() -> None:
    params, z = RNG.normal(size=[4, 6]), RNG.normal(size=[4, 3])
    posterior = DiagonalGaussianPosterior.new(tf.constant(params, tf.float32))
    assert (posterior.batch_shape, posterior.event_shape) == ([4], [3])
    expected = [
        gaussian_log_prob(z[i : i + 1], p[:3], np.diag(np.exp(p[3:])))[0]
        for i, p in enumerate(params)
    ]
    np.testing.assert_allclose(posterior.log_prob(z), expected, rtol=1e-5)
    np.testing.assert_allclose(posterior.mean(), params[:, :3], rtol=1e-6)
    np.testing.assert_allclose(posterior.stddev(), np.exp(0.5 * params[:, 3:]), rtol=1e-6)


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 4])
def test_full_covariance_posterior_builds_its_cholesky_factor(latent_dim: int) -> None:
    size = FullCovarianceGaussianPosterior.params_size(latent_dim)
    assert size == 2 * latent_dim + latent_dim * (latent_dim - 1) // 2
    params, z = RNG.normal(size=[5, size]), RNG.normal(size=[5, latent_dim])
    posterior = FullCovarianceGaussianPosterior.new(tf.constant(params, tf.float32), latent_dim)
    for i, p in enumerate(params):
        factor = _cholesky(p, latent_dim)
        expected = gaussian_log_prob(z[i : i + 1], p[:latent_dim], factor @ factor.T)[0]
        assert posterior.log_prob(z)[i].numpy() == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(posterior.covariance()[i], factor @ factor.T, rtol=1e-4)
        np.testing.assert_allclose(posterior.mean()[i], p[:latent_dim], rtol=1e-6)


@pytest.mark.parametrize("full", [False, True])
def test_kl_to_the_standard_normal_equals_numpy(full: bool) -> None:
    params = RNG.normal(size=[4, 9 if full else 6])
    tensor = tf.constant(params, tf.float32)
    new = FullCovarianceGaussianPosterior.new
    posterior = new(tensor, 3) if full else DiagonalGaussianPosterior.new(tensor)
    kl = tfd.kl_divergence(posterior, tfd.MultivariateNormalDiag(tf.zeros([3]), tf.ones([3])))
    for i, p in enumerate(params):
        factor = _cholesky(p if full else np.concatenate([p, np.zeros(3)]), 3)
        expected = _gaussian_kl(p[:3], factor @ factor.T)
        assert kl[i].numpy() == pytest.approx(expected, rel=1e-5)


def test_samples_have_the_posterior_mean_and_covariance() -> None:
    params = np.array([0.7, -1.1, 0.3, -0.8, 0.9])
    factor = _cholesky(params, 2)
    posterior = FullCovarianceGaussianPosterior.new(tf.constant(params, tf.float32), 2)
    samples = posterior.sample(400_000, seed=[3, 4]).numpy().astype(np.float64)
    assert_mean(samples, params[:2])
    centred = samples - params[:2]
    assert_mean(np.einsum("ni,nj->nij", centred, centred), factor @ factor.T)


def test_entries_of_the_factor_are_bounded_by_the_largest_standard_deviation() -> None:
    params = tf.constant([[0.0, 0.0, 20.0, -20.0, 5000.0]])
    scale = FullCovarianceGaussianPosterior.new(params, 2).scale.to_dense()
    largest = np.exp(7.0)
    np.testing.assert_allclose(scale[0], [[largest, 0.0], [largest, 1.0 / largest]], rtol=1e-5)
