"""Means over datapoints, each as often as it counts, with their standard errors."""

import math

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns sum{ w[i] v[i] } / sum{ w[i] } over the first axis; values of weight 0 are not used.

    Args:
        values: [N, ...].
        weights: [N], at least 0 and not all 0; by default all 1.
    """
    values, weights = _counted(values, weights)
    return np.average(values, axis=0, weights=weights)


def weighted_variance(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the variance over the first axis, unbiased for datapoints drawn with these weights.

    It does not change where all weights are multiplied by a number.
    """
    values, weights = _counted(values, weights)
    share = weights / weights.sum()
    squares = (values - np.average(values, axis=0, weights=weights)) ** 2
    return np.average(squares, axis=0, weights=weights) / (1.0 - (share**2).sum())


def mean_and_error(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Returns the mean [] of values [N] and its standard error, NaN for one datapoint.

    The error is that of datapoints that are drawn independently and weighted:
    sqrt(n / (n - 1) sum{ w[i]^2 (v[i] - mean)^2 }) / sum{ w[i] }, of the n with weights above 0.
    """
    values, weights = _counted(values, weights)
    mean, n = float(np.average(values, weights=weights)), len(values)
    if n < 2:
        return mean, math.nan
    with np.errstate(invalid="ignore"):  # where a value is not finite, neither is the error
        squares = (weights / weights.sum()) ** 2 * (values - mean) ** 2
    return mean, math.sqrt(n / (n - 1) * float(squares.sum()))


def _counted(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if weights is None:
        return values, np.ones(len(values))
    used = weights > 0.0
    return values[used], weights[used]
