"""Metrics cut short, and two processes on one workdir: no model is needed."""

import os
import random
import signal
import socket
import time
from functools import partial
from pathlib import Path

from tests.faults.processes import forked
from tests.faults.record import Row
from tfp_aevb.runs.metrics import COLUMNS, MetricsLog
from tfp_aevb.runs.workdir import Workdir

INTERVAL, NUM_ROWS = 10, 30


def metrics(tries: int, seed: int, folder: Path) -> list[Row]:
    """`metrics.csv` cut at a random byte: whole rows are kept, and it is told what is lost."""
    choose = random.Random(seed)
    path = folder / "metrics.csv"
    log = MetricsLog(path, 0, INTERVAL, INTERVAL * NUM_ROWS)
    for step in range(INTERVAL, INTERVAL * (NUM_ROWS + 1), INTERVAL):
        values = {name: choose.gauss(0.0, 100.0) for name in COLUMNS}
        log.append({**values, "step": step})
    whole = path.read_text()
    written = whole.splitlines()[1:]
    row = Row(
        "metrics.csv cut short",
        "FILE is damaged: R rows are lost, the first of step S; kept as metrics.damaged.csv",
    )
    for _ in range(tries):
        length = choose.randrange(len(whole))
        path.write_text(whole[:length])
        row.tries += 1
        found = MetricsLog(path, INTERVAL * NUM_ROWS, INTERVAL, INTERVAL * NUM_ROWS)
        kept = path.read_text().splitlines()[1:]
        complete = whole[:length].count("\n") - 1
        if kept != written[: len(kept)]:
            row.err(f"cut at {length}: other rows")
        if len(kept) < complete:
            row.lose(f"cut at {length}: {len(kept)} of {complete} whole rows")
        if len(kept) < NUM_ROWS and "rows are lost" not in found.warning:
            row.err(f"cut at {length}: not told")
        if path.with_name("metrics.damaged.csv").read_text() != whole[:length]:
            row.lose(f"cut at {length}: the damaged file is not kept")
    return [row]


def locks(tries: int, seed: int, folder: Path) -> list[Row]:
    """A second process is refused by name; what a killed first one leaves does not hold."""
    del seed
    second = Row(
        "second process on a workdir", "--workdir W is in use by process P on HOST; wait or stop it"
    )
    stale = Row("lock of a killed process", "taken over")
    for attempt in range(tries):
        run = Workdir(folder / f"locked{attempt}")
        child = os.fork()
        if not child:
            _hold(run)
        while not (run.path / "claimed").exists():
            time.sleep(0.001)
        second.tries += 1
        outcome = forked(partial(_claim, run))
        if outcome.code != 1 or f"process {child} on {socket.gethostname()}" not in outcome.stderr:
            second.err(f"code {outcome.code}: {outcome.line}")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        stale.tries += 1
        if forked(partial(_claim, run)).code != 0:
            stale.lose("refused")
    return [second, stale]


def _hold(run: Workdir) -> None:
    """Claims the folder until this process is killed."""
    try:
        lock = run.claim()
        (run.path / "claimed").touch()
        signal.pause()
        lock.release()
    finally:
        os._exit(1)


def _claim(run: Workdir) -> int:
    from tfp_aevb.commands import main

    try:
        run.claim()
    except ValueError as error:
        return main._fail(str(error), 1)
    return 0
