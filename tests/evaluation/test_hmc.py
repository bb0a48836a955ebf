"""Appendix D against exact log p(x) of linear-Gaussian models."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian, assert_mean, assert_one_line
from tfp_aevb.evaluation import ess_bulk, ess_tail, hmc_log_prob, r_hat, sample_posterior
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


def squared_distances(exact: LinearGaussian, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(z - mean)' precision (z - mean) of draws [S, C, B, J]: chi-square with J degrees."""
    mean, covariance = exact.posterior(x)
    return np.einsum("scbi,ij,scbj->scb", z - mean, np.linalg.inv(covariance), z - mean)


@pytest.mark.compile
def test_draws_have_the_moments_of_the_posterior() -> None:
    """Trajectories of one length came back: distances had a lag-1 autocorrelation up to 0.7."""
    exact, model, x = exact_model(2, shift=0.5, widen=2.0)
    draws = tf.function(lambda: sample_posterior(model, x, 100, seed=1), jit_compile=True)()
    z = draws.z.numpy()
    mean, covariance = exact.posterior(x)
    assert_mean((z - mean).mean(axis=(0, 1)), 0.0)
    distances = squared_distances(exact, x, z)
    assert_mean(distances.mean(axis=(0, 1)), 2.0)
    assert_mean((z - mean).prod(axis=-1).mean(axis=(0, 1)), covariance[0, 1])
    centered = distances - distances.mean(axis=(0, 1))
    lagged = (centered[1:] * centered[:-1]).mean(axis=(0, 1)) / centered.var(axis=(0, 1))
    assert lagged.mean() < 0.03
    assert lagged.max() < 0.25  # of 200, whose standard errors are 0.05
    assert ess_bulk(distances).numpy().min() > 250.0
    assert r_hat(distances).numpy().max() < 1.03
    assert abs(draws.acceptance.numpy().mean() - 0.9) < 0.01
    assert draws.acceptance.numpy().max() <= 1.0
    # The diagnostics are the worst of both dimensions.
    np.testing.assert_allclose(draws.r_hat, r_hat(z).numpy().max(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(draws.ess_bulk, ess_bulk(z).numpy().min(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(draws.ess_tail, ess_tail(z).numpy().min(axis=-1), rtol=1e-6)
    assert draws.r_hat.numpy().max() < 1.03


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("burn_in", [0, 1, 2])
def test_without_burn_in_chains_from_the_posterior_stay_there(burn_in: int) -> None:
    exact, model, x = exact_model(2)
    draws = sample_posterior(model, x, 5, burn_in=burn_in, thinning=1, seed=3)
    assert draws.z.shape == [5, 5, NUM_DATA, 2]
    assert_mean(squared_distances(exact, x, draws.z.numpy()).mean(axis=(0, 1)), 2.0)
    assert draws.acceptance.numpy().min() > 0.5


@pytest.mark.compile
def test_thinning_leaves_out_draws_and_changes_none() -> None:
    _, model, x = exact_model(2)
    every, third = (
        sample_posterior(model, x[:3], n, burn_in=10, thinning=k, seed=1).z
        for n, k in ((7, 1), (3, 3))
    )
    np.testing.assert_allclose(every[::3], third, rtol=1e-5)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("num_chains", "num_draws", "is_known"), [(1, 5, False), (3, 3, False), (2, 4, True)]
)
def test_chains_are_compared_where_there_are_two_of_four_draws(
    num_chains: int, num_draws: int, is_known: bool
) -> None:
    _, model, x = exact_model(2)
    settings = {"num_chains": num_chains, "burn_in": 10, "thinning": 2}
    draws = sample_posterior(model, x, num_draws, seed=1, **settings)
    assert (np.isfinite(draws.r_hat) == is_known).all()


@pytest.mark.compile
def test_the_step_is_tuned_though_the_encoder_is_too_wide() -> None:
    _, model, x = exact_model(2, widen=4.0)
    draws = sample_posterior(model, x, 50, seed=1)
    assert abs(draws.acceptance.numpy().mean() - 0.9) < 0.05


def test_chains_in_two_modes_of_one_latent_are_found_out() -> None:
    _, model, x = exact_model(2)

    def log_joint(x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:  # z_0 = +-10 or so, z_1 standard normal
        distances = tf.square(tf.abs(z[..., 0]) - 10.0)
        values = -0.5 * (distances + tf.square(z[..., 1]))
        return values + 0.0 * tf.reduce_sum(x, axis=-1)

    model.log_joint = log_joint
    draws = sample_posterior(model, x, 50, seed=1)
    signs = np.sign(draws.z.numpy()[0, ..., 0])  # [C, B]
    apart = np.abs(signs.sum(axis=0)) < len(signs)
    assert 0.2 < apart.mean() < 1.0
    assert (draws.r_hat.numpy()[apart] > 1.4).all()  # of ranks it is at most 2 or so
    assert (draws.r_hat.numpy()[~apart] < 1.1).all()


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_appendix_d_is_within_a_twentieth_of_a_nat(latent_dim: int) -> None:
    exact, model, x = exact_model(latent_dim, shift=0.3, widen=1.5)
    estimate = hmc_log_prob(model, x, 50, seed=2)
    difference = np.asarray(estimate.log_prob, np.float64) - exact.log_prob(x)
    assert_mean(np.exp(-difference), 1.0, standard_errors=4.0)  # it is unbiased for 1 / p(x)
    bias, error = errors(estimate.log_prob, exact.log_prob(x))
    assert abs(bias) < 0.05
    assert abs(bias - 0.5 * difference.var()) < 4.0 * error
    assert error < 0.02  # so that a term 1% off, which moves log p by more, cannot pass
    assert (estimate.ess_bulk.numpy() > 20.0).all()
    assert (estimate.ess_tail.numpy() > 10.0).all()
    assert (estimate.r_hat.numpy() < 1.1).mean() > 0.95


def test_appendix_d_has_no_answer_where_chains_stay_where_they_are() -> None:
    _, model, x = exact_model(2)
    log_joint = model.log_joint

    def stuck(x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:  # a needle for every other datapoint
        spoilt = tf.range(tf.shape(x)[0]) % 2 == 1
        return tf.where(spoilt, -1e12 * tf.reduce_sum(z**2, axis=-1), log_joint(x, z))

    model.log_joint = stuck
    estimate = hmc_log_prob(model, x[:6], 50, burn_in=0, seed=2)
    np.testing.assert_array_equal(np.isnan(estimate.log_prob), [False, True] * 3)
    assert (estimate.acceptance.numpy()[1::2] < 0.01).all()
    assert (estimate.r_hat.numpy()[1::2] > 1e6).all()


@pytest.mark.compile
def test_a_posterior_without_a_variance_still_has_steps() -> None:
    exact, model, x = exact_model(1)
    loc = model.encode(x).mean()
    model.encoder = lambda x: tfd.Independent(tfd.StudentT(1.5, loc, 0.3), 1)  # its is infinite
    draws = sample_posterior(model, x, 20, seed=1)
    assert abs(draws.acceptance.numpy().mean() - 0.9) < 0.05
    assert_mean(squared_distances(exact, x, draws.z.numpy()).mean(axis=(0, 1)), 1.0)


def test_appendix_d_sees_a_likelihood_one_percent_off() -> None:
    exact, model, x = exact_model(2, data_dim=10, shift=0.3, widen=1.5)
    exact_log_prob = exact.log_prob(x)
    log_likelihood = model.log_likelihood
    model.log_likelihood = lambda *args: 1.01 * log_likelihood(*args)
    estimate = hmc_log_prob(model, x, 50, seed=2)
    bias, _ = errors(estimate.log_prob, exact_log_prob)
    assert abs(bias) > 0.05


def test_bad_numbers_are_refused() -> None:
    _, model, x = exact_model(2)
    assert_one_line(lambda: hmc_log_prob(model, x, 3, num_chains=1), ValueError, "above 3", "got 3")
    assert_one_line(lambda: hmc_log_prob(model, x, 51), ValueError, "multiple")
    for name, least in (("num_chains", 1), ("burn_in", 0), ("thinning", 1)):
        for run in (hmc_log_prob, sample_posterior):
            assert_one_line(
                lambda name=name, least=least, run=run: run(model, x, 50, **{name: least - 1}),
                ValueError,
                f"`{name}` must be at least {least}, got {least - 1}",
            )
    assert_one_line(lambda: sample_posterior(model, x, 0), ValueError, "`num_draws`", "got 0")
