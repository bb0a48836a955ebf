"""Appendix D against exact log p(x) of linear-Gaussian models."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import LinearGaussian, assert_one_line
from tfp_aevb.evaluation import hmc_log_prob, sample_posterior
from tfp_aevb.models.aevb import AEVB

NUM_DATA = 200


def exact_model(
    latent_dim: int, data_dim: int | None = None, **encoder
) -> tuple[LinearGaussian, AEVB, np.ndarray]:
    exact = LinearGaussian(latent_dim, data_dim or latent_dim + 2, seed=latent_dim)
    float32 = tf.float32
    model = AEVB(
        exact.prior(float32),
        exact.encoder(dtype=float32, **encoder),
        exact.decoder(float32),
        objective="sgvb_a",
    )
    return exact, model, exact.data(NUM_DATA).astype(np.float32)


def errors(estimate: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """The mean error of an estimate and its standard error, over the paired datapoints."""
    difference = np.asarray(estimate, np.float64) - exact
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


def test_draws_have_the_moments_of_the_posterior() -> None:
    exact, model, x = exact_model(2, shift=0.5, widen=2.0)
    draw = tf.function(lambda: sample_posterior(model, x, 100, seed=1), jit_compile=True)
    draws = draw()
    mean, covariance = exact.posterior(x)
    z = draws.z.numpy().reshape(-1, NUM_DATA, 2) - mean
    # Over 200 datapoints of 500 draws, of which thinning leaves at least a tenth independent.
    error = np.sqrt(np.diag(covariance) / (NUM_DATA * 50))
    assert (np.abs(z.mean((0, 1))) < 5 * error).all()
    found = np.einsum("sbi,sbj->ij", z, z) / z.shape[0] / NUM_DATA
    np.testing.assert_allclose(found, covariance, atol=5 * covariance.max() * np.sqrt(2 / 10_000))
    assert abs(draws.acceptance.numpy().mean() - 0.89) < 0.015  # the target is 0.9
    assert draws.acceptance.numpy().max() <= 1.0
    assert np.median(draws.r_hat) < 1.1


@pytest.mark.parametrize(
    ("num_chains", "num_draws", "is_known"), [(1, 5, False), (3, 3, False), (2, 4, True)]
)
def test_chains_are_compared_where_there_are_two_of_four_draws(
    num_chains: int, num_draws: int, is_known: bool
) -> None:
    _, model, x = exact_model(2)
    settings = {"num_chains": num_chains, "burn_in": 10, "thinning": 2}
    draw = tf.function(lambda: sample_posterior(model, x, num_draws, seed=1, **settings))
    assert (np.isfinite(draw().r_hat) == is_known).all()


def test_the_step_is_tuned_though_the_encoder_is_too_wide() -> None:
    _, model, x = exact_model(2, widen=4.0)
    draw = tf.function(lambda: sample_posterior(model, x, 50, seed=1), jit_compile=True)
    assert abs(draw().acceptance.numpy().mean() - 0.9) < 0.05


def test_chains_in_two_modes_of_one_latent_are_found_out() -> None:
    _, model, x = exact_model(2)

    def log_joint(x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:  # z_0 = +-10 or so, z_1 standard normal
        distances = tf.square(tf.abs(z[..., 0]) - 10.0)
        values = -0.5 * (distances + tf.square(z[..., 1]))
        return values + 0.0 * tf.reduce_sum(x, axis=-1)

    model.log_joint = log_joint
    draws = tf.function(lambda: sample_posterior(model, x, 50, seed=1), jit_compile=True)()
    signs = np.sign(draws.z.numpy()[0, ..., 0])  # [C, B]
    apart = np.abs(signs.sum(axis=0)) < len(signs)
    assert 0.2 < apart.mean() < 1.0
    assert (draws.r_hat.numpy()[apart] > 1.4).all()  # of ranks it is at most 2 or so
    assert (draws.r_hat.numpy()[~apart] < 1.1).all()


@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_appendix_d_is_within_a_twentieth_of_a_nat(latent_dim: int) -> None:
    exact, model, x = exact_model(latent_dim, shift=0.3, widen=1.5)
    estimate = tf.function(lambda: hmc_log_prob(model, x, 50, seed=2), jit_compile=True)()
    bias, error = errors(estimate.log_prob, exact.log_prob(x))
    assert abs(bias) < 0.05
    assert error < 0.02  # so that a term 1% off, which moves log p by more, cannot pass


def test_appendix_d_sees_a_likelihood_one_percent_off() -> None:
    exact, model, x = exact_model(2, data_dim=10, shift=0.3, widen=1.5)
    exact_log_prob = exact.log_prob(x)
    log_likelihood = model.log_likelihood
    model.log_likelihood = lambda *args: 1.01 * log_likelihood(*args)
    estimate = tf.function(lambda: hmc_log_prob(model, x, 50, seed=2), jit_compile=True)()
    bias, _ = errors(estimate.log_prob, exact_log_prob)
    assert abs(bias) > 0.05


def test_bad_numbers_are_refused() -> None:
    _, model, x = exact_model(2)
    assert_one_line(lambda: hmc_log_prob(model, x, 3, num_chains=1), ValueError, "above 3", "got 3")
    assert_one_line(lambda: hmc_log_prob(model, x, 51), ValueError, "multiple")
