"""Commands in forked children of one warm parent: a try costs seconds, not TensorFlow's start.

The parent imports TensorFlow and never computes with it; each child then makes its own context.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BROKEN = 70  # exit code of a child that ended by an exception: a traceback in a user's eyes


class Outcome(NamedTuple):
    """How a child ended: its exit code or minus its signal, its last words, and its time."""

    code: int
    stderr: str
    seconds: float

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return (self.stderr.strip().splitlines() or [""])[-1]

    @property
    def is_clean(self) -> bool:
        """Whether it is a result, or one line and an exit code."""
        return self.code in (0, 1, 2, 130, 143) and "Traceback" not in self.stderr


def import_everything(package: bool = True) -> None:
    """Imports what a run needs, with or without our own package; call it before the first fork."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfp_aevb.commands.runtime import start

    start()
    for module in ("matplotlib.figure", "tensorflow_probability", "tf_keras"):
        importlib.import_module(module)

    if package:
        importlib.import_module("tfp_aevb.runs.train")


def forked(
    action: Callable[[], int],
    *,
    signal_after: float | None = None,
    signum: int = signal.SIGKILL,
    limits: dict[int, int] | None = None,
    timeout: float = 120.0,
) -> Outcome:
    """Runs `action` in a child.

    Args:
        action: returns the exit code.
        signal_after: seconds after which the child gets `signum`.
        signum: which.
        limits: of `resource.setrlimit`.
        timeout: seconds after which the child hangs: it is killed and its code is -14.
    """
    with tempfile.TemporaryFile() as stderr:
        started = time.perf_counter()
        child = os.fork()
        if not child:
            _run_child(action, stderr.fileno(), limits or {})
        code = _wait(child, signal_after, signum, timeout)
        stderr.seek(0)
        text = stderr.read().decode(errors="replace")
    return Outcome(code, text, time.perf_counter() - started)


def _run_child(action: Callable[[], int], stderr: int, limits: dict[int, int]) -> None:
    code = BROKEN
    try:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        sys.stdout, sys.stderr = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
        for which, value in limits.items():
            resource.setrlimit(which, (value, value))
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, signal_after: float | None, signum: int, timeout: float) -> int:
    started, sent = time.perf_counter(), False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        passed = time.perf_counter() - started
        if signal_after is not None and not sent and passed >= signal_after:
            os.kill(child, signum)
            sent = True
        if passed > timeout:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGALRM
        time.sleep(0.005)


def memory_of(pid: int | str = "self") -> int:
    """Returns a process' resident bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def descriptors_of(pid: int | str = "self") -> int:
    """Returns how many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def in_child(action: Callable[[], Any], timeout: float = 3600.0) -> Any:
    """Returns what `action` returns, which must be JSON-able, from a child.

    Raises:
        RuntimeError: if the child failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.json")

        def answer() -> int:
            path.write_text(json.dumps(action()))
            return 0

        outcome = forked(answer, timeout=timeout)
        if outcome.code != 0:
            raise RuntimeError(f"code {outcome.code}: {outcome.stderr}")
        return json.loads(path.read_text())
