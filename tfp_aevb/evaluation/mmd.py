"""Maximum mean discrepancy between two samples, with a permutation test. No TensorFlow."""

from typing import NamedTuple

import numpy as np


class TwoSampleTest(NamedTuple):
    """How far apart two samples are.

    Attributes:
        mmd2: the squared maximum mean discrepancy, unbiased: 0 on average for equal distributions,
            so that it may be negative. No unit; the kernel lies in (0, 1].
        p_value: chance of so large a value, or a larger one, if both distributions are the same.
        bandwidth: of the kernel, in the units of the samples.
        draws: in each sample, n and m.
        permutations: that the p-value rests on.
    """

    mmd2: float
    p_value: float
    bandwidth: float
    draws: tuple[int, int]
    permutations: int


def mmd_test(
    x: np.ndarray, y: np.ndarray, *, permutations: int = 500, rng: np.random.Generator
) -> TwoSampleTest:
    """Tests whether two samples come from one distribution (Gretton et al., 2012).

    MMD^2 = mean{ k(x[i], x[j]) : i != j } + mean{ k(y[i], y[j]) : i != j }
            - 2 mean{ k(x[i], y[j]) },

    k(a, b) = exp(-|a - b|^2 / (2 h^2)); h is the median distance of the pooled sample. The p-value
    is the rank of MMD^2 among those of random divisions of the pooled sample,
    (1 + #{ as large }) / (1 + permutations): exact whatever n and m are. Memory: (n + m)^2 float64.

    Args:
        x: [n, J], n >= 2.
        y: [m, J], m >= 2.
        permutations: random divisions.
        rng: draws them.

    Returns:
        The result.

    Raises:
        ValueError: if the samples are too small, do not fit each other or are not finite.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "`x` and `y` must have shapes [n, J] and [m, J] with n and m at least 2, "
            f"got {list(x.shape)} and {list(y.shape)}"
        )
    if permutations < 1:
        raise ValueError(f"`permutations` must be at least 1, got {permutations}")
    pooled = np.concatenate([x, y]).astype(np.float64)
    if not np.isfinite(pooled).all():
        raise ValueError("`x` and `y` must be finite, got NaN or infinite values")
    squares = _squared_distances(pooled)
    distances = np.sqrt(squares[np.triu_indices(len(pooled), 1)])
    bandwidth = float(np.median(distances)) or float(distances.mean()) or 1.0
    kernel = np.exp(-squares / (2.0 * bandwidth**2))
    np.fill_diagonal(kernel, 0.0)

    divisions = np.zeros([len(pooled), permutations + 1])  # 1 where a point counts as x's
    divisions[: len(x), 0] = 1.0
    for column in range(1, permutations + 1):
        divisions[rng.permutation(len(pooled))[: len(x)], column] = 1.0
    values = _mmd2(kernel, divisions, len(x), len(y))
    # The same division may differ from itself by rounding.
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    return TwoSampleTest(
        float(values[0]),
        (1 + as_large) / (1 + permutations),
        bandwidth,
        (len(x), len(y)),
        permutations,
    )


def _squared_distances(points: np.ndarray) -> np.ndarray:
    centred = points - points.mean(axis=0)  # less cancellation below
    lengths = (centred**2).sum(axis=1)
    return np.maximum(lengths[:, None] + lengths - 2.0 * centred @ centred.T, 0.0)


def _mmd2(kernel: np.ndarray, divisions: np.ndarray, n: int, m: int) -> np.ndarray:
    """Returns MMD^2 for each column of `divisions`; the kernel's diagonal is zero."""
    product = kernel @ divisions  # sums over x's points
    within_x = (divisions * product).sum(axis=0)
    between = product.sum(axis=0) - within_x
    within_y = kernel.sum() - within_x - 2.0 * between
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2.0 * between / (n * m)
