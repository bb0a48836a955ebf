"""Annealed importance sampling estimates of log p(x), with Hamiltonian Monte Carlo transitions."""

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.distributions.hamiltonian import hamiltonian_update
from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.graphs import in_graph
from tfp_aevb.utils.seeds import as_seed

# Of the chains that find the step sizes.
PILOT_CHAINS = 5
TARGET_ACCEPTANCE = 0.95
GAIN = 1.0


class AnnealedEstimate(NamedTuple):
    """Annealed importance sampling estimates of log p(x), one for each of B datapoints.

    Attributes:
        log_prob: [B] nats; on average below log p(x).
        acceptance: [B], mean acceptance probability over chains and temperatures. Near 0 the chains
            stay where q(z|x) put them, and the estimate is that of importance sampling.
        effective_sample_size: [B], (sum w)^2 / sum w^2 of the chains' weights, from 1 to C,
            or 0 if all weights are 0. Estimates whose value is near 1 rest on a single chain and
            are not to be trusted.
    """

    log_prob: tf.Tensor
    acceptance: tf.Tensor
    effective_sample_size: tf.Tensor


def annealed_log_prob(
    model: AEVB,
    x: tf.Tensor,
    num_chains: int = 20,
    *,
    num_temperatures: int = 200,
    num_leapfrog_steps: int = 4,
    step_size: float = 0.3,
    seed: int | tf.Tensor | None = None,
) -> AnnealedEstimate:
    """Estimates log p(x) by annealed importance sampling from q(z|x) to p(x, z).

    Each chain goes through the densities q^(1-t) p^t, t from 0 to 1, with one Hamiltonian Monte
    Carlo update at each, in `Unconstrained` coordinates; its weight is unbiased for p(x). The
    logarithm of the weights' mean is biased down, the less the more temperatures and chains there
    are.

    Chains of their own, whose weights are not used, go first: they find each datapoint's step size
    at each temperature, for an acceptance of 95%. Steps tuned by the chains that are weighted would
    depend on where these are, and the weights would be biased.

    Args:
        model: the model.
        x: [B, ...event].
        num_chains: C, for each datapoint.
        num_temperatures: number of densities after the first.
        num_leapfrog_steps: of each update.
        step_size: the first of the leapfrog steps, in standard deviations of q(z|x).
        seed: int or [2] int32.

    Returns:
        The estimates, their acceptance and their effective sample sizes, [B] each.

    Raises:
        ValueError: if there is not at least one chain, temperature and leapfrog step, or the step
            size is not positive.
    """
    counts = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "num_leapfrog_steps": num_leapfrog_steps,
    }
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    if not step_size > 0.0:
        raise ValueError(f"`step_size` must be positive, got {step_size}")
    start_seed, chain_seed, pilot_start_seed, pilot_seed = tf.unstack(
        tfp.random.split_seed(as_seed(seed), n=4)
    )
    x = tf.cast(model.arrange(x), tf.float32)
    posterior, space = model.encode(x), Unconstrained(model, x)
    stddev = space.stddev(posterior)  # [B, K]

    def update(
        i: tf.Tensor, u: tf.Tensor, log_step: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the next u [C, B, K], log p/q [C, B] at the present one, and the acceptance."""
        log_ratio = space.log_joint(x, u) - space.log_posterior(posterior, u)
        t = tf.cast(i + 1, tf.float32) / num_temperatures
        # The target is another one at each temperature: no results are handed on.
        u, acceptance, _ = hamiltonian_update(
            lambda u: (1.0 - t) * space.log_posterior(posterior, u) + t * space.log_joint(x, u),
            u,
            tf.exp(log_step)[:, tf.newaxis] * stddev,
            num_leapfrog_steps,
            tf.random.experimental.stateless_fold_in(seed, i),
        )
        return u, log_ratio, acceptance

    def tune(
        i: tf.Tensor, u: tf.Tensor, log_step: tf.Tensor, log_steps: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        u, _, acceptance = update(i, u, log_step, pilot_seed)
        log_step += GAIN * (tf.reduce_mean(acceptance, axis=0) - TARGET_ACCEPTANCE)
        return i + 1, u, log_step, log_steps.write(i, log_step)

    def weigh(
        log_steps: tf.Tensor, i: tf.Tensor, u: tf.Tensor, log_weight: tf.Tensor, total: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        u, log_ratio, acceptance = update(i, u, log_steps[i], chain_seed)
        log_weight += tf.cast(log_ratio, tf.float64) / num_temperatures
        return i + 1, u, log_weight, total + tf.reduce_mean(acceptance, axis=0)

    def estimate() -> AnnealedEstimate:
        zeros = tf.zeros(tf.shape(stddev)[:1])
        pilot = space.draw(posterior, min(num_chains, PILOT_CHAINS), pilot_start_seed)
        log_steps = tf.TensorArray(tf.float32, num_temperatures, element_shape=zeros.shape)
        _, _, _, log_steps = tf.while_loop(
            lambda i, *_: i < num_temperatures,
            tune,
            [tf.constant(0), pilot, zeros + math.log(step_size), log_steps],
            parallel_iterations=1,
        )
        log_steps = log_steps.stack()  # [T, B]
        u = space.draw(posterior, num_chains, start_seed)
        _, _, log_weights, total = tf.while_loop(
            lambda i, *_: i < num_temperatures,
            lambda *state: weigh(log_steps, *state),
            [tf.constant(0), u, tf.zeros(tf.shape(u)[:-1], tf.float64), zeros],
            parallel_iterations=1,
        )
        log_total = tf.reduce_logsumexp(log_weights, axis=0)
        size = tf.exp(2.0 * log_total - tf.reduce_logsumexp(2.0 * log_weights, axis=0))
        size = tf.where(tf.equal(log_total, -math.inf), tf.zeros_like(size), size)
        return AnnealedEstimate(
            tf.cast(log_total - math.log(num_chains), tf.float32),
            total / num_temperatures,
            tf.cast(size, tf.float32),
        )

    return in_graph(estimate)
