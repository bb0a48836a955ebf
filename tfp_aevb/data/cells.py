"""One column of a table's cells: which are missing, which are numbers, and how these are written.

Imports pyarrow when cells are read. Does not import TensorFlow.
"""

import dataclasses
import datetime
import functools
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfp_aevb.data.columns import EPOCH, as_number, number_text, shown

MISSING = ("", "na", "nan")  # in any case
_LARGEST = float(np.finfo(np.float32).max)
_SIGN = r"[+-]?"
# What tells how numbers are written.
_DECIMAL_COMMA = re.compile(
    rf"{_SIGN}(\d*,(\d{{1,2}}|\d{{4,}})|\d{{4,}},\d+|0\d*,\d+|\d{{1,3}}(\.\d{{3}})+,\d+)"
)
_THOUSANDS_COMMA = re.compile(rf"{_SIGN}(\d{{1,3}}(,\d{{3}})+\.\d+|\d{{1,3}}(,\d{{3}}){{2,}})")
_EITHER = re.compile(rf"{_SIGN}[1-9]\d{{0,2}},\d{{3}}")


@dataclasses.dataclass(frozen=True)
class Form:
    """How a file of text is written; what is None is found.

    Attributes:
        separator: between cells: `,`, `;`, a tab or `|`.
        decimal: before the decimals of a number: `.` or `,`.
        thousands: between a number's groups of three digits.
        encoding: of the text; else UTF-8, or UTF-16 by its mark.
        missing_values: what else than nothing, NA and NaN says that a cell is missing.
        header: whether the first line has the columns' names; else they are c1, c2, ...
        is_hint: whether decimal and thousands are of another file, and decide where this one
            leaves it open.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing_values: tuple[str, ...] = ()
    header: bool = True
    is_hint: bool = False

    def __post_init__(self) -> None:
        """Checks the form.

        Raises:
            ValueError: if it is none.
        """
        names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
        separator = names.get(self.separator or "", self.separator)
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ValueError(f"--separator must be one character or tab, got {separator!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"--decimal must be . or , and not {self.decimal!r}")
        if self.thousands is not None and self.thousands not in (",", ".", " ", "'", "_"):
            raise ValueError(
                f"--thousands must be one of , . ' _ or a space, got {self.thousands!r}"
            )
        if self.thousands and self.thousands == (self.decimal or "."):
            raise ValueError(f"--thousands={self.thousands} needs another --decimal than it")
        object.__setattr__(self, "separator", separator)

    def number(self, text: str) -> float | None:
        """Returns the number that a text is, written so."""
        text = text.replace("\N{MINUS SIGN}", "-")
        if self.thousands and self.thousands in text:
            mark, point = re.escape(self.thousands), re.escape(self.decimal or ".")
            if not re.fullmatch(rf"{_SIGN}\d{{1,3}}({mark}\d{{3}})+({point}\d*)?", text):
                return None
            text = text.replace(self.thousands, "")
        if self.decimal == ",":
            if "." in text:
                return None
            text = text.replace(",", ".")
        return as_number(text)

    @functools.cached_property
    def missing_texts(self) -> frozenset[str]:
        """All texts of a missing cell."""
        found = set(self.missing_values)
        for word in MISSING:
            found |= {
                "".join(letters) for letters in itertools.product(*((c, c.upper()) for c in word))
            }
        return frozenset(found)

    def is_missing(self, text: str) -> bool:
        """Whether a cell says that nothing is known."""
        if text in self.missing_texts:
            return True
        value = as_number(text) if self.missing_values else None
        return value is not None and value in map(as_number, self.missing_values)


class CellColumn:
    """A column of N cells.

    Args:
        array: a pyarrow array, of text or of another type.
        form: how numbers are written.

    Attributes:
        missing: [N], whether a cell is missing.
        unread: what the cells are, if they are no single values: nothing is read of them then.
    """

    def __init__(self, array: Any, form: Form) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._form = form
        self._numbers: np.ndarray | None = None
        self._raw = np.empty(0)  # numbers of a binary file, also those that float32 does not hold
        self._text: Any = None
        self._is_single = False
        self.unread = ""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        if pa.types.is_integer(kind) and _is_beyond_float64(array):
            array, kind = pc.cast(array, pa.string()), pa.string()
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._is_single = kind in (pa.float32(), pa.float16())
            array = pc.cast(array, pa.float64(), safe=False)
            raw = array.to_numpy(zero_copy_only=False).astype(np.float64)
            stated = [as_number(text) for text in form.missing_values]
            self.missing = np.isnan(raw) | np.isin(raw, [v for v in stated if v is not None])
            self._raw = np.where(self.missing, np.nan, raw)
            self._numbers = np.where(np.abs(self._raw) <= _LARGEST, self._raw, np.nan)
            return
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            array = _date_texts(array)
        elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            try:
                array = pc.cast(array, pa.string())
            except pa.ArrowException:  # lists and the like
                self.unread = f"cells of the type {kind}, which are no single values"
                array = pa.nulls(len(array), pa.string())
        text = pc.utf8_trim_whitespace(pc.fill_null(array, ""))
        missing = pc.is_in(text, value_set=pa.array(sorted(form.missing_texts), text.type))
        self._text = text
        self.missing = missing.to_numpy(zero_copy_only=False)
        if any(as_number(word) is not None for word in form.missing_values):
            self.missing |= np.array(self._by_text(lambda t: float(form.is_missing(t)), 0.0), bool)

    def read_by(self, form: Form) -> None:
        """Reads the numbers that are written as text by another form."""
        if self._text is not None and form != self._form:
            self._form, self._numbers = form, None

    def texts(self) -> list[str]:
        """Returns the N texts, without the spaces around them."""
        if self._text is not None:
            return self._text.to_pylist()
        return ["" if v != v else self._number_text(v) for v in self._raw.tolist()]

    def text(self, row: int) -> str:
        """Returns the text of one cell."""
        return self.texts()[row] if self._text is None else self._text[row].as_py()

    def values(self) -> np.ndarray:
        """Returns the numbers [N] in float64, NaN for what is missing or no number."""
        if self._numbers is None:
            self._numbers = self._parsed()
        return self._numbers

    def first_rows(self) -> dict[str, int]:
        """Returns the different texts that are not missing, each with its first row."""
        known = np.flatnonzero(~self.missing)
        if self._text is None:
            values, first = np.unique(self._raw[known], return_index=True)
            return {
                self._number_text(v): int(known[i])
                for v, i in zip(values.tolist(), first, strict=True)
            }
        codes, texts = self._codes()
        codes = codes[known]
        first = np.full(len(texts), -1)
        first[codes[::-1]] = known[::-1]
        return {text: int(row) for text, row in zip(texts, first, strict=True) if row >= 0}

    def encoded(self, encode: Callable[[str], float]) -> np.ndarray:
        """Returns [N] numbers by text, NaN for what is missing; `encode` may raise."""
        known: Mapping[str, int] = self.first_rows()
        table = {text: encode(text) for text in known}
        if self._text is None:
            different, places = np.unique(self._raw, return_inverse=True)
            numbers = [table.get(self._number_text(v), np.nan) for v in different.tolist()]
            return np.array(numbers)[places]
        return self._by_text(lambda text: table.get(text, np.nan), np.nan)

    def _number_text(self, value: float) -> str:
        """Returns a number of a binary file as text that tells it from all others."""
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        return number_text(value) if self._is_single else repr(value)

    def equal(self, text: str) -> np.ndarray:
        """Returns [N], whether a cell is this text."""
        import pyarrow.compute as pc

        if self._text is None:
            return np.zeros(len(self.missing), bool)
        return pc.equal(self._text, text).to_numpy(zero_copy_only=False)

    def has_codes(self) -> bool:
        """Whether digits with a 0 before them, as 007, stand among the cells."""
        import pyarrow.compute as pc

        if self._text is None:
            return False
        return bool(pc.any(pc.match_substring_regex(self._text, "^0[0-9]+$")).as_py())

    def is_index(self) -> bool:
        """Whether the cells are whole numbers, each the one before and 1, from 0 or 1."""
        values = self.values()
        return bool(values[0] in (0.0, 1.0)) and bool(
            (values == values[0] + np.arange(len(values))).all()
        )

    def _parsed(self) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._form.decimal != "," and not self._form.thousands:
            try:
                known = pc.if_else(
                    pa.array(self.missing), pa.scalar(None, self._text.type), self._text
                )
                numbers = pc.cast(known, pa.float64()).to_numpy(zero_copy_only=False)
                return np.where(np.abs(numbers) <= _LARGEST, numbers, np.nan)
            except pa.ArrowInvalid:
                pass

        def number(text: str) -> float:
            value = self._form.number(text)
            return np.nan if value is None else value

        return np.where(self.missing, np.nan, self._by_text(number, np.nan))

    def _codes(self) -> tuple[np.ndarray, list[str]]:
        encoded = self._text.dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()

    def _by_text(self, function: Callable[[str], float], empty: float) -> np.ndarray:
        """Returns [N] numbers, each different text looked at once."""
        codes, texts = self._codes()
        table = np.array([function(text) for text in texts] or [empty], np.float64)
        return table[codes]


def found_form(
    columns: Mapping[str, CellColumn], form: Form, place: Callable[[int, str], str]
) -> Form:
    """Returns the form with the decimal and thousands mark that the cells show.

    Raises:
        ValueError: if cells show both, or a number may be read in two ways.
    """
    if (form.decimal or form.thousands) and not form.is_hint:
        return form
    marks: dict[str, tuple[str, str, int]] = {}
    open_cell = None
    has_point = has_groups = False
    for name, column in columns.items():
        values = column.values()[~column.missing]
        if not np.isnan(values).any():
            has_point = has_point or bool((values % 1.0 != 0.0).any())
            continue
        texts = {t.replace("\N{MINUS SIGN}", "-"): row for t, row in column.first_rows().items()}
        if not all(re.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*", text) for text in texts):
            continue
        for text, row in texts.items():
            if _DECIMAL_COMMA.fullmatch(text):
                marks.setdefault(",", (name, text, row))
                has_groups = has_groups or "." in text
            elif _THOUSANDS_COMMA.fullmatch(text):
                marks.setdefault(".", (name, text, row))
            elif _EITHER.fullmatch(text):
                open_cell = open_cell or (name, text, row)
    flags = "state --decimal=, or --thousands=,"
    if len(marks) == 2 or ("," in marks and has_point):
        name, text, row = marks[","]
        raise ValueError(
            f"{place(row, name)}: {shown(text)} has a decimal comma, and other numbers of the file "
            f"a decimal point; {flags}, or correct the file"
        )
    if "," in marks:
        return dataclasses.replace(
            form, decimal=",", thousands="." if has_groups else None, is_hint=False
        )
    if "." in marks:
        return dataclasses.replace(form, decimal=".", thousands=",", is_hint=False)
    if open_cell and not form.is_hint:
        name, text, row = open_cell
        raise ValueError(
            f"{place(row, name)}: {shown(text)} may be {text.replace(',', '')} or "
            f"{text.replace(',', '.')}; {flags}"
        )
    if open_cell:
        return dataclasses.replace(form, is_hint=False)
    return dataclasses.replace(form, decimal=None, thousands=None, is_hint=False)


def _is_beyond_float64(array: Any) -> bool:
    """Whether there are whole numbers of which float64 does not hold each digit."""
    import pyarrow.compute as pc

    least, most = pc.min_max(array).values()
    return least.is_valid and not -(2**53) <= least.as_py() <= most.as_py() <= 2**53


def _date_texts(array: Any) -> Any:
    """Returns dates and times as text in the order of ISO 8601, without a time if none has one.

    Times of a zone become those of UTC. What is outside the years 1 to 9999 is a text, but no date.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.cast(pc.cast(array, pa.timestamp("us"), safe=False), pa.int64(), safe=False)
    texts = [None if m is None else _moment_text(m) for m in moments.to_pylist()]
    if all(text is None or text[10:] in ("", " 00:00:00") for text in texts):
        texts = [None if text is None else text[:10] for text in texts]
    return pa.array(texts, pa.string())


def _moment_text(microseconds: int) -> str:
    try:
        return str(EPOCH + datetime.timedelta(microseconds=microseconds))
    except OverflowError:
        return f"a date outside the years 1 to 9999 ({microseconds} microseconds from 1970)"
