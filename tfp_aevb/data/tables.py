"""Tables from .csv files: cells, the kinds of columns, and the cells as numbers."""

import csv
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfp_aevb.data.columns import (
    KINDS,
    MAX_CATEGORIES,
    MAX_COUNT,
    Column,
    as_number,
    shown,
    standardised,
)
from tfp_aevb.data.rounding import check_column
from tfp_aevb.data.splits import RawData, Split, complete_splits
from tfp_aevb.utils.files import write_text

SUFFIX = ".csv"
MISSING = ("", "na", "nan")  # in any case


class Cells(NamedTuple):
    """What stands in a file.

    Attributes:
        where: the file, for messages.
        names: of the columns.
        rows: N lists of D texts, without the spaces around them.
        lines: where in the file each row ends.
    """

    where: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]


class Table(NamedTuple):
    """A table as numbers; see `tfp_aevb.data.columns`.

    Attributes:
        columns: D of them.
        x: [N, D] float32, NaN where a cell is missing.
    """

    columns: tuple[Column, ...]
    x: np.ndarray


def read_table(
    path: str, kinds: str | None = None, columns: Sequence[Column] | None = None
) -> Table:
    """Reads a .csv file: UTF-8, commas, a header; cells that are empty, NA or NaN are missing.

    A column's kind is what `kinds` says, or else inferred from all of its cells:

    - `binary`: it has two different texts;
    - `count`: whole numbers from 0 to a million, of a variance that is at least their mean;
    - `real`: other numbers;
    - `categorical`: anything else.

    Numbers are kept as float32: a real column of a large offset and a small spread is refused.

    Args:
        path: of the file.
        kinds: "name:kind,...", for columns whose kind is not to be inferred.
        columns: of a table read before, whose kinds, categories and constants are to be used; the
            file must have these, in any order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: one line with the place, if the file is damaged or not such a table.
    """
    cells = read_cells(path)
    if columns is not None:
        return Table(tuple(columns), encode(cells, columns))
    stated = parse_kinds(kinds or "")
    unknown = sorted(set(stated) - set(cells.names))
    if unknown:
        raise ValueError(f"{cells.where} has no column {shown(unknown[0])}, which --columns names")
    found = [_column(cells, j, stated.get(name)) for j, name in enumerate(cells.names)]
    x = encode(cells, found)
    return Table(standardised(found, x), x)


def load_table(name: str, kinds: str | None) -> tuple[RawData, tuple[Column, ...]]:
    """Reads a table and splits it by the fixed rule; see `read_table`.

    Constants for standardising are those of the train split.
    """
    table = read_table(name, kinds)
    splits, rule = complete_splits({"train": Split(table.x, None)}, f"dataset file {name!r}")
    columns = standardised(table.columns, splits["train"].x)
    return RawData(splits, (), f"file {name}", rule), columns


def read_cells(path: str) -> Cells:
    """Reads the texts of a .csv file; errors are those of `read_table`."""
    where = f"table {path}"
    file = pathlib.Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"{where} does not exist or is no file; check the path")
    rows, lines, names = [], [], None
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                row = [cell.strip() for cell in row]
                if names is None:
                    names = row
                    _check_header(where, names)
                elif row:
                    if len(row) != len(names):
                        raise ValueError(
                            f"{where}, line {reader.line_num}: {len(row)} cells, the header has "
                            f"{len(names)}; quote cells that hold commas"
                        )
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{where}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}") from None
    if names is None or not rows:
        raise ValueError(f"{where} has no rows; expected a header and a line for each datapoint")
    return Cells(where, names, rows, lines)


def encode(cells: Cells, columns: Sequence[Column]) -> np.ndarray:
    """Returns the cells as numbers [N, D], in the order of `columns`.

    Raises:
        ValueError: if the file has other columns, or a cell is not of its column's kind.
    """
    expected = [column.name for column in columns]
    for name in expected:
        if name not in cells.names:
            raise ValueError(f"{cells.where} has no column {shown(name)}; expected {expected}")
    for name in cells.names:
        if name not in expected:
            raise ValueError(f"{cells.where} has a column {shown(name)}; expected {expected}")
    x = np.full([len(cells.rows), len(columns)], np.nan, np.float32)
    for d, column in enumerate(columns):
        known: dict[str, float] = {}  # a column has few different texts, or each is cheap
        for n, (line, text) in enumerate(_column_texts(cells, cells.names.index(column.name))):
            if is_missing(text):
                continue
            if text not in known:
                try:
                    known[text] = column.encode(text)
                except ValueError as error:
                    raise ValueError(
                        f"{cells.where}, line {line}, column {shown(column.name)}: {error}"
                    ) from None
            x[n, d] = known[text]
    return x


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is known."""
    return text.lower() in MISSING


def parse_kinds(text: str) -> dict[str, str]:
    """Returns the kinds that "name:kind,..." states; a name with a comma stands in quotes.

    Raises:
        ValueError: if it states something else.
    """
    stated: dict[str, str] = {}
    for part in next(csv.reader([text]), []):
        name, colon, kind = (word.strip() for word in part.rpartition(":"))
        if not colon or kind not in KINDS or name in stated:
            raise ValueError(
                f"--columns must be name:kind,... with each name once and kinds of "
                f"{', '.join(KINDS)}; got {shown(part)}"
            )
        stated[name] = kind
    return stated


def csv_text(names: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Returns a header and rows as the text of a .csv file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: pathlib.Path, columns: Sequence[Column], x: np.ndarray) -> None:
    """Writes numbers [N, D] as a .csv file of cells, empty where they are NaN."""
    rows = ([c.decode(float(v)) for c, v in zip(columns, row, strict=True)] for row in x)
    write_text(path, csv_text([column.name for column in columns], rows))


def _check_header(where: str, names: list[str]) -> None:
    if not names or "" in names:
        raise ValueError(f"{where}, line 1: column {names.index('') + 1 if names else 1} "
                         "has no name; expected a header")  # fmt: skip
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{where}, line 1: two columns are named {shown(twice[0])}; rename one")


def _column_texts(cells: Cells, j: int) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of each cell of a column."""
    for line, row in zip(cells.lines, cells.rows, strict=True):
        yield line, row[j]


def _column(cells: Cells, j: int, kind: str | None) -> Column:
    """Returns column `j`, its kind inferred unless it is given."""
    name = cells.names[j]
    where = f"{cells.where}, column {shown(name)}"
    first_line: Mapping[str, int] = {
        text: line for line, text in reversed(list(_column_texts(cells, j)))
        if not is_missing(text)
    }  # fmt: skip
    numbers = {text: as_number(text) for text in first_line}
    # "1" and "1.0" are two categories if that is what they are said to be, and one number.
    is_text = kind in ("binary", "categorical") or None in numbers.values()
    if len(numbers if is_text else set(numbers.values())) < 2:
        what = "one value only" if first_line else "no values"
        raise ValueError(f"{where}: it has {what}, from which nothing is learned; leave it out")
    kind = kind or _inferred(cells, j, numbers, first_line, where)
    if kind == "real":
        _check_digits(cells, j, where)
    if kind in ("real", "count"):
        return Column(name, kind)
    if len(first_line) > MAX_CATEGORIES or (kind == "binary" and len(first_line) > 2):
        most = 2 if kind == "binary" else MAX_CATEGORIES
        raise ValueError(
            f"{where}: {len(first_line):,} different texts, a {kind} column has at most {most}; "
            "leave it out or state its kind with --columns"
        )
    is_number = all(value is not None for value in numbers.values())
    order = sorted(first_line, key=lambda text: (numbers[text] if is_number else 0.0, text))
    return Column(name, kind, tuple(order))


def _check_digits(cells: Cells, j: int, where: str) -> None:
    """Raises a `ValueError` if float32 rounds a real column's numbers beside their spread."""
    found = (as_number(text) for _, text in _column_texts(cells, j) if not is_missing(text))
    values = np.array([value for value in found if value is not None])
    if not values.size:  # each cell is refused with its line when it is read
        return
    check_column(values, where)


def _inferred(
    cells: Cells,
    j: int,
    numbers: Mapping[str, float | None],
    first_line: Mapping[str, int],
    where: str,
) -> str:
    if len(numbers) == 2:
        return "binary"
    others = [text for text, value in numbers.items() if value is None]
    if others:
        if len(others) < len(numbers) / 2:
            raise ValueError(
                f"{cells.where}, line {first_line[others[0]]}, column {shown(cells.names[j])}: "
                f"{shown(others[0])} is no number, and most of the column are; correct it or state "
                "the column's kind with --columns"
            )
        return "categorical"
    values = np.array([numbers[row[j]] for row in cells.rows if not is_missing(row[j])], float)
    whole = (values >= 0).all() and (values == np.floor(values)).all()
    whole &= values.max() <= MAX_COUNT
    return "count" if whole and values.var() >= values.mean() else "real"
