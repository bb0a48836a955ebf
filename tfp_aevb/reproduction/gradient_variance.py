"""Noise of the gradient: estimators A and B beside the score function, before and after training.

The paper has no such figure; it says that B typically has less variance than A (Section 2.3) and
that the score function's is impractical (Section 2.2).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.evaluation.gradients import gradient_variance
from tfp_aevb.figures import new_figure, save_figure
from tfp_aevb.figures.style import BLACK, BLUE, GREEN, VERMILLION, styled
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.reproduction.runs import write_csv
from tfp_aevb.reproduction.settings import BATCH, SEED, paper_run
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.finish import load_run, load_run_data
from tfp_aevb.utils.files import read_json, write_json

MINIBATCHES = 5
DRAWS = 1000  # of each minibatch
SAMPLE_COUNTS = (1, 10)
GROUPS = ("encoder", "decoder")
# Name, colour and marker of each estimator.
ESTIMATORS = {
    "sgvb_a": ("estimator A", BLUE, "s"),
    "sgvb_b": ("estimator B", VERMILLION, "o"),
    "score_function": ("score function", GREEN, "^"),
}
POINTS = {"init": "at the start", "end": "trained"}


def run_gradient_variance(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] = (3, 20),
    step_size: float | None = None,
) -> list[Path]:
    """Trains the paper's models, and measures the noise of their gradients at both ends.

    Args:
        dataset: a key of `settings.DATASETS`.
        samples: training samples of each model.
        workdir: holds the runs, `gradient_variance_<dataset>.csv` and `.png`. What is done is
            skipped, unfinished runs are resumed; Figure 2 in the same folder shares them.
        data_dir: as for `train`.
        latent_dims: Nz of each model.
        step_size: Adagrad's; by default chosen by the paper's rule, for each model.

    Returns:
        The files written. The table has a row for each model, point, estimator, L and group of
        parameters: the length of the mean gradient, the total variance of the gradient of a
        minibatch's mean bound and its standard error (over the draws of z), see
        `tfp_aevb.evaluation.gradients.GradientVariance`. Squared lengths, variances and squared
        errors are averages over the same minibatches for all rows of a model.
    """
    rows: list[dict[str, Any]] = []
    for latent_dim in latent_dims:
        done = paper_run(
            dataset, "aevb", latent_dim, samples, workdir, data_dir=data_dir, step_size=step_size
        )
        config, run, trained = load_run(done.path)
        data = load_run_data(config, run, data_dir)
        images = as_seen(data.train, data, MINIBATCHES * BATCH, SEED)
        models = {
            "init": (0, build_model(config, data.event_shape, len(data.train.x))),
            "end": (done.summary["samples_seen"], trained),
        }
        for point, (seen, model) in models.items():
            cache = done.path.parent / f"gradient-variance-{DRAWS}-at-{seen}.json"
            if not cache.exists():
                head = {"latent_dim": latent_dim, "point": point, "samples": seen}
                write_json(cache, {"rows": [{**head, **row} for row in _measure(model, images)]})
            rows += read_json(cache)["rows"]
        paths = _write(workdir / f"gradient_variance_{dataset}", rows)
    return paths


def _measure(model: AEVB, images: np.ndarray) -> list[dict[str, Any]]:
    """Returns the rows of one model, averaged over minibatches of `images`."""
    rows = []
    for objective in ESTIMATORS:
        for num_samples in SAMPLE_COUNTS:
            found = [
                gradient_variance(model, x, objective, DRAWS, num_samples, SEED + i)
                for i, x in enumerate(np.split(images, MINIBATCHES))
            ]
            for group in GROUPS:
                noise = [one[group] for one in found]
                squared_norm = float(np.mean([one.squared_norm for one in noise]))
                errors = [one.standard_error for one in noise]
                rows.append(
                    {
                        "objective": objective,
                        "L": num_samples,
                        "parameters": group,
                        "gradient_norm": math.sqrt(max(squared_norm, 0.0)),
                        "total_variance": float(np.mean([one.total_variance for one in noise])),
                        "standard_error": float(np.linalg.norm(errors)) / MINIBATCHES,
                        "seed": SEED,
                    }
                )
    return rows


def _write(stem: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Writes what there is after each model, so that nothing is lost of a long experiment."""
    write_csv(stem.with_suffix(".csv"), rows)
    save_figure(gradient_variance_figure(rows), stem.with_suffix(".png"))
    return [stem.with_suffix(suffix) for suffix in (".csv", ".png")]


@styled
def gradient_variance_figure(rows: list[dict[str, Any]]) -> Figure:
    """Draws the variances on log axes: a column for each Nz, encoder above decoder.

    A black line is the squared length of the mean gradient, by estimator B: where the variance is
    above it, a single draw is mostly noise.

    Args:
        rows: of the table, see `run_gradient_variance`.

    Returns:
        The figure.
    """
    latent_dims = list(dict.fromkeys(row["latent_dim"] for row in rows))
    size = (3.6 * len(latent_dims) + 0.6, 5.6)
    figure, axes = new_figure(len(GROUPS), len(latent_dims), size=size)
    places = [(point, count) for point in POINTS for count in SAMPLE_COUNTS]
    labels = [f"{POINTS[point]}\nL = {count}" for point, count in places]
    # In the legend's order.
    handles: dict[str, Any] = dict.fromkeys([name for name, _, _ in ESTIMATORS.values()])
    for group, line in zip(GROUPS, axes, strict=True):
        of_group = [row for row in rows if row["parameters"] == group]
        values = [row["total_variance"] for row in of_group]
        squares = [
            row["gradient_norm"] ** 2
            for row in of_group
            if row["objective"] == "sgvb_b" and row["gradient_norm"] > 0.0
        ]
        for latent_dim, axis in zip(latent_dims, line, strict=True):
            for row in (row for row in of_group if row["latent_dim"] == latent_dim):
                name, colour, marker = ESTIMATORS[row["objective"]]
                place = places.index((row["point"], row["L"]))
                offset = 0.2 * (list(ESTIMATORS).index(row["objective"]) - 1)
                handles[name] = axis.errorbar(
                    place + offset,
                    row["total_variance"],
                    2.0 * row["standard_error"],
                    color=colour,
                    marker=marker,
                    markersize=5.0,
                    linestyle="none",
                )
                if row["objective"] == "sgvb_b" and row["gradient_norm"] > 0.0:
                    height = row["gradient_norm"] ** 2
                    label = "squared mean gradient"
                    (handles[label],) = axis.plot(
                        [place - 0.35, place + 0.35], [height, height], color=BLACK, linewidth=1.0
                    )
            axis.set_yscale("log")
            axis.set_ylim(min(values + squares) / 2.0, 2.0 * max(values + squares))
            axis.set_xticks(range(len(places)), labels)
            axis.set_title(f"{group}, Nz = {latent_dim}")
        line[0].set_ylabel("total variance of the gradient\n(squared nats per unit)")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    return figure
