"""What comes beside the datapoints, as Keras hands it over: a target, and weights."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.host_arrays import host_array

_TARGET = (
    "the target is not the data, and nothing would use it: give batches of x alone, as by "
    "`ds.map(lambda x, y: x)`, and arrays without `y`; to learn from noisy inputs put the noise "
    "into the encoder, as by a `GaussianNoise` layer in its network"
)


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


def check_target(x: Any, y: Any) -> None:
    """Raises a `ValueError` unless the target `y` is `None` or the data `x` themselves."""
    if y is None or y is x:
        return
    try:
        first, second = np.asarray(x), np.asarray(_local_array(y))
        is_same = first.shape == second.shape and bool(
            ((first == second) | ((first != first) & (second != second))).all()
        )
    except (TypeError, ValueError):
        is_same = False
    if not is_same:
        raise ValueError(_TARGET)


def split_parts(element: Any) -> tuple[Any, Any, Any]:
    """Splits a batch, or validation data, `x`, `(x,)`, `(x, y)` or `(x, y, weights)`, into three.

    Raises:
        ValueError: if a tuple has more parts or none.
    """
    if not isinstance(element, tuple):
        return element, None, None
    if not 0 < len(element) < 4:
        raise ValueError(
            f"data must come as x, (x, x) or (x, x, weights), got a tuple of {len(element)} parts"
        )
    x, y, weights = (*element, None, None)[:3]
    return x, y, weights


def without_loss(element: Any) -> Any:
    """Returns a batch in a form of which Keras drops nothing.

    It drops the weights of (x, None, weights), which become (x, x, weights), and masks.
    """
    if isinstance(element, np.ma.MaskedArray):
        return host_array(element)
    if isinstance(element, tuple | list) and element:
        x, *others = element
        x = without_loss(x) if isinstance(x, np.ma.MaskedArray) else x
        if len(others) == 2 and others[0] is None:
            others[0] = x
        return (x, *others)
    return element


def batch_parts(element: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a batch's datapoints [B, ...event], and their weights [B] if it has any.

    Raises:
        ValueError: if it has a target that is not its datapoints, or its parts are no arrays.
    """
    x, y, weights = split_parts(element)
    if isinstance(x, dict | tuple):
        raise ValueError(
            f"a batch must be one array [B, ...event], got a {type(x).__name__}; take what the "
            "model has out of it, as by `ds.map(lambda batch: batch['image'])`"
        )
    rows = host_array(_local_array(x))
    if rows.ndim < 2:
        raise ValueError(
            f"a batch must be an array [B, ...event], got shape {rows.shape}; make batches of the "
            "data, as by `ds.batch(100)`"
        )
    check_target(rows, y)
    if weights is None:
        return rows, None
    return rows, as_weights(_local_array(weights), len(rows))


def without_outliers(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns `values` with what does not count replaced: 0 times an infinite bound would be NaN.

    Args:
        values: [R, ...event].
        weights: [R].
    """
    used = np.flatnonzero(weights)
    if len(used) in (0, len(weights)):
        return values
    return values[np.where(weights > 0.0, np.arange(len(values)), used[0])]


def _local_array(value: Any) -> Any:
    """Returns the parts of a value on this process' devices end to end, any other as it is."""
    if isinstance(value, tf.distribute.DistributedValues):
        return np.concatenate([np.asarray(part) for part in value.values])
    return value
