"""Reading on in the background while the last block is computed with."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfp_aevb.data.batch_parts import batch_parts

READER = "tfp_aevb stream reader"  # the thread's name
_PATIENCE = 5.0  # seconds that `close` waits for a chunk that is being read


class ReadAhead:
    """The examples of an iterable of arrays [B, ...event], read in a thread between `take`s.

    Args:
        chunks: the arrays. Not more than one thread at a time asks for the next.
    """

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks: Iterator[Any] = iter(chunks)
        self._parts: list[np.ndarray] = []  # read and not taken
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_closed = False

    def take(self, count: int) -> np.ndarray | None:
        """Returns the next `count` examples, fewer where they end, `None` behind the last.

        What the iterable raised is raised here.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is None:
            self._read(count)
        if self._error is not None:
            raise self._error
        if not self._parts:
            return None
        rows = np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._parts = [rows[count:]] if len(rows) > count else []
        return rows[:count]

    def start(self, count: int) -> None:
        """Begins to read until there are `count` examples to take."""
        self._thread = threading.Thread(target=self._read, args=(count,), name=READER, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, which may still wait for one chunk."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _read(self, count: int) -> None:
        found = sum(map(len, self._parts))
        try:
            while found < count and not self._is_closed:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                rows, weights = batch_parts(chunk)
                if weights is not None:
                    raise ValueError(
                        "a `Stream` takes no weights; give a `tf.data` set of (x, x, weights)"
                    )
                self._parts.append(rows)
                found += len(self._parts[-1])
        except BaseException as error:
            self._error = error
