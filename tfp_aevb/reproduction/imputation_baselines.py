"""Restoring binary images without a deep model: pixel means, nearest neighbours, PCA."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.imputation.evidence import Evidence
from tfp_aevb.imputation.tasks import TASKS, Damaged

NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100)
COMPONENTS = (10, 20, 50, 100, 200, 400)
ROWS = 500  # at once
LEAST = 1e-3  # probabilities of 0 and of 1 are kept this far away


class View(NamedTuple):
    """The mean and the noise of what is seen: y = matrix x + offset + noise, linearly.

    Attributes:
        matrix: [M, D].
        offset: of each y.
        variance: of the noise of each y.
    """

    matrix: np.ndarray
    offset: float
    variance: float


def view_of(task: str, damaged: Damaged) -> View:
    """Returns the view of a task of `damage` at its default strength.

    Args:
        task: of `tfp_aevb.imputation.TASKS`; the same pixels are missing in all datapoints.
        damaged: what it left of datapoints [N, D].
    """
    seen, channel = np.eye(damaged.held_out[0].size), damaged.channel
    if channel is None:
        return View(seen[~damaged.held_out[0]], 0.0, 0.0)
    if channel.blocks is not None:
        return View(seen[channel.blocks].mean(axis=1), 0.0, 0.0)
    rate = TASKS[task] or 0.0
    return View((1.0 - 2.0 * rate) * seen, rate, rate * (1.0 - rate))


def seen_part(y: np.ndarray) -> np.ndarray:
    """Returns `y` [N, M] without what is missing in all rows."""
    return y[:, ~np.isnan(y[0])]


def given_pixel_means(means: np.ndarray, evidence: Evidence, rows: slice) -> np.ndarray:
    """Returns E[x|y] [N, D] of independent pixels with prior means `means` [N, D]."""
    probs = tf.constant(np.clip(means, LEAST, 1.0 - LEAST), tf.float32)
    likelihood = tfd.Independent(tfd.Bernoulli(probs=probs), 1)
    return evidence.condition(likelihood, tf.constant(evidence.y[rows])).mean.numpy()


def neighbour_means(
    train: np.ndarray, view: View, evidence: Evidence, counts: Sequence[int]
) -> dict[int, np.ndarray]:
    """Returns E[x|y] [N, D] of independent pixels whose prior means are those of k neighbours.

    Neighbours are the training images whose undamaged view is nearest to y.

    Args:
        train: [T, D].
        view: how an image is seen.
        evidence: of the N images to restore.
        counts: the k to try.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=max(counts), algorithm="brute")
    index.fit((train @ view.matrix.T + view.offset).astype(np.float32))
    parts: dict[int, list[np.ndarray]] = {k: [] for k in counts}
    for start in range(0, len(evidence.y), ROWS):
        rows = slice(start, start + ROWS)
        nearest = index.kneighbors(seen_part(evidence.y[rows]), return_distance=False)
        for k in counts:
            means = np.stack([train[numbers[:k]].mean(axis=0) for numbers in nearest])
            parts[k].append(given_pixel_means(means, evidence, rows))
    return {k: np.concatenate(means) for k, means in parts.items()}


class ProbabilisticPCA:
    """x ~ N(mu, W W^T + s^2 I), fitted by maximum likelihood (Tipping & Bishop, 1999).

    Args:
        train: [T, D].
    """

    def __init__(self, train: np.ndarray) -> None:
        from sklearn.decomposition import PCA

        self._pca = PCA(svd_solver="covariance_eigh")
        self._pca.fit(train.astype(np.float64))

    def conditional_mean(self, y: np.ndarray, view: View, components: int) -> np.ndarray:
        """Returns E[x|y] [N, D] for what is seen, `y` [N, M]."""
        directions = self._pca.components_[:components]
        variances, rest = np.split(self._pca.explained_variance_, [components])
        noise = float(rest.mean())
        covariance = (directions.T * (variances - noise)) @ directions
        covariance += noise * np.eye(len(covariance))
        of_y = view.matrix @ covariance @ view.matrix.T + view.variance * np.eye(len(view.matrix))
        gain = np.linalg.solve(of_y, view.matrix @ covariance)  # [M, D]
        mean = self._pca.mean_
        return mean + (y - view.offset - view.matrix @ mean) @ gain


def pixel_scores(
    probs: np.ndarray, x: np.ndarray, held_out: np.ndarray
) -> tuple[float, float, float]:
    """Scores probabilities of held-out binary pixels, each array [N, D].

    Returns:
        Mean negative log-likelihood (nats per pixel), half the width of its 95% interval over
        images, and root mean squared error. Probabilities are clipped to [0.001, 0.999].
    """
    probs = np.clip(probs.astype(np.float64), LEAST, 1.0 - LEAST)
    count = held_out.sum(axis=1)
    nats = -np.where(x > 0.5, np.log(probs), np.log1p(-probs))
    nats = np.where(held_out, nats, 0.0).sum(axis=1) / count  # [N]
    squares = np.where(held_out, (probs - x) ** 2, 0.0).sum(axis=1) / count
    half_width = 1.959964 * nats.std(ddof=1) / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
    return float(nats.mean()), float(half_width), math.sqrt(float(squares.mean()))
