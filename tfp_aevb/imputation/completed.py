"""What `impute` finds for a table, as files: it completed, and what is known of each cell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfp_aevb.data.columns import Column
from tfp_aevb.data.table_files import Cells
from tfp_aevb.imputation.sampling import Imputation
from tfp_aevb.layers.tables import Layout
from tfp_aevb.utils.files import write_csv


def write_completed(path: Path, cells: Cells, columns: Sequence[Column], x: np.ndarray) -> None:
    """Writes a file's cells, the missing ones filled from `x` [N, D], the others as they were.

    Args:
        path: of the .csv file to write.
        cells: of the file.
        columns: of `x`.
        x: numbers, see `estimates`.
    """
    filled = []
    for name, cell in cells.columns.items():
        texts = cell.texts()
        for d, column in enumerate(columns):
            if column.name == name:
                for n in np.flatnonzero(cell.missing):
                    texts[n] = column.decode(float(x[n, d]))
        filled.append(texts)
    absent = [d for d, column in enumerate(columns) if column.name not in cells.columns]
    filled += [[columns[d].decode(float(value)) for value in x[:, d]] for d in absent]
    names = [*cells.names, *(columns[d].name for d in absent)]
    write_csv(path, names, zip(*filled, strict=True))


def estimates(columns: Sequence[Column], found: Imputation) -> np.ndarray:
    """Returns one number for each cell [N, D]: means, and the most probable code of a category."""
    values = np.empty([len(found.mean), len(columns)], np.float32)
    for d, (column, places) in enumerate(_places(columns)):
        mean = found.mean[:, places]
        is_coded = column.family == "categorical"
        values[:, d] = mean.argmax(axis=1) if is_coded else mean[:, 0]
    return values


def write_uncertainty(
    path: Path, y: np.ndarray, columns: Sequence[Column], found: Imputation
) -> None:
    """Writes a .csv file with a line for each missing cell: estimate, uncertainty and draws.

    The columns are row (from 0), column, estimate; mean and stddev of a real column or a count;
    probability of the estimate of a binary or categorical column; draw_0, draw_1, ...

    Args:
        path: of the file.
        y: [N, D], NaN where a cell is missing.
        columns: of `y`.
        found: what `impute` made of it.
    """
    values = estimates(columns, found)
    names = ["row", "column", "estimate", "mean", "stddev", "probability"]
    places = [place for _, place in _places(columns)]

    def rows() -> Iterator[list[str]]:
        for n, d in np.argwhere(np.isnan(y)):
            column, mean = columns[d], found.mean[n, places[d]]
            if column.categories:
                top = max(mean) if column.family == "categorical" else max(mean[0], 1.0 - mean[0])
                moments = ["", "", f"{top:.4g}"]
            else:
                stddev = found.stddev[n, places[d]][0]
                moments = [f"{mean[0]:.7g}", f"{stddev:.4g}", ""]
            draws = [column.decode(float(draw)) for draw in found.draws[:, n, d]]
            yield [str(n), column.name, column.decode(float(values[n, d])), *moments, *draws]

    write_csv(path, [*names, *(f"draw_{s}" for s in range(len(found.draws)))], rows())


def _places(columns: Sequence[Column]) -> Iterator[tuple[Column, slice]]:
    """Yields each column with its place among the P numbers of `Layout`."""
    for column, start in zip(columns, Layout(columns).starts, strict=True):
        yield column, slice(int(start), int(start) + column.size)
