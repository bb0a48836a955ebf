"""Which combinations of prior, posterior, likelihood and objective are claimed, and a covering set.

Does not import TensorFlow.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from tfp_aevb.data.columns import Column
from tfp_aevb.runs.settings.choices import LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS
from tfp_aevb.runs.settings.config import TrainConfig

ROWS, ELEMENTS, CATEGORIES = 64, 8, 4
COLUMNS = [
    *(Column(f"real_{i}", "real", scale=2.0) for i in range(2)),
    *(Column(f"count_{i}", "count") for i in range(2)),
    *(Column(f"binary_{i}", "binary", ("no", "yes")) for i in range(2)),
    *(Column(f"category_{i}", "categorical", ("a", "b", "c", "d")) for i in range(2)),
]


@functools.cache
def _refusal(combination: "Combination") -> str | None:
    try:
        combination.config()
    except ValueError as error:
        return str(error)
    return None


class Combination(NamedTuple):
    """One choice of each part."""

    prior: str
    posterior: str
    likelihood: str
    objective: str

    def config(self) -> TrainConfig:
        """The settings of a tiny run."""
        own: dict[str, int] = {}
        if self.likelihood == "categorical":
            own["categories"] = CATEGORIES
        if self.prior in ("mixture", "vamp"):
            own["prior_components"] = 3
        return TrainConfig(
            **self._asdict(),
            dataset="table.csv" if self.likelihood == "mixed" else "mnist_5k",
            **own,
            latent_dim=2,
            hidden_units=(8,),
            # q of these learns from the draws' weights: with two draws a flow was seen to diverge.
            num_samples=10 if self.objective in ("rws", "f_divergence") else 2,
            optimizer="adam",
            learning_rate=0.01,
            binarize="none",
            estimation="ml",
            xla=False,
        )

    def refusal(self) -> str | None:
        """The line by which the settings are refused; None if they are claimed."""
        return _refusal(self)

    def record(self) -> dict[str, Any]:
        """The record of the data: a table's columns."""
        return {"columns": COLUMNS} if self.likelihood == "mixed" else {}

    def data(self) -> np.ndarray:
        """Returns [64, 8] float32 in the likelihood's support, two clusters of rows.

        A table has gaps.
        """
        rng = np.random.default_rng(0)
        high = (np.arange(ELEMENTS) % 2 == rng.integers(0, 2, [ROWS, 1])).astype(float)
        mean = 0.15 + 0.7 * high
        support = self.config().support
        draws = {
            "binary": lambda: rng.random(mean.shape) < mean,
            "unit": lambda: rng.beta(5.0 * mean, 5.0 * (1.0 - mean)),
            "open_unit": lambda: np.clip(rng.beta(5 * mean, 5 * (1 - mean)), 1e-3, 1 - 1e-3),
            "levels": lambda: np.round(255.0 * rng.beta(5 * mean, 5 * (1 - mean))) / 255.0,
            "counts": lambda: rng.poisson(6.0 * mean),
            f"codes:{CATEGORIES}": lambda: rng.binomial(CATEGORIES - 1, mean),
            "real": lambda: rng.normal(2.0 * mean, 0.3),
            "table": lambda: _table(mean, rng),
        }
        return draws[support]().astype(np.float32)


def _table(mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns values of `COLUMNS`, a tenth of them missing."""
    draws = {
        "real": rng.normal(2.0 * mean, 0.3),
        "count": rng.poisson(6.0 * mean),
        "binary": rng.random(mean.shape) < mean,
        "categorical": rng.binomial(CATEGORIES - 1, mean),
    }
    x = np.stack([draws[column.kind][:, i] for i, column in enumerate(COLUMNS)], axis=-1)
    return np.where(rng.random(x.shape) < 0.1, np.nan, x)


def all_combinations() -> list[Combination]:
    """Every combination, sensible or not, in a fixed order."""
    parts = itertools.product(PRIORS, POSTERIORS, LIKELIHOODS, OBJECTIVES)
    return [Combination(*choice) for choice in parts]


@functools.cache
def covering_set() -> tuple[Combination, ...]:
    """Claimed combinations that hold each pair of parts that is claimed at all."""
    return _cover(tuple(itertools.combinations(range(4), 2)))


@functools.cache
def quick_set() -> tuple[Combination, ...]:
    """Claimed combinations such that each part is in one of them."""
    return _cover(((0,), (1,), (2,), (3,)))


def _cover(places: tuple[tuple[int, ...], ...]) -> tuple[Combination, ...]:
    """Greedy: the next is the first of those with the most choices that none before has."""
    claimed = [c for c in all_combinations() if c.refusal() is None]
    numbers: dict[tuple, int] = {}
    columns = [
        [numbers.setdefault((place, tuple(c[i] for i in place)), len(numbers)) for place in places]
        for c in claimed
    ]
    has = np.zeros([len(claimed), len(numbers)], np.float32)
    np.put_along_axis(has, np.array(columns), 1.0, axis=1)
    missing = np.ones(len(numbers), np.float32)
    chosen = []
    while missing.any():
        best = int(np.argmax(has @ missing))
        chosen.append(claimed[best])
        missing[has[best] > 0.0] = 0.0
    return tuple(chosen)
