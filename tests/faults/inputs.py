"""Fuzzing of everything that reads outside data: a result or one line, never anything else.

Each target runs in a child of its own with a limit on memory: a `MemoryError`, a hang of ten
seconds, a message of two lines and an error that is not a user's each count as wrong.
"""

import resource
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults import seeds
from tests.faults.processes import in_child
from tests.faults.record import Row

HEADROOM = 1 << 30  # bytes a target may take beyond what the process has
SECONDS = 10
# Target -> share of all inputs; those that need TensorFlow's arrays are slower.
SHARES = {
    "flags": 0.2,
    "flag file": 0.1,
    "npy": 0.15,
    "npz": 0.15,
    "mat": 0.05,
    "config.json": 0.15,
    "metrics.csv": 0.1,
    "input of encode": 0.04,
    "input of impute": 0.04,
    "checkpoint": 0.02,
}


def fuzz(tries: int, seed_: int, folder: Path) -> list[Row]:
    """All targets, `tries` inputs in all."""
    rows = []
    for name, share in SHARES.items():
        row = Row(f"hostile {name}", "a result or one line")
        count, failures = in_child(partial(_fuzz_target, name, int(tries * share), seed_, folder))
        row.tries = count
        for failure in failures:
            row.err(failure)
        rows.append(row)
    return rows


def _fuzz_target(name: str, tries: int, seed_: int, folder: Path) -> tuple[int, list[str]]:
    strategy, read = targets(folder)[name]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))
    return run_target(strategy, read, tries, seed_)


def run_target(
    strategy: st.SearchStrategy, read: Callable[[Any], Any], tries: int, seed_: int
) -> tuple[int, list[str]]:
    """Returns how many inputs were tried and what was wrong with some of them."""
    count, failures = 0, dict[str, str]()

    @seed(seed_)
    @settings(
        max_examples=tries,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(value: Any) -> None:
        nonlocal count
        count += 1
        if problem := outcome_of(read, value):
            failures.setdefault(problem.partition("\n")[0], f"{problem}\n    input {value!r:.300}")

    one()
    return count, list(failures.values())


def outcome_of(read: Callable[[Any], Any], value: Any) -> str:
    """Returns what is wrong with how `read` takes `value`, or nothing."""
    from tfp_aevb.commands import flags as flags_lib
    from tfp_aevb.commands.main import USER_ERRORS

    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(value)
    except MemoryError:
        return f"memory: {traceback.format_exc(limit=-2)}"
    except (*USER_ERRORS, flags_lib.UsageError) as error:
        if "\n" in str(error) or not str(error):
            return f"message {str(error)!r:.200}"
    except Exception as error:
        return f"{type(error).__name__} {traceback.format_exc(limit=-3)}"
    finally:
        signal.alarm(0)
    return ""


class HangError(Exception):
    """An input took longer than it may."""


def _hang(*_: object) -> None:
    raise HangError


def targets(folder: Path) -> dict[str, tuple[st.SearchStrategy, Callable[[Any], Any]]]:
    """Returns for each target its inputs and what reads them."""
    from tfp_aevb.commands import flags as flags_lib
    from tfp_aevb.commands import impute
    from tfp_aevb.data.array_files import load_file
    from tfp_aevb.data.frey_face.rawface import read_rawface
    from tfp_aevb.evaluation.codes import open_input
    from tfp_aevb.figures import read_metrics
    from tfp_aevb.runs.metrics import MetricsLog
    from tfp_aevb.runs.workdir import Workdir

    place = Path(tempfile.mkdtemp(dir=folder))

    def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        path = place / name

        def act(content: bytes) -> Any:
            path.write_bytes(content)
            return read(path)

        return act

    def parse(arguments: list[str]) -> Any:
        values = flags_lib.new_flags()
        flags_lib.define_workdir(values)
        flags_lib.define_train_config(values)
        return flags_lib.train_config(flags_lib.parse(values, arguments))

    def metrics(path: Path) -> None:
        MetricsLog(path.with_name("none.csv"), 0, 10, 50)
        try:
            read_metrics(path)
        finally:
            MetricsLog(path, 50, 10, 50)

    def archive(read: Callable[[Path], Any]) -> Callable[[tuple[str, bytes]], Any]:
        return lambda value: in_file(f"a{value[0]}", read)(value[1])

    return {
        "flags": (seeds.arguments(), parse),
        "flag file": (
            seeds.flag_files(),
            in_file("a.flags", lambda path: parse([f"--flagfile={path}"])),
        ),
        "npy": (seeds.npy_files(), in_file("a.npy", lambda path: load_file(str(path)))),
        "npz": (seeds.npz_files(), in_file("a.npz", lambda path: load_file(str(path)))),
        "mat": (seeds.mat_files(), in_file("a.mat", read_rawface)),
        "config.json": (
            seeds.config_files(),
            in_file("config.json", lambda path: Workdir(path.parent).read()),
        ),
        "metrics.csv": (seeds.metrics_files(), in_file("metrics.csv", metrics)),
        "input of encode": (seeds.input_files(), archive(open_input)),
        "input of impute": (
            seeds.input_files(),
            archive(lambda path: impute._read_input(path, (20,))),
        ),
        "checkpoint": (seeds.checkpoints(), _checkpoint_reader(place)),
    }


def _checkpoint_reader(place: Path) -> Callable[[bytes], Any]:
    """Reads a checkpoint whose checksum a forger has made to agree."""
    import hashlib

    import numpy as np

    from tfp_aevb.runs.checkpoints import Checkpoints

    class Model:
        """A model of NumPy variables, as far as a checkpoint needs it."""

        variables = [_Variable("kernel:0", np.zeros([3, 2], np.float32))]
        optimizer = type("Optimizer", (), {"variables": [], "iterations": None})()

    Model.optimizer.variables = [_Variable("iteration:0", np.zeros([], np.int64))]
    Model.optimizer.iterations = Model.optimizer.variables[0]
    folder = place / "checkpoints"
    folder.mkdir()

    def read(content: bytes) -> Any:
        (folder / "step-00000007.npz").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (folder / "step-00000007.sha256").write_text(digest)
        return Checkpoints(folder).restore(Model)  # type: ignore[arg-type]

    return read


class _Variable:
    def __init__(self, name: str, value: Any) -> None:
        import tensorflow as tf

        self.name, self.value, self.shape = name, value, value.shape
        self.dtype = tf.as_dtype(value.dtype)

    def assign(self, value: Any) -> None:
        self.value = value

    def numpy(self) -> Any:
        return self.value
