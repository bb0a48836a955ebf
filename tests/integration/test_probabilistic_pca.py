"""AEVB with linear parts is probabilistic PCA, whose maximum likelihood is known exactly.

x = W z + b + noise of variance v. With the data's covariance's eigenvalues l[1] > ... > l[D]
(Tipping and Bishop, 1999): v is the mean of the last D - J, W spans the first J eigenvectors, and
the mean log p(x) is -1/2 ( D log(2 pi) + sum{ log l[j] : j=1...J } + (D - J) log v + D ).
"""

import functools

import numpy as np
import pytest
import tf_keras

from tests.helpers import gaussian_log_prob
from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB

N, D, J = 2000, 10, 3
STEPS, BATCH = 8000, 200
POSTERIORS = {
    "diagonal": layers.DiagonalGaussianPosterior,
    "full": layers.FullCovarianceGaussianPosterior,
}
posteriors = pytest.mark.parametrize("posterior", POSTERIORS)


def _data() -> np.ndarray:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=[D, J]))
    z = rng.normal(size=[N, J]) * [3.0, 2.0, 1.2]
    return (z @ basis.T + rng.normal(size=D) + 0.6 * rng.normal(size=[N, D])).astype(np.float32)


X = _data()
MEAN = X.mean(0, dtype=np.float64)
EIGENVALUES, EIGENVECTORS = (a[..., ::-1] for a in np.linalg.eigh(np.cov(X.T, bias=True)))
VARIANCE = EIGENVALUES[J:].mean()
_LOG_DETERMINANT = np.log(EIGENVALUES[:J]).sum() + (D - J) * np.log(VARIANCE)
LOG_PROB = -0.5 * (D * np.log(2.0 * np.pi) + _LOG_DETERMINANT + D)


def linear_model(posterior: str) -> AEVB:
    tf_keras.utils.set_random_seed(0)
    return AEVB(
        layers.StandardNormalPrior(J),
        POSTERIORS[posterior](J, ()),
        layers.GaussianLikelihood(D, (), variance="scalar"),
    )


@functools.cache
def trained(posterior: str) -> AEVB:
    """Fitted by Adam, L = 1, whose step size falls to zero: the noise of the last steps with it."""
    model = linear_model(posterior)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.01, STEPS)
    model.compile(tf_keras.optimizers.Adam(rate))
    model.fit(X, batch_size=BATCH, steps_per_epoch=STEPS, verbose=0)
    return model


def parameters(model: AEVB) -> tuple[np.ndarray, np.ndarray, float]:
    """W [D, J], b [D] and v, in float64."""
    assert isinstance(model.decoder, layers.GaussianLikelihood)
    weights, bias, log_variance = (v.numpy().astype(float) for v in model.decoder.parameters)
    return weights.T, bias, float(np.exp(log_variance))


def log_prob(model: AEVB) -> float:
    """The exact mean log p(x) of a model's parameters, nats per datapoint."""
    weights, bias, variance = parameters(model)
    return gaussian_log_prob(X, bias, weights @ weights.T + variance * np.eye(D)).mean()


def bound(model: AEVB) -> float:
    return model.elbo(X, num_samples=200, seed=1).numpy().mean(dtype=np.float64)


def largest_angle(weights: np.ndarray) -> float:
    """The largest angle between the columns' span and the principal subspace, degrees."""
    basis, _ = np.linalg.qr(weights)
    cosines = np.linalg.svd(basis.T @ EIGENVECTORS[:, :J], compute_uv=False)
    return np.degrees(np.arccos(min(cosines.min(), 1.0)))


def test_the_closed_form_is_the_likelihood_of_its_parameters_and_a_maximum() -> None:
    weights = EIGENVECTORS[:, :J] * np.sqrt(EIGENVALUES[:J] - VARIANCE)
    covariance = weights @ weights.T + VARIANCE * np.eye(D)
    assert gaussian_log_prob(X, MEAN, covariance).mean() == pytest.approx(LOG_PROB, abs=1e-6)
    for wrong in (1.01 * covariance, 0.99 * covariance):
        assert gaussian_log_prob(X, MEAN, wrong).mean() < LOG_PROB - 1e-4


@pytest.mark.run
@posteriors
def test_before_training_all_is_far_from_it(posterior: str) -> None:
    model = linear_model(posterior)
    weights, _, variance = parameters(model)
    assert log_prob(model) < LOG_PROB - 5.0
    assert bound(model) < log_prob(model) - 0.5
    assert largest_angle(weights) > 30.0
    assert variance > 2.0 * VARIANCE


@pytest.mark.run
@posteriors
def test_training_reaches_the_maximum_likelihood(posterior: str) -> None:
    assert LOG_PROB - 1e-3 < log_prob(trained(posterior)) < LOG_PROB + 1e-6


@posteriors
def test_the_bound_is_tight(posterior: str) -> None:
    model = trained(posterior)
    assert log_prob(model) - 0.02 < bound(model) < log_prob(model) + 0.01


@posteriors
def test_the_principal_subspace_the_mean_and_the_noise_are_found(posterior: str) -> None:
    weights, bias, variance = parameters(trained(posterior))
    assert largest_angle(weights) < 0.5
    # Along W the bias may be in z's mean as well; the prior, N(0, I), keeps it out.
    np.testing.assert_allclose(bias, MEAN, atol=0.02)
    assert variance == pytest.approx(VARIANCE, rel=0.005)
    strengths = np.linalg.svd(weights, compute_uv=False) ** 2
    np.testing.assert_allclose(strengths, EIGENVALUES[:J] - VARIANCE, rtol=0.02)


def test_a_diagonal_posterior_chooses_the_rotation_that_makes_it_exact() -> None:
    weights, _, _ = parameters(trained("diagonal"))
    columns = weights / np.linalg.norm(weights, axis=0)
    cosines = columns.T @ columns - np.eye(J)
    assert np.abs(cosines).max() < 0.05
