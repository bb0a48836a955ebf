"""Files of tables as columns of cells: .csv and .tsv, also gzipped, .parquet and .feather.

Text is read by pyarrow, as by pandas' engine of that name; what a file's numbers look like is found
or stated. Imports pyarrow when a file is read. Does not import TensorFlow.
"""

import csv
import dataclasses
import gzip
import io
import itertools
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from tfp_aevb.data.cells import CellColumn, Form, found_form
from tfp_aevb.data.columns import as_number, shown
from tfp_aevb.data.first_lines import (
    odd_line,
    refuse_numbers_as_names,
    refuse_other_formats,
    refuse_unusual_separators,
)

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".feather")
EXPECTED = "expected a header and a line for each datapoint"
SEPARATORS = (",", ";", "\t", "|")
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SNIFFED = 50  # lines by which a separator is found,
_HEAD = 1 << 18  # among so many characters


class Cells(NamedTuple):
    """What stands in a file.

    Attributes:
        where: the file, for messages.
        columns: D of them, by name, in the file's order.
        source: the text of a file of text, and its separator, to find the line of a row.
        form: how the file is written, as stated and found.
    """

    where: str
    columns: dict[str, CellColumn]
    source: tuple[str, str] | None = None
    form: Form = Form()

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self.columns)

    @property
    def num_rows(self) -> int:
        """N, how many rows there are."""
        return len(next(iter(self.columns.values())).missing)

    @property
    def rows(self) -> list[list[str]]:
        """N lists of D texts, without the spaces around them."""
        texts = [column.texts() for column in self.columns.values()]
        return [list(row) for row in zip(*texts, strict=True)]

    def place(self, row: int, name: str) -> str:
        """Returns where a cell stands, for messages: by its line, or of a binary file its row."""
        line = f"row {row + 1}"
        if self.source:
            text, separator = self.source
            lines = (line for line, _ in _rows(text, separator))
            line = f"line {next(itertools.islice(lines, row + self.form.header, None), '?')}"
        return f"{self.where}, {line}, column {shown(name)}"


def is_table_path(name: str) -> bool:
    """Whether a path ends as a table's does."""
    return name.lower().endswith(SUFFIXES)


def read_cells(path: str, form: Form = Form(), known: Collection[str] = ()) -> Cells:  # noqa: B008
    """Reads a file's cells, each column a `CellColumn`.

    Args:
        path: of the file; how it ends says what it is.
        form: how it is written, where that is stated; the rest is found.
        known: names that columns may have even if they look like values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: one line with the place, if the file is damaged or not such a table.
    """
    where = f"table {path}"
    file = pathlib.Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"{where} does not exist or is no file; check the path")
    if not is_table_path(path):
        raise ValueError(f"{where} is no table by its name; save it as {', '.join(SUFFIXES)}")
    if not path.lower().endswith(TEXT_SUFFIXES):
        names, columns = _read_binary(file, where)
        source = None
    else:
        text = _decoded(file, where, form)
        if not text.strip():
            raise ValueError(
                f"{where} has no rows; expected a header and a line for each datapoint"
            )
        separator = _separator(text, where, path, form)
        text = re.sub(r"^sep=.(?=\r?\n)", "", text)
        if form.is_hint and not form.header:  # of another file: this one may have the names
            first = next(_rows(text[:_HEAD], separator, strict=False))[1]
            form = dataclasses.replace(form, header=first[0].strip() == "c1")
        names, columns = _read_text(text, separator, where, form.header)
        source = (text, separator)
    if not columns or not len(columns[0]):
        raise ValueError(f"{where} has no rows; {EXPECTED}")
    plain = dataclasses.replace(form, decimal=None, thousands=None) if form.is_hint else form
    found = _named(names, [CellColumn(column, plain) for column in columns], where, source)
    cells = Cells(where, found, source, form)
    read = found_form(found, form, cells.place)
    for column in found.values():
        column.read_by(read)
    if source and form.header and not set(found) & set(known):
        refuse_numbers_as_names(found, read.number, where)
    return cells._replace(form=read)


def _read_binary(file: pathlib.Path, where: str) -> tuple[list[str], list[Any]]:
    """Returns names and arrays of a .parquet or .feather file."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    is_parquet = file.name.lower().endswith(".parquet")
    try:
        if is_parquet:
            with parquet.ParquetFile(file) as opened:
                table = opened.read()
        else:
            table = feather.read_table(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        what = "parquet" if is_parquet else "feather"
        raise ValueError(f"{where} cannot be read as {what}: {reason}") from None
    return list(table.column_names), [chunks.combine_chunks() for chunks in table.columns]


def _decoded(file: pathlib.Path, where: str, form: Form) -> str:
    """Returns the text of a file, unpacked and without a byte order mark."""
    try:
        data = file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif file.name.lower().endswith(".gz"):
            raise ValueError(f"{where} is not packed by gzip, as its name says; rename it")
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{where} is damaged: {error}") from None
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}") from None
    refuse_other_formats(data, where)
    data = data.removeprefix(b"\xef\xbb\xbf")
    encoding = None if form.is_hint else form.encoding
    used = encoding or next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(used).removeprefix("\ufeff").removesuffix("\x1a")
    except LookupError:
        raise ValueError(
            f"--encoding={encoding} is no encoding; expected e.g. utf-8, latin-1 or cp1252"
        ) from None
    except UnicodeDecodeError as error:
        if form.is_hint and form.encoding:
            return _decoded(file, where, dataclasses.replace(form, is_hint=False))
        line = data.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if used == "utf-8" else used
        raise ValueError(
            f"{where}, line {line}: byte 0x{data[error.start]:02x} is not {name} text; save the "
            "file as UTF-8, or state its encoding, e.g. --encoding=latin-1"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{where}, line {line}: a zero byte, as text does not have; state the file's encoding, "
            "e.g. --encoding=utf-16, or save it as UTF-8"
        )
    return text


def _rows(text: str, separator: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yields the line at which each row that is not blank ends, and its cells."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    for row in reader:
        if row:
            yield reader.line_num, row


def _separator(text: str, where: str, path: str, form: Form) -> str:
    """Returns the separator by which each of the first lines has as many cells as the header."""
    if form.separator and not form.is_hint:
        return form.separator
    if stated := re.match(r"sep=(.)\r?\n", text):  # as Excel writes it
        return stated[1]
    if ".tsv" in path.lower()[-7:]:
        return "\t"
    sizes: dict[str, list[int]] = {}
    for separator in dict.fromkeys((*SEPARATORS, form.separator or ",")):
        try:
            rows = list(itertools.islice(_rows(text[:_HEAD], separator, strict=False), _SNIFFED))
        except csv.Error:  # told of when it is read
            rows = [(1, [""])]
        if len(text) > _HEAD and 1 < len(rows) < _SNIFFED:
            rows = rows[:-1]  # it may have been cut
        sizes[separator] = [len(row) for _, row in rows]
    fine = [s for s, found in sizes.items() if found[0] > 1 and set(found) == {found[0]}]
    if form.separator in fine:
        return str(form.separator)
    if len(fine) > 1:
        names = " or ".join(_separator_name(s) for s in fine)
        raise ValueError(
            f"{where}, line 1: its cells may be separated by {names}; state it: "
            + " or ".join(f"--separator={_separator_name(s)}" for s in fine)
        )
    if fine:
        return fine[0]
    if max(max(found) for found in sizes.values()) == 1:
        heads = [row[0] for _, row in itertools.islice(_rows(text[:_HEAD], ",", False), _SNIFFED)]
        refuse_unusual_separators(heads, where)
    likely = max(SEPARATORS, key=lambda s: sizes[s][0])
    if likely != "," and set(sizes[likely][1:]) == {1} and set(sizes[","]) == {1}:
        raise ValueError(
            f"{where}, line 1: the header has {sizes[likely][0]} cells by the separator "
            f"{_separator_name(likely)} and the lines below have 1; quote the name, or state "
            "--separator=,"
        )
    return likely


def _separator_name(separator: str) -> str:
    return "tab" if separator == "\t" else separator


def _read_text(text: str, separator: str, where: str, header: bool) -> tuple[list[str], list[Any]]:
    """Returns the columns' names and arrays of text."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    if text.count('"') % 2 or '\\"' in text:
        _check_lines(text, separator, where)
    width = len(next(_rows(text[:_HEAD], separator, strict=False))[1])
    names = [f"f{j}" for j in range(width)]
    data = text.encode()
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(data),
            # One block, where it fits: no line is longer.
            read_options=arrow_csv.ReadOptions(
                column_names=names, block_size=min(len(data) + 1, 1 << 30)
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        _check_lines(text, separator, where)
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from None
    arrays = [chunks.combine_chunks() for chunks in table.columns]
    if not header:
        return [f"c{j + 1}" for j in range(width)], arrays
    return [array[0].as_py().strip() for array in arrays], [array[1:] for array in arrays]


def _check_lines(text: str, separator: str, where: str) -> None:
    """Raises a `ValueError` with the line, if one has other cells than the header, or is no row."""
    line, first, odd = 0, None, None
    sizes = []
    try:
        for line, row in _rows(text, separator):
            sizes.append(len(row))
            first = first or row
            if odd is None and len(row) != len(first):
                odd = line, row, len(sizes)
    except csv.Error as error:
        raise ValueError(f"{where}, line {line + 1} or below: {error}; check its quotes") from None
    if odd and first:
        line, row, place = odd
        raise ValueError(
            f"{where}, line {line}: {len(row)} cells by the separator "
            f"{_separator_name(separator)}, the header has {len(first)}; "
            + odd_line(sizes, first, row, place == len(sizes))
        )


def _named(
    names: Sequence[str], columns: list[CellColumn], where: str, source: tuple[str, str] | None
) -> dict[str, CellColumn]:
    """Returns the columns by name: pandas' index gets its name, padding is left out."""
    found: dict[str, CellColumn] = {}
    where = f"{where}, line 1" if source else where
    for j, (given, column) in enumerate(zip(names, columns, strict=True)):
        name = given.strip()
        if not name:
            if j == len(names) - 1 and j and column.missing.all():
                continue  # each line ends with a separator
            if j or not column.is_index():
                raise ValueError(f"{where}: column {j + 1} has no name; expected a header")
            name = "Unnamed: 0"
        if name in found:
            likely = "; if the file has no header, state --noheader" if as_number(name) else ""
            raise ValueError(f"{where}: two columns are named {shown(name)}; rename one{likely}")
        found[name] = column
    return found
