"""Weights of datapoints: how often each counts."""

from typing import Any

import numpy as np


def as_weights(weights: Any, count: int) -> np.ndarray:
    """Returns how often each of `count` datapoints counts: [count] float64.

    Raises:
        ValueError: if it is not one finite number for each, at least 0, and one above it.
    """
    try:
        array = np.asarray(weights)
        given = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError("weights must be numbers, one for each datapoint") from None
    if array.dtype.kind not in "biuf" or array.shape != (count,):
        raise ValueError(
            f"weights must be numbers of shape [{count}], one for each datapoint, got "
            f"{array.dtype} of shape {list(array.shape)}"
        )
    wrong = ~((given >= 0.0) & (given <= np.finfo(np.float32).max))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"weights must be finite and at least 0, got {given[row]:g} in row {row}; give 0 to "
            "leave a datapoint out"
        )
    return given
