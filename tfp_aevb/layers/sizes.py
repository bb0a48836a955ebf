"""Sizes that users give layers: whole numbers, or refused in one line."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def as_size(name: str, value: Any, least: int = 1) -> int:
    """Returns `value`, given as `name`, as an int.

    Raises:
        ValueError: if it is no whole number, or below `least`.
    """
    try:
        size = operator.index(value) if not isinstance(value, bool) else None
    except TypeError:
        size = None
    if size is None or size < least:
        raise ValueError(f"`{name}` must be a whole number from {least} on, got {value!r:.80}")
    return size


def as_sizes(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Returns `value`, given as `name`, as a tuple of ints; one whole number is one of them.

    Raises:
        ValueError: if it is neither one nor a sequence of whole numbers from `least` on.
    """
    values: Any = [value]
    if isinstance(value, tf.TensorShape):
        values = value.as_list() if value.rank is not None else [None]
    elif isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim == 1):
        values = value
    try:
        return tuple(as_size(name, size, least) for size in values)
    except ValueError:
        raise ValueError(
            f"`{name}` must be whole numbers from {least} on, as (28, 28), got {value!r:.80}"
        ) from None
