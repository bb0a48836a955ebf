"""Checks and compact forms shared by every source of arrays."""

import re

import numpy as np

_WHOLE = 1 << 24  # float32 holds all integers up to it


def one_line(error: BaseException, limit: int = 400) -> str:
    """The text of another library's error on one line of at most `limit` characters."""
    text = re.sub(r"\{\{.*?\}\}", "", str(error))  # TensorFlow's op names
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_dtype(dtype: np.dtype, where: str) -> None:
    """Refuses what is neither an integer, a boolean nor a real float.

    Args:
        dtype: the dtype of an array not yet read.
        where: what the message starts with.

    Raises:
        ValueError: the dtype is complex, text, objects, dates or a record.
    """
    if dtype.kind not in "buif":
        kind = "object" if dtype.hasobject else str(dtype)
        raise ValueError(
            f"{where}: dtype {kind!r} is not supported; "
            f"expected integers from 0 to 255 or real floats (save with astype)"
        )


def compact_array(
    array: np.ndarray, where: str, allow_missing: bool = False, pixels: bool = True
) -> np.ndarray:
    """`array` [N, ...] as uint8 (integers from 0 to 255) or float32 (floats, larger counts).

    Args:
        array: one example a row.
        where: what an error message starts with.
        allow_missing: accept NaN, for what is missing.
        pixels: whether integers are pixels, of 8 bits; counts and codes may be larger.

    Raises:
        ValueError: the array is empty, has fewer than two axes, holds NaN or infinity, or
            integers outside 0 to 255, or that float32 does not hold.
    """
    check_dtype(array.dtype, where)
    if array.ndim < 2:
        raise ValueError(
            f"{where}: shape {array.shape} has {array.ndim} axes; "
            f"expected at least 2, one example a row: [N, D] or [N, H, W]"
        )
    if array.size == 0:
        raise ValueError(f"{where}: shape {array.shape} is empty; expected at least one value")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows float32 is refused just below
            compact = array.astype(np.float32)
        if allow_missing and np.isinf(compact).any():
            raise ValueError(
                f"{where}: holds infinity or values beyond float32; "
                f"remove or replace them, by NaN if they are missing"
            )
        if not allow_missing and not np.isfinite(compact).all():
            raise ValueError(
                f"{where}: holds NaN, infinity or values beyond float32; remove or replace them "
                f"before saving, or train a model for which NaN is missing (--missing)"
            )
        return compact
    low, high = int(array.min()), int(array.max())
    if not pixels and (low < 0 or high > 255):
        if max(-low, high) <= _WHOLE:
            return array.astype(np.float32)
        raise ValueError(
            f"{where}: integers run from {low} to {high}, which float32 does not hold; "
            f"expected {-_WHOLE} to {_WHOLE}"
        )
    if low < 0 or high > 255:
        raise ValueError(
            f"{where}: integers run from {low} to {high}; "
            f"expected 0 to 255, or save the values as floats"
        )
    return array.astype(np.uint8, copy=False)


def compact_labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    """A copy of `labels` ([N] or [N, 1] integers) as int64 [N].

    Raises:
        ValueError: the labels are not integers, or not `count` of them.
    """
    if labels.dtype.kind not in "bui":
        raise ValueError(f"{where}: dtype {str(labels.dtype)!r} is not supported for labels; "
                         f"expected integers")  # fmt: skip
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"{where}: shape {labels.shape} does not match its {count} examples; "
            f"expected one label an example: ({count},)"
        )
    return labels.reshape(count).astype(np.int64)


def image_shape_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to draw one example in: (H, W), (H, W, 3), or () when it is no image."""
    if len(shape) == 3 and shape[-1] == 1:
        return shape[:2]
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] == 3):
        return shape
    return ()
