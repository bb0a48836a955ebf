"""tfp_aevb by its command: `python -m tfp_aevb train` on a file, until the time is over.

Speed is all images of the epochs behind the first over all seconds of these, by `metrics.csv`: the
updates and a validation on 100 images in each; what is written between epochs (rows, TensorBoard,
checkpoints) is left out. The command is given a terminal, and its start-up is over when it shows
its first step.
"""

import csv
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import common

VALIDATION = 100  # images; the command wants some


def flags(settings: common.Settings, folder: Path) -> list[str]:
    """Returns the command's flags."""
    values = {
        "workdir": folder / "run",
        "dataset": folder / "images.npz",
        "binarize": "none",
        "latent_dim": settings["latent_dim"],
        "hidden_units": settings["hidden"],
        "init": "glorot",
        "estimation": "ml",
        "optimizer": settings["optimizer"],
        "learning_rate": common.LEARNING_RATE[settings["optimizer"]],
        "batch_size": settings["batch_size"],
        "eval_every": settings["num_data"] // settings["batch_size"],
        "steps": 1_000_000_000,
        "seed": settings["seed"],
        "tensorboard_images": "false",
    }
    return [f"--{name}={value}" for name, value in values.items()]


def read_rows(path: Path) -> list[dict[str, float]]:
    """Returns the rows of `metrics.csv` as far as it is written."""
    if not path.exists():
        return []
    with path.open() as file:
        return [{name: float(v) for name, v in row.items()} for row in csv.DictReader(file)]


def speed(rows: list[dict[str, float]]) -> float:
    """Returns the images a second of all epochs but the first."""
    images, seconds = (rows[-1][name] - rows[0][name] for name in ("samples_seen", "seconds"))
    return images / seconds


def train(settings: common.Settings) -> dict[str, Any]:
    images = common.load_images(settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = images[:VALIDATION]
        np.savez(folder / "images.npz", train=images, validation=few, test=few)
        return _run(settings, folder)


def _run(settings: common.Settings, folder: Path) -> dict[str, Any]:
    terminal, other_end = pty.openpty()
    started, first_step = time.time(), None
    command = [sys.executable, "-m", "tfp_aevb", "train", *flags(settings, folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=other_end)
    os.close(other_end)
    shown, rows, stopping = "", [], False
    while True:
        readable, _, _ = select.select([terminal], [], [], 0.2)
        try:
            if readable:
                shown = (shown + os.read(terminal, 65536).decode(errors="replace"))[-4000:]
        except OSError:  # the command has ended
            break
        if first_step is None and "step " in shown:
            first_step = time.time()
        rows = read_rows(folder / "run" / "metrics.csv")
        timed = sum(row["seconds"] for row in rows[-1:]) - sum(row["seconds"] for row in rows[:1])
        if not stopping and len(rows) > 1 and timed >= settings["seconds"]:
            process.send_signal(signal.SIGINT)
            stopping = True
    process.wait()
    if first_step is None or len(rows) < 2:
        raise RuntimeError(f"the command ended early: {shown.split()[-40:]}")
    return {
        "images_per_second": speed(rows),
        "startup_seconds": first_step - started,
        "bound": rows[1]["train_elbo"],
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }


if __name__ == "__main__":
    common.main(["tfp_aevb", "tensorflow"], train=train)
