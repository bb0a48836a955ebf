"""Draws from p(x|y), the restored datapoints, by three methods."""

import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb.evaluation.codes import padded_batches
from tfp_aevb.evaluation.judgement import of_imputation
from tfp_aevb.imputation.chains import Chains, ChainState
from tfp_aevb.imputation.channels import Channel
from tfp_aevb.imputation.importance import WeightedDraws, WeightedState
from tfp_aevb.imputation.observed import make_evidence
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.graphs import graph_function
from tfp_aevb.utils.progress import ProgressLine, clock
from tfp_aevb.utils.seeds import as_seed

#: Samples of z for each datapoint: of each chain, or (importance) in all.
METHODS = {"gibbs": 200, "metropolis": 200, "importance": 5000}
ROWS = 1000  # chains, or proposals, advanced together
COMPONENTS = 10  # of the proposals of importance sampling: the prior, and q at guesses of x


class Imputation(NamedTuple):
    """Estimates of p(x|y) for each of N datapoints, as NumPy arrays.

    Attributes:
        mean: [N, ...event], E[x|y]. Of a table [N, P]: a categorical column has the probabilities
            of its categories in it, see `imputation.completed.estimates`.
        stddev: in the shape of the mean, of each element given y; 0 where x is known exactly.
        draws: [S, N, ...event].
        acceptance: [N], share of `metropolis`' proposals from q(z|x) accepted; NaN for the others.
        effective_sample_size: [N], (sum w)^2 / sum w^2 of the importance weights; NaN for the other
            methods. Results whose value is near 1 rest on a single draw and are not to be trusted.
    """

    mean: np.ndarray
    stddev: np.ndarray
    draws: np.ndarray
    acceptance: np.ndarray
    effective_sample_size: np.ndarray

    def notes(self) -> list[str]:
        """Returns what is doubtful about the draws and what to do, a sentence or two each."""
        return of_imputation(self.acceptance, self.effective_sample_size)


def impute(
    model: AEVB,
    y: Any,
    *,
    mask: Any = None,
    channel: Channel | None = None,
    method: str = "metropolis",
    num_draws: int = 10,
    num_samples: int | None = None,
    burn_in: int = 100,
    seed: int | tf.Tensor | None = None,
    jit_compile: bool | None = None,
    progress: bool = False,
) -> Imputation:
    """Draws x from p(x|y), which averages p(x|y, z) over p(z|y), and estimates its moments.

    p(x|y, z) has a closed form, so that the moments are averages of its mean and variance
    (Rao-Blackwell; law of total variance) over draws of z:

    - `gibbs`: z ~ q(z|x), x ~ p(x|y, z), and so on (pseudo-Gibbs, Rezende et al., 2014). Exact only
      where q(z|x) is p(z|x).
    - `metropolis`: the same, but z is accepted by the ratio of p(x|z) p(z) / q(z|x) (Metropolis
      within Gibbs, Mattei & Frellsen, 2018), and then moved by Hamiltonian Monte Carlo on
      log p(y, z): exact in the limit for any q. The first half of the burn-in accepts all of q's.
    - `importance`: z from the mixture of the prior and of q(z|x) at nine guesses of x, the ends of
      chains of `metropolis`; with weights p(y|z) p(z) / mixture, by which draws are resampled.
      Exact in the limit for any q. The effective sample size falls fast with the latents.

    Chains start at a z from the prior; each of Metropolis' and Gibbs' draws ends a chain of its
    own. A `FullVB` model's parameters are at their mean. Memory does not grow with `num_samples`.

    Args:
        model: a fitted model whose elements of x are independent given z.
        y: [N, ...event] datapoints with NaN for what is missing; with `channel` what it made of
            them, [N, ...] with one value for each block, or NaN.
        mask: bool in the shape of `y`, True where it is observed; by default where it is not NaN.
        channel: p(y|x): `bit_flips`, `gaussian_noise`, `block_means` or another `Channel`.
            Bernoulli pixels take any, in blocks of at most 4; Gaussian ones a linear one with
            Gaussian noise. By default what is observed is exact, for any likelihood.
        method: see above.
        num_draws: S.
        num_samples: of z for each datapoint: of each chain after the burn-in, by default 200, or in
            all for `importance`, 5000 (rounded up to a multiple of 10).
        burn_in: steps of each chain before its first sample, or before `importance` begins.
        seed: int or [2] int32; by default a fresh one.
        jit_compile: use XLA, which draws other random numbers; by default where the model does
            (`FusedModel.uses_xla`).
        progress: show how far it is on stderr.

    Returns:
        Means, standard deviations, draws and diagnostics.

    Raises:
        ValueError: if an argument is wrong, `y` is impossible, or p(x|y, z) has no closed form.
        FloatingPointError: if no draw of z has a finite weight.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}")
    num_samples = METHODS[method] if num_samples is None else num_samples
    for name, value, least in (
        ("num_draws", num_draws, 1),
        ("num_samples", num_samples, 1),
        ("burn_in", burn_in, 0),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")
    jit_compile = model.uses_xla if jit_compile is None else jit_compile
    evidence = make_evidence(model, y, mask, channel)
    weighted = method == "importance"
    exact_from = None if method == "gibbs" else burn_in // 2
    chains = Chains(model, evidence, burn_in, exact_from, jit_compile)
    weigher = WeightedDraws(model, evidence, COMPONENTS, num_draws, jit_compile)
    restore = graph_function(
        lambda y, z, seed: evidence.condition(model.decode(z), y).sample(seed),
        jit_compile=jit_compile,
    )
    samples = -(-num_samples // COMPONENTS) if weighted else num_samples
    size = min(len(evidence.y), max(1, ROWS // max(COMPONENTS, num_draws)))
    num_batches = -(-len(evidence.y) // size)
    tick = _Ticker(method, num_batches * (burn_in + samples), progress)
    parts = []
    for step, (padded, _) in enumerate(padded_batches(evidence.y, size)):
        batch_seed = tf.random.experimental.stateless_fold_in(as_seed(seed), step * size)
        seeds = tf.unstack(tfp.random.split_seed(batch_seed, n=3))

        def tiled(copies: int, rows: np.ndarray = padded) -> tf.Tensor:
            return tf.constant(np.concatenate([rows] * copies))  # row copy * size + b

        if weighted:
            guesses = chains.run(tiled(COMPONENTS - 1), burn_in, seeds[0], tick).x
            weighed = weigher.run(tiled(COMPONENTS), guesses, samples, seeds[1], tick)
            z = tf.reshape(weighed.z, [-1, model.latent_dim])
            parts.append(_of_weights(weighed, restore(tiled(num_draws), z, seeds[2])))
        else:
            state = chains.run(tiled(num_draws), burn_in + samples, seeds[0], tick)
            parts.append(_of_chains(state, num_draws))
    tick.end()
    found = _joined(parts, len(evidence.y))
    if not np.isfinite(found.mean).all() or (weighted and np.isnan(found[-1]).any()):
        raise FloatingPointError("p(x|y) is not finite: no draw of z has a finite weight")
    return found


def _of_chains(state: ChainState, count: int) -> Imputation:
    """Returns what `count` chains of each datapoint found."""
    draws, means, variances, accepted = (
        value.numpy().reshape(count, -1, *value.shape[1:])
        for value in (state.x, state.mean, state.variance, state.accepted)
    )
    means = means.astype(np.float64)  # the mean of equal values is then the same value
    stddev = np.sqrt(variances.mean(axis=0) + means.var(axis=0)).astype(np.float32)
    mean, acceptance = means.mean(axis=0).astype(np.float32), accepted.mean(axis=0)
    return Imputation(mean, stddev, draws, acceptance, np.full_like(acceptance, np.nan))


def _of_weights(state: WeightedState, x: tf.Tensor) -> Imputation:
    """Returns what weighted draws found; `x` [S * B, ...event] are resampled."""
    sizes = np.exp(2.0 * state.log_total.numpy() - state.log_squares.numpy())
    mean, stddev = state.mean.numpy(), np.sqrt(state.variance.numpy())
    draws = x.numpy().reshape(-1, len(mean), *x.shape[1:])
    return Imputation(mean, stddev, draws, np.full_like(sizes, np.nan), sizes)


def _joined(parts: list[Imputation], count: int) -> Imputation:
    """Returns the first `count` datapoints of the batches."""
    fields = {}
    for name in Imputation._fields:
        axis = 1 if name == "draws" else 0
        values = np.concatenate([getattr(part, name) for part in parts], axis=axis)
        fields[name] = values.take(range(count), axis=axis)
    return Imputation(**fields)


class _Ticker:
    """Counts steps, and says on stderr how far they are.

    Args:
        name: what the line begins with.
        total: steps in all.
        shown: show it.
    """

    def __init__(self, name: str, total: int, shown: bool) -> None:
        self._name, self._total, self._shown = name, total, shown
        self._line, self._started, self._done = ProgressLine(), time.perf_counter(), 0

    def __call__(self, steps: int) -> None:
        self._done += steps
        if self._shown:
            left = (time.perf_counter() - self._started) * (self._total / self._done - 1.0)
            self._line.show(f"{self._name}: {self._done / self._total:.0%}  {clock(left)} left")

    def end(self) -> None:
        """Leaves the line."""
        self._line.end()
