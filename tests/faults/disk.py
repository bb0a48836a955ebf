"""Disks that are full, read-only, broken or gone, and files that were damaged."""

import random
import resource
import shutil
from functools import partial
from pathlib import Path

from tests.faults.points import ERRORS, Points
from tests.faults.processes import Outcome, forked
from tests.faults.record import Row
from tests.faults.runs_under_fault import differences, reference, result_of, strays, train
from tests.integration.runs import newest_step
from tfp_aevb.runs.checkpoints import Checkpoints

REASONS = {
    "full disk": "No space left on device; free some space",
    "read-only disk": "Read-only file system; make it writable",
    "bad disk": "Input/output error; check the disk",
}


def disk(tries: int, seed: int, folder: Path) -> list[Row]:
    """A disk that fails from a random operation on; then it is mended and the run goes on."""
    choose = random.Random(seed)
    data, expected, operations, _ = reference(folder)
    rows = []
    for fault in ERRORS:
        row = Row(fault, f"FILE cannot be written: {REASONS[fault]}, then the same command goes on")
        for attempt in range(tries):
            workdir = folder / f"{fault.replace(' ', '_')}{attempt}"
            points = Points(choose.randint(1, operations), fault)
            outcome = forked(partial(_train_with, points, workdir, data))
            row.tries += 1
            if outcome.code != 0:
                _check_line(row, outcome, REASONS[fault].partition(";")[0])
            _go_on(row, workdir, data, expected)
        rows.append(row)
    return rows


def limit(tries: int, seed: int, folder: Path) -> list[Row]:
    """Files that may not grow beyond a random size, for native code too (SavedModel, events)."""
    choose = random.Random(seed)
    data, expected, _, _ = reference(folder)
    row = Row("full disk, native code too", "one line with the reason; the same command goes on")
    for attempt in range(tries):
        workdir = folder / f"limited{attempt}"
        size = int(10 ** choose.uniform(2.0, 5.0))
        outcome = forked(partial(train, workdir, data), limits={resource.RLIMIT_FSIZE: size})
        row.tries += 1
        if outcome.code != 0:
            _check_line(row, outcome, "")
        _go_on(row, workdir, data, expected)
    return [row]


def vanish(tries: int, seed: int, folder: Path) -> list[Row]:
    """A workdir that is removed while the run is at a random disk operation."""
    choose = random.Random(seed)
    data, _, operations, _ = reference(folder)
    row = Row("vanished workdir", "FILE cannot be written: ... its folder is gone; bring it back")
    for attempt in range(tries):
        workdir = folder / f"vanishing{attempt}"
        points = Points(
            choose.randint(4, operations - 45), partial(_move, workdir, folder / "away")
        )
        outcome = forked(partial(_train_with, points, workdir, data))
        row.tries += 1
        _check_line(row, outcome, "")
        if workdir.exists():
            row.err(f"{workdir.name} was made again: {sorted(workdir.rglob('*'))[:3]}")
        shutil.rmtree(workdir, ignore_errors=True)
        if newest_step(folder / "away") == 0:
            row.note("nothing had been saved yet")
        shutil.move(folder / "away", workdir)
        if forked(partial(train, workdir, data)).code != 0:
            row.lose("cannot go on")
        shutil.rmtree(workdir)
    return [row]


def damage(tries: int, seed: int, folder: Path) -> list[Row]:
    """Checkpoints with a flipped bit, cut short, emptied or of another run."""
    from tests.faults.runs_under_fault import tiny_model

    choose = random.Random(seed)
    model, other = tiny_model(), tiny_model(hidden_units=(7,))
    rows = [
        Row(f"checkpoint {how}", "checkpoint NAME is damaged or half-written: passed over")
        for how in DAMAGES
    ]
    for row, (how, spoil) in zip(rows, DAMAGES.items(), strict=True):
        for attempt in range(tries):
            place = folder / f"{how.replace(' ', '_')}{attempt}"
            checkpoints = Checkpoints(place)
            for step in (10, 20):
                model.optimizer.iterations.assign(step)
                checkpoints.save(model)
            before = (place / "step-00000010.npz").read_bytes()
            spoil(choose, place / "step-00000020.npz")
            row.tries += 1
            try:
                step, lines = checkpoints.restore(model)
                if (step, len(lines)) != (10, 1) or "step-00000020.npz" not in lines[0]:
                    row.err(f"restored step {step}, {lines}")
            except Exception as error:
                row.lose(f"{type(error).__name__}: {error}")
            if (place / "step-00000010.npz").read_bytes() != before:
                row.lose("the good checkpoint was touched")
            shutil.rmtree(place)
    foreign = Row("checkpoint of another model", "checkpoint FILE is of another model: ...")
    for attempt in range(min(tries, 20)):
        place = folder / f"foreign{attempt}"
        place.mkdir()
        Checkpoints(place).save(other)
        foreign.tries += 1
        try:
            Checkpoints(place).restore(model)
            foreign.err("taken")
        except ValueError as error:
            if "another model" not in str(error):
                foreign.err(str(error))
    return [*rows, foreign]


def _move(source: Path, target: Path) -> None:
    shutil.move(source, target)


def _flip(choose: random.Random, path: Path) -> None:
    path = choose.choice([path, path, path, path.with_suffix(".sha256")])
    content = bytearray(path.read_bytes())
    place = choose.randrange(len(content.rstrip(b"\n")))
    content[place] ^= 1 << choose.randrange(8)
    path.write_bytes(content)


def _cut(choose: random.Random, path: Path) -> None:
    path = choose.choice([path, path, path.with_suffix(".sha256")])
    content = path.read_bytes().rstrip(b"\n")
    path.write_bytes(content[: choose.randrange(len(content))])


def _swap(choose: random.Random, path: Path) -> None:
    del choose
    path.write_bytes(path.with_name("step-00000010.npz").read_bytes())


DAMAGES = {
    "with a flipped bit": _flip,
    "cut short": _cut,
    "emptied": lambda _, path: path.write_bytes(b""),
    "swapped for another": _swap,
}


def _train_with(points: Points, workdir: Path, data: Path) -> int:
    points.install()
    return train(workdir, data)


def _check_line(row: Row, outcome: Outcome, reason: str) -> None:
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("tfp_aevb: ")]
    if outcome.code != 1 or len(errors) != 1 or not outcome.is_clean or reason not in errors[0]:
        row.err(f"code {outcome.code}: {outcome.stderr[-600:]}")
    elif len(row.remarks) < 3:
        row.note(errors[0])


def _go_on(row: Row, workdir: Path, data: Path, expected: dict) -> None:
    """Goes on without faults and compares."""
    outcome = forked(partial(train, workdir, data))
    if outcome.code != 0:
        row.lose(f"{workdir.name}, code {outcome.code}: {outcome.line}")
    elif changed := differences(expected, result_of(workdir)):
        row.err(f"{workdir.name}: {changed}")
    elif left := strays(workdir):
        row.err(f"{workdir.name} keeps {left[:3]}")
    shutil.rmtree(workdir, ignore_errors=True)
