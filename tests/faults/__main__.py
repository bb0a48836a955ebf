"""`python -m tests.faults ROW --tries=N`: injects one kind of fault and says what became of it."""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from tests.faults.processes import import_everything
from tests.faults.record import write_rows

# Row -> (module, tries of the long part).
ROWS = {
    "kill": ("kill", 200),
    "stop": ("kill", 20),
    "disk": ("disk", 20),
    "limit": ("disk", 20),
    "vanish": ("disk", 20),
    "damage": ("disk", 500),
    "metrics": ("tables", 1000),
    "locks": ("tables", 50),
    "numbers": ("numeric", 60),
    "serve": ("serving", 36_000),
    "calibrate": ("trust", 2000),
    "blocks": ("trust", 10),
    "seeds": ("trust", 10),
    "endure": ("endurance", 20),
    "mutate": ("mutate", 200),
    "fuzz": ("inputs", 100_000),
    "guided": ("guided", 100_000),
}


def main() -> int:
    """Runs a row; the exit code is 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--tries", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also put the rows into this CSV file")
    options = parser.parse_args()
    module, tries = ROWS[options.row]
    tries = options.tries or tries
    import_everything(package=options.row != "mutate")
    harness = getattr(importlib.import_module(f"tests.faults.{module}"), options.row)
    with tempfile.TemporaryDirectory() as folder:
        rows = harness(tries, options.seed, Path(folder))
    for row in rows:
        print(f"{row.fault} | {row.tries} | {row.lost} | {row.wrong} | {row.message}")
        for remark in row.remarks:
            print(f"    {remark}")
    if options.output:
        seed = f" --seed={options.seed}" if options.seed else ""
        command = f"python -m tests.faults {options.row} --tries={tries}{seed}"
        write_rows(options.output, rows, command)
    return int(any(row.lost or row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
