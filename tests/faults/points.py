"""Faults at a chosen disk operation: every one the package makes is a point that can be hit."""

import errno
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

KILLS = ("kill before", "kill halfway", "kill after")
ERRORS = {"full disk": errno.ENOSPC, "read-only disk": errno.EROFS, "bad disk": errno.EIO}
_WRITES = ("wb", "w", "a+", "ab", "a")


class Points:
    """Counts the disk operations of this process and makes one of them go wrong.

    Args:
        at: number of the operation to hit, from 1; 0 counts only.
        fault: one of `KILLS`, or of `ERRORS`, which go on from there; or a function to call.
        seed: of the moment within a long operation.
    """

    def __init__(self, at: int = 0, fault: str | Callable[[], None] = "", seed: int = 0) -> None:
        self.count = 0
        self.names: list[str] = []
        self._at, self._fault, self._random = at, fault, random.Random(seed)

    def install(self) -> "Points":
        """Puts itself around the operations; there is no way back, for a child ends soon."""
        import tensorflow as tf

        for owner, name in (
            (os, "fsync"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (shutil, "rmtree"),
            (Figure, "savefig"),
            (tf.saved_model, "save"),
        ):
            setattr(owner, name, self._around(name, getattr(owner, name)))
        opened = Path.open

        def open_file(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode not in _WRITES:
                return opened(path, mode, *args, **kwargs)
            file = self._around("open", opened)(path, mode, *args, **kwargs)
            return _File(file, self) if mode == "wb" else file

        Path.open = open_file  # type: ignore[assignment,method-assign]
        return self

    def _around(self, name: str, function: Callable) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            hit = self.hit(name)
            if hit == "kill halfway":  # inside a long operation
                self._kill_soon()
            result = function(*args, **kwargs)
            if hit == "kill after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    def hit(self, name: str) -> str:
        """Counts an operation; returns the kind of kill if it is to happen during or after it."""
        self.count += 1
        self.names.append(name)
        reached = self._at and self.count >= self._at
        if not reached:
            return ""
        if callable(self._fault):
            if self.count == self._at:
                self._fault()
            return ""
        if self._fault in ERRORS:
            if name not in ("unlink", "rmtree"):
                code = ERRORS[self._fault]
                raise OSError(code, os.strerror(code))
            return ""
        if self.count > self._at:
            return ""
        if self._fault == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._fault

    def _kill_soon(self) -> None:
        seconds = self._random.uniform(0.0, 0.3)
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


class _File:
    """A file opened for writing whose writes are points too, halfway included."""

    def __init__(self, file: Any, points: Points) -> None:
        self._file, self._points = file, points

    def write(self, content: bytes) -> int:
        hit = self._points.hit("write")
        if hit == "kill halfway":
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        written = self._file.write(content)
        if hit:
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
