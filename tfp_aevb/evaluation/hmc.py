"""Hamiltonian Monte Carlo draws from p(z|x), and estimates of log p(x) from them."""

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.seeds import as_seed

TARGET_ACCEPTANCE = 0.9


class PosteriorDraws(NamedTuple):
    """Draws from p(z|x) for each of B datapoints.

    Attributes:
        z: [S, C, B, J]: S draws from each of C chains.
        log_joint: [S, C, B] nats, log p(x, z).
        acceptance: [B], mean acceptance probability of the kept draws.
        r_hat: [B], the largest potential scale reduction over dimensions; near 1 when the chains
            agree, NaN for one chain.
    """

    z: tf.Tensor
    log_joint: tf.Tensor
    acceptance: tf.Tensor
    r_hat: tf.Tensor


def sample_posterior(
    model: AEVB,
    x: tf.Tensor,
    num_draws: int,
    *,
    num_chains: int = 5,
    burn_in: int = 200,
    thinning: int = 20,
    num_leapfrog_steps: int = 4,
    seed: int | tf.Tensor | None = None,
) -> PosteriorDraws:
    """Draws from p(z|x) by Hamiltonian Monte Carlo on log p(z) + log p(x|z) (Appendix D).

    Latents that are not in all of R^J move in coordinates that are (`Unconstrained`). Each
    datapoint's step size is tuned by itself to 90% acceptance during burn-in. Chains start at draws
    from q(z|x).

    Args:
        model: the model.
        x: [B, ...event].
        num_draws: S, kept draws of each chain.
        num_chains: C.
        burn_in: updates before the first draw.
        thinning: updates between kept draws.
        num_leapfrog_steps: of each update; the paper's evaluation takes 4.
        seed: int or [2] int32.

    Returns:
        The draws and their diagnostics.
    """
    space = Unconstrained(model, x)
    settings = (num_chains, burn_in, thinning, num_leapfrog_steps)
    draws = _draw(space, model.encode(x), x, num_draws, *settings, seed)
    log_joint = draws.log_joint - space.log_jacobian(draws.z)
    return draws._replace(z=space.forward(draws.z), log_joint=log_joint)


def _draw(
    space: Unconstrained,
    posterior: tfp.distributions.Distribution,
    x: tf.Tensor,
    num_draws: int,
    num_chains: int,
    burn_in: int,
    thinning: int,
    num_leapfrog_steps: int,
    seed: int | tf.Tensor | None,
) -> PosteriorDraws:
    """Returns the draws of `sample_posterior` in unconstrained coordinates u: p(u|x), p(x, u)."""
    start_seed, chain_seed = tf.unstack(tfp.random.split_seed(as_seed(seed), n=2))
    stddev = space.stddev(posterior)
    x = tf.cast(x, tf.float32)

    kernel = tfp.mcmc.SimpleStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(
            lambda u: space.log_joint(x, u),  # [C, B, K] -> [C, B]
            step_size=0.5 * tf.reduce_mean(stddev, axis=-1, keepdims=True),  # [B, 1]
            num_leapfrog_steps=num_leapfrog_steps,
        ),
        num_adaptation_steps=int(0.8 * burn_in),
        target_accept_prob=TARGET_ACCEPTANCE,
    )
    u, (log_joints, log_accept) = tfp.mcmc.sample_chain(
        num_draws,
        current_state=space.draw(posterior, num_chains, start_seed),
        kernel=kernel,
        num_burnin_steps=burn_in,
        num_steps_between_results=thinning - 1,
        trace_fn=lambda _, results: (
            results.inner_results.accepted_results.target_log_prob,
            results.inner_results.log_accept_ratio,
        ),
        seed=chain_seed,
    )
    acceptance = tf.reduce_mean(tf.exp(tf.minimum(log_accept, 0.0)), axis=[0, 1])
    if num_chains > 1 and num_draws > 1:
        r_hat = tf.reduce_max(tfp.mcmc.potential_scale_reduction(u), axis=-1)
    else:
        r_hat = tf.fill(tf.shape(acceptance), math.nan)
    return PosteriorDraws(u, log_joints, acceptance, r_hat)


class HmcEstimate(NamedTuple):
    """Estimates of log p(x) from posterior draws, one for each of B datapoints.

    Attributes:
        log_prob: [B] nats; on average above log p(x).
        acceptance, r_hat: [B], of the draws the estimate rests on, see `PosteriorDraws`.
    """

    log_prob: tf.Tensor
    acceptance: tf.Tensor
    r_hat: tf.Tensor


def hmc_log_prob(
    model: AEVB,
    x: tf.Tensor,
    num_samples: int = 50,
    *,
    num_chains: int = 5,
    burn_in: int = 200,
    thinning: int = 20,
    num_leapfrog_steps: int = 4,
    seed: int | tf.Tensor | None = None,
) -> HmcEstimate:
    """Estimates log p(x) from draws of p(z|x) (Appendix D).

    1 / p(x) ~= 1/L sum{ g(z[l]) / ( p(z[l]) p(x|z[l]) ) : l=1...L }, z[l] ~ p(z|x).

    g is a Gaussian with full covariance fitted to L draws, of `Unconstrained` coordinates where z
    is not in all of R^J; the average is taken over L others. It is unbiased for 1 / p(x), so that
    the estimate of log p(x) is biased up, and its variance is finite only if g has lighter tails
    than the posterior. The paper uses it below 5 dimensions.

    Args:
        model: the model.
        x: [B, ...event].
        num_samples: L, more than the number of latent dimensions and a multiple of `num_chains`.
        num_chains: C; half of each chain's draws go into the fit, half into the average.
        burn_in: see `sample_posterior`, as for the arguments that follow.
        thinning: updates between draws; draws that depend on each other bias the estimate down.
        num_leapfrog_steps: of each update.
        seed: int or [2] int32.

    Returns:
        The estimates and their diagnostics.

    Raises:
        ValueError: if L is too small to fit a covariance, or not a multiple of `num_chains`.
    """
    if num_samples <= model.latent_dim + 1 or num_samples % num_chains:
        raise ValueError(
            f"`num_samples` must be above {model.latent_dim + 1} (latents + 1) and a multiple of "
            f"`num_chains` ({num_chains}), got {num_samples}"
        )
    per_chain = num_samples // num_chains
    settings = (num_chains, burn_in, thinning, num_leapfrog_steps)
    space = Unconstrained(model, x)
    draws = _draw(space, model.encode(x), x, 2 * per_chain, *settings, seed)
    batch, num_dims = tf.shape(draws.z)[2], draws.z.shape[3]
    halves = tf.reshape(draws.z, [2, num_samples, batch, num_dims])
    log_joint = tf.reshape(draws.log_joint, [2, num_samples, batch])[1]
    fitted, fresh = halves[0], halves[1]
    covariance = tfp.stats.covariance(fitted, sample_axis=0, event_axis=-1)  # [B, J, J]
    covariance *= num_samples / (num_samples - 1.0)
    density = tfp.distributions.MultivariateNormalTriL(
        tf.reduce_mean(fitted, axis=0), tf.linalg.cholesky(covariance)
    )
    log_ratio = density.log_prob(fresh) - log_joint  # [L, B]
    log_prob = math.log(num_samples) - tf.reduce_logsumexp(log_ratio, axis=0)
    return HmcEstimate(log_prob, draws.acceptance, draws.r_hat)
