"""Kills: a run is killed again and again, gone on with, and must end as if it never had been."""

import random
import shutil
import signal
from functools import partial
from pathlib import Path

from tests.faults.points import KILLS, Points
from tests.faults.processes import BROKEN, Outcome, forked
from tests.faults.record import Row
from tests.faults.runs_under_fault import differences, reference, result_of, strays, train


def kill(tries: int, seed: int, folder: Path) -> list[Row]:
    """SIGKILL at random disk operations (three of four) and at random times (the fourth)."""
    choose = random.Random(seed)
    data, expected, operations, seconds = reference(folder)
    row = Row("SIGKILL", "resumes; result bit for bit that of an uninterrupted run")
    chain = 0
    while row.tries < tries:
        workdir = folder / f"killed{chain}"
        outcome = _killed_until_done(workdir, data, row, tries, choose, operations, seconds)
        chain += 1
        if outcome.code != 0:
            row.lose(f"{workdir.name}, code {outcome.code}: {outcome.line}")
        elif changed := differences(expected, result_of(workdir)):
            row.err(f"{workdir.name}: {changed}")
        elif left := strays(workdir):
            row.err(f"{workdir.name} keeps {left[:3]}")
        shutil.rmtree(workdir)
    row.note(f"{chain} runs, {operations} disk operations in one")
    return [row]


def _killed_until_done(
    workdir: Path,
    data: Path,
    row: Row,
    tries: int,
    choose: random.Random,
    operations: int,
    seconds: float,
) -> Outcome:
    """Goes on with one run after each kill; returns how its last process ended."""
    while row.tries < tries:
        at = choose.randint(1, operations) if choose.random() < 0.75 else 0
        points = Points(at, choose.choice(KILLS), row.tries)
        outcome = forked(
            partial(_train_with, points, workdir, data),
            signal_after=None if at else choose.uniform(0.0, seconds),
        )
        if outcome.code != -signal.SIGKILL:
            return outcome
        row.tries += 1
    return forked(partial(train, workdir, data))


def stop(tries: int, seed: int, folder: Path) -> list[Row]:
    """SIGTERM and SIGINT at random times while training and after it."""
    choose = random.Random(seed)
    data, expected, _, seconds = reference(folder)
    rows = []
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        row = Row(signum.name, f"exit code {code}: stopped at step S; the same command goes on")
        for attempt in range(tries):
            workdir = folder / f"{signum.name}{attempt}"
            outcome = forked(
                partial(train, workdir, data),
                signal_after=choose.uniform(0.0, seconds),
                signum=signum,
            )
            row.tries += 1
            # Before training begins SIGTERM has its default action; a shell reports 143 too.
            if outcome.code not in (0, code, code - 128 if code == 130 else -signum):
                row.err(f"code {outcome.code}: {outcome.line}")
            if outcome.code == BROKEN or "Traceback" in outcome.stderr:
                row.err(outcome.line)
            if forked(partial(train, workdir, data)).code != 0:
                row.lose("cannot go on")
            elif changed := differences(expected, result_of(workdir)):
                row.err(f"{changed}")
        rows.append(row)
    return rows


def _train_with(points: Points, workdir: Path, data: Path) -> int:
    points.install()
    return train(workdir, data)
