"""The Gaussian fitted to each datapoint by itself, on a model whose best one is known."""

import numpy as np
import tensorflow as tf

from tests.helpers import LinearGaussian
from tfp_aevb.models.free_posterior import LARGEST_STEP, fit_free_posterior

EXACT = LinearGaussian(latent_dim=2, data_dim=5)
COPIES = 200


def fitted(x: np.ndarray, seed: int = 1, **kwargs) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of q(z) for each row of `x`."""
    decoder, prior = EXACT.decoder(tf.float32), EXACT.prior(tf.float32)
    data = tf.constant(x, tf.float32)

    @tf.function
    def fit() -> tuple[tf.Tensor, tf.Tensor]:
        q = fit_free_posterior(
            lambda z: decoder(z).log_prob(data) + prior.log_prob(z),
            len(x),
            2,
            seed=tf.constant([seed, 0]),
            **kwargs,
        )
        return q.mean(), q.variance()

    mean, variance = fit()
    return mean.numpy(), variance.numpy()


def test_it_finds_the_best_diagonal_gaussian_of_each_datapoint() -> None:
    x = EXACT.data(3)
    means, covariance = EXACT.posterior(x)
    mean, variance = fitted(np.repeat(x, COPIES, axis=0), num_steps=1000, num_samples=10)
    mean, variance = (v.reshape(3, COPIES, 2) for v in (mean, variance))
    # The best diagonal q of a Gaussian has its mean, and the inverse of its precision's diagonal.
    best = 1.0 / np.diag(np.linalg.inv(covariance))
    np.testing.assert_allclose(mean.mean(axis=1), means, atol=0.005 * np.sqrt(best.max()))
    np.testing.assert_allclose(variance.mean(axis=1), np.tile(best, [3, 1]), rtol=0.008)
    assert mean.std(axis=1).max() < 0.2 * np.sqrt(best.min())  # one fit alone is near as well


def test_it_does_not_depend_on_the_other_datapoints_of_a_batch() -> None:
    x = EXACT.data(2)
    near, far = fitted(x), fitted(np.stack([x[0], x[1] + 50.0]))
    np.testing.assert_allclose(near[0][0], far[0][0], rtol=1e-5)
    np.testing.assert_allclose(near[1][0], far[1][0], rtol=1e-5)


def test_its_divergence_from_the_posterior_is_nearly_the_least_of_diagonal_gaussians() -> None:
    x = EXACT.data(50)
    mean, variance = fitted(x)
    exact_means, covariance = EXACT.posterior(x)
    precision = np.linalg.inv(covariance)
    offset = mean - exact_means
    divergence = 0.5 * (
        (variance * np.diag(precision)).sum(1)
        + np.einsum("bi,ij,bj->b", offset, precision, offset)
        - 2
        + np.linalg.slogdet(covariance)[1]
        - np.log(variance).sum(1)
    )
    best = 0.5 * (np.linalg.slogdet(covariance)[1] + np.log(np.diag(precision)).sum())
    assert (divergence > best - 1e-3).all()
    assert divergence.mean() < best + 0.02


def test_a_first_step_moves_every_parameter_by_the_largest_step() -> None:
    # The first step of Adam is its rate along the sign of the gradient; q narrows to the target.
    q = fit_free_posterior(
        lambda z: -1e6 * tf.reduce_sum((z - [3.0, -3.0]) ** 2, axis=-1),
        1,
        2,
        num_steps=1,
        seed=tf.constant([5, 0]),
    )
    np.testing.assert_allclose(q.mean(), [[LARGEST_STEP, -LARGEST_STEP]], rtol=1e-5)
    np.testing.assert_allclose(q.stddev(), np.exp([[-LARGEST_STEP] * 2]), rtol=1e-5)


def test_no_gradient_flows_through_it() -> None:
    offset = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        q = fit_free_posterior(
            lambda z: -tf.reduce_sum((z - offset) ** 2, axis=-1),
            1,
            2,
            num_steps=2,
            seed=tf.constant([5, 0]),
        )
        total = tf.reduce_sum(q.mean() + q.stddev())
    assert tape.gradient(total, offset) is None
