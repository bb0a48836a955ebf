"""The update that all samplers make: a leapfrog trajectory, its ratio, and what it leaves as is."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_mean
from tfp_aevb.distributions.hamiltonian import JITTER, first_results, hamiltonian_update

SHAPE = [40, 25, 2]
SEED = np.array([3, 4], np.int32)
PRECISION = np.array([[2.0, 0.9], [0.9, 1.0]])
RNG = np.random.default_rng(0)
START = RNG.multivariate_normal([0.0, 0.0], np.linalg.inv(PRECISION), SHAPE[:2])


def energy(z: np.ndarray) -> np.ndarray:
    return 0.5 * np.einsum("...i,ij,...j->...", z, PRECISION, z)


def log_prob(z: tf.Tensor) -> tf.Tensor:
    return -0.5 * tf.einsum("...i,ij,...j->...", z, tf.constant(PRECISION), z)


def test_it_is_a_leapfrog_trajectory_with_a_jittered_step_and_its_ratio() -> None:
    step = np.array([0.4, 0.7])  # of each coordinate
    state, acceptance, results = hamiltonian_update(
        log_prob, tf.constant(START), tf.constant(step), 3, SEED
    )
    jitter_seed = tfp.random.split_seed(SEED, n=2)[0]
    jitter = tf.random.stateless_uniform(SHAPE[:2], jitter_seed, 0.8, 1.2, tf.float64).numpy()
    step = jitter[..., np.newaxis] * step
    start = results.proposed_results.initial_momentum[0].numpy()
    z, momentum = START, start
    for _ in range(3):
        momentum = momentum - 0.5 * step * (z @ PRECISION)
        z = z + step * momentum
        momentum = momentum - 0.5 * step * (z @ PRECISION)
    np.testing.assert_allclose(results.proposed_state, z, rtol=1e-8)
    log_ratio = energy(START) - energy(z) + 0.5 * (start**2 - momentum**2).sum(axis=-1)
    np.testing.assert_allclose(acceptance, np.exp(np.minimum(log_ratio, 0.0)))
    accepted = results.is_accepted.numpy()
    assert_mean((accepted - acceptance.numpy()).ravel(), 0.0)
    kept = np.where(accepted[..., np.newaxis], z, START)
    np.testing.assert_allclose(state, kept, rtol=1e-8)
    assert jitter.min() < 1.0 - 0.9 * JITTER
    assert jitter.max() > 1.0 + 0.9 * JITTER


def test_results_spare_a_gradient_and_change_nothing() -> None:
    calls = []

    def counted(z: tf.Tensor) -> tf.Tensor:
        calls.append(z)
        return log_prob(z)

    state = tf.constant(START)
    results = first_results(counted, state)
    state, _, results = hamiltonian_update(counted, state, tf.constant(0.3), 3, SEED, results)
    before = len(calls)
    again = hamiltonian_update(counted, state, tf.constant(0.3), 3, SEED + 1, results)
    with_results = len(calls) - before
    anew = hamiltonian_update(counted, state, tf.constant(0.3), 3, SEED + 1)
    assert len(calls) - before > 2 * with_results
    np.testing.assert_array_equal(again[0], anew[0])
    np.testing.assert_array_equal(again[1], anew[1])


def test_the_density_stays_what_it_is() -> None:
    state = tf.constant(RNG.multivariate_normal([0.0, 0.0], np.linalg.inv(PRECISION), [20_000]))
    for i in range(5):
        state, _, _ = hamiltonian_update(log_prob, state, tf.constant(0.9), 3, SEED + i)
    assert_mean(state.numpy(), 0.0)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert_mean(state.numpy()[:, i] * state.numpy()[:, j], np.linalg.inv(PRECISION)[i, j])


def test_where_the_ratio_is_not_finite_the_proposal_is_rejected() -> None:
    def bounded(z: tf.Tensor) -> tf.Tensor:  # NaN away from 0 for every other chain, else -infinity
        outside = tf.reduce_any(tf.abs(z) > 1e-6, axis=-1)
        kind = tf.constant([np.nan, -np.inf] * 50, tf.float64)
        return tf.where(outside, kind, log_prob(z))

    start = tf.zeros([100, 2], tf.float64)
    state, acceptance, _ = hamiltonian_update(bounded, start, tf.constant(1.0), 3, SEED)
    np.testing.assert_array_equal(state, start)
    np.testing.assert_array_equal(acceptance, 0.0)
