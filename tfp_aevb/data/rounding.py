"""Whether float32 can tell the values of a column apart: stated once, for arrays and tables."""

from typing import Any

import numpy as np

MAX_ROUNDING = 1e-3  # of a column's numbers by float32, in their standard deviation
_EPSILON = 2.0**-24  # of float32: it moves a number by this much of it at most
_WHOLE = 1 << 24  # float32 holds all integers up to it
_CHUNK_VALUES = 1 << 20
_NOISE = 8.0 * np.finfo(np.float64).eps  # variation of a constant that was computed


def check_rounding(x: np.ndarray, where: str = "`x`") -> None:
    """Raises a `ValueError` if float32 would lose the variation of a column of `x` [N, ...event].

    Args:
        x: the numbers; NaN is missing.
        where: what the message starts with.
    """
    if not x.size or not ColumnRounding.can_lose(x.dtype):
        return
    table = x.reshape(len(x), -1)
    with np.errstate(invalid="ignore"):
        low = np.fmin.reduce(table, axis=0).astype(np.longdouble)
        high = np.fmax.reduce(table, axis=0).astype(np.longdouble)
        largest = np.maximum(abs(low), abs(high))
        if x.dtype.kind in "iu" and largest.max() <= _WHOLE:
            return
        # A column's standard deviation is at least its range over the root of 2 N.
        least_spread = (high - low) / (2.0 * len(x)) ** 0.5
        is_safe = (_EPSILON * largest <= MAX_ROUNDING * least_spread) & (largest > 1e-30)
        is_safe |= largest == 0.0
    suspects = np.flatnonzero(~is_safe)
    if not suspects.size:
        return
    rounding = ColumnRounding(x.shape[1:], suspects)
    rows = max(_CHUNK_VALUES // suspects.size, 1)
    for start in range(0, len(x), rows):
        rounding.add(table[start : start + rows][:, suspects])
    rounding.check(where)


def check_column(values: np.ndarray, where: str) -> None:
    """Raises a `ValueError` if float32 cannot tell numbers like `values` [N] apart.

    So it is for numbers of their size and spread, whether float32 holds these or not: a table's
    columns will get more rows.
    """
    rounding = ColumnRounding()
    rounding.add(values[:, np.newaxis])
    rounding.check(where, only_changed=False)


class ColumnRounding:
    """What float32 rounds of columns whose rows come in parts.

    A column is refused if float32 rounds its largest number by up to more than a thousandth of
    their standard deviation. One that is constant has nothing to lose.

    Args:
        event_shape: of the datapoints, whose elements are the columns; () of a single column.
        columns: which of the elements are given; by default all.
    """

    def __init__(
        self, event_shape: tuple[int, ...] = (), columns: np.ndarray | None = None
    ) -> None:
        size = int(np.prod(event_shape))
        self._shape = event_shape
        self._columns = np.arange(size) if columns is None else columns
        size = len(self._columns)
        self._first = np.full(size, np.nan, np.longdouble)
        self._count, self._sum, self._squares = np.zeros([3, size])
        self._largest, self._is_changed = np.zeros(size), np.zeros(size, bool)
        self._noise = 0.0

    @staticmethod
    def can_lose(dtype: np.dtype) -> bool:
        """Whether there are numbers of this dtype that float32 does not hold."""
        return dtype.kind in "iuf" and dtype.itemsize > 2 and dtype != np.float32

    def add(self, rows: np.ndarray) -> None:
        """Takes more rows [N, ...] in; NaN is missing."""
        self._noise = _NOISE if rows.dtype.kind == "f" else 0.0
        is_long = rows.dtype != np.float64  # integers of 64 bits are longer than doubles
        x: Any = rows.reshape(len(rows), -1).astype(np.longdouble if is_long else np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            changed = x != x.astype(np.float32)
        known = ~np.isnan(x)
        new = np.isnan(self._first) & known.any(axis=0)
        self._first[new] = x[np.argmax(known, axis=0), np.arange(x.shape[1])][new]
        off = np.where(known, x - self._first, 0.0).astype(np.float64)
        self._count += known.sum(axis=0)
        self._sum += off.sum(axis=0)
        self._squares += np.square(off).sum(axis=0)
        self._is_changed |= (known & changed).any(axis=0)
        self._largest = np.maximum(self._largest, np.where(known, np.abs(x), 0.0).max(axis=0))

    def check(self, where: str = "`x`", only_changed: bool = True) -> None:
        """Raises a `ValueError` that names the first column that loses its variation.

        Args:
            where: what the message starts with.
            only_changed: pass columns whose numbers so far float32 holds as they are.
        """
        count = np.maximum(self._count, 1.0)
        variance = self._squares / count - np.square(self._sum / count)
        spread = np.sqrt(np.maximum(variance, 0.0))
        varies = spread > self._noise * self._largest
        rounding = 0.5 * np.spacing(self._largest.astype(np.float32)).astype(np.float64)
        is_lost = varies & (rounding > MAX_ROUNDING * spread)
        lost = np.flatnonzero(is_lost & self._is_changed if only_changed else is_lost)
        if not lost.size:
            return
        d = int(lost[0])
        more = f" (and {lost.size - 1:,} more)" if lost.size > 1 else ""
        raise ValueError(
            f"{where}{self._name(d)}{more}: float32 cannot tell its values apart: near "
            f"{float(self._largest[d]):.9g} it rounds by up to {rounding[d]:.2g}, and "
            f"their standard deviation is {spread[d]:.2g}; subtract an offset from the column "
            "first, or rescale it"
        )

    def _name(self, d: int) -> str:
        if not self._shape:
            return ""
        place = np.unravel_index(self._columns[d], self._shape)
        return f", column {place[0]}" if len(place) == 1 else f", element {[*map(int, place)]}"
