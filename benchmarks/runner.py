"""Runs programs, each in a fresh process of its own environment, interleaved in rounds."""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import data, environments

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """A row of a table.

    Attributes:
        name: of the row.
        environment: whose interpreter runs it.
        module: of `benchmarks.peers`.
        options: settings of its own.
    """

    name: str
    environment: str
    module: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def run_program(program: Program, settings: Record, folder: Path, timeout: float) -> Record:
    """Runs a program once.

    Args:
        program: what to run.
        settings: for every program; its own come on top.
        folder: of the environments.
        timeout: in seconds.

    Returns:
        What it printed, or `{"error": one line}`.
    """
    settings = {**settings, **program.options, "started": time.time()}
    python = str(environments.python_of(folder, program.environment))
    command = [python, "-m", f"benchmarks.peers.{program.module}", json.dumps(settings)]
    process = subprocess.Popen(
        command,
        cwd=environments.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started ends with it
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {timeout:g} seconds"}
    finally:
        _end_session(process)
    if process.returncode:
        return {"error": f"exit code {process.returncode}: {environments.last_error(errors)}"}
    try:
        return json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"printed no JSON, but {output[-200:]!r}"}


def _end_session(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run_rounds(
    runs: Sequence[tuple[Program, Record]],
    num_rounds: int,
    execute: Callable[[Program, Record], Record],
    seed: int = 0,
) -> Iterable[Record]:
    """Runs everything once a round, in a new order each round; yields a record after each run.

    Args:
        runs: programs and their settings.
        num_rounds: R.
        execute: runs a program with its settings.
        seed: of the orders.
    """
    for number in range(num_rounds):
        order = list(runs)
        random.Random(f"{seed} {number}").shuffle(order)
        for program, settings in order:
            result = execute(program, settings)
            yield {"program": program.name, "round": number, "settings": settings, **result}


def add_arguments(parser: argparse.ArgumentParser, programs: Sequence[Program]) -> None:
    """Adds the arguments that all commands share."""
    environments.add_argument(parser)
    names = [program.name for program in programs]
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder")
    parser.add_argument("--rounds", type=int, default=3, help="R; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20.0, help="timed, of each run")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds, of each run")
    parser.add_argument("--cpus", help="run on these alone, e.g. 0,1; default: all")
    parser.add_argument(
        "--programs", help=f"rows, separated by commas; default: all ({', '.join(names)})"
    )
    parser.add_argument("--data", type=Path, help=".npy file of images; default: made from a seed")
    parser.add_argument("--num_data", type=int, default=50_000, help="N; default: %(default)s")
    for name, default, text in (
        ("dim", 784, "pixels of images that are made"),
        ("hidden", 500, "width of the hidden layers"),
        ("latent_dim", 20, "Nz"),
        ("batch_size", 100, "M"),
        ("seed", 0, "of data, weights and order"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text}; %(default)s")


def prepare(
    arguments: argparse.Namespace, programs: Sequence[Program], num_images: int | None = None
) -> tuple[list[Program], Record, Callable[[Program, Record], Record]]:
    """Makes data and environments.

    Args:
        arguments: of the command line.
        programs: there are.
        num_images: to make; N by default.

    Returns:
        The programs asked for, their common settings, and a function that runs one.

    Raises:
        ValueError: if an argument is not valid.
    """
    chosen = select(programs, arguments.programs)
    if arguments.rounds < 1:
        raise ValueError(f"`--rounds` must be at least 1, got {arguments.rounds}")
    if arguments.num_data < 1 or arguments.num_data % arguments.batch_size:
        raise ValueError(
            f"`--num_data` must be a multiple of --batch_size={arguments.batch_size}, so that all "
            f"minibatches have the same size, got {arguments.num_data}"
        )
    if arguments.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in arguments.cpus.split(",")})
    path, dim = data.prepare(
        arguments.output.absolute(),
        arguments.data,
        num_images or arguments.num_data,
        arguments.dim,
        arguments.seed,
    )
    names = ("num_data", "hidden", "latent_dim", "batch_size", "seed", "seconds")
    settings = {name: getattr(arguments, name) for name in names}
    settings |= {"data": str(path), "dim": dim}
    failures = environments.create(
        arguments.environments, [program.environment for program in chosen]
    )

    def execute(program: Program, settings: Record) -> Record:
        if program.environment in failures:
            return {"error": failures[program.environment]}
        print(f"{program.name} ...", end=" ", file=sys.stderr, flush=True)
        result = run_program(program, settings, arguments.environments, arguments.timeout)
        speed = result.get("images_per_second")
        said = result.get("error") or (f"{speed:,.0f} images/s" if speed else "done")
        print(said, file=sys.stderr, flush=True)
        return result

    return chosen, settings, execute


def select(programs: Sequence[Program], names: str | None) -> list[Program]:
    """Returns the programs named, separated by commas; all by default.

    Raises:
        ValueError: if one is not known.
    """
    if names is None:
        return list(programs)
    known = {program.name: program for program in programs}
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"`--programs` must be among {', '.join(known)}, got {name!r}")
    return [known[name] for name in names.split(",")]


def keep(records: Iterable[Record], path: Path) -> list[Record]:
    """Writes each record as it comes, one line of JSON each; returns all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    with path.open("w") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
            file.flush()
            kept.append(record)
    return kept
