"""A stream as a user would write one, for the tests: dealt to workers in blocks of 5."""

from collections.abc import Iterator

import numpy as np

BLOCK = 5


def rows(start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
    """Yields binary rows [5, 20]; each is a function of its number in the stream."""
    while True:
        numbers = np.arange(start, start + BLOCK)
        numbers = (numbers // BLOCK * num_workers + worker) * BLOCK + numbers % BLOCK
        yield np.stack(
            [np.random.default_rng(n).random(20) < 0.2 + 0.6 * (n % 2) for n in numbers]
        ).astype(np.uint8)
        start += BLOCK


def ending(start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
    """Yields the rows up to number 3,300."""
    for chunk in rows(start, worker, num_workers):
        if start >= 3300:
            return
        yield chunk
        start += BLOCK
