"""The Poisson density at counts up to ten million, against SciPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfp_aevb.distributions.poisson import Poisson
from tfp_aevb.layers import PoissonLikelihood, ZeroInflatedPoissonLikelihood

RATES = np.array([0.02, 0.7, 5.0, 15.0, 17.0, 120.0, 1e3, 1e4, 1e5, 1e6, 1e7])
LOG_RATES = np.log(RATES).astype(np.float32)[:, None]
# Counts out to 5 standard deviations, on both sides of where the form changes, and far away.
STEPS = np.linspace(-5.0, 5.0, 41)
NEAR = np.maximum(np.round(RATES[:, None] + STEPS * np.sqrt(RATES[:, None])), 0.0)
ANY = np.array([0, 1, 2, 15, 16, 17, 40, 1e3, 3e4, 1e6, 1e7], np.float32)


def exact(x: np.ndarray) -> np.ndarray:
    return stats.poisson.logpmf(x, np.exp(LOG_RATES.astype(np.float64)))


@pytest.mark.parametrize("xla", [False, True])
def test_the_density_is_scipys(xla: bool) -> None:
    density = tf.function(lambda x: Poisson(log_rate=LOG_RATES).log_prob(x), jit_compile=xla)
    np.testing.assert_allclose(
        density(tf.constant(NEAR, tf.float32)), exact(NEAR), rtol=3e-6, atol=1e-3
    )
    few = RATES < 2e4
    found = density(tf.constant(NEAR, tf.float32)).numpy()[few]
    np.testing.assert_allclose(found, exact(NEAR)[few], rtol=3e-6, atol=1e-4)
    np.testing.assert_allclose(density(tf.constant(ANY)), exact(ANY), rtol=3e-6, atol=1e-4)


def test_the_gradient_is_x_less_the_rate_everywhere() -> None:
    x = np.concatenate([NEAR, np.tile(ANY, [len(RATES), 1])], axis=1)
    log_rate = tf.constant(LOG_RATES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(log_rate)
        rows = log_rate + tf.zeros(x.shape)
        tape.watch(rows)
        first = tape.gradient(Poisson(log_rate=rows).log_prob(x.astype(np.float32)), rows)
    rate = np.exp(LOG_RATES.astype(np.float64))
    assert (np.abs(first - (x - rate)) <= 1e-6 * np.abs(x - rate) + 3e-7 * rate).all()
    np.testing.assert_allclose(tape.gradient(first, log_rate)[:, 0], -rate[:, 0] * x.shape[1], 1e-5)


def test_the_likelihoods_have_it() -> None:
    rate, size = 1e6, 100
    log_rate = np.float32(np.log(rate))
    truth = stats.poisson(np.exp(np.float64(log_rate)))
    x = truth.rvs([50, size], random_state=0)
    found = PoissonLikelihood.new(tf.fill([50, size], log_rate), [size]).log_prob(
        x.astype(np.float32)
    )
    np.testing.assert_allclose(found, truth.logpmf(x).sum(1), atol=0.02)
    params = tf.concat([tf.fill([50, size], log_rate), tf.zeros([50, size])], axis=1)
    found = ZeroInflatedPoissonLikelihood.new(params, [size]).log_prob(x.astype(np.float32))
    np.testing.assert_allclose(found, truth.logpmf(x).sum(1) + size * np.log(0.5), atol=0.02)
