"""Figure 2: the lower bound against training samples, AEVB beside wake-sleep, for several Nz."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from tfp_aevb.figures import bounds_figure, read_metrics, save_figure
from tfp_aevb.files import write_json, write_text
from tfp_aevb.reproduction.runs import choose_step_size, ensure_run
from tfp_aevb.training.config import TrainConfig

METHODS = {"aevb": "AEVB", "wake_sleep": "Wake-Sleep"}
BATCH = 100
SEED = 0

MNIST = TrainConfig(dataset="mnist", binarize="static", hidden_units=(500,))
FREY_FACE = TrainConfig(
    dataset="frey_face",
    binarize="none",
    likelihood="gaussian_sigmoid",
    hidden_units=(200,),
)
# Latent dimensions, and the paper's axes.
SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {"base": MNIST, "latent_dims": (3, 5, 10, 20, 200), "ylim": (-150.0, -100.0)},
    "binarized_mnist": {
        "base": dataclasses.replace(MNIST, dataset="binarized_mnist"),
        "latent_dims": (3, 5, 10, 20, 200),
        "ylim": (-150.0, -95.0),
    },
    "frey_face": {"base": FREY_FACE, "latent_dims": (2, 5, 10, 20), "ylim": (0.0, 1600.0)},
}


def run_figure2(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] | None = None,
    methods: tuple[str, ...] = tuple(METHODS),
    step_size: float | None = None,
    eval_every: int | None = None,
) -> list[Path]:
    """Trains what Figure 2 needs (Figure 2), draws it and writes every plotted number.

    Args:
        dataset: a key of `SETTINGS`.
        samples: training samples of each curve.
        workdir: holds the runs, `figure2_<dataset>.csv`, `.json` (settings and step sizes) and
            `.png`. Runs that are done are skipped, unfinished ones resumed.
        data_dir: as for `train`.
        latent_dims: Nz; by default the paper's.
        methods: of `METHODS`.
        step_size: Adagrad's; by default chosen by the paper's rule, for each run.
        eval_every: updates between points of the curves; by default about 200 points.

    Returns:
        The files written.
    """
    settings = SETTINGS[dataset]
    steps = max(1, samples // BATCH)
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for latent_dim in latent_dims or settings["latent_dims"]:
        for method in methods:
            config = dataclasses.replace(
                settings["base"],
                latent_dim=latent_dim,
                method=method,
                data_dir=data_dir,
                steps=steps,
                seed=SEED,
                eval_split="test",
                eval_every=eval_every or max(1, min(steps // 10, max(500, steps // 200))),
                tensorboard_images=False,
            )
            folder = workdir / dataset / f"{method}-nz{latent_dim}"
            pilots: dict[str, float] = {}
            rate = step_size
            if rate is None:
                rate, pilots = choose_step_size(config, folder)
            config = dataclasses.replace(config, learning_rate=rate)
            summary = ensure_run(config, folder / "run")
            rows += _rows(folder / "run", method, latent_dim)
            records.append({"pilot_train_bounds": pilots, **summary})
            paths = _write(dataset, workdir, rows, records)
    return paths


def _rows(run: Path, method: str, latent_dim: int) -> list[dict[str, Any]]:
    metrics = read_metrics(run / "metrics.csv")
    columns = ("samples_seen", "train_elbo", "validation_elbo")
    return [
        {
            "method": method,
            "latent_dim": latent_dim,
            "seed": SEED,
            "samples": int(samples),
            "train_bound": train,
            "test_bound": test,
        }
        for samples, train, test in zip(*(metrics[name] for name in columns), strict=True)
    ]


def _write(
    dataset: str, workdir: Path, rows: list[dict[str, Any]], records: list[dict[str, Any]]
) -> list[Path]:
    """Writes what there is after each run, so that nothing is lost of a long experiment."""
    stem = workdir / f"figure2_{dataset}"
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(stem.with_suffix(".csv"), table.getvalue())
    write_json(stem.with_suffix(".json"), {"runs": records})
    curves: dict[str, dict] = {}
    for method, latent_dim in dict.fromkeys((row["method"], row["latent_dim"]) for row in rows):
        chosen = [r for r in rows if (r["method"], r["latent_dim"]) == (method, latent_dim)]
        samples = np.array([row["samples"] for row in chosen])
        panel = curves.setdefault(f"Nz = {latent_dim}", {})
        for split in ("train", "test"):
            bound = np.array([row[f"{split}_bound"] for row in chosen])
            panel[METHODS[method], split] = samples, bound
    # The paper's axes, which end at 100 million samples; a shorter experiment ends earlier.
    last = max(row["samples"] for row in rows)
    figure = bounds_figure(
        curves, xlim=(min(1e5, last / 10), max(1e7, last)), ylim=SETTINGS[dataset]["ylim"]
    )
    save_figure(figure, stem.with_suffix(".png"))
    return [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png")]
