"""Shared by the tests of whole runs: tiny settings, and what a run leaves behind, to compare."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tfp_aevb.commands.main import main

REPOSITORY = Path(__file__).parents[2]
TINY = (
    "--hidden_units=16",
    "--latent_dim=2",
    "--batch_size=10",
    "--steps=40",
    "--eval_every=20",
    "--noxla",
    "--noprogress",
)
TIMING = ("images_per_second", "seconds")


def command(verb: str, *arguments: object) -> int:
    """Runs a verb in this process; returns its exit code."""
    return main([verb, *map(str, arguments)])


def python(*arguments: object) -> subprocess.Popen:
    """Starts Python in a process of its own, as a user would."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def error_line(capsys: pytest.CaptureFixture) -> str:
    """Returns what stands on stderr, which must be the one line of an error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("tfp_aevb: "), lines
    return lines[0]


def assert_refused(
    capsys: pytest.CaptureFixture, verb: str, *arguments: object, naming: tuple[str, ...] = ()
) -> None:
    """Fails unless the command ends with exit code 1 or 2 and one line that holds `naming`."""
    code = command(verb, *arguments)
    line = error_line(capsys)
    assert code in (1, 2)
    assert "Traceback" not in line
    for part in naming:
        assert part in line, line


def tree(folder: Path) -> dict[str, bytes]:
    """Returns the content of each file below `folder`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def copy_of(workdir: Path, target: Path) -> Path:
    """Copies a run, to damage or go on with the copy."""
    shutil.copytree(workdir, target)
    return target


def metric_rows(workdir: Path, without: tuple[str, ...] = TIMING) -> list[dict[str, str]]:
    """Returns the rows of `metrics.csv` as written, without the columns of time."""
    with (workdir / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name not in without}
            for row in csv.DictReader(file)
        ]


def checkpoint_paths(workdir: Path) -> list[Path]:
    """Returns the checkpoints, the oldest first."""
    return sorted((workdir / "checkpoints").glob("step-*.npz"))


def newest_step(workdir: Path) -> int:
    """Returns the step of the newest checkpoint, 0 without one."""
    paths = checkpoint_paths(workdir)
    return int(paths[-1].stem.removeprefix("step-")) if paths else 0


def checkpoint_arrays(workdir: Path) -> dict[str, np.ndarray]:
    """Returns every array of the newest checkpoint."""
    with np.load(checkpoint_paths(workdir)[-1], allow_pickle=False) as arrays:
        return dict(arrays)


def assert_same_run(first: Path, second: Path) -> None:
    """Fails unless two runs ended with the same bits and the same rows, times apart."""
    assert newest_step(first) == newest_step(second)
    a, b = checkpoint_arrays(first), checkpoint_arrays(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert metric_rows(first) == metric_rows(second)


def wait_until(condition: object, process: subprocess.Popen, seconds: float = 90.0) -> None:
    """Waits for `condition()`, and fails if the process ends or the time is over before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stopped_by(signum: signal.Signals, process: subprocess.Popen) -> tuple[int, list[str]]:
    """Sends a signal; returns the exit code and the lines on stderr."""
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=600)
    return process.returncode, stderr.splitlines()


class Example(NamedTuple):
    """A code block of a document, and the output that the document shows below it."""

    code: str
    output: str


def examples(document: Path) -> list[Example]:
    """Returns the `python` blocks of a document, each with the `text` block right after it."""
    pattern = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?"
    found = re.findall(pattern, document.read_text(), re.DOTALL | re.MULTILINE)
    return [Example(*parts) for parts in found]
