"""The tiny run that faults are injected into, and what must be the same after them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.points import Points
from tests.faults.processes import forked
from tests.integration.runs import checkpoint_arrays, command, metric_rows, newest_step
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs import finish as results
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.settings.config import TrainConfig

STEPS = 60


def write_data(folder: Path) -> Path:
    """Writes 48 / 6 / 6 grey images of 6x5 pixels with labels."""
    rng = np.random.default_rng(0)
    path = folder / "tiny.npz"
    images = rng.integers(0, 256, (60, 6, 5)).astype(np.uint8)
    np.savez(path, train=images, labels_train=np.arange(60) % 3)
    return path


def train(workdir: Path, data: Path, *more: str) -> int:
    """Trains the tiny run; returns the exit code."""
    results.DPI = 30  # to draw faster
    return command(
        "train",
        f"--workdir={workdir}",
        f"--dataset={data}",
        "--hidden_units=6",
        "--latent_dim=2",
        "--batch_size=10",
        f"--steps={STEPS}",
        "--eval_every=20",
        "--checkpoint_secs=0",
        "--noxla",
        "--noprogress",
        "--notensorboard_images",
        *more,
    )


def result_of(workdir: Path) -> dict[str, Any]:
    """Returns everything of a finished run that may not depend on what happened to it."""
    summary = json.loads((workdir / "summary.json").read_text())
    for name in ("images_per_second", "training_seconds"):
        del summary[name]
    figures = {path.name: path.read_bytes() for path in (workdir / "figures").glob("[!.]*")}
    return {
        "step": newest_step(workdir),
        "arrays": {name: a.tobytes() for name, a in checkpoint_arrays(workdir).items()},
        "rows": metric_rows(workdir),
        "summary": summary,
        "figures": figures,
        "served": (workdir / "saved_model/variables/variables.data-00000-of-00001").read_bytes(),
    }


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Names what differs between two results."""
    return [name for name in first if first[name] != second[name]]


def strays(workdir: Path) -> list[str]:
    """Names the files that are left of operations that did not end."""
    names = (path.relative_to(workdir) for path in workdir.rglob(".*"))
    return sorted(str(name) for name in names if name.name != ".lock")


def reference(folder: Path) -> tuple[Path, dict[str, Any], int, float]:
    """Runs without faults; returns the data, the result, its disk operations and its seconds."""
    data, counted = write_data(folder), folder / "operations"

    def count() -> int:
        points = Points().install()
        code = train(folder / "whole", data)
        counted.write_text(str(points.count))
        return code

    outcome = forked(count)
    if outcome.code != 0:
        raise RuntimeError(f"the run without faults failed: {outcome.stderr}")
    return data, result_of(folder / "whole"), int(counted.read_text()), outcome.seconds


def tiny_model(**settings: Any) -> AEVB:
    """Returns the tiny run's model, with other settings if given."""
    config = TrainConfig(**{"hidden_units": (6,), "latent_dim": 2, "xla": False, **settings})
    return build_model(config, (30,), 48)
