"""Which combinations of prior, posterior, likelihood and objective are claimed, and a covering set.

Does not import TensorFlow.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from tfp_aevb.training.config import TrainConfig
from tfp_aevb.training.parts import LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS

# Tables have tests of their own.
ARRAY_LIKELIHOODS = [name for name in LIKELIHOODS if name != "mixed"]
ROWS, ELEMENTS, CATEGORIES = 64, 8, 4


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
        return TrainConfig(
            **self._asdict(),
            categories=CATEGORIES,
            latent_dim=2,
            hidden_units=(8,),
            prior_components=3,
            num_samples=2,
            optimizer="adam",
            learning_rate=0.01,
            binarize="none",
            estimation="ml",
            xla=False,
        )

    def refusal(self) -> str | None:
        """The line by which the settings are refused; None if they are claimed."""
        return _refusal(self)

    def data(self) -> np.ndarray:
        """Returns [64, 8] float32 in the likelihood's support, two clusters of rows."""
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
        }
        return draws[support]().astype(np.float32)


def all_combinations() -> list[Combination]:
    """Every combination, sensible or not, in a fixed order."""
    parts = itertools.product(PRIORS, POSTERIORS, ARRAY_LIKELIHOODS, OBJECTIVES)
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
