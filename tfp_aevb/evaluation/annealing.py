"""Annealed importance sampling estimates of log p(x), with Hamiltonian Monte Carlo transitions."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.seeds import as_seed


def annealed_log_prob(
    model: AEVB,
    x: tf.Tensor,
    num_chains: int = 20,
    *,
    num_temperatures: int = 200,
    num_leapfrog_steps: int = 4,
    step_size: float = 0.3,
    seed: int | tf.Tensor | None = None,
) -> tf.Tensor:
    """Estimates log p(x) by annealed importance sampling from q(z|x) to p(x, z).

    Each chain goes through the densities q^(1-t) p^t, t from 0 to 1, with one Hamiltonian Monte
    Carlo update at each, in `Unconstrained` coordinates; its weight is unbiased for p(x). The
    logarithm of the weights' mean is biased down, the less the more temperatures and chains there
    are.

    Args:
        model: the model.
        x: [B, ...event].
        num_chains: C, for each datapoint.
        num_temperatures: number of densities after the first.
        num_leapfrog_steps: of each update.
        step_size: of the leapfrog steps, in standard deviations of q(z|x).
        seed: int or [2] int32.

    Returns:
        [B] nats.

    Raises:
        ValueError: if there is not at least one chain and one temperature.
    """
    if min(num_chains, num_temperatures) < 1:
        raise ValueError(
            "`num_chains` and `num_temperatures` must be positive, "
            f"got {num_chains} and {num_temperatures}"
        )
    start_seed, chain_seed = tf.unstack(tfp.random.split_seed(as_seed(seed), n=2))
    posterior = model.encode(x)
    space = Unconstrained(model, x)
    stddev = space.stddev(posterior)
    x = tf.cast(x, tf.float32)

    _, log_weights, _ = tfp.mcmc.sample_annealed_importance_chain(
        num_steps=num_temperatures,
        proposal_log_prob_fn=lambda u: space.log_posterior(posterior, u),
        target_log_prob_fn=lambda u: space.log_joint(x, u),  # [C, B, K] -> [C, B]
        current_state=space.draw(posterior, num_chains, start_seed),
        make_kernel_fn=lambda log_prob: tfp.mcmc.HamiltonianMonteCarlo(
            log_prob,
            step_size=step_size * stddev,
            num_leapfrog_steps=num_leapfrog_steps,
        ),
        seed=chain_seed,
    )
    return tf.reduce_logsumexp(log_weights, axis=0) - math.log(num_chains)
