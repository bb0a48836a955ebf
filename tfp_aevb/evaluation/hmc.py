"""Hamiltonian Monte Carlo draws from p(z|x), and estimates of log p(x) from them."""

import math
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.distributions.hamiltonian import first_results, hamiltonian_update
from tfp_aevb.evaluation.convergence import ess_bulk, ess_tail, r_hat
from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.graphs import in_graph
from tfp_aevb.utils.seeds import as_seed

# Of a step size's logarithm, for each unit of acceptance off the target; it falls with the root of
# the number of updates.
FIRST_GAIN = 2.0
FIRST_STEP_SIZE = 0.3  # standard deviations of q(z|x)
TARGET_ACCEPTANCE = 0.9
LEAST_ACCEPTANCE = 0.01


class PosteriorDraws(NamedTuple):
    """Draws from p(z|x) for each of B datapoints.

    Attributes:
        z: [S, C, B, J]: S draws from each of C chains.
        log_joint: [S, C, B] nats, log p(x, z).
        acceptance: [B], mean acceptance probability of the updates after burn-in.
        r_hat: [B], the largest over dimensions, see `convergence.r_hat`; near 1 when the chains
            agree, NaN for one chain and for fewer than 4 draws of each.
        ess_bulk, ess_tail: [B], the smallest over dimensions, see `convergence`: how many
            independent draws the S * C are worth, for the middle and for the tails.
    """

    z: tf.Tensor
    log_joint: tf.Tensor
    acceptance: tf.Tensor
    r_hat: tf.Tensor
    ess_bulk: tf.Tensor
    ess_tail: tf.Tensor


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

    Latents that are not in all of R^J move in coordinates that are (`Unconstrained`), by steps in
    proportion to the standard deviations of q(z|x). Each datapoint's step size is tuned by itself
    to 90% acceptance in the first four fifths of burn-in and then kept, up to a jitter: without it
    trajectories may come back to where they began. Chains start at draws from q(z|x).

    Args:
        model: the model.
        x: [B, ...event].
        num_draws: S, kept draws of each chain.
        num_chains: C.
        burn_in: updates before the first draw; few of them hardly tune the step size.
        thinning: updates from one draw to the next.
        num_leapfrog_steps: of each update; the paper's evaluation takes 4.
        seed: int or [2] int32.

    Returns:
        The draws and their diagnostics.

    Raises:
        ValueError: if `burn_in` is negative, or another number is not positive.
    """
    settings = _checked(num_draws, num_chains, burn_in, thinning, num_leapfrog_steps)
    x = model.arrange(x)
    space, posterior = Unconstrained(model, x), model.encode(x)

    def draw() -> PosteriorDraws:
        chains = _run_chains(space, posterior, x, settings, seed)
        z = space.forward(chains.u)
        log_joint = chains.log_joint - space.log_jacobian(chains.u)
        return PosteriorDraws(z, log_joint, chains.acceptance, *_worst_dimension(z))

    return in_graph(draw)


class _Settings(NamedTuple):
    num_draws: int
    num_chains: int
    burn_in: int
    thinning: int
    num_leapfrog_steps: int


def _checked(*values: int) -> _Settings:
    settings = _Settings(*values)
    for name, value in settings._asdict().items():
        least = 0 if name == "burn_in" else 1
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")
    return settings


class _Chains(NamedTuple):
    """Draws u [S, C, B, K] in unconstrained coordinates, log p(x, u) [S, C, B], acceptance [B]."""

    u: tf.Tensor
    log_joint: tf.Tensor
    acceptance: tf.Tensor


def _run_chains(
    space: Unconstrained,
    posterior: tfp.distributions.Distribution,
    x: tf.Tensor,
    settings: _Settings,
    seed: int | tf.Tensor | None,
) -> _Chains:
    """Returns the draws of `sample_posterior` in unconstrained coordinates."""
    start_seed, chain_seed = tf.unstack(tfp.random.split_seed(as_seed(seed), n=2))
    num_draws, num_chains, burn_in, thinning, num_leapfrog_steps = settings
    num_tuned = int(0.8 * burn_in)
    stddev = space.stddev(posterior)  # [B, K]
    x = tf.cast(x, tf.float32)

    def update(
        i: tf.Tensor, u: tf.Tensor, log_step: tf.Tensor, total: tf.Tensor, results: Any
    ) -> tuple[Any, ...]:
        u, acceptance, results = hamiltonian_update(
            lambda u: space.log_joint(x, u),  # [C, B, K] -> [C, B]
            u,
            tf.exp(log_step)[:, tf.newaxis] * stddev,
            num_leapfrog_steps,
            tf.random.experimental.stateless_fold_in(chain_seed, i),
            results,
        )
        acceptance = tf.reduce_mean(acceptance, axis=0)
        gain = FIRST_GAIN * tf.math.rsqrt(tf.cast(i, tf.float32) + 1.0)
        log_step += tf.where(i < num_tuned, gain, 0.0) * (acceptance - TARGET_ACCEPTANCE)
        total += tf.where(i < burn_in, 0.0, acceptance)
        return i + 1, u, log_step, total, results

    def draw(s: tf.Tensor, state: tuple[Any, ...], u: tf.TensorArray, log_joint: tf.TensorArray):
        state = tf.while_loop(
            lambda i, *_: i <= burn_in + thinning * s, update, state, parallel_iterations=1
        )
        log_prob = state[-1].accepted_results.target_log_prob
        return s + 1, state, u.write(s, state[1]), log_joint.write(s, log_prob)

    start = space.draw(posterior, num_chains, start_seed)
    results = first_results(lambda u: space.log_joint(x, u), start)
    zeros = tf.zeros(tf.shape(stddev)[:1])
    _, state, u, log_joint = tf.while_loop(
        lambda s, *_: s < num_draws,
        draw,
        [
            tf.constant(0),
            (tf.constant(0), start, zeros + math.log(FIRST_STEP_SIZE), zeros, results),
            tf.TensorArray(start.dtype, num_draws, element_shape=start.shape),
            tf.TensorArray(zeros.dtype, num_draws, element_shape=start.shape[:-1]),
        ],
        parallel_iterations=1,
    )
    num_kept = 1 + thinning * (num_draws - 1)
    return _Chains(u.stack(), log_joint.stack(), state[3] / num_kept)


def _worst_dimension(draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns R-hat and the bulk and tail effective sample sizes [B] of draws [S, C, B, K]."""
    worst = (
        tf.reduce_max(r_hat(draws), axis=-1),
        tf.reduce_min(ess_bulk(draws), axis=-1),
        tf.reduce_min(ess_tail(draws), axis=-1),
    )
    return tuple(tf.cast(value, tf.float32) for value in worst)


class HmcEstimate(NamedTuple):
    """Estimates of log p(x) from posterior draws, one for each of B datapoints.

    Attributes:
        log_prob: [B] nats; on average above log p(x). NaN where less than 1% of the updates are
            accepted: chains that stay where they began say nothing of p(z|x).
        acceptance, r_hat, ess_bulk, ess_tail: [B], of the 2 L draws the estimate rests on, see
            `PosteriorDraws`; of their `Unconstrained` coordinates.
    """

    log_prob: tf.Tensor
    acceptance: tf.Tensor
    r_hat: tf.Tensor
    ess_bulk: tf.Tensor
    ess_tail: tf.Tensor


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
        ValueError: if L is too small to fit a covariance, or not a multiple of `num_chains`; or as
            `sample_posterior`.
    """
    if num_chains < 1:
        raise ValueError(f"`num_chains` must be at least 1, got {num_chains}")
    if num_samples <= model.latent_dim + 1 or num_samples % num_chains:
        raise ValueError(
            f"`num_samples` must be above {model.latent_dim + 1} (latents + 1) and a multiple of "
            f"`num_chains` ({num_chains}), got {num_samples}"
        )
    per_chain = num_samples // num_chains
    settings = _checked(2 * per_chain, num_chains, burn_in, thinning, num_leapfrog_steps)
    x = model.arrange(x)
    space, posterior = Unconstrained(model, x), model.encode(x)

    def estimate() -> HmcEstimate:
        u, log_joint, acceptance = _run_chains(space, posterior, x, settings, seed)
        batch, num_dims = tf.shape(u)[2], u.shape[3]
        fitted, fresh = tf.unstack(tf.reshape(u, [2, num_samples, batch, num_dims]))
        log_joint = tf.reshape(log_joint, [2, num_samples, batch])[1]
        covariance = tfp.stats.covariance(fitted, sample_axis=0, event_axis=-1)  # [B, K, K]
        covariance *= num_samples / (num_samples - 1.0)
        # Of chains that stay where they began it may be singular, which no factorisation survives.
        moving = acceptance >= LEAST_ACCEPTANCE
        covariance = tf.where(moving[:, tf.newaxis, tf.newaxis], covariance, tf.eye(num_dims))
        density = tfp.distributions.MultivariateNormalTriL(
            tf.reduce_mean(fitted, axis=0), tf.linalg.cholesky(covariance)
        )
        log_ratio = density.log_prob(fresh) - log_joint  # [L, B]
        log_prob = math.log(num_samples) - tf.reduce_logsumexp(log_ratio, axis=0)
        log_prob = tf.where(moving, log_prob, math.nan)
        return HmcEstimate(log_prob, acceptance, *_worst_dimension(u))

    return in_graph(estimate)
