"""Tables from files: the columns' kinds, and the cells as numbers."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfp_aevb.data.cells import Form
from tfp_aevb.data.columns import IGNORE, KINDS, Column, shown, standardised
from tfp_aevb.data.kinds import Found, find_column, refuse_useless
from tfp_aevb.data.oddities import likely_cause, refuse_repeated_header
from tfp_aevb.data.splits import RawData, Split, complete_splits
from tfp_aevb.data.table_files import Cells, read_cells
from tfp_aevb.data.weights import as_weights
from tfp_aevb.utils.files import write_csv


class Table(NamedTuple):
    """A table as numbers; see `tfp_aevb.data.columns`.

    Attributes:
        columns: D of them.
        x: [N, D] float32, NaN where a cell is missing.
    """

    columns: tuple[Column, ...]
    x: np.ndarray


@dataclasses.dataclass(frozen=True)
class Others:
    """What is done about columns and categories that a run's table did not have.

    Attributes:
        extra_columns: `refuse` or `ignore`.
        absent_columns: `refuse`, or `missing`: all their cells are.
        unknown_category: `refuse`, or `missing`: the cell is.
        ignored: columns that the run leaves out.
    """

    extra_columns: str = "refuse"
    absent_columns: str = "refuse"
    unknown_category: str = "refuse"
    ignored: tuple[str, ...] = ()


def read_table(
    path: str,
    kinds: str | None = None,
    columns: Sequence[Column] | None = None,
    form: Form = Form(),  # noqa: B008
    others: Others = Others(),
) -> Table:
    """Reads a file of a table, a header and a line for each datapoint; see `read_cells`.

    A column's kind is what `kinds` says, or else inferred from all of its cells; see
    `tfp_aevb.data.kinds`. Numbers are kept as float32: a real column of a large offset and a small
    spread is refused.

    Args:
        path: of the file.
        kinds: "name:kind,...", for columns whose kind is not to be inferred, or to be ignored.
        columns: of a table read before, whose kinds, categories and constants are to be used; the
            file must have these, in any order.
        form: how the file is written, where that is stated.
        others: what is done where the file does not have `columns`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: one line with the place, if the file is damaged or not such a table.
    """
    known = [column.name for column in columns] if columns else parse_kinds(kinds or "")
    cells = read_cells(path, form, known)
    if columns is not None:
        return Table(tuple(columns), encode(cells, columns, others))
    found = [each.column for each in infer(cells, kinds) if each.column is not None]
    x = encode(cells, found, Others(extra_columns=IGNORE))
    return Table(standardised(found, x), x)


class LoadedTable(NamedTuple):
    """A table in splits.

    Attributes:
        data: its splits.
        columns: of them, with constants of the train split.
        ignored: names of the columns that are left out.
        notes: lines that tell each column's kind, and why.
        form: how the file is written, as stated and found.
    """

    data: RawData
    columns: tuple[Column, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    form: Form


def load_table(
    name: str,
    kinds: str | Sequence[Column] | None,
    form: Form = Form(),  # noqa: B008
    weights: str | None = None,
) -> LoadedTable:
    """Reads a table and splits it by the fixed rule; see `read_table`.

    Args:
        name: path of the file.
        kinds: as of `read_table`; or the columns that a run recorded, for the kinds of another
            version may be inferred otherwise. Others are then ignored.
        form: how the file is written.
        weights: the column that says how often each row counts.
    """
    if kinds is None or isinstance(kinds, str):
        cells = read_cells(name, form, parse_kinds(kinds or ""))
        cells, counts = split_weights(cells, weights)
        found = infer(cells, kinds, weights)
    else:
        known = {column.name: column for column in kinds}
        cells, counts = split_weights(read_cells(name, form, known), weights)
        found = [Found(each, known.get(each), "as recorded") for each in cells.names]
        encode(cells, kinds, Others(extra_columns=IGNORE))  # refuses what is absent
    columns = [each.column for each in found if each.column is not None]
    x = encode(cells, columns, Others(extra_columns=IGNORE))
    splits, rule = complete_splits({"train": Split(x, None, counts)}, f"dataset file {name!r}")
    columns = list(standardised(columns, splits["train"].x, splits["train"].weights))
    ignored = tuple(each.name for each in found if each.column is None)
    data = RawData(splits, (), f"file {name}", rule)
    notes = tuple(each.line() for each in found)
    return LoadedTable(data, tuple(columns), ignored, notes, cells.form)


def split_weights(cells: Cells, weights: str | None) -> tuple[Cells, np.ndarray | None]:
    """Returns the cells without the column of weights, and the weights [N] of the rows.

    Raises:
        ValueError: if there is no such column, or a cell of it is no finite number from 0 on.
    """
    if not weights:
        return cells, None
    if weights not in cells.columns:
        raise ValueError(
            f"{cells.where} has no column {shown(weights)}, which --weights names; it has "
            f"{_listed(cells.names)}"
        )
    found = cells.columns[weights]
    values = found.values()
    wrong = ~(np.isfinite(values) & (values >= 0.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{cells.place(row, weights)}: {shown(found.text(row))} is no weight; expected a "
            "finite number, at least 0"
        )
    others = {name: column for name, column in cells.columns.items() if name != weights}
    if not others:
        raise ValueError(f"{cells.where} has only the column of weights; add the data")
    return cells._replace(columns=others), as_weights(values, len(values))


def infer(cells: Cells, kinds: str | None, weights: str | None = None) -> list[Found]:
    """Returns each column of a file with its kind, stated or inferred.

    Raises:
        ValueError: if there are none, or nothing is learned of one that is not stated to be
            ignored.
    """
    stated = parse_kinds(kinds or "")
    if weights in stated:
        raise ValueError(
            f"--columns gives a kind to {shown(weights)}, which --weights takes out; give one"
        )
    unknown = sorted(set(stated) - set(cells.names))
    if unknown:
        raise ValueError(f"{cells.where} has no column {shown(unknown[0])}, which --columns names")
    refuse_repeated_header(cells)
    found = [find_column(cells, name, stated.get(name)) for name in cells.names]
    refuse_useless(cells.where, found, stated)
    if all(each.column is None for each in found):
        raise ValueError(f"{cells.where}: --columns ignores every column; keep one at least")
    return found


def encode(cells: Cells, columns: Sequence[Column], others: Others = Others()) -> np.ndarray:
    """Returns the cells as numbers [N, D], in the order of `columns`.

    Raises:
        ValueError: if the file has other columns, or a cell is not of its column's kind.
    """
    expected = [column.name for column in columns]
    for name in expected:
        if name not in cells.columns and others.absent_columns == "refuse":
            raise ValueError(
                f"{cells.where} has no column {shown(name)}; expected {_listed(expected)}, or "
                "--absent_columns=missing to take its cells as missing"
            )
    if not set(expected) & set(cells.columns):
        raise ValueError(f"{cells.where} has none of the columns {_listed(expected)}")
    for name in cells.names:
        if name not in (*expected, *others.ignored) and others.extra_columns == "refuse":
            raise ValueError(
                f"{cells.where} has a column {shown(name)}; expected {_listed(expected)}, or "
                "--extra_columns=ignore to leave others out"
            )
    x = np.full([cells.num_rows, len(columns)], np.nan, np.float32)
    for d, column in enumerate(columns):
        if column.name in cells.columns:
            x[:, d] = _encoded(cells, column, others.unknown_category)
    return x


def _listed(names: Sequence[str]) -> str:
    return f"{list(names[:20])}{' and more' if len(names) > 20 else ''}"


def _encoded(cells: Cells, column: Column, unknown_category: str) -> np.ndarray:
    """Returns a column's numbers [N] in float64."""
    found = cells.columns[column.name]
    if found.unread:
        raise ValueError(f"{cells.where}, column {shown(column.name)}: it has {found.unread}")
    if column.categories or column.kind == "date":
        firsts = found.first_rows()

        def number(text: str) -> float:
            try:
                return column.encode(text)
            except ValueError as error:
                if column.categories and unknown_category == "missing":
                    return np.nan
                more = "; or --unknown_category=missing" if column.categories else ""
                raise ValueError(
                    f"{cells.place(firsts[text], column.name)}: {error}{more}"
                ) from None

        return found.encoded(number)
    values = found.values()
    wrong = np.isnan(values) & ~found.missing
    if wrong.any():
        row = int(np.argmax(wrong))
        text = found.text(row)
        raise ValueError(
            f"{cells.place(row, column.name)}: {shown(text)} is no number, as a {column.kind} "
            f"column needs{likely_cause(text)}"
        )
    column.check(values, lambda row: f"{cells.place(row, column.name)}: {shown(found.text(row))}")
    return values


def parse_kinds(text: str) -> dict[str, str]:
    """Returns the kinds that "name:kind,..." states; a name with a comma stands in quotes.

    Raises:
        ValueError: if it states something else.
    """
    stated: dict[str, str] = {}
    for part in next(csv.reader([text]), []):
        name, colon, kind = (word.strip() for word in part.rpartition(":"))
        word, bracket, order = kind.partition("(")
        is_ordered = word == "ordinal" and order.endswith(")") and "<" in order
        known = kind in (*KINDS, IGNORE) or (bracket and is_ordered)
        if not colon or not known or name in stated:
            raise ValueError(
                f"--columns must be name:kind,... with each name once and kinds of "
                f"{', '.join(KINDS)}, {IGNORE} or ordinal(low<middle<high); got {shown(part)}"
            )
        stated[name] = kind
    return stated


def write_table(path: pathlib.Path, columns: Sequence[Column], x: np.ndarray) -> None:
    """Writes numbers [N, D] as a .csv file of cells, empty where they are NaN."""
    rows = ([c.decode(float(v)) for c, v in zip(columns, row, strict=True)] for row in x)
    write_csv(path, [column.name for column in columns], rows)
