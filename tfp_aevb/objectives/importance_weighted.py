"""Bounds by importance weights, tighter than the paper's, and gradients of less variance.

With w[k] = p(x, z[k]) / q(z[k]|x) and z[k] ~ q(z|x), k = 1...K, most of these estimate
L_K(x) = E[log 1/K sum{ w[k] : k=1...K }], which rises from the evidence lower bound (K = 1) towards
log p(x) (Burda et al., 2015); they differ in their gradients.

Shapes and arguments are those of `sgvb`; L is K here. `Bound.reconstruction` averages log p(x|z[k])
by the normalised weights, so that `Bound.kl` tends to KL(p(z|x) || p(z)) as K grows.
"""

import math
from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.objectives.draws import draw, exactly, through
from tfp_aevb.objectives.sgvb import Bound, LogLikelihood, check_reparameterized
from tfp_aevb.utils.counts import check_count


class Draws(NamedTuple):
    """K draws of z [K, B, J] and log densities [K, B] there."""

    z: tf.Tensor
    reconstruction: tf.Tensor  # log p(x|z)
    log_prior: tf.Tensor
    log_q: tf.Tensor

    @property
    def log_weights(self) -> tf.Tensor:
        return self.reconstruction + self.log_prior - self.log_q


@exactly
def importance_weighted(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates L_K with the reparameterised gradient: IWAE (Burda et al., 2015).

    For K = 1 it is estimator A (Eq. 6). The gradient with respect to q's parameters loses its
    signal, relative to its noise, as K grows (Rainforth et al., 2018).

    Args:
        posterior: q(z|x), batch shape [B].
        prior: p(z), batch shape [] or [B].
        log_likelihood: z [K, B, J] -> log p(x|z) [K, B].
        num_samples: K.
        seed: a whole number, [2] int32, or None for fresh draws at each call.

    Returns:
        The bound, each part [B] in nats.

    Raises:
        ValueError: if q is not reparameterised, so that its gradient would be wrong.
    """
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    z, log_q = draw(posterior, num_samples, seed)
    return weighted_bound(draws_at(z, log_q, prior, log_likelihood))


@exactly
def sticking_the_landing(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates the bound as `sgvb_a`, q's gradient along z alone (Roeder et al., 2017).

    The score function's term, whose mean is zero, is left out: the gradient's variance vanishes
    where q is the true posterior. Arguments and errors are those of `sgvb_a`.
    """
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    z, log_q = draw(posterior, num_samples, seed)
    draws = draws_at(z, _path_only(log_q, posterior, z), prior, log_likelihood)
    reconstruction = tf.reduce_mean(draws.reconstruction, axis=0)
    elbo = tf.reduce_mean(draws.log_weights, axis=0)
    return Bound(elbo, reconstruction, reconstruction - elbo)


@exactly
def doubly_reparameterized(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates L_K, q's gradient doubly reparameterised: DReG (Tucker et al., 2018).

    With normalised weights v[k], q's parameters receive sum{ v[k]^2 d log w[k] / dz dz / dphi },
    whose signal does not drown as K grows; those of p receive sum{ v[k] d log w[k] / dtheta }, as
    by `importance_weighted`. Arguments and errors are those of `importance_weighted`.
    """
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    into_z = _GradientScale()
    z = through(posterior, draw(posterior, num_samples, seed)[0], into_z)
    log_q = _path_only(posterior.log_prob(z), posterior, z)
    draws = draws_at(z, log_q, prior, log_likelihood)
    into_z.scale = tf.nn.softmax(draws.log_weights, axis=0)[..., tf.newaxis]  # [K, B, 1]
    return weighted_bound(draws)


@exactly
def vimco(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 2,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates L_K for any q by the score function: VIMCO (Mnih & Rezende, 2016).

    Each draw's score is weighted by what it adds to the bound: L_K less its value with the draw's
    log weight replaced by the mean of the others'. Arguments are those of `importance_weighted`.

    Raises:
        ValueError: if K is 1, where there are no others.
    """
    check_several("vimco", num_samples)
    z = through(posterior, draw(posterior, num_samples, seed)[0], tf.stop_gradient)
    draws = draws_at(z, posterior.log_prob(z), prior, log_likelihood)
    log_weights = tf.stop_gradient(draws.log_weights)  # [K, B]
    count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    # Where K, a tensor, is 1: no baseline, which leaves the value L_1 and the plain score function.
    others = tf.math.divide_no_nan(tf.reduce_sum(log_weights, axis=0) - log_weights, count - 1.0)
    # [k, k', B]: the log weights, the k-th replaced.
    is_self = tf.eye(tf.shape(log_weights)[0], dtype=tf.bool)[..., tf.newaxis]
    replaced = tf.where(is_self, others, log_weights[tf.newaxis])
    without = tf.reduce_logsumexp(replaced, axis=1)
    signal = tf.reduce_logsumexp(log_weights, axis=0) - without  # [K, B]
    score = tf.reduce_sum(signal * draws.log_q, axis=0)
    bound = weighted_bound(draws)
    return bound._replace(elbo=bound.elbo + score - tf.stop_gradient(score))


@exactly
def reweighted_wake_sleep(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 2,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates L_K, q's gradient that of reweighted wake-sleep (Bornschein & Bengio, 2015).

    p's parameters ascend L_K; q's ascend the weighted average of log q(z[k]|x), which descends
    KL(p(z|x) || q(z|x)), not the bound ("wake-phase q-update"). It needs no reparameterisation.
    Arguments are those of `importance_weighted`.

    Raises:
        ValueError: if K is 1, where each weight is 1 and q's gradient has mean zero.
    """
    check_several("rws", num_samples)
    z = through(posterior, draw(posterior, num_samples, seed)[0], tf.stop_gradient)
    draws = draws_at(z, posterior.log_prob(z), prior, log_likelihood)
    shares = tf.stop_gradient(tf.nn.softmax(draws.log_weights, axis=0))
    # `weighted_bound` gives q the gradient -sum(shares d log q): twice its negative turns it.
    turned = 2.0 * tf.reduce_sum(shares * draws.log_q, axis=0)
    bound = weighted_bound(draws)
    return bound._replace(elbo=bound.elbo + turned - tf.stop_gradient(turned))


@exactly
def renyi(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
    alpha: float = 0.5,
) -> Bound:
    """Estimates the variational Renyi bound by K draws (Li & Turner, 2016).

    1 / (1 - alpha) log 1/K sum{ w[k]^(1 - alpha) }: between the evidence lower bound (alpha = 1)
    and L_K (alpha = 0), and so a bound for each alpha in [0, 1].

    Args:
        posterior: q(z|x), batch shape [B].
        prior: p(z), batch shape [] or [B].
        log_likelihood: z [K, B, J] -> log p(x|z) [K, B].
        num_samples: K.
        seed: a whole number, [2] int32, or None for fresh draws at each call.
        alpha: in [0, 1].

    Returns:
        The bound, each part [B] in nats.

    Raises:
        ValueError: if alpha is outside, or q is not reparameterised.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"`alpha` must be in [0, 1], where the value is a bound, got {alpha}")
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    z, log_q = draw(posterior, num_samples, seed)
    return weighted_bound(draws_at(z, log_q, prior, log_likelihood), 1.0 - alpha)


def check_several(objective: str, num_samples: int | tf.Tensor) -> None:
    """Raises a `ValueError` if K is known to be 1: the objective's gradient of q needs more."""
    check_count("num_samples", num_samples)
    if not tf.is_tensor(num_samples) and num_samples < 2:
        raise ValueError(f"objective {objective!r} needs at least 2 samples, got {num_samples}")


def draws_at(
    z: tf.Tensor, log_q: tf.Tensor, prior: tfd.Distribution, log_likelihood: LogLikelihood
) -> Draws:
    """Returns the log densities at draws `z` [K, B, J], of which q's is known."""
    return Draws(z, log_likelihood(z), prior.log_prob(z), log_q)


def weighted_bound(draws: Draws, power: float = 1.0) -> Bound:
    """Returns 1 / power log 1/K sum{ w[k]^power }, and its terms."""
    log_weights = draws.log_weights
    elbo = _log_power_mean(log_weights, power)
    shares = tf.nn.softmax(power * log_weights, axis=0)
    reconstruction = tf.reduce_sum(shares * draws.reconstruction, axis=0)
    return Bound(elbo, reconstruction, reconstruction - elbo)


def _log_power_mean(log_weights: tf.Tensor, power: float) -> tf.Tensor:
    """Returns 1 / power log 1/K sum{ w[k]^power } [B], accurate for any power from 0 to 1.

    Where the powers are nearly 1 the logarithm of their mean is nearly 0, and dividing by a small
    power would blow up its rounding: there it is taken of what they differ from 1 by, with the mean
    log weight in front.
    """
    if power == 0.0:  # the limit
        return tf.reduce_mean(log_weights, axis=0)
    count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    apart = (tf.reduce_logsumexp(power * log_weights, axis=0) - tf.math.log(count)) / power
    spread = tf.reduce_max(log_weights, axis=0) - tf.reduce_min(log_weights, axis=0)
    is_near = power * spread < 1.0
    near = tf.where(is_near, log_weights, 0.0)  # the other branch's gradient is 0 then, not NaN
    middle = tf.reduce_mean(near, axis=0)
    excess = tf.reduce_mean(tf.math.expm1(power * (near - middle)), axis=0)
    return tf.where(is_near, middle + tf.math.log1p(excess) / power, apart)


def _path_only(log_q: tf.Tensor, posterior: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Returns log q(z|x) [K, B], whose gradient knows q's parameters through z alone.

    The derivative at a fixed z is subtracted, rather than q made again of stopped parameters: this
    serves any q, a flow with networks of its own included.
    """
    at_fixed_z = posterior.log_prob(through(posterior, z, tf.stop_gradient))
    return log_q - (at_fixed_z - tf.stop_gradient(at_fixed_z))


class _GradientScale:
    """The identity, whose gradient is multiplied by `scale`, set once that is known."""

    scale: tf.Tensor | float = math.nan

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def identity(z: tf.Tensor) -> tuple:
            return tf.identity(z), lambda upstream: upstream * tf.stop_gradient(self.scale)

        return identity(z)
