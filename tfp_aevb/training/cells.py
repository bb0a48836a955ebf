"""Cells: what evaluation computes with, so that no result depends on how it is computed.

The data are cut into cells, mostly of 100 rows, counted from their first row. A cell is always
computed whole, by one device, its noise a function of (seed, number of the cell): whatever the size
of batches and the number of devices, a row has the same draws, from any distribution.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.observations import Observations
from tfp_aevb.training.batches import MAX_BLOCK, Block, pixel_block

CELL = 100
_MAX_VALUES = 1 << 22  # that p(x|z) may give at once: 16 MB


def cell_rows(event_shape: Sequence[int], num_samples: int) -> int:
    """Returns the rows of a model's cells: 100, or fewer where a datapoint is large."""
    return min(max(_MAX_VALUES // (num_samples * max(math.prod(event_shape), 1)), 1), CELL)


class ArrayCells:
    """Batches of an array in the order of its rows, as cells. Rows whose weight is 0 are left out.

    Args:
        x: the data.
        batch_size: rows of a step.
        num_data: N of Equation 8.
        num_devices: that work on a cell each at a time.
        cell: rows of a cell.
    """

    def __init__(
        self,
        x: Observations,
        batch_size: int,
        num_data: float | None,
        num_devices: int,
        cell: int = CELL,
    ) -> None:
        self._cell = cell
        self._x = x
        self._rows = np.arange(len(x))
        if x.weights is not None:
            self._rows = self._rows[x.weights > 0.0]
        self._batch_size = min(batch_size, len(self._rows))
        self._num_data = num_data or x.total_weight
        self._num_devices = num_devices
        self.steps = -(-len(self._rows) // self._batch_size)
        self._max_batches = pixel_block(x.x[:1].nbytes * self._batch_size)

    def next_block(
        self, iterator: Any, first_step: int, num_steps: int, padded_steps: int = MAX_BLOCK
    ) -> Block:
        """Returns the batches of steps `first_step` and on, at most `num_steps`."""
        del iterator
        largest = min(padded_steps, self._max_batches, self.steps)
        num_steps = min(num_steps, largest)
        first = first_step * self._batch_size
        rows = self._rows[first : first + num_steps * self._batch_size]
        return cells_block(
            self._x,
            self._x.x[rows],
            None if self._x.weights is None else self._x.weights[rows],
            first_row=first,
            most_cells=self._most_cells(largest * self._batch_size),
            num_batches=num_steps,
            num_data=self._num_data,
            num_devices=self._num_devices,
            cell=self._cell,
        )

    def _most_cells(self, most_rows: int) -> int:
        in_all = -(-len(self._rows) // self._cell)
        if self._batch_size % self._cell == 0:
            return min(most_rows // self._cell, in_all)
        return min(most_cells(most_rows, self._cell), in_all)


def most_cells(num_rows: int, cell: int) -> int:
    """Returns in how many cells rows that follow each other can lie."""
    return (cell - 1 + num_rows - 1) // cell + 1


def cells_block(
    x: Observations,
    values: np.ndarray,
    weights: np.ndarray | None,
    *,
    first_row: int,
    most_cells: int,
    num_batches: int,
    num_data: float | None,
    num_devices: int,
    cell: int,
) -> Block:
    """Returns the block of rows that follow each other, laid into their cells.

    Args:
        x: tells how the values are read.
        values: [R, ...event].
        weights: [R], or `None`: all 1.
        first_row: number of the first among all rows of the data.
        most_cells: of such a block; its shape depends on this alone.
        num_batches: steps that they are.
        num_data: N, or `None`: the rows so far.
        num_devices: that work on a cell each at a time.
        cell: rows of a cell.
    """
    first_cell = first_row // cell
    num_steps = -(-most_cells // num_devices)
    shape = [num_steps * num_devices * cell, *values.shape[1:]]
    place = first_row - first_cell * cell
    places = slice(place, place + len(values))
    # Other places hold a datapoint too: zeros may have no density.
    laid = np.empty(shape, values.dtype)
    laid[:] = values[0]
    laid[places] = values
    counts = np.zeros(shape[0])
    counts[places] = 1.0 if weights is None else weights
    used = -(-(place + len(values)) // (num_devices * cell))
    known = first_row + len(values) if num_data is None else num_data
    return Block(
        data=None,
        values=laid.reshape(num_steps, num_devices * cell, *values.shape[1:]),
        sizes=np.full(num_steps, num_devices * cell, np.int32),
        batch_size=num_devices * cell,
        places=num_devices * cell,
        first_place=0,
        num_steps=tf.constant(used, tf.int32),
        first_step=tf.constant(0, tf.int32),
        num_data=np.full(num_steps, known, np.float32),
        scale=x.scale,
        dynamic_binarization=x.dynamic_binarization,
        weights=counts.reshape(num_steps, -1),
        cells=(first_cell + np.arange(num_steps * num_devices, dtype=np.int32)).reshape(
            num_steps, num_devices
        ),
        num_batches=num_batches,
    )
