"""MNIST digits moved at random by up to three pixels: an endless stream for `train`.

The digits come from the set that TFP_AEVB_BENCHMARK_DIGITS names, "mnist_5k" by default.
"""

import functools
import os
from collections.abc import Iterator

import numpy as np

from tfp_aevb.data import load_dataset

MOVE = 3
CHUNK = 1000


@functools.cache
def _padded_digits() -> np.ndarray:
    digits = load_dataset(
        os.environ.get("TFP_AEVB_BENCHMARK_DIGITS", "mnist_5k"),
        data_dir=os.environ.get("TFP_AEVB_BENCHMARK_DATA_DIR"),
    ).train.x
    return np.pad(digits.reshape(-1, 28, 28), ((0, 0), (MOVE, MOVE), (MOVE, MOVE)))


def digits(start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
    """Yields images [B, 28, 28] uint8, each a function of its number alone.

    Number i of a worker's share is number i * num_workers + worker of the stream.
    """
    padded = _padded_digits()
    views = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    while True:
        chunk, first = divmod(start * num_workers + worker, CHUNK)
        rng = np.random.default_rng([chunk, 0, 1])
        rows = rng.integers(0, len(padded), CHUNK)
        down, right = rng.integers(0, 2 * MOVE + 1, [2, CHUNK])
        mine = slice(first, None, num_workers)
        yield views[rows[mine], down[mine], right[mine]]
        start += len(rows[mine])
