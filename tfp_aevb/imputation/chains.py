"""Chains of (z, x) given y: pseudo-Gibbs, and Metropolis-within-Gibbs."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.distributions.hamiltonian import hamiltonian_update
from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.imputation.evidence import Evidence
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.graphs import graph_function

# Of Hamiltonian Monte Carlo.
LEAPFROG_STEPS = 3
FIRST_STEP_SIZE = 0.1
TARGET_ACCEPTANCE = 0.7
STEPS_AT_ONCE = 50  # in one call of a compiled loop, between two looks at the clock


class ChainState(NamedTuple):
    """R chains.

    Attributes:
        z: [R, J].
        x: [R, ...event], a draw of p(x|y, z).
        log_joint: [R] nats, log p(x, z).
        mean: [R, ...event], the average of E[x|y, z] over the kept steps; of a table's categories
            their probabilities, see `Conditional`.
        variance: [R, ...event], of x over them, by the law of total variance.
        accepted: [R], share of the proposals of the kept steps; NaN without rejections.
        log_step: [R], of the step size of Hamiltonian Monte Carlo.
    """

    z: tf.Tensor
    x: tf.Tensor
    log_joint: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    accepted: tf.Tensor
    log_step: tf.Tensor


class Chains:
    """Runs chains whose stationary distribution is p(z, x|y), or near it.

    A step proposes z ~ q(z|x) and draws x ~ p(x|y, z). Unless everything is accepted, z also makes
    an update of Hamiltonian Monte Carlo in between, which leaves p(z|y) as it is: proposals from
    q(z|x) alone are accepted so rarely where x is mostly made up (0.5% to 3% on MNIST with 20
    latents) that chains stay where they began.

    Args:
        model: p(z), p(x|z) and q(z|x).
        evidence: what is observed.
        kept_from: the first step that goes into the averages.
        exact_from: the first step whose proposals may be rejected; by default none, which is
            pseudo-Gibbs.
        jit_compile: use XLA.
    """

    def __init__(
        self,
        model: AEVB,
        evidence: Evidence,
        kept_from: int,
        exact_from: int | None,
        jit_compile: bool,
    ) -> None:
        self._model, self._evidence = model, evidence
        self._space = Unconstrained(model)
        self._kept_from, self._exact_from = kept_from, exact_from
        self._start = graph_function(self._first_state, jit_compile=jit_compile)
        self._advance = graph_function(self._advanced, jit_compile=jit_compile)

    def run(
        self, y: tf.Tensor, steps: int, seed: tf.Tensor, tick: Callable[[int], None]
    ) -> ChainState:
        """Runs a chain for each row of `y` [R, ...]; `tick` is told of steps that are done."""
        seeds = tf.unstack(tfp.random.split_seed(seed, n=2))
        state = self._start(y, seeds[0])
        for start, stop in intervals(steps):
            state = self._advance(y, seeds[1], start, stop, state)
            tick(stop - start)
        return state

    def _first_state(self, y: tf.Tensor, seed: tf.Tensor) -> ChainState:
        seeds = tfp.random.split_seed(seed, n=2)
        z = self._model.prior_distribution().sample(y.shape[0], seed=seeds[0])
        likelihood = self._model.decode(z)
        given = self._evidence.condition(likelihood, y)
        x = given.sample(seeds[1])
        log_joint = self._log_joint(likelihood, x, z)
        zeros = tf.zeros_like(log_joint)
        log_step = zeros + math.log(FIRST_STEP_SIZE)
        mean, variance = given.mean, tf.zeros_like(given.mean)
        return ChainState(z, x, log_joint, mean, variance, zeros, log_step)

    def _advanced(
        self, y: tf.Tensor, seed: tf.Tensor, start: tf.Tensor, stop: tf.Tensor, state: ChainState
    ) -> ChainState:
        def step(i: tf.Tensor, state: ChainState) -> tuple[tf.Tensor, ChainState]:
            seeds = tfp.random.split_seed(tf.random.experimental.stateless_fold_in(seed, i), n=5)
            kept = tf.cast(i - self._kept_from + 1, tf.float32)  # with this one
            accept, z = self._propose(i, state, seeds[0], seeds[1])
            log_step = state.log_step
            if self._exact_from is not None:
                power = self._power(i)
                z, acceptance = self._move(y, z, power, tf.exp(log_step), seeds[2])
                # Smaller and smaller changes, and none while averages are taken.
                gain = tf.where(kept > 0.0, 0.0, tf.math.rsqrt(tf.cast(i, tf.float32) + 1.0))
                log_step += gain * (acceptance - TARGET_ACCEPTANCE)
            likelihood = self._model.decode(z)
            given = self._evidence.condition(likelihood, y)
            x = given.sample(seeds[4])
            share = tf.where(kept > 0.0, 1.0 / kept, 0.0)
            mean, variance = mix(share, state.mean, state.variance, given.mean, given.variance)
            accepted = state.accepted + share * (accept - state.accepted)
            log_joint = self._log_joint(likelihood, x, z)
            return i + 1, ChainState(z, x, log_joint, mean, variance, accepted, log_step)

        return tf.while_loop(lambda i, _: i < stop, step, (start, state), parallel_iterations=1)[1]

    def _propose(
        self, i: tf.Tensor, state: ChainState, proposal_seed: tf.Tensor, accept_seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns 1 for each accepted proposal, NaN if all are; and the z of the next state."""
        posterior = self._model.encode(state.x)
        z = posterior.sample(seed=proposal_seed)
        if self._exact_from is None:
            return tf.fill(tf.shape(z)[:1], math.nan), z
        log_ratio = self._log_joint(self._model.decode(z), state.x, z) - posterior.log_prob(z)
        log_ratio -= state.log_joint - posterior.log_prob(state.z)
        uniform = tf.random.stateless_uniform(tf.shape(log_ratio), accept_seed)
        accept = (tf.math.log(uniform) < log_ratio) | (i < self._exact_from)
        return tf.cast(accept, tf.float32), tf.where(accept[:, tf.newaxis], z, state.z)

    def _power(self, i: tf.Tensor) -> tf.Tensor:
        """Returns the weight of p(y|z) in step `i`: it rises to 1 while all proposals are accepted.

        Chains that met all of p(y|z) at once would stay at the mode that is nearest to their start.
        """
        return tf.minimum((tf.cast(i, tf.float32) + 1.0) / max(1, self._exact_from or 0), 1.0)

    def _move(
        self, y: tf.Tensor, z: tf.Tensor, power: tf.Tensor, step_size: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Updates z [R, J] by Hamiltonian Monte Carlo on p(z) p(y|z)^power, without x.

        It moves in `Unconstrained` coordinates u of z. The power is another one in each step: no
        results are handed on.

        Returns:
            The next z, and the probability of acceptance [R].
        """

        def log_prob(u: tf.Tensor) -> tf.Tensor:
            z = self._space.forward(u)
            value = power * self._evidence.condition(self._model.decode(z), y).log_prob
            value += self._model.prior_distribution().log_prob(z)
            return value + self._space.log_jacobian(u)

        u, acceptance, _ = hamiltonian_update(
            log_prob, self._space.inverse(z), step_size[:, tf.newaxis], LEAPFROG_STEPS, seed
        )
        return self._space.forward(u), acceptance

    def _log_joint(
        self, likelihood: tfp.distributions.Distribution, x: tf.Tensor, z: tf.Tensor
    ) -> tf.Tensor:
        return likelihood.log_prob(x) + self._model.prior_distribution().log_prob(z)


def mix(
    share: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, other: tf.Tensor, spread: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the moments of a mixture: mean and variance [R, ...] with weight 1 - `share`.

    The other component has mean `other` and variance `spread`, and weight `share`, [] or [R].
    """
    share = tf.reshape(share, [-1] + [1] * (mean.shape.rank - 1))
    step = share * (other - mean)
    return mean + step, (1.0 - share) * (variance + step * (other - mean)) + share * spread


def intervals(steps: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Returns the first step and the end of each call of a compiled loop."""
    for start in range(0, steps, STEPS_AT_ONCE):
        yield tf.constant(start), tf.constant(min(start + STEPS_AT_ONCE, steps))
