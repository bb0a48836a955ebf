"""Importance resampling of z given y, with running sums: memory does not grow with the draws."""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.imputation.chains import intervals, mix
from tfp_aevb.imputation.evidence import Evidence
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.graphs import graph_function


class WeightedState(NamedTuple):
    """What is left of the weighted draws so far, for each of B datapoints.

    Attributes:
        log_total: [B], log sum w.
        log_squares: [B], log sum w^2.
        mean: [B, ...event], the weighted average of E[x|y, z].
        variance: [B, ...event], of x, by the law of total variance.
        z: [S, B, J], S of the draws, each drawn by the weights.
    """

    log_total: tf.Tensor
    log_squares: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    z: tf.Tensor


class WeightedDraws:
    """Draws z ~ 1/C ( p(z) + sum{ q(z|x[c]) : c=1...C-1 } ), and weights p(y, z) / that mixture.

    The prior among the components bounds the weights by C p(y|z): where q is too narrow, as that of
    a guess of x is, its own weights could have an infinite variance.

    Args:
        model: p(z), p(x|z) and q(z|x).
        evidence: what is observed.
        components: C.
        num_draws: S.
        jit_compile: use XLA.
    """

    def __init__(
        self, model: AEVB, evidence: Evidence, components: int, num_draws: int, jit_compile: bool
    ) -> None:
        self._model, self._evidence = model, evidence
        self._components, self._num_draws = components, num_draws
        self._advance = graph_function(self._advanced, jit_compile=jit_compile)

    def run(
        self,
        y: tf.Tensor,
        x: tf.Tensor,
        steps: int,
        seed: tf.Tensor,
        tick: Callable[[int], None],
    ) -> WeightedState:
        """Makes C draws for each datapoint in each step.

        Args:
            y: [C * B, ...], each datapoint's row once for each component.
            x: [(C - 1) * B, ...event] guesses; row c * B + b is of datapoint b.
            steps: how many.
            seed: [2] int32.
            tick: is told of steps that are done.
        """
        batch = y.shape[0] // self._components
        nothing = tf.fill([batch], -math.inf)
        likelihood = self._model.decode(tf.zeros([1, self._model.latent_dim]))
        zeros = tf.zeros([batch, *self._evidence.condition(likelihood, y[:1]).mean.shape[1:]])
        z = tf.zeros([self._num_draws, batch, self._model.latent_dim])
        state = WeightedState(nothing, nothing, zeros, zeros, z)
        for start, stop in intervals(steps):
            state = self._advance(y, x, seed, start, stop, state)
            tick(stop - start)
        return state

    def _advanced(
        self,
        y: tf.Tensor,
        x: tf.Tensor,
        seed: tf.Tensor,
        start: tf.Tensor,
        stop: tf.Tensor,
        state: WeightedState,
    ) -> WeightedState:
        prior, posterior = self._model.prior_distribution(), self._model.encode(x)
        batch = y.shape[0] // self._components

        def step(i: tf.Tensor, state: WeightedState) -> tuple[tf.Tensor, WeightedState]:
            seeds = tfp.random.split_seed(tf.random.experimental.stateless_fold_in(seed, i), n=4)
            z = [prior.sample(batch, seed=seeds[3]), posterior.sample(seed=seeds[0])]
            z = tf.concat(z, axis=0)  # [C * B, J]
            given = self._evidence.condition(self._model.decode(z), y)
            log_prior = self._by_component(prior.log_prob(z))
            log_mixture = self._log_mixture(posterior, z, log_prior)
            log_weights = self._by_component(given.log_prob) + log_prior - log_mixture
            log_weights = tf.where(tf.math.is_nan(log_weights), -math.inf, log_weights)  # [C, B]
            log_step = tf.reduce_logsumexp(log_weights, axis=0)
            log_total = tf.reduce_logsumexp([state.log_total, log_step], axis=0)
            share = tf.where(tf.math.is_inf(log_total), 0.0, tf.exp(log_step - log_total))
            log_squares = tf.reduce_logsumexp(
                tf.concat([state.log_squares[tf.newaxis], 2.0 * log_weights], axis=0), axis=0
            )
            mean, variance = self._step_moments(log_weights, given.mean, given.variance)
            mean, variance = mix(share, state.mean, state.variance, mean, variance)
            kept = self._resample(log_weights, share, z, state.z, seeds[1], seeds[2])
            return i + 1, WeightedState(log_total, log_squares, mean, variance, kept)

        return tf.while_loop(lambda i, _: i < stop, step, (start, state), parallel_iterations=1)[1]

    def _by_component(self, values: tf.Tensor) -> tf.Tensor:
        """From [C * B, ...] to [C, B, ...]."""
        return tf.reshape(values, [self._components, -1, *values.shape[1:]])

    def _log_mixture(
        self, posterior: tfp.distributions.Distribution, z: tf.Tensor, log_prior: tf.Tensor
    ) -> tf.Tensor:
        """Returns the log density [C, B] of the mixture at `z` [C * B, J]."""
        count, guesses = self._components, self._components - 1
        every = tf.tile(self._by_component(z)[:, tf.newaxis], [1, guesses, 1, 1])
        every = tf.reshape(every, [count, -1, z.shape[-1]])  # [C, (C - 1) * B, J]
        log_probs = tf.reshape(posterior.log_prob(every), [count, guesses, -1])
        log_probs = tf.concat([log_prior[:, tf.newaxis], log_probs], axis=1)
        return tf.reduce_logsumexp(log_probs, axis=1) - math.log(count)

    def _step_moments(
        self, log_weights: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the moments [B, ...event] of this step's draws by themselves."""
        means, variances = self._by_component(mean), self._by_component(variance)
        peak = tf.reduce_max(log_weights, axis=0)
        weights = tf.exp(log_weights - tf.where(tf.math.is_finite(peak), peak, 0.0))
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=0))  # [C, B]
        weights = tf.reshape(weights, [*weights.shape, *[1] * (means.shape.rank - 2)])
        # Relative to one of them: what is the same in all must not change by rounding.
        total = means[0] + tf.reduce_sum(weights * (means - means[0]), axis=0)
        return total, tf.reduce_sum(weights * (variances + (means - total) ** 2), axis=0)

    def _resample(
        self,
        log_weights: tf.Tensor,
        share: tf.Tensor,
        z: tf.Tensor,
        kept: tf.Tensor,
        which_seed: tf.Tensor,
        replace_seed: tf.Tensor,
    ) -> tf.Tensor:
        """Returns S draws by weight of all so far: each gives way to one of this step's, or not."""
        shape = [self._num_draws, *log_weights.shape]  # [S, C, B]
        uniform = tf.random.stateless_uniform(shape, which_seed, minval=1e-30)
        which = tf.argmax(log_weights - tf.math.log(-tf.math.log(uniform)), axis=1)  # [S, B]
        chosen = tf.einsum("sbc,cbj->sbj", tf.one_hot(which, shape[1]), self._by_component(z))
        replace = tf.random.stateless_uniform(tf.shape(which), replace_seed) < share
        return tf.where(replace[..., tf.newaxis], chosen, kept)
