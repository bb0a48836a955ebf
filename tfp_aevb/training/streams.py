"""Minibatches of data that are not in memory as one array."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.batch_parts import batch_parts, without_outliers
from tfp_aevb.data.observations import Observations
from tfp_aevb.data.stream import Stream, StreamEndedError
from tfp_aevb.training.batches import MAX_BLOCK, Block, make_block, pixel_block, round_up
from tfp_aevb.training.cells import cells_block, most_cells
from tfp_aevb.training.read_ahead import ReadAhead

Check = Callable[[Observations], None]


class StreamBatches:
    """Minibatches of a `Stream`, each of M datapoints: M / W from every one of W workers.

    While a block is computed with, the examples of the next are read. `close` ends that.

    Args:
        stream: the data.
        batch_size: M.
        num_data: N of Equation 8, or `None`: the number of datapoints used so far.
        check: called with each block's `Observations`, to refuse what the model cannot take.
        allow_missing: see `Observations`.
        num_devices: M must be a multiple of it.
        worker: which one this process is.
        num_workers: of how many.

    Raises:
        ValueError: if M cannot be split evenly.
    """

    def __init__(
        self,
        stream: Stream,
        batch_size: int,
        num_data: float | None,
        check: Check,
        allow_missing: bool = False,
        *,
        num_devices: int = 1,
        worker: int = 0,
        num_workers: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % num_devices:
            raise ValueError(
                f"`batch_size` must be a positive multiple of the {num_devices} devices that "
                f"share a stream, got {batch_size}"
            )
        self._stream = stream
        self._batch_size = batch_size
        self._share = batch_size // num_workers
        self._num_data = num_data
        self._check, self._allow_missing = check, allow_missing
        self._worker, self._num_workers = worker, num_workers
        self._next_step = -1
        self._examples = ReadAhead(())

    def close(self) -> None:
        """Ends the reading."""
        self._examples.close()

    def next_block(
        self, iterator: Any, first_step: int, num_steps: int, padded_steps: int = MAX_BLOCK
    ) -> Block:
        """Returns the minibatches of steps `first_step` and on, fewer where the stream ends.

        Args:
            iterator: is not used.
            first_step: number of the first.
            num_steps: wanted.
            padded_steps: K at most.

        Raises:
            StreamEndedError: if the stream ends before the first is complete.
        """
        del iterator
        if first_step != self._next_step:
            self.close()
            start = first_step * self._share
            self._examples = ReadAhead(self._stream.read(start, self._worker, self._num_workers))
        rows = self._examples.take(self._share)
        if rows is None or len(rows) < self._share:
            self._next_step = -1
            raise StreamEndedError(
                f"the stream ended in the minibatch of step {first_step + 1}; let it repeat its "
                "data, or train for fewer steps"
            )
        max_block = min(padded_steps, pixel_block(rows.nbytes))
        num_steps = min(num_steps, max_block)
        if num_steps > 1:
            more = self._examples.take((num_steps - 1) * self._share)
            num_steps = 1 + (0 if more is None else len(more) // self._share)
            if more is not None:
                rows = np.concatenate([rows, more])[: num_steps * self._share]
        self._examples.start(num_steps * self._share)
        x = Observations(
            rows,
            scale=self._stream.scale,
            dynamic_binarization=self._stream.dynamic_binarization,
            allow_missing=self._allow_missing,
        )
        self._check(x)
        values = np.zeros([max_block, self._share, *x.event_shape], x.x.dtype)
        values[:num_steps] = x.x.reshape(num_steps, *values.shape[1:])
        sizes = np.where(np.arange(max_block) < num_steps, self._batch_size, 0).astype(np.int32)
        self._next_step = first_step + num_steps
        return make_block(
            x,
            values,
            sizes,
            num_steps=num_steps,
            first_step=first_step,
            batch_size=self._batch_size,
            num_data=self._num_data,
            part=self._worker,
            num_parts=self._num_workers,
        )


class IteratorBatches:
    """Minibatches from the iterator that Keras hands over (`tf.data` and its kin).

    A batch is x, (x, x), or with weights (x, x, weights) or (x, None, weights). These are taken as
    they are: only over the whole data is their mean known.

    Args:
        num_data: N of Equation 8, or `None`: the number of datapoints used so far.
        check: called with each block's `Observations`, to refuse what the model cannot take.
        num_devices: M's places are padded to a multiple of it.
        allow_missing: see `Observations`.
        cell: rows of a cell, to evaluate on; `None` to train on.

    Attributes:
        only_zeros: whether every datapoint so far had weight 0; `None` before the first.
    """

    def __init__(
        self,
        num_data: float | None,
        check: Check,
        num_devices: int,
        allow_missing: bool = False,
        cell: int | None = None,
    ) -> None:
        self.only_zeros: bool | None = None
        self._cell, self._next_row = cell, 0
        self._num_data = num_data
        self._check, self._allow_missing = check, allow_missing
        self._num_devices = num_devices
        self._batch_size = 0

    def next_block(
        self, iterator: Any, first_step: int, num_steps: int, padded_steps: int = MAX_BLOCK
    ) -> Block:
        """Returns the next minibatches, fewer than `num_steps` where the data end.

        Args:
            iterator: gives the batches.
            first_step: number of the first, for the random streams.
            num_steps: wanted.
            padded_steps: K at most.

        Raises:
            tf.errors.OutOfRangeError: if the data have ended.
        """
        batches: list[np.ndarray] = []
        weights: list[np.ndarray | None] = []
        max_block = min(padded_steps, MAX_BLOCK)
        while len(batches) < min(num_steps, max_block):
            try:
                batch, batch_weights = batch_parts(next(iterator))
            except (StopIteration, tf.errors.OutOfRangeError):
                if not batches:
                    raise
                break
            batches.append(batch)
            weights.append(batch_weights)
            # By the largest so far: a short one may lead a block.
            self._batch_size = max(self._batch_size, len(batch))
            row_bytes = batch.nbytes // max(len(batch), 1)
            max_block = min(padded_steps, pixel_block(row_bytes * self._batch_size))
        x = Observations(np.concatenate(batches), allow_missing=self._allow_missing)
        self._check(x)
        # More than `max_block` only where small batches preceded the first large one.
        max_block = max(max_block, len(batches))
        if self._cell:
            return self._cells(x, batches, weights, first_step, max_block, self._cell)
        places = round_up(self._batch_size, self._num_devices)
        values = np.zeros([max_block, places, *x.event_shape], x.x.dtype)
        sizes = np.zeros([max_block], np.int32)
        counts = None if all(w is None for w in weights) else np.zeros([max_block, places])
        for i, batch in enumerate(batches):
            # Places behind a short batch hold datapoints too: zeros may have no density.
            values[i], sizes[i] = np.resize(batch, values.shape[1:]), len(batch)
            if counts is not None:
                counts[i, : len(batch)] = 1.0 if weights[i] is None else weights[i]
                values[i] = without_outliers(values[i], counts[i])
        self.only_zeros = self.only_zeros is not False and counts is not None and not counts.any()
        return make_block(
            x,
            values,
            sizes,
            num_steps=len(batches),
            first_step=first_step,
            batch_size=self._batch_size,
            num_data=self._num_data,
            weights=counts,
        )

    def _cells(
        self,
        x: Observations,
        batches: list[np.ndarray],
        weights: list[np.ndarray | None],
        first_step: int,
        max_block: int,
        cell: int,
    ) -> Block:
        first_row = self._next_row if first_step else 0
        self._next_row = first_row + len(x)
        counts = None
        if any(w is not None for w in weights):
            parts = zip(batches, weights, strict=True)
            counts = np.concatenate([np.ones(len(b)) if w is None else w for b, w in parts])
        return cells_block(
            x,
            x.x if counts is None else without_outliers(x.x, counts),
            counts,
            first_row=first_row,
            most_cells=most_cells(max_block * self._batch_size, cell),
            num_batches=len(batches),
            num_data=self._num_data,
            num_devices=self._num_devices,
            cell=cell,
        )
