"""Binarisation of pixel intensities."""

from collections.abc import Iterator, Sequence

import numpy as np

BINARIZE_METHODS = ("none", "threshold", "static", "dynamic")
_ROWS = 4096  # rows at a time: the float64 intermediates stay small


def binarize_pixels(
    x: np.ndarray, scale: float, method: str, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Binarises intensities x / scale in [0, 1].

    Args:
        x: [N, D] uint8 or float32, perhaps with NaN for what is missing.
        scale: x / scale are the intensities.
        method: "none" or "dynamic" (x itself: "dynamic" is drawn anew at each use, by the
            training loop), "threshold" (1 where x / scale > 0.5) or "static" (one draw from
            Bernoulli(x / scale)).
        seed: of the "static" draw; integers from 0 to 2**32 - 1.

    Returns:
        [N, D] of zeros and ones for "threshold" and "static" (uint8, or float32 where there is
        NaN, which stays), else `x`. Intensities which are zeros and ones already keep their
        values under every method.

    Raises:
        ValueError: `method` is unknown, or a method other than "none" meets an intensity
            outside [0, 1].
    """
    if method not in BINARIZE_METHODS:
        raise ValueError(f"`binarize` is {method!r}; expected one of {', '.join(BINARIZE_METHODS)}")
    if method == "none":
        return x
    gaps = x.dtype.kind == "f" and bool(np.isnan(x).any())
    known = x[~np.isnan(x)] if gaps else x
    if not known.size:
        return x
    low, high = known.min() / scale, known.max() / scale
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"`binarize={method}` needs intensities in [0, 1], but x / {scale:g} runs from "
            f"{low:g} to {high:g}; use `binarize=none`, or save pixels as uint8 or as floats "
            f"in [0, 1]"
        )
    if method == "dynamic":
        return x
    out = np.empty(x.shape, np.float32 if gaps else np.uint8)
    rng = np.random.RandomState(seed)  # frozen stream: the draw is part of the data's record
    for rows in _chunks(len(x)):
        p = x[rows] / scale
        out[rows] = p > 0.5 if method == "threshold" else rng.random_sample(p.shape) < p
    if gaps:
        out[np.isnan(x)] = np.nan
    return out


def is_binary(x: np.ndarray, scale: float) -> bool:
    """Whether all intensities x / scale are 0 or 1, or missing."""
    parts = (x[rows] for rows in _chunks(len(x)))
    return all(bool(((p == 0) | (p == scale) | (p != p)).all()) for p in parts)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))
