"""What a user gives as an array, in whatever form, as NumPy numbers: float32, or bytes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.rounding import check_rounding

_SPARSE = "sparse data are not taken; give `x.toarray()`, or `tf.sparse.to_dense(x)`"


def is_array_like(x: Any) -> bool:
    """Whether `x` is an array or what NumPy makes one of, as a DataFrame, or refused as one."""
    return isinstance(x, Sequence) or hasattr(x, "__array__") or is_no_array(x) is not None


def is_no_array(x: Any) -> str | None:
    """Says why NumPy makes no array of numbers of tensors of a kind of their own."""
    if isinstance(x, tf.RaggedTensor):
        return "datapoints of different shapes are not taken; pad them, as by `x.to_tensor()`"
    is_sparse = isinstance(x, tf.SparseTensor | tf.IndexedSlices)
    return _SPARSE if is_sparse or hasattr(x, "toarray") else None


def numeric_array(x: Any, allow_missing: bool) -> np.ndarray:
    """Returns `x` [N, ...event] as float32, or as it is if it is of uint8.

    What is masked, or NA in a DataFrame, is NaN.

    Raises:
        ValueError: if `x` is empty, not numeric, or has NaN or infinite values (but for NaN where
            it may be missing), or if float32 would lose a column's variation.
    """
    array = host_array(x)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"`x` must have shape [N, ...event] without zeros, got {array.shape}; a single "
            "datapoint is `x[np.newaxis]`, a single column `x[:, np.newaxis]`"
        )
    values = as_float32(array)
    if values.dtype == np.uint8:
        return values
    wrong = np.isinf(values) if allow_missing else ~np.isfinite(values)
    if wrong.any():
        row = np.argwhere(wrong)[0][0]
        raise ValueError(
            "`x` has NaN (or masked) or infinite values, or too large for float32, the first in "
            f"row {row}; remove, impute or rescale them"
        )
    check_rounding(array)
    return values


def host_array(x: Any) -> np.ndarray:
    """Returns `x` as an array of integers, floats or booleans; what is masked or NA is NaN.

    Raises:
        ValueError: if it is none.
    """
    reason = is_no_array(x)
    if reason:
        raise ValueError(f"`x` must be an array of numbers: {reason}")
    try:
        if isinstance(x, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in x):
            x = np.ma.array(x)
        if isinstance(x, np.ma.MaskedArray) and x.dtype.kind in "biuf":
            return np.ma.filled(x.astype(np.float64), np.nan) if np.ma.is_masked(x) else x.data
        array = np.asarray(x)
        if array.dtype.kind == "O" and _has_numeric_columns(x):
            array = x.to_numpy(dtype=np.float64, na_value=np.nan)
    except Exception as error:  # of another library's objects
        reason = " ".join(str(error).split())
        raise ValueError(f"`x` must be an array of numbers of one shape: {reason}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"`x` must be an array of numbers, got dtype {array.dtype}; turn text, dates, "
            "categories and objects into numbers first"
        )
    return array


def as_float32(array: np.ndarray) -> np.ndarray:
    """Returns numbers as float32, or as they are if they are of uint8; too large ones are inf."""
    if array.dtype == np.uint8:
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def as_datapoints(x: Any, allow_missing: bool) -> tf.Tensor:
    """Returns `x` [B, ...event] of any form as a float32 tensor; its values are checked eagerly.

    Raises:
        ValueError: see `numeric_array`; no datapoints (B = 0) are fine here.
    """
    is_tensor = isinstance(x, tf.Tensor | tf.Variable)
    if is_tensor and not tf.executing_eagerly():
        return tf.cast(x, tf.float32)
    array = host_array(x)
    values = numeric_array(array, allow_missing) if array.size else as_float32(array)
    return tf.cast(x if is_tensor else values, tf.float32)


def _has_numeric_columns(x: Any) -> bool:
    """Whether `x` is a DataFrame of numbers alone, perhaps with NA."""
    dtypes = getattr(x, "dtypes", ())
    kinds = [getattr(d, "kind", "O") for d in dtypes] if isinstance(dtypes, Iterable) else []
    return bool(kinds) and hasattr(x, "to_numpy") and all(kind in "biuf" for kind in kinds)
