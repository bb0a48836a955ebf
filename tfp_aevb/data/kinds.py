"""The kinds of a table's columns, found from all of their cells, each with the reason."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from tfp_aevb.data.cells import CellColumn
from tfp_aevb.data.columns import (
    IGNORE,
    MAX_CATEGORIES,
    MAX_COUNT,
    Column,
    as_days,
    as_number,
    as_value,
    shown,
)
from tfp_aevb.data.oddities import refuse_oddities
from tfp_aevb.data.rounding import check_column
from tfp_aevb.data.table_files import Cells

MIN_ROWS = 20  # from which on ids are told from small tables
_LEAST_RATIO = 0.5  # of a count's variance and mean
_CHANCE = 1e-4  # of Poisson counts that are taken for real numbers
_LOG_NORMAL_GAIN = 0.2  # nats a row by which a log-normal density must be the better one
_ID = re.compile(
    r"(.*[^a-z])?(id|ids|uuid|index|unnamed: [0-9]+)([^a-z].*)?|__index_level_.*", re.I
)


@dataclasses.dataclass(frozen=True)
class Found:
    """A column of a file and what it is taken for.

    Attributes:
        name: of the column.
        column: its kind and categories; `None` if it is left out, or is to be.
        reason: why it is of this kind.
        is_stated: whether it is left out because that was stated.
    """

    name: str
    column: Column | None
    reason: str
    is_stated: bool = False

    def line(self) -> str:
        """Returns one line for the user."""
        kind = self.column.kind if self.column else IGNORE
        return f"column {shown(self.name)}: {kind} ({self.reason})"


def find_column(cells: Cells, name: str, stated: str | None) -> Found:
    """Returns a column with its kind: what is stated, or else what its cells show.

    - `binary`: it has two different values;
    - `date`: all are dates, written as 2024-12-31, perhaps with a time;
    - `count`: whole numbers from 0 to a million, whose variance is not clearly below their mean;
    - `positive`: numbers above 0 that a log-normal density fits better by a margin;
    - `real`: other numbers;
    - `categorical`: anything else; `ordinal` if that is stated.

    Raises:
        ValueError: one line with the place, if cells are likely to be something else.
    """
    if stated == IGNORE:
        return Found(name, None, "stated", is_stated=True)
    where = f"{cells.where}, column {shown(name)}"
    cell = cells.columns[name]
    if cell.unread and stated is None:
        return Found(name, None, cell.unread)
    numbers = cell.values()[~cell.missing]
    has_codes = stated is None and cell.has_codes()
    different = len(np.unique(numbers))
    by_text = has_codes or np.isnan(numbers).any() or _kind(stated) in (*_CODED, "date")
    firsts = cell.first_rows() if by_text or different <= 2 else {}
    values = _values(firsts)
    different = len(values) if firsts else different
    if different < 2:
        return Found(name, None, "one value only" if different else "no values")
    if stated is None:
        if not has_codes or np.isnan(numbers).any():
            refuse_oddities(cells, name, firsts, numbers)
        reason = _useless(cell, name, different, firsts if by_text else {}, numbers)
        if reason:
            return Found(name, None, reason)
    if stated:
        kind, reason = _kind(stated), "stated"
    elif has_codes and different > 2:
        kind, reason = "categorical", f"{different} codes, of digits with a 0 before them"
    else:
        kind, reason = _inferred(values, firsts, numbers)
    whole = False
    if kind in ("real", "positive", "date"):
        if kind == "date":
            days = [as_days(text) for text in firsts]
            numbers = np.array([day for day in days if day is not None], float)
        numbers = numbers[~np.isnan(numbers)]  # others are refused with their line
        if numbers.size:
            check_column(_exact(cell, numbers), where)
        whole = bool((numbers == np.floor(numbers)).all())
    if kind not in _CODED:
        return Found(name, Column(name, kind, whole=whole), reason)
    names = values
    most = 2 if kind == "binary" else MAX_CATEGORIES
    if len(names) > most:
        raise ValueError(
            f"{where}: {len(names):,} different texts, a {kind} column has at most {most}; state "
            f"another kind, or leave it out by --columns={_flag(name)}:{IGNORE}"
        )
    return Found(name, Column(name, kind, _ordered(names, stated, where)), reason)


def _exact(cell: CellColumn, numbers: np.ndarray) -> np.ndarray:
    """Returns the different whole numbers where float64 does not hold all, else the numbers."""
    if np.abs(numbers).max() < 2.0**53:
        return numbers
    texts = [text for text in cell.first_rows() if re.fullmatch(r"[+-]?[0-9]{1,19}", text)]
    whole = [value for value in map(int, texts) if abs(value) < 2**63]
    return np.array(whole, np.int64) if len(whole) > 1 else numbers


_CODED = ("binary", "categorical", "ordinal")


def refuse_useless(where: str, found: list[Found], stated: Mapping[str, str]) -> None:
    """Raises a `ValueError` that names the flag which leaves out all columns that teach nothing."""
    useless = [each for each in found if each.column is None and not each.is_stated]
    if not useless:
        return
    wanted = {**stated, **{each.name: IGNORE for each in useless}}
    flag = ",".join(f"{_flag(name)}:{kind}" for name, kind in wanted.items())
    first = useless[0]
    more = f" (and {len(useless) - 1} more such columns)" if len(useless) > 1 else ""
    raise ValueError(
        f"{where}, column {shown(first.name)}: it has {first.reason}, from which nothing is "
        f"learned{more}; leave it out by --columns='{flag}', or state its kind"
    )


def _kind(stated: str | None) -> str:
    return (stated or "").partition("(")[0]


def _flag(name: str) -> str:
    return f'"{name}"' if "," in name or '"' in name else name


def _values(firsts: Mapping[str, int]) -> list[str]:
    """Returns the different values, of those that are one number (1 and 1.0) the shortest text."""
    found: dict[object, str] = {}
    for text in firsts:
        value = as_value(text)
        key = text if value is None or _is_code(text) else value
        if key not in found or len(text) < len(found[key]):
            found[key] = text
    return list(found.values())


def _is_code(text: str) -> bool:
    """Whether digits are a name, as 007 is."""
    return bool(re.fullmatch(r"0[0-9]+", text))


def _ordered(names: list[str], stated: str | None, where: str) -> tuple[str, ...]:
    order = (stated or "").partition("(")[2].removesuffix(")")
    if order:
        given = tuple(word.strip() for word in order.split("<"))
        unknown = set(names) - set(given)
        if unknown or len(set(given)) < len(given):
            what = f"{shown(min(unknown))} is not among them" if unknown else "one comes twice"
            raise ValueError(f"{where}: --columns orders the categories {order}, and {what}")
        return given
    numbers = {name: as_number(name) for name in names}
    is_number = all(value is not None for value in numbers.values())
    if _kind(stated) == "ordinal" and not is_number:
        raise ValueError(
            f"{where}: ordinal texts need their order: state ordinal({'<'.join(names[:3])}...)"
        )
    return tuple(
        sorted(names, key=lambda name: ((numbers[name] or 0.0) if is_number else 0.0, name))
    )


def _inferred(values: list[str], firsts: Mapping[str, int], numbers: np.ndarray) -> tuple[str, str]:
    """Returns kind and reason."""
    if len(values) == 2:
        return "binary", f"two values: {', '.join(map(shown, sorted(values)))}"
    if np.isnan(numbers).any():
        if all(as_days(text) is not None for text in firsts):
            return "date", "dates; modelled as days"
        return "categorical", f"{len(values)} different texts"
    if (numbers >= 0).all() and (numbers == np.floor(numbers)).all():
        if numbers.max() <= MAX_COUNT:
            return _count_or_real(numbers)
        return "real", f"whole numbers above {MAX_COUNT:,}"
    if (numbers > float(np.finfo(np.float32).tiny)).all() and len(numbers) >= MIN_ROWS:
        logs = np.log(numbers)
        gain = np.log(numbers.std() / logs.std()) - logs.mean()
        if logs.std() > 0.0 and gain > _LOG_NORMAL_GAIN:
            return "positive", f"log-normal fits better by {gain:.2g} nats a row"
    return "real", "numbers"


def _count_or_real(numbers: np.ndarray) -> tuple[str, str]:
    """Tells counts by a test: real if Poisson counts would not vary so little.

    The sum of squares over the mean of N Poisson counts is nearly chi-squared of N - 1 degrees.
    """
    from scipy.special import chdtr

    mean, freedom = numbers.mean(), len(numbers) - 1
    ratio = numbers.var(ddof=1) / mean if freedom else 1.0
    text = f"whole numbers from 0, variance / mean {ratio:.2g}"
    if ratio < _LEAST_RATIO and chdtr(freedom, freedom * ratio) < _CHANCE:
        return "real", f"{text}: less than counts have"
    return "count", text


def _useless(
    cell: CellColumn, name: str, different: int, texts: Mapping[str, int], numbers: np.ndarray
) -> str:
    """Returns why a column is an id and no measurement, or nothing."""
    count = len(numbers)
    if count < MIN_ROWS:
        return "the numbers of rows" if cell.is_index() and _ID.fullmatch(name) else ""
    if texts:
        if 2 * len(texts) <= count or all(as_days(text) is not None for text in texts):
            return ""
        return (
            f"{len(texts):,} different texts in {count:,} rows, as names or ids have (a "
            f"categorical column has at most {MAX_CATEGORIES})"
        )
    if cell.is_index():
        return "the numbers of rows"
    is_whole = different == count and (numbers == np.floor(numbers)).all()
    return (
        "different whole numbers by the name of an id" if is_whole and _ID.fullmatch(name) else ""
    )
