"""Minibatches of data that are not in memory as one array."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.stream import Stream, StreamEndedError
from tfp_aevb.training.batches import Block, make_block, pixel_block, round_up
from tfp_aevb.training.observations import Observations

Check = Callable[[Observations], None]


class StreamBatches:
    """Minibatches of a `Stream`, each of M datapoints: M / W from every one of W workers.

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
        num_data: int | None,
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
        self._chunks: Iterator[Any] = iter(())
        self._rest: list[np.ndarray] = []

    def next_block(self, iterator: Any, first_step: int, num_steps: int) -> Block:
        """Returns the minibatches of steps `first_step` and on; `iterator` is not used.

        Raises:
            StreamEndedError: if the stream ends before them.
        """
        del iterator
        if first_step != self._next_step:
            start = first_step * self._share
            self._chunks = iter(self._stream.read(start, self._worker, self._num_workers))
            self._rest = []
        rows = self._take(self._share, first_step)
        max_block = pixel_block(rows.nbytes)
        num_steps = min(num_steps, max_block)
        if num_steps > 1:
            rows = np.concatenate([rows, self._take((num_steps - 1) * self._share, first_step)])
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

    def _take(self, count: int, step: int) -> np.ndarray:
        """Returns the next `count` examples."""
        parts, found = self._rest, sum(map(len, self._rest))
        while found < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._next_step = -1
                raise StreamEndedError(
                    f"the stream ended in the minibatches from step {step + 1} on; let it repeat "
                    "its data, or train for fewer steps"
                )
            parts.append(np.asarray(chunk))
            found += len(parts[-1])
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._rest = [rows[count:]] if found > count else []
        return rows[:count]


class IteratorBatches:
    """Minibatches from the iterator that Keras hands over (`tf.data` and its kin).

    Args:
        num_data: N of Equation 8, or `None`: the number of datapoints used so far.
        check: called with each block's `Observations`, to refuse what the model cannot take.
        num_devices: M's places are padded to a multiple of it.
        allow_missing: see `Observations`.
    """

    def __init__(
        self,
        num_data: int | None,
        check: Check,
        num_devices: int,
        allow_missing: bool = False,
    ) -> None:
        self._num_data = num_data
        self._check, self._allow_missing = check, allow_missing
        self._num_devices = num_devices
        self._batch_size = 0
        self._batch_shape: tuple[int, ...] | None = None

    def next_block(self, iterator: Any, first_step: int, num_steps: int) -> Block:
        """Returns the next minibatches, fewer than `num_steps` where the data end.

        Raises:
            tf.errors.OutOfRangeError: if the data have ended.
        """
        batches: list[np.ndarray] = []
        while len(batches) < num_steps:
            try:
                batches.append(self._next(iterator))
            except (StopIteration, tf.errors.OutOfRangeError):
                if not batches:
                    raise
                break
            if len(batches) == pixel_block(batches[0].nbytes):
                break
        x = Observations(np.concatenate(batches), allow_missing=self._allow_missing)
        self._check(x)
        largest = max(map(len, batches))
        if self._batch_shape is None or largest > self._batch_size:
            self._batch_size = largest
            places = round_up(self._batch_size, self._num_devices)
            self._batch_shape = (places, *batches[0].shape[1:])
        max_block = pixel_block(batches[0].nbytes)
        values = np.zeros([max_block, *self._batch_shape], x.x.dtype)
        sizes = np.zeros([max_block], np.int32)
        for i, batch in enumerate(batches):
            # Places behind a short batch hold a datapoint too: zeros may have no density.
            values[i, : len(batch)], values[i, len(batch) :], sizes[i] = batch, batch[0], len(batch)
        return make_block(
            x,
            values,
            sizes,
            num_steps=len(batches),
            first_step=first_step,
            batch_size=self._batch_size,
            num_data=self._num_data,
        )

    def _next(self, iterator: Any) -> np.ndarray:
        element = next(iterator)
        while isinstance(element, tuple | list):
            element = element[0]
        if isinstance(element, tf.distribute.DistributedValues):  # split among the devices
            return np.concatenate([np.asarray(part) for part in element.values])
        return np.asarray(element)
