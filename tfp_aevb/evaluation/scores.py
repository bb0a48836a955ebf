"""Scores of a data set, one value for each datapoint, with the interval of their mean."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.evaluation.importance import importance_log_prob
from tfp_aevb.model import AEVB
from tfp_aevb.training.files import write_text
from tfp_aevb.training.observations import Observations, read_values
from tfp_aevb.training.random import step_seeds

BATCH = 100
Z_95 = 1.959964


class Scores(NamedTuple):
    """What an estimator says of each datapoint.

    Attributes:
        estimator: its name.
        num_samples: samples of z for each datapoint.
        values: [N] nats.
    """

    estimator: str
    num_samples: int
    values: np.ndarray

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


def score(model: AEVB, x: Observations, estimator: str, num_samples: int, seed: int) -> Scores:
    """Scores each datapoint.

    Args:
        model: the model.
        x: the data.
        estimator: `elbo` or `importance`.
        num_samples: samples of z for each datapoint.
        seed: of the samples and of dynamic binarisation.

    Returns:
        The scores, in the order of `x`.
    """
    model.check_observations(x)

    @tf.function(jit_compile=True)
    def score_batch(values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        seeds = step_seeds(seed, "score", step)
        batch = read_values(values, x.scale, x.dynamic_binarization, seeds.binarization)
        if estimator == "elbo":
            return model.bound(batch, seeds.noise, num_samples).elbo
        return importance_log_prob(model, batch, num_samples, seeds.noise).log_prob

    scores = []
    for step, start in enumerate(range(0, len(x), BATCH)):
        rows = x.x[start : start + BATCH]
        padded = np.concatenate([rows, np.repeat(rows[-1:], BATCH - len(rows), axis=0)])
        scores.append(score_batch(padded, tf.constant(step)).numpy()[: len(rows)])
    return Scores(estimator, num_samples, np.concatenate(scores).astype(np.float64))


def write_scores(scores: Scores, path: str | Path) -> None:
    """Writes one line for each datapoint: its row and its value in nats."""
    lines = [f"{row},{value:.9g}" for row, value in enumerate(scores.values)]
    write_text(Path(path), "\n".join([f"row,{scores.estimator}", *lines]) + "\n")
