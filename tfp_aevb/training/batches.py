"""Blocks of minibatches: what one call of the compiled loop works through."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.training.observations import Observations
from tfp_aevb.training.random import numpy_generator

# Steps in one block. Blocks are padded to a fixed number of steps so that XLA compiles once.
MAX_BLOCK = 256
MAX_BLOCK_BYTES = 1 << 25


class Block(NamedTuple):
    """The arguments of the compiled loop.

    Attributes:
        data: [N, ...event] on the device, or `None` where `values` holds the pixels themselves.
        values: [K, M] rows of `data`, or [K, M, ...event] pixels.
        sizes: [K] int32, datapoints in each minibatch; the rest of its M places is padding.
        batch_size: M, without the padding that makes its places a multiple of the devices.
        num_steps: how many of the K minibatches are to be worked through.
        first_step: number of the first of them, for the random streams.
        num_data: N of Equation 8, float32.
        scale, dynamic_binarization: see `Observations`.
    """

    data: tf.Tensor | None
    values: np.ndarray
    sizes: np.ndarray
    batch_size: int
    num_steps: tf.Tensor
    first_step: tf.Tensor
    num_data: tf.Tensor
    scale: float
    dynamic_binarization: bool


class RowBatches:
    """Minibatches of an array, in an order that is a function of (seed, step).

    Each epoch goes through a permutation of its own; its last minibatch may be short.

    Args:
        x: the data.
        batch_size: M.
        num_data: N of Equation 8; `len(x)` by default.
        shuffle_seed: `None` keeps the rows' order.
        num_devices: M's places are padded to a multiple of it.
        on_device: hold the data on the device and send row numbers, else send pixels. The
            compiled loop depends on N when the data are on the device.
        updates_per_batch: how many steps in a row have the same minibatch.
    """

    def __init__(
        self,
        x: Observations,
        batch_size: int,
        num_data: int | None,
        shuffle_seed: int | None,
        *,
        num_devices: int,
        on_device: bool,
        updates_per_batch: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive, got {batch_size}")
        self._x = x
        self._batch_size = min(batch_size, len(x)) if on_device else batch_size
        self._places = _round_up(self._batch_size, num_devices)
        self._num_data = num_data or len(x)
        self._shuffle_seed = shuffle_seed
        self._data = tf.constant(x.x) if on_device else None
        self._updates_per_batch = updates_per_batch
        self.steps_per_epoch = -(-len(x) // self._batch_size) * updates_per_batch
        self.max_block = MAX_BLOCK if on_device else _pixel_block(x.x[:1].nbytes * batch_size)
        self._epoch, self._order = -1, np.arange(len(x), dtype=np.int32)

    def next_block(self, iterator: Any, first_step: int, num_steps: int) -> Block:
        """Returns the minibatches of steps `first_step` and on; `iterator` is not used."""
        del iterator
        num_steps = min(num_steps, self.max_block)
        rows = np.zeros([self.max_block, self._places], np.int32)
        sizes = np.zeros([self.max_block], np.int32)
        for i in range(num_steps):
            batch = self._rows(first_step + i)
            rows[i, : len(batch)], sizes[i] = batch, len(batch)
        if self._data is None:
            values = np.zeros([*rows.shape, *self._x.event_shape], self._x.x.dtype)
            values[:num_steps] = self._x.x[rows[:num_steps]]
        else:
            values = rows
        return _block(
            self._x,
            self._data,
            values,
            sizes,
            self._batch_size,
            num_steps,
            first_step,
            self._num_data,
        )

    def _rows(self, step: int) -> np.ndarray:
        epoch, update = divmod(step, self.steps_per_epoch)
        if self._shuffle_seed is not None and epoch != self._epoch:
            generator = numpy_generator(self._shuffle_seed, "epoch order", epoch)
            self._epoch, self._order = epoch, generator.permutation(len(self._x)).astype(np.int32)
        first = update // self._updates_per_batch * self._batch_size
        return self._order[first : first + self._batch_size]


class StreamBatches:
    """Minibatches from the iterator that Keras hands over (`tf.data` and its kin).

    Args:
        num_data: N of Equation 8, which a stream does not tell; 0 where it is not needed.
        check: called with each block's `Observations`, to refuse what the model cannot take.
        num_devices: M's places are padded to a multiple of it.
    """

    def __init__(
        self, num_data: int | None, check: Callable[[Observations], None], num_devices: int
    ) -> None:
        self._num_data = num_data or 0
        self._check = check
        self._num_devices = num_devices
        self._batch_size = 0
        self._batch_shape: tuple[int, ...] | None = None

    def next_block(self, iterator: Any, first_step: int, num_steps: int) -> Block:
        """Returns the next minibatches, fewer than `num_steps` where the stream ends.

        Raises:
            tf.errors.OutOfRangeError: if the stream has ended.
        """
        batches: list[np.ndarray] = []
        while len(batches) < num_steps:
            try:
                batches.append(self._next(iterator))
            except (StopIteration, tf.errors.OutOfRangeError):
                if not batches:
                    raise
                break
            if len(batches) == _pixel_block(batches[0].nbytes):
                break
        x = Observations(np.concatenate(batches))
        self._check(x)
        largest = max(map(len, batches))
        if self._batch_shape is None or largest > self._batch_size:
            self._batch_size = largest
            places = _round_up(self._batch_size, self._num_devices)
            self._batch_shape = (places, *batches[0].shape[1:])
        max_block = _pixel_block(batches[0].nbytes)
        values = np.zeros([max_block, *self._batch_shape], x.x.dtype)
        sizes = np.zeros([max_block], np.int32)
        for i, batch in enumerate(batches):
            # Places behind a short batch hold a datapoint too: zeros may have no density.
            values[i, : len(batch)], values[i, len(batch) :], sizes[i] = batch, batch[0], len(batch)
        return _block(
            x, None, values, sizes, self._batch_size, len(batches), first_step, self._num_data
        )

    def _next(self, iterator: Any) -> np.ndarray:
        element = next(iterator)
        while isinstance(element, tuple | list):
            element = element[0]
        if isinstance(element, tf.distribute.DistributedValues):  # split among the devices
            return np.concatenate([np.asarray(part) for part in element.values])
        return np.asarray(element)


def samples_seen(step: int, num_data: int, batch_size: int, updates_per_batch: int = 1) -> int:
    """Returns how many datapoints the first `step` updates on an array use; short batches count."""

    def in_batches(count: int) -> int:
        epochs, batches = divmod(count, -(-num_data // batch_size))
        return epochs * num_data + min(batches * batch_size, num_data)

    whole, rest = divmod(step, updates_per_batch)
    last = in_batches(whole + 1) - in_batches(whole)
    return updates_per_batch * in_batches(whole) + rest * last


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _pixel_block(batch_bytes: int) -> int:
    return max(1, min(64, MAX_BLOCK_BYTES // max(batch_bytes, 1)))


def _block(
    x: Observations,
    data: tf.Tensor | None,
    values: np.ndarray,
    sizes: np.ndarray,
    batch_size: int,
    num_steps: int,
    first_step: int,
    num_data: int,
) -> Block:
    return Block(
        data,
        values,
        sizes,
        batch_size,
        tf.constant(num_steps, tf.int32),
        tf.constant(first_step, tf.int32),
        tf.constant(num_data, tf.float32),
        x.scale,
        x.dynamic_binarization,
    )
