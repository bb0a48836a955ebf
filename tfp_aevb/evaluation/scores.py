"""Scores of a data set, one value for each datapoint, with the interval of their mean."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.distributions.noise import compiled
from tfp_aevb.evaluation.annealing import annealed_log_prob
from tfp_aevb.evaluation.codes import padded_batches
from tfp_aevb.evaluation.hmc import hmc_log_prob
from tfp_aevb.evaluation.importance import importance_log_prob
from tfp_aevb.evaluation.judgement import of_estimates
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives import Bound
from tfp_aevb.utils.files import write_csv
from tfp_aevb.utils.progress import ProgressLine, clock
from tfp_aevb.utils.seeds import step_seeds

BATCH = 100
SAMPLES_AT_ONCE = 100  # of the bound, for each datapoint
Z_95 = 1.959964


# For elbo and importance samples of z, for hmc posterior draws, for ais chains.
DEFAULT_SAMPLES = {"elbo": 1, "importance": 5000, "hmc": 50, "ais": 20}
FEW_EFFECTIVE_SAMPLES = 10.0
LARGE_R_HAT = 1.1


class Scores(NamedTuple):
    """What an estimator says of each datapoint.

    Attributes:
        estimator: its name.
        num_samples: samples of z for each datapoint.
        values: [N] nats.
        diagnostics: how far the values can be trusted, in numbers; empty for the bound.
        measures: what the words summarise, [N] each, by name: `acceptance`, `r_hat`, `ess_bulk`,
            `ess_tail`, `effective_sample_size`, `standard_error`, as the estimator has them.
        notes: what is doubtful about them, and what to do.
    """

    estimator: str
    num_samples: int
    values: np.ndarray
    diagnostics: str = ""
    measures: Mapping[str, np.ndarray] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over datapoints, nats."""
        return float(self.values.mean())

    @property
    def half_width(self) -> float:
        """Half the width of the mean's 95% interval, over datapoints and draws.

        NaN for one datapoint, and where a value is not finite.
        """
        if len(self.values) < 2 or not np.isfinite(self.values).all():
            return math.nan
        return Z_95 * float(self.values.std(ddof=1)) / math.sqrt(len(self.values))

    def table_row(self, header: bool = False) -> str:
        """Returns a line of text, under a header if asked for."""
        interval = "-" if math.isnan(self.half_width) else f"+- {self.half_width:.3f}"
        line = (
            f"{self.estimator:<12}{self.num_samples:>9,}{self.mean:>13.3f}"
            f"{interval:>12}{len(self.values):>13,}"
        )
        head = f"{'estimator':<12}{'samples':>9}{'nats':>13}{'95%':>12}{'datapoints':>13}"
        return f"{head}\n{line}" if header else line

    def to_dict(self) -> dict[str, Any]:
        """Returns what the row and the words say as JSON types; medians of `measures`."""
        return {
            "estimator": self.estimator,
            "num_samples": self.num_samples,
            "nats": self.mean,
            "half_width_95": self.half_width,
            "datapoints": len(self.values),
            "diagnostics": {
                name: math.nan if np.isnan(values).all() else float(np.nanmedian(values))
                for name, values in self.measures.items()
            },
        }


class Scorer:
    """Scores data sets with one model; what is compiled is kept, also while the model learns.

    Args:
        model: the model.
        estimator: `elbo` (the evidence lower bound), or of log p(x): `importance` sampling through
            q (biased down), `hmc` (Appendix D's, biased up) or `ais`, annealed importance sampling
            (biased down).
        num_samples: see `DEFAULT_SAMPLES`.
        seed: of the samples and of dynamic binarisation.
        progress: show how far it is on stderr.
    """

    def __init__(
        self, model: AEVB, estimator: str, num_samples: int, seed: int, *, progress: bool = False
    ) -> None:
        self._model = model
        self._estimator = estimator
        self._num_samples = num_samples
        self._seed = seed
        self._progress = progress
        self._score_batch = compiled(self._batch_scores, model.uses_xla)

    def __call__(self, x: Observations) -> Scores:
        """Scores each datapoint, in the order of `x`."""
        self._model.check_observations(x)
        parts: dict[str, list[np.ndarray]] = {}
        line, started = ProgressLine(), time.perf_counter()
        done = 0
        # Of one size however few there are: a row's draws do not depend on the rows behind it.
        size = BATCH if self._estimator in ("elbo", "importance") else min(BATCH, len(x))
        for step, (rows, count) in enumerate(padded_batches(x.x, size)):
            found = self._score_batch(rows, tf.constant(step), x.scale, x.dynamic_binarization)
            for name, value in found.items():
                parts.setdefault(name, []).append(value.numpy()[:count])
            done += count
            if self._progress:
                left = (time.perf_counter() - started) * (len(x) - done) / done
                line.show(f"{self._estimator}: {done:,}/{len(x):,} datapoints  {clock(left)} left")
        line.end()
        arrays = {name: np.concatenate(values).astype(np.float64) for name, values in parts.items()}
        values = arrays.pop("log_prob")
        words = _diagnostics(arrays)
        notes: tuple[str, ...] = ()
        if self._estimator != "elbo":
            notes = of_estimates(self._estimator, self._num_samples, arrays, LARGE_R_HAT)
        return Scores(self._estimator, self._num_samples, values, words, arrays, notes)

    def _batch_scores(
        self, values: tf.Tensor, step: tf.Tensor, scale: float, dynamic_binarization: bool
    ) -> dict[str, tf.Tensor]:
        model, count = self._model, self._num_samples
        seeds = step_seeds(self._seed, "score", step)
        batch = read_values(values, scale, dynamic_binarization, seeds.binarization)
        if self._estimator == "elbo":
            return {"log_prob": chunked_bound(model, batch, seeds.noise, count).elbo}
        if self._estimator == "importance":
            return importance_log_prob(model, batch, count, seeds.noise)._asdict()
        if self._estimator == "hmc":
            return hmc_log_prob(model, batch, count, seed=seeds.noise)._asdict()
        return annealed_log_prob(model, batch, count, seed=seeds.noise)._asdict()


def chunked_bound(model: AEVB, x: tf.Tensor, seed: tf.Tensor, num_samples: int) -> Bound:
    """Estimates the evidence lower bound and its terms at `x` [B, ...event].

    The samples are drawn in chunks: memory does not grow with them.
    """
    if num_samples <= SAMPLES_AT_ONCE:
        return model.evidence_bound(x, seed, num_samples)
    chunks, rest = divmod(num_samples, SAMPLES_AT_ONCE)

    def bound(i: tf.Tensor | int, count: int) -> Bound:
        chunk_seed = tf.random.experimental.stateless_fold_in(seed, i)
        return model.evidence_bound(x, chunk_seed, count)

    means = tf.map_fn(
        lambda i: bound(i, SAMPLES_AT_ONCE),
        tf.range(chunks),
        fn_output_signature=Bound(tf.float32, tf.float32, tf.float32),
    )
    totals = [SAMPLES_AT_ONCE * tf.reduce_sum(term, axis=0) for term in means]
    if rest:
        last = bound(chunks, rest)
        totals = [total + rest * term for total, term in zip(totals, last, strict=True)]
    return Bound(*(total / num_samples for total in totals))


def bound_note(model: AEVB) -> str:
    """Says how a run's own bounds differ from the estimator `elbo`; empty where they do not."""
    if model.ascends_evidence:
        return ""
    others = "`evaluate`, `diagnose`, `report` and the SavedModel have the evidence lower bound"
    if isinstance(model, AblatedAEVB):
        left_out = {"noise": model.sampled, "KL term": model.regularised}
        parts = " and ".join(name for name, kept in left_out.items() if not kept)
        return (
            "The `elbo` in summary.json and metrics.csv is what training without the "
            f"{parts} ascends, no bound on log p(x); {others}."
        )
    return (
        "The bounds in summary.json and metrics.csv are "
        f"{model.objective.describe(model.num_samples)}, which --objective="
        f"{model.objective.name} ascends; {others}, which is not above it."
    )


def score(model: AEVB, x: Observations, estimator: str, num_samples: int, seed: int) -> Scores:
    """Scores each datapoint of `x`; see `Scorer`."""
    return Scorer(model, estimator, num_samples, seed)(x)


def _diagnostics(measures: Mapping[str, np.ndarray]) -> str:
    """Says how far the values can be trusted."""
    words = []
    if "acceptance" in measures:
        words.append(f"acceptance: mean {measures['acceptance'].mean():.2f}")
    if "r_hat" in measures:
        large = float((~(measures["r_hat"] <= LARGE_R_HAT)).mean())  # unknown is not small
        words.append(
            f"R-hat: median {np.median(measures['r_hat']):.3f}, above {LARGE_R_HAT} for "
            f"{large:.1%} of the datapoints"
        )
    names = {
        "ess_bulk": "bulk ESS",
        "ess_tail": "tail ESS",
        "effective_sample_size": "effective samples",
    }
    for name in [name for name in names if name in measures]:
        few = float((~(measures[name] >= FEW_EFFECTIVE_SAMPLES)).mean())
        words.append(
            f"{names[name]}: median {np.median(measures[name]):.1f}, below "
            f"{FEW_EFFECTIVE_SAMPLES:g} for {few:.1%} of the datapoints"
        )
    return "; ".join(words)


def write_scores(results: Sequence[Scores], path: str | Path) -> None:
    """Writes one line for each datapoint: its row and its value by each estimator, in nats."""
    values = zip(*(scores.values for scores in results), strict=True)
    rows = ([row, *(f"{value:.9g}" for value in found)] for row, found in enumerate(values))
    write_csv(Path(path), ["row", *(scores.estimator for scores in results)], rows)
