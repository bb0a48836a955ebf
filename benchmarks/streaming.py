"""Memory of training on a stream: `python -m benchmarks.streaming --images 5000000`.

Runs `train` on randomly moved digits, made as they are needed (`--form function`) or read from a
sharded set on disk that is written first (`--form records`), and follows the process' memory.
Writes `streaming.csv` (seconds, megabytes) and prints a line.
"""

import argparse
import csv
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.shifted_digits import digits

SETTLED_AFTER = 60.0  # seconds; memory is compared from then on


def write_records(folder: Path, images: int) -> Path:
    """Writes a TFDS set of so many images in TFRecord files; returns its folder."""
    import tensorflow_datasets as tfds

    image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8)
    moved = itertools.islice(itertools.chain.from_iterable(digits(0, 0, 1)), images)
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="shifted_digits",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"image": image}),
        split_datasets={"train": ((i, {"image": x[..., None]}) for i, x in enumerate(moved))},
        data_dir=folder,
    )
    return Path(builder.data_dir)


def resident_megabytes(pid: int) -> float:
    """Returns what a process holds in memory; 0 once it has ended, until it is waited for."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def follow(command: list[str], output: Path) -> list[tuple[float, float]]:
    """Runs a command; returns (seconds, resident megabytes) twice a second."""
    started, rows = time.monotonic(), []
    with output.open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
        while process.poll() is None:
            megabytes = resident_megabytes(process.pid)
            if megabytes:
                rows.append((time.monotonic() - started, megabytes))
            time.sleep(0.5)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; see {output}")
    return rows


def main() -> int:
    """Parses the flags, trains, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5_000_000)
    parser.add_argument("--form", choices=("function", "records"), default="function")
    parser.add_argument("--output", type=Path, default=Path("runs/streaming"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.form == "records":
        folder = options.output / "records"
        source = [f"--dataset={write_records(folder, options.images)}", "--stream"]
    else:
        source = ["--dataset=benchmarks.shifted_digits:digits"]
    steps = options.images // 100
    command = [
        *(sys.executable, "-m", "tfp_aevb", "train", *source, "--batch_size=100"),
        *(f"--steps={steps}", f"--eval_every={max(steps // 20, 1)}"),
        f"--workdir={options.output / options.form}",
    ]
    rows = follow(command, options.output / f"{options.form}.log")
    with (options.output / f"streaming_{options.form}.csv").open("w") as file:
        csv.writer(file).writerows([("seconds", "megabytes"), *rows])
    settled = [megabytes for seconds, megabytes in rows if seconds > SETTLED_AFTER]
    if not settled:
        print(f"ended within {SETTLED_AFTER:.0f} s; ask for more --images", file=sys.stderr)
        return 1
    print(
        f"{options.form}: {options.images:,} images in {rows[-1][0]:.0f} s; from the first minute "
        f"on {min(settled):.0f} to {max(settled):.0f} MB, median {statistics.median(settled):.0f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
