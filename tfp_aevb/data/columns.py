"""The columns of a table: their kinds, and how cells of text become numbers and back.

A table is float32 [N, D], NaN for a missing cell: real values, counts, dates in days since 1970,
and codes 0, 1, ... of the categories of a binary, ordinal or categorical column. Does not import
TensorFlow.
"""

import dataclasses
import datetime
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

#: Each kind, and the family of densities that models it.
KINDS = {
    "real": "real",
    "positive": "real",  # its logarithm
    "date": "real",
    "count": "count",
    "binary": "binary",
    "ordinal": "categorical",
    "categorical": "categorical",
}
IGNORE = "ignore"  # stated of a column that is left out
MAX_COUNT = 1_000_000  # log means of counts are kept below 14, that of 1,202,604
MAX_CATEGORIES = 1000
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
EPOCH = datetime.datetime(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in the file's header.
        kind: one of `KINDS`.
        categories: their names, of a binary column two; in the order of their codes.
        shift, scale: the networks see and make (x - shift) / scale of a real column or a date, of
            log(x) of a positive one, and of a count's log(1 + x).
        whole: whether a real, positive or date column has whole numbers alone (dates without a
            time): what is made of it is rounded when it is written.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    shift: float = 0.0
    scale: float = 1.0
    whole: bool = False

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
        bounds = {"binary": (2, 2), "categorical": (2, MAX_CATEGORIES)}
        least, most = bounds.get(self.family, (0, 0))
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
    def family(self) -> str:
        """Which density models it: `real`, `count`, `binary` or `categorical`."""
        return KINDS[self.kind]

    @property
    def size(self) -> int:
        """How many numbers describe its distribution's mean: K for K categories, else 1."""
        return len(self.categories) if self.family == "categorical" else 1

    def encode(self, text: str) -> float:
        """Returns the number that a cell stands for.

        Raises:
            ValueError: if it stands for none; the message is to follow the place.
        """
        if self.categories:
            if text in self.categories:
                return float(self.categories.index(text))
            # Categories compare as values: 1.0 is 1, and True is true.
            value = as_value(text)
            same = [i for i, name in enumerate(self.categories) if as_value(name) == value]
            if value is None or not same:
                names = ", ".join(shown(name) for name in self.categories[:10])
                more = ", ..." if len(self.categories) > 10 else ""
                raise ValueError(f"unknown category {shown(text)}; known are {names}{more}")
            return float(same[0])
        value = as_days(text) if self.kind == "date" else as_number(text)
        if value is None:
            what = "date like 2024-12-31" if self.kind == "date" else "number"
            raise ValueError(f"{shown(text)} is no {what}, as a {self.kind} column needs")
        self.check(np.array([value]), lambda _: shown(text))
        return value

    def check(self, values: np.ndarray, named: Callable[[int], str]) -> None:
        """Raises a `ValueError` unless numbers, or NaN, are of its kind; `named(i)` names one."""
        fine, what = np.ones(len(values), bool), ""
        if self.family in ("count", "binary", "categorical"):
            largest = len(self.categories) - 1 if self.categories else MAX_COUNT
            fine = (values >= 0) & (values <= largest) & (values == np.floor(values))
            what = f"whole number from 0 to {largest}"
        elif self.kind == "positive":
            # What float32 holds as 0 has no logarithm.
            fine, what = values >= float(np.finfo(np.float32).tiny), "number above 0"
        fine |= np.isnan(values)
        if not fine.all():
            raise ValueError(
                f"{named(int(np.argmin(fine)))} is no {what}, as a {self.kind} column needs"
            )

    def decode(self, value: float) -> str:
        """Returns the cell that a number stands for, the nearest one of a count or code."""
        if math.isnan(value):
            return ""
        if self.categories:
            return self.categories[int(np.clip(round(value), 0, len(self.categories) - 1))]
        if self.kind == "count":
            return str(max(round(value), 0))
        if self.kind == "date":
            return date_text(round(value) if self.whole else value)
        if self.whole and math.isfinite(value):
            return str(max(round(value), 1) if self.kind == "positive" else round(value))
        return number_text(value)

    def to_dict(self) -> dict[str, Any]:
        """Returns the column as JSON types."""
        found = {**dataclasses.asdict(self), "categories": list(self.categories)}
        if not self.whole:  # as runs of earlier versions recorded it
            del found["whole"]
        return found


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
        try:
            column.check(values, partial(_row_shown, values))
        except ValueError as error:
            raise ValueError(f"column {shown(column.name)}, {error}") from None


def _row_shown(values: np.ndarray, row: int) -> str:
    return f"row {row}: {values[row]:.6g}"


def standardised(
    columns: Sequence[Column], x: np.ndarray, weights: np.ndarray | None = None
) -> tuple[Column, ...]:
    """Returns the columns with the mean and standard deviation of `x` [N, D] as constants.

    Rows count as often as `weights` [N] say; by default once.
    """
    found = []
    used = True if weights is None else weights > 0.0
    for column, values in zip(columns, x.astype(np.float64).T, strict=True):
        known = ~np.isnan(values) & used
        seen = values[known]
        if column.family in ("real", "count") and seen.size:
            if column.kind in ("count", "positive"):
                seen = (np.log1p if column.kind == "count" else np.log)(seen)
            each = None if weights is None else weights[known]
            shift = float(np.average(seen, weights=each))
            scale = math.sqrt(np.average((seen - shift) ** 2, weights=each))
            column = dataclasses.replace(column, shift=shift, scale=scale or 1.0)
        found.append(column)
    return tuple(found)


def as_number(text: str) -> float | None:
    """Returns the number that `text` is, if float32 can hold it."""
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    return value if abs(value) <= float(np.finfo(np.float32).max) else None


def as_value(text: str) -> float | int | None:
    """Returns the number that a category's name is, 1 and 0 of true and false, or `None`."""
    if re.fullmatch(r"[+-]?[0-9]{16,}", text):
        return int(text)  # float64 does not tell them apart
    return {"true": 1.0, "false": 0.0}.get(text.lower(), as_number(text))


def number_text(value: float) -> str:
    """Returns the shortest text that float32 reads as the same number."""
    texts = [f"{value:.{digits}g}" for digits in (7, 8, 9)]  # 9 give any float32 again
    return next((t for t in texts if np.float32(t) == np.float32(value)), texts[-1])


def as_days(text: str) -> float | None:
    """Returns the days since 1970 of a date, or of a date and a time, in the order of ISO 8601.

    A time of a stated zone counts as that of UTC.
    """
    if not DATE.fullmatch(text):
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError:
            return None
    return (moment - EPOCH).total_seconds() / 86400.0


def date_text(days: float) -> str:
    """Returns the date, and the time if there is one, of days since 1970."""
    limit = 700_000.0  # years 54 to 3886: what a model draws may be anything
    moment = EPOCH + datetime.timedelta(seconds=round(min(max(days, -limit), limit) * 86400.0))
    return moment.date().isoformat() if days == round(days) else moment.isoformat(" ")


def shown(text: str) -> str:
    """Returns text of a file for one line of a message."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
