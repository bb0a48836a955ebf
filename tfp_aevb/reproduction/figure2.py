"""Figure 2: the lower bound against training samples, AEVB beside wake-sleep, for several Nz."""

from pathlib import Path
from typing import Any

from tfp_aevb.figures import bounds_figure, read_metrics, save_figure
from tfp_aevb.reproduction.runs import METHODS, curve_panels, limits_with_ends, write_csv
from tfp_aevb.reproduction.settings import SEED, paper_run
from tfp_aevb.utils.files import write_json

METHODS_SHOWN = ("aevb", "wake_sleep")
# Latent dimensions, and the paper's axes.
LATENT_DIMS = {
    "mnist": (3, 5, 10, 20, 200),
    "binarized_mnist": (3, 5, 10, 20, 200),
    "frey_face": (2, 5, 10, 20),
}
YLIMS = {"mnist": (-150.0, -95.0), "binarized_mnist": (-150.0, -95.0), "frey_face": (0.0, 1600.0)}


def run_figure2(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] | None = None,
    methods: tuple[str, ...] = METHODS_SHOWN,
    step_size: float | None = None,
    init: str = "variance",
) -> list[Path]:
    """Trains what Figure 2 needs (Figure 2), draws it and writes every plotted number.

    Args:
        dataset: a key of `LATENT_DIMS`.
        samples: training samples of each curve.
        workdir: holds the runs, `figure2_<dataset>.csv`, `.json` (settings and step sizes) and
            `.png`. Runs that are done are skipped, unfinished ones resumed.
        data_dir: as for `train`.
        latent_dims: Nz; by default the paper's.
        methods: of `METHODS_SHOWN`.
        step_size: Adagrad's; by default chosen by the paper's rule, for each run.
        init: how the paper's N(0, 0.01) is read: `variance` or `stddev`.

    Returns:
        The files written.
    """
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for latent_dim in latent_dims or LATENT_DIMS[dataset]:
        for method in methods:
            run = paper_run(
                dataset,
                method,
                latent_dim,
                samples,
                workdir,
                data_dir=data_dir,
                step_size=step_size,
                init=init,
            )
            rows += _rows(run.path, method, latent_dim, init)
            records.append({"pilot_train_bounds": run.pilots, **run.summary})
            paths = _write(dataset, workdir, rows, records)
    return paths


def _rows(run: Path, method: str, latent_dim: int, init: str) -> list[dict[str, Any]]:
    metrics = read_metrics(run / "metrics.csv")
    columns = ("samples_seen", "train_elbo", "validation_elbo")
    return [
        {
            "method": method,
            "latent_dim": latent_dim,
            "init": init,
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
    write_csv(stem.with_suffix(".csv"), rows)
    write_json(stem.with_suffix(".json"), {"runs": records})
    panels = curve_panels(
        (
            f"Nz = {row['latent_dim']}",
            METHODS[row["method"]],
            split,
            row["samples"],
            row[f"{split}_bound"],
        )
        for row in rows
        for split in ("train", "test")
    )
    last = max(row["samples"] for row in rows)
    figure = bounds_figure(
        panels,
        xlim=(min(1e5, last / 20), last),
        ylim=limits_with_ends(panels, YLIMS[dataset]),
    )
    save_figure(figure, stem.with_suffix(".png"))
    return [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png")]
