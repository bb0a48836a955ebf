"""How regular a latent space is: what lies between codes, and what lies under draws. No TensorFlow.

An auto-encoder may place codes as it likes. Of a regular latent space one asks that a short step
changes the decoding by little (continuity), and that every draw decodes to something like the data
(completeness). Distances between images are Euclidean, as root mean squares over their pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import subspace_angles


class Continuity(NamedTuple):
    """What the decodings along paths do, each [P]; both are 1 where decodings move evenly straight.

    Attributes:
        stretch: length of the path over the distance of its ends, >= 1.
        jump: largest step over the mean step, from 1 to the number of steps.
    """

    stretch: np.ndarray
    jump: np.ndarray


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the angles between the spans of two sets of directions, largest first.

    Args:
        first: [J, D], a direction a row, as `PCA.components` or a linear decoder's kernel.
        second: [K, D].

    Returns:
        [min(J, K)], degrees, 0 to 90; all 0 if one span holds the other.
    """
    return np.degrees(subspace_angles(first.T, second.T))


def root_mean_square_error(x: np.ndarray, reconstructions: np.ndarray) -> float:
    """Returns the root of the mean squared difference over all pixels; both are [N, D]."""
    _check_same_width(x, reconstructions, "reconstructions")
    return float(np.sqrt(np.square(x.astype(np.float64) - reconstructions).mean()))


def continuity(paths: np.ndarray) -> Continuity:
    """Measures decodings along paths.

    A path that goes nowhere counts as straight and even: 1 and 1. One that returns to where it
    began has an infinite stretch.

    Args:
        paths: decodings [P, T, D], T >= 2.

    Raises:
        ValueError: if the shape is another.
    """
    if paths.ndim != 3 or paths.shape[1] < 2:
        raise ValueError(f"`paths` must have shape [P, T, D], T at least 2, got {paths.shape}")
    steps = np.linalg.norm(np.diff(paths.astype(np.float64), axis=1), axis=2)  # [P, T - 1]
    distances = np.linalg.norm(paths[:, -1].astype(np.float64) - paths[:, 0], axis=1)
    lengths = steps.sum(axis=1)
    moved = lengths > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.where(moved, lengths / distances, 1.0)
        jump = np.where(moved, steps.max(axis=1) / steps.mean(axis=1), 1.0)
    return Continuity(stretch, jump)


def nearest_distances(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the distance of each of `x` to the nearest of `others`, per pixel.

    sqrt( min{ |x[i] - y[j]|^2 : j } / D ). Images far from all data have large distances to them;
    data which no draw comes near have large distances to the draws. Blurred images are nearer to
    everything than sharp ones, and the distance falls with the number of `others`: compare with
    that of as many held-out data.

    Args:
        x: [N, D].
        others: [M, D].

    Returns:
        [N].
    """
    _check_same_width(x, others, "others")
    centre = others.mean(axis=0, dtype=np.float64)  # less cancellation below
    x, others = x - centre, others - centre
    products = x @ others.T  # [N, M]
    lengths = [np.square(points).sum(axis=1) for points in (x, others)]
    nearest = (lengths[1] - 2.0 * products).argmin(axis=1)
    return np.sqrt(np.square(x - others[nearest]).mean(axis=1))


class CodeGaussian(NamedTuple):
    """A Gaussian fitted to codes: mean [J] and covariance [J, J]."""

    mean: np.ndarray
    covariance: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws [count, J]."""
        return rng.multivariate_normal(self.mean, self.covariance, count, method="eigh")


def fit_gaussian(codes: np.ndarray) -> CodeGaussian:
    """Fits a Gaussian to `codes` [N, J], N >= 2, by their mean and unbiased covariance."""
    dimension = codes.shape[1]
    covariance = np.cov(codes, rowvar=False, dtype=np.float64).reshape(dimension, dimension)
    return CodeGaussian(codes.mean(axis=0, dtype=np.float64), covariance)


def _check_same_width(x: np.ndarray, others: np.ndarray, name: str) -> None:
    if x.ndim != 2 or others.ndim != 2 or x.shape[1] != others.shape[1] or not len(others):
        raise ValueError(
            f"`x` and `{name}` must have shapes [N, D] and [M, D], got {x.shape} and {others.shape}"
        )
