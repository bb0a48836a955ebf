"""One update of Hamiltonian Monte Carlo, as all the package's samplers make it."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

# A trajectory of fixed length may come back to where it began: each has another one.
JITTER = 0.2


def hamiltonian_update(
    log_prob: Callable[[tf.Tensor], tf.Tensor],
    state: tf.Tensor,
    step_size: tf.Tensor,
    num_leapfrog_steps: int,
    seed: tf.Tensor,
    results: Any = None,
) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """Makes one update that leaves the density exp(`log_prob`) as it is.

    Each chain multiplies its step size by a number of its own from U(0.8, 1.2). A proposal where
    the logarithm of the acceptance ratio is not finite is rejected.

    Args:
        log_prob: from [..., K] to [...] nats, up to a constant.
        state: [..., K].
        step_size: of the leapfrog steps, broadcast to `state`.
        num_leapfrog_steps: of the trajectory.
        seed: [2] int32.
        results: what the former update of this state returned, which spares one gradient. Only for
            the same `log_prob`: results hold its value and gradient at `state`. By default both
            are computed anew.

    Returns:
        The next state, the probability of acceptance [...], and the results.
    """
    jitter_seed, update_seed = tf.unstack(tfp.random.split_seed(seed, n=2))
    jitter = tf.random.stateless_uniform(
        tf.shape(state)[:-1], jitter_seed, 1.0 - JITTER, 1.0 + JITTER, state.dtype
    )
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        log_prob,
        step_size=jitter[..., tf.newaxis] * tf.cast(step_size, state.dtype),
        num_leapfrog_steps=num_leapfrog_steps,
    )
    if results is None:
        results = first_results(log_prob, state)
    state, results = kernel.one_step(state, results, seed=update_seed)
    return state, tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), results


def first_results(log_prob: Callable[[tf.Tensor], tf.Tensor], state: tf.Tensor) -> Any:
    """Returns `results` to begin with, where `hamiltonian_update` is in a loop on one density."""
    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_prob, step_size=1.0, num_leapfrog_steps=1)
    return kernel.bootstrap_results(state)
