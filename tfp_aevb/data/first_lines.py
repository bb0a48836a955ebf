"""What a table's file is by its first bytes, and whether its first line has names.

Does not import TensorFlow.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfp_aevb.data.cells import CellColumn
from tfp_aevb.data.columns import as_number, shown

_SIGNATURES = (
    (b"PK\x03\x04", "an Excel file or a .zip archive; save the table as .csv, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file; save the table as .csv"),
    (b"BZh", "packed by bzip2; unpack it, or pack it by gzip"),
    (b"\xfd7zXZ", "packed by xz; unpack it, or pack it by gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd; unpack it, or pack it by gzip"),
    (b"\x1f\x8b", "packed by gzip twice; unpack it"),
    (b"PAR1", "a parquet file; name it .parquet"),
    (b"ARROW1", "a feather file; name it .feather"),
    (b"FEA1", "a feather file; name it .feather"),
    (b"\x89HDF", "an HDF5 file; save the table as .csv or .parquet"),
    (b"SQLite format 3", "a database; save the table as .csv or .parquet"),
    (b"%PDF", "a PDF file; save the table as .csv"),
    (b"\x93NUMPY", "a NumPy array; name it .npy"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself"),
    (b"<!DOCTYPE", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
    (b"<?xml", "XML; save the table as .csv"),
    (b'{"', "JSON; save the table as .csv"),
    (b'[{"', "JSON; save the table as .csv"),
)


def refuse_other_formats(data: bytes, where: str) -> None:
    """Raises a `ValueError` if a file of text is of another format by its first bytes."""
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()[:32].lower()
    for signature, what in _SIGNATURES:
        if start.startswith(signature.lower()):
            raise ValueError(f"{where} is no text with separators: it is {what}")


def refuse_numbers_as_names(
    columns: Mapping[str, CellColumn], number: Callable[[str], float | None], where: str
) -> None:
    """Raises a `ValueError` if the first line is likely to be one of values.

    So it is where names of columns of numbers are numbers themselves: several that do not rise, as
    years would, one or two with decimals, or beside texts that their columns have as values.

    Args:
        columns: by name.
        number: reads a name as the file's numbers are written.
        where: what the message starts with.
    """
    numeric = {
        name: value
        for name, column in columns.items()
        if (value := number(name)) is not None
        and not np.isnan(column.values()[~column.missing]).any()
    }
    if not numeric:
        return
    values = list(numeric.values())
    rises = all(a < b for a, b in itertools.pairwise(values))
    is_whole = all(value == int(value) for value in values)
    again = any(column.equal(name).any() for name, column in columns.items())
    if not rises or again or (not is_whole and len(values) < 3) or len(columns) == 1:
        listed = ", ".join(list(numeric)[:3])
        raise ValueError(
            f"{where}, line 1: the names of columns are numbers ({listed}...), as if there were no "
            "header; state --noheader, or the kind of one of them by --columns, or put a line of "
            "names first"
        )


def refuse_unusual_separators(rows: Sequence[str], where: str) -> None:
    """Raises a `ValueError` if lines of one cell are likely to be more by another separator.

    Args:
        rows: the first lines that are not blank.
        where: what the message starts with.
    """
    for pattern, advice in (
        (" ", "spaces; state --separator=' '"),
        (r"\s+", "runs of spaces; write one comma instead of each"),
        (":", "a colon; state --separator=:"),
        (r"\^", "^; state --separator=^"),
        ("~", "~; state --separator=~"),
        ("\x01", "a byte 1; replace it by a comma"),
    ):
        cells = [re.split(pattern, row.strip(" \"'")) for row in rows]
        below = [as_number(cell) is not None for row in cells[1:] for cell in row]
        if len({len(row) for row in cells}) == 1 < len(cells[0]) and 2 * sum(below) > len(below):
            raise ValueError(
                f"{where}, line 1: its cells are likely to be separated by {advice}, or state "
                "--separator=, if there is one column alone"
            )


def odd_line(sizes: Sequence[int], first: Sequence[str], row: Sequence[str], is_last: bool) -> str:
    """Returns what is likely wrong where lines have different numbers of cells.

    Args:
        sizes: how many cells each line has.
        first: the cells of the first line.
        row: of the first line of another number.
        is_last: whether it is the last one.
    """
    below = set(sizes[1:])
    if first[0].lstrip().startswith(("#", "//")):
        return "line 1 is likely to be a comment; remove it"
    if row[0].lstrip().startswith(("#", "//")):
        return "it is likely to be a comment; remove it"
    if below == {len(first) + 1} and row[-1].strip():
        more = ", or cells have decimal commas (state --separator=;)" if sizes[1] == 2 else ""
        return (
            "all lines below the first have one more: it is a title, or has no name for the "
            f"numbers of rows, as R writes it{more}; correct it"
        )
    if len(first) == 1 < min(below):
        return f"line 1 ({shown(first[0])}) is likely to be a title; remove it"
    if len(row) == len(first) + 1 and not row[-1].strip():
        return "the line ends with a separator; remove it, or end the header with one too"
    if is_last and len(row) == 1:
        return "it is likely to be a note below the table, or cut; remove it"
    if any(cell.lstrip().startswith('"') for cell in row):
        return "a space stands before a quote; remove it"
    return "quote cells that hold it"
