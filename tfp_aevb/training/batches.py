"""Blocks of minibatches: what one call of the compiled loop works through."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.data.batch_parts import without_outliers
from tfp_aevb.data.observations import Observations
from tfp_aevb.utils.seeds import numpy_generator

# Steps in one block at most. Blocks are padded to one number of steps so that XLA compiles once.
MAX_BLOCK = 256
MAX_BLOCK_BYTES = 1 << 25


class Block(NamedTuple):
    """The arguments of the compiled loop.

    Attributes:
        data: [N, ...event] on the device, or `None` where `values` holds the pixels themselves.
        values: [K, M] rows of `data`, or [K, M, ...event] pixels.
        sizes: [K] int32, datapoints in each minibatch; the rest of its M places is padding.
        batch_size: M, without the padding that makes its places a multiple of the devices.
        places: of a whole minibatch, with that padding.
        first_place: where this process' part of the minibatch begins, if it reads a part only.
        num_steps: how many of the K minibatches are to be worked through.
        first_step: number of the first of them, for the random streams.
        num_data: [K] float32, N of Equation 8 at each step.
        scale, dynamic_binarization: see `Observations`.
        weights: [K, places], how often each datapoint counts, 0 for padding, of float32 in training
            and of float64 in evaluation; `None` where each counts once.
        cells: [K, devices] int32, in evaluation the number of each device's cell (`cells`), where
            minibatches are as many cells; `None` in training.
        num_batches: in evaluation, the number of batches that these cells are.
    """

    data: tf.Tensor | None
    values: np.ndarray
    sizes: np.ndarray
    batch_size: int
    places: int
    first_place: int
    num_steps: tf.Tensor
    first_step: tf.Tensor
    num_data: np.ndarray
    scale: float
    dynamic_binarization: bool
    weights: np.ndarray | None = None
    cells: np.ndarray | None = None
    num_batches: int = 0


class RowBatches:
    """Minibatches of an array, in an order that is a function of (seed, step).

    Each epoch goes through a permutation of its own; its last minibatch may be short. Rows whose
    weight is 0 come in none. The weights of the others are divided by their mean, so that the mean
    over a minibatch estimates the weighted mean over the data without a bias.

    Args:
        x: the data.
        batch_size: M.
        num_data: N of Equation 8; by default the sum of the weights, `len(x)` without.
        shuffle_seed: `None` keeps the rows' order.
        num_devices: M's places are padded to a multiple of it.
        updates_per_batch: how many steps in a row have the same minibatch.
    """

    def __init__(
        self,
        x: Observations,
        batch_size: int,
        num_data: float | None,
        shuffle_seed: int | None,
        *,
        num_devices: int,
        updates_per_batch: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive, got {batch_size}")
        self._x = x
        self._weights = x.relative_weights()
        self._order = self._used = np.arange(len(x), dtype=np.int32)
        if x.weights is not None:
            self._order = self._used = self._used[x.weights > 0.0]
        num_used = len(self._used)
        self._batch_size = min(batch_size, num_used)
        self._places = round_up(self._batch_size, num_devices)
        self.num_data = x.total_weight
        self._num_data = num_data or self.num_data
        self._shuffle_seed = shuffle_seed
        self._data = tf.constant(x.x)
        self._updates_per_batch = updates_per_batch
        self.steps_per_epoch = -(-num_used // self._batch_size) * updates_per_batch
        self._epoch = -1

    def next_block(
        self, iterator: Any, first_step: int, num_steps: int, padded_steps: int = MAX_BLOCK
    ) -> Block:
        """Returns the minibatches of steps `first_step` and on, at most `num_steps`.

        Args:
            iterator: is not used.
            first_step: number of the first.
            num_steps: wanted.
            padded_steps: K at most.
        """
        del iterator
        padded_steps = min(padded_steps, MAX_BLOCK)
        num_steps = min(num_steps, padded_steps)
        rows = np.zeros([padded_steps, self._places], np.int32)
        sizes = np.zeros([padded_steps], np.int32)
        for i in range(num_steps):
            batch = self._rows(first_step + i)
            # Places behind a short minibatch repeat its rows: of statistics that a network takes of
            # a batch, too, each datapoint is a part.
            rows[i], sizes[i] = np.resize(batch, self._places), len(batch)
        return make_block(
            self._x,
            rows,
            sizes,
            num_steps=num_steps,
            first_step=first_step,
            batch_size=self._batch_size,
            num_data=self._num_data,
            data=self._data,
            weights=None if self._weights is None else self._weights[rows],
        )

    def _rows(self, step: int) -> np.ndarray:
        epoch, update = divmod(step, self.steps_per_epoch)
        if self._shuffle_seed is not None and epoch != self._epoch:
            generator = numpy_generator(self._shuffle_seed, "epoch order", epoch)
            self._epoch, self._order = epoch, self._used[generator.permutation(len(self._used))]
        first = update // self._updates_per_batch * self._batch_size
        return self._order[first : first + self._batch_size]


class OneBatch:
    """A minibatch that is given as it is, with the weights it has.

    Args:
        x: its datapoints.
        num_data: N of Equation 8, or `None`: the number of datapoints used so far.
        num_devices: its places are padded to a multiple of it.
    """

    def __init__(self, x: Observations, num_data: float | None, num_devices: int) -> None:
        self._x, self._num_data, self._num_devices = x, num_data, num_devices

    def next_block(
        self, iterator: Any, first_step: int, num_steps: int, padded_steps: int = MAX_BLOCK
    ) -> Block:
        """Returns the minibatch as that of step `first_step`."""
        del iterator, num_steps, padded_steps
        x, weights = self._x, self._x.weights
        places = np.arange(round_up(len(x), self._num_devices)) % len(x)
        values = x.x if weights is None else without_outliers(x.x, weights)
        return make_block(
            x,
            values[places][np.newaxis],
            np.array([len(x)], np.int32),
            num_steps=1,
            first_step=first_step,
            batch_size=len(x),
            num_data=self._num_data,
            weights=None if weights is None else weights[places][np.newaxis],
        )


def samples_seen(
    step: int, num_data: int | None, batch_size: int, updates_per_batch: int = 1
) -> int:
    """Returns how many datapoints the first `step` updates use.

    On an array of `num_data` rows an epoch's last minibatch may be short; in a stream none is.
    """
    if num_data is None:
        return step * batch_size

    def in_batches(count: int) -> int:
        epochs, batches = divmod(count, -(-num_data // batch_size))
        return epochs * num_data + min(batches * batch_size, num_data)

    whole, rest = divmod(step, updates_per_batch)
    last = in_batches(whole + 1) - in_batches(whole)
    return updates_per_batch * in_batches(whole) + rest * last


def make_block(
    x: Observations,
    values: np.ndarray,
    sizes: np.ndarray,
    *,
    num_steps: int,
    first_step: int,
    batch_size: int,
    num_data: float | None,
    data: tf.Tensor | None = None,
    weights: np.ndarray | None = None,
    part: int = 0,
    num_parts: int = 1,
) -> Block:
    """Returns the block of `values` [K, places, ...], read as `x` is.

    Args:
        x: tells how the values are read.
        values: see `Block`.
        sizes: see `Block`.
        num_steps: how many of the minibatches there are.
        first_step: the number of the first.
        batch_size: M.
        data: where `values` are rows of it.
        num_data: N, or `None` for the number of datapoints used up to each step.
        weights: [K, places], how often each datapoint counts; of what is behind a minibatch's size
            they are not used.
        part: which part of the minibatches the values are.
        num_parts: of how many.
    """
    if weights is not None:
        is_real = np.arange(values.shape[1]) < sizes[:, np.newaxis]
        weights = np.where(is_real, weights, 0.0).astype(np.float32)
    seen = (first_step + 1 + np.arange(len(sizes))) * batch_size
    return Block(
        data=data,
        values=values,
        sizes=sizes,
        batch_size=batch_size,
        places=num_parts * values.shape[1],
        first_place=part * values.shape[1],
        num_steps=tf.constant(num_steps, tf.int32),
        first_step=tf.constant(first_step, tf.int32),
        num_data=np.asarray(
            seen if num_data is None else np.full(len(sizes), num_data), np.float32
        ),
        scale=x.scale,
        dynamic_binarization=x.dynamic_binarization,
        weights=weights,
    )


def round_up(count: int, multiple: int) -> int:
    """Returns the first multiple from `count` on."""
    return -(-count // multiple) * multiple


def pixel_block(batch_bytes: int) -> int:
    """Returns how many minibatches of so many bytes a block of pixels has."""
    return max(1, min(64, MAX_BLOCK_BYTES // max(batch_bytes, 1)))
