"""The columns of a table: their kinds, and how cells of text become numbers and back.

A table is float32 [N, D], NaN for a missing cell: real values, counts, and codes 0, 1, ... of a
binary or categorical column's categories. Does not import TensorFlow.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

KINDS = ("real", "binary", "count", "categorical")
MAX_COUNT = 1_000_000  # log means of counts are kept below 14, that of 1,202,604
MAX_CATEGORIES = 1000
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in the file's header.
        kind: `real`, `binary`, `count` or `categorical`.
        categories: their names, of a binary column two; in the order of their codes.
        shift, scale: the networks see and make (x - shift) / scale of a real column, and of a
            count's log(1 + x).
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks the column.

        Raises:
            ValueError: if it is not one.
        """
        where = f"column {shown(self.name)}"
        if self.kind not in KINDS:
            raise ValueError(f"{where}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        names = tuple(self.categories)
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"{where}: `categories` must be different texts, got {names}")
        least, most = {"binary": (2, 2), "categorical": (2, MAX_CATEGORIES)}.get(self.kind, (0, 0))
        if not least <= len(names) <= most:
            raise ValueError(
                f"{where}: a {self.kind} column has {least} to {most} categories, got {len(names)}"
            )
        if not (math.isfinite(self.shift) and 0.0 < self.scale < math.inf):
            raise ValueError(
                f"{where}: `shift` and `scale` must be finite, the scale positive, got "
                f"{self.shift} and {self.scale}"
            )
        object.__setattr__(self, "categories", names)

    @property
    def size(self) -> int:
        """How many numbers describe its distribution's mean: K for K categories, else 1."""
        return len(self.categories) if self.kind == "categorical" else 1

    def encode(self, text: str) -> float:
        """Returns the number that a cell stands for.

        Raises:
            ValueError: if it stands for none; the message is to follow the place.
        """
        if self.categories:
            if text not in self.categories:
                names = ", ".join(shown(name) for name in self.categories[:10])
                more = ", ..." if len(self.categories) > 10 else ""
                raise ValueError(f"unknown category {shown(text)}; known are {names}{more}")
            return float(self.categories.index(text))
        value = as_number(text)
        if value is None:
            raise ValueError(f"{shown(text)} is no number, as a {self.kind} column needs")
        if self.kind == "count" and not (0 <= value <= MAX_COUNT and value == int(value)):
            raise ValueError(f"{shown(text)} is no whole number from 0 to {MAX_COUNT}")
        return value

    def decode(self, value: float) -> str:
        """Returns the cell that a number stands for, the nearest one of a count or code."""
        if math.isnan(value):
            return ""
        if self.categories:
            return self.categories[int(np.clip(round(value), 0, len(self.categories) - 1))]
        if self.kind == "count":
            return str(max(round(value), 0))
        texts = [f"{value:.{digits}g}" for digits in (7, 8, 9)]  # 9 give any float32 again
        return next((t for t in texts if np.float32(t) == np.float32(value)), texts[-1])

    def to_dict(self) -> dict[str, Any]:
        """Returns the column as JSON types."""
        return {**dataclasses.asdict(self), "categories": list(self.categories)}


def as_columns(columns: Sequence[Any]) -> tuple[Column, ...]:
    """Returns columns, each given as one or as the result of `Column.to_dict`.

    Raises:
        ValueError: if there are none, two of one name, or one is not valid.
    """
    try:
        found = tuple(c if isinstance(c, Column) else Column(**c) for c in columns)
    except TypeError:
        raise ValueError(f"`columns` must be of `Column`, got {shown(str(columns))}") from None
    names = [column.name for column in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`columns` must have different names, at least one, got {names[:20]}")
    return found


def check_values(x: np.ndarray, columns: Sequence[Column]) -> None:
    """Raises a `ValueError` unless each value of `x` [N, D] is of its column's kind, or NaN."""
    for column, values in zip(columns, np.asarray(x).T, strict=True):
        if column.kind == "real":
            continue
        largest = len(column.categories) - 1 if column.categories else MAX_COUNT
        fine = np.isnan(values) | ((values >= 0) & (values <= largest) & (values == values // 1))
        if not fine.all():
            row = int(np.argmin(fine))
            raise ValueError(
                f"row {row}, column {shown(column.name)}: {values[row]:.6g} is no whole number "
                f"from 0 to {largest}, as a {column.kind} column needs"
            )


def standardised(columns: Sequence[Column], x: np.ndarray) -> tuple[Column, ...]:
    """Returns the columns with the mean and standard deviation of `x` [N, D] as constants."""
    found = []
    for column, values in zip(columns, x.astype(np.float64).T, strict=True):
        seen = values[~np.isnan(values)]
        if column.kind in ("real", "count") and seen.size:
            seen = np.log1p(seen) if column.kind == "count" else seen
            shift, scale = float(seen.mean()), float(seen.std())
            column = dataclasses.replace(column, shift=shift, scale=scale or 1.0)
        found.append(column)
    return tuple(found)


def as_number(text: str) -> float | None:
    """Returns the number that `text` is, if float32 can hold it."""
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    return value if abs(value) <= float(np.finfo(np.float32).max) else None


def shown(text: str) -> str:
    """Returns text of a file for one line of a message."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
