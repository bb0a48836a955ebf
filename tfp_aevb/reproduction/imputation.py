"""Restoring test images with a trained model, beside pixel means, nearest neighbours and PCA.

The paper names denoising, inpainting and super-resolution as uses of the model; it has no numbers.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.figures import imputation_figure, save_figure
from tfp_aevb.imputation import METHODS, damage, impute, spread
from tfp_aevb.imputation.observed import make_evidence
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.reproduction import imputation_baselines as baselines
from tfp_aevb.reproduction.runs import ensure_run, write_csv
from tfp_aevb.reproduction.settings import BATCH, DATASETS, SEED
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.finish import load_run, load_run_data
from tfp_aevb.utils.files import read_json, write_json

SHOWN_TASKS = ("missing_lower_half", "noise", "super_resolution")
NUM_IMAGES = 500  # of the test set; as many of the validation set choose k and the components
NUM_DRAWS = 4
HIDDEN_UNITS = (200, 200)
STEP_SIZE = 1e-3
SHOWN, SHOWN_DRAWS = 10, 3


def run_imputation(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] = (50,),
    step_size: float | None = None,
) -> list[Path]:
    """Trains a better model than the paper's, and restores damaged test images with it.

    Two hidden layers of 200 (Burda et al.'s networks), maximum likelihood by Adam from Glorot's
    start, and for `mnist` a new binarisation at each use.

    Tasks: the lower half is missing; 30% of the pixels are flipped; only means of blocks of 2x2
    are seen.

    Args:
        dataset: `mnist` or `binarized_mnist`.
        samples: training samples of each run.
        workdir: folder of the experiment.
        data_dir: as for `train`.
        latent_dims: Nz of the models.
        step_size: Adam's, by default 0.001.

    Returns:
        `imputation_<dataset>.csv`: mean negative log-likelihood of the held-out pixels (nats per
        pixel; 95% interval over images) and root mean squared error of the model's three methods
        and of the baselines; and a picture of each task and Nz.
    """
    rows: list[dict[str, Any]] = []
    paths: list[Path] = []
    table = workdir / f"imputation_{dataset}.csv"
    for latent_dim in latent_dims:
        steps = max(1, samples // BATCH)
        path = workdir / dataset / f"imputation-nz{latent_dim}"
        config = dataclasses.replace(
            DATASETS[dataset],
            latent_dim=latent_dim,
            hidden_units=HIDDEN_UNITS,
            binarize="dynamic" if dataset == "mnist" else "static",
            init="glorot",
            estimation="ml",
            optimizer="adam",
            learning_rate=step_size or STEP_SIZE,
            data_dir=data_dir,
            steps=steps,
            eval_every=max(1, steps // 50),
            seed=SEED,
            tensorboard_images=False,
        )
        seen = ensure_run(config, path)["samples_seen"]
        config, run, model = load_run(path)
        data = load_run_data(config, run, data_dir)
        for task in SHOWN_TASKS:
            cache = path / f"imputation-{NUM_IMAGES}-{task}-at-{seen}.json"
            picture = workdir / f"imputation_{dataset}_nz{latent_dim}_{task}.png"
            if not cache.exists() or not picture.exists():
                write_json(cache, {"rows": _restore(model, data, task, picture)})
            head = {"latent_dim": latent_dim, "samples": seen, "task": task}
            rows += [{**head, **row} for row in read_json(cache)["rows"]]
            paths.append(picture)
            write_csv(table, rows)
    return [table, *paths]


def _restore(model: AEVB, data: Dataset, task: str, picture: Path) -> list[dict[str, Any]]:
    """Returns the rows of one task, and draws the images restored by Metropolis."""
    x = as_seen(data.test, data, NUM_IMAGES, SEED)
    damaged = damage(x, task, data.image_shape, binary=True, seed=SEED)
    rows = []
    for method in METHODS:
        found = impute(
            model,
            damaged.y,
            channel=damaged.channel,
            method=method,
            num_draws=NUM_DRAWS,
            seed=SEED,
            progress=True,
        )
        middle = {
            "gibbs": "",
            "metropolis": f"median acceptance {np.median(found.acceptance):.3f}",
            "importance": f"median effective samples {np.median(found[-1]):.1f}",
        }
        rows.append(_row(method, middle[method], found.mean, x, damaged.held_out))
        if method == "metropolis":
            shape = (-1, *data.image_shape)
            figure = imputation_figure(
                spread(damaged.y, damaged.channel, model.event_shape)[:SHOWN].reshape(shape),
                found.mean[:SHOWN].reshape(shape),
                found.stddev[:SHOWN].reshape(shape),
                np.stack([draw[:SHOWN].reshape(shape) for draw in found.draws[:SHOWN_DRAWS]]),
                x[:SHOWN].reshape(shape),
            )
            save_figure(figure, picture)
    return rows + _baseline_rows(model, data, task)


def _baseline_rows(model: AEVB, data: Dataset, task: str) -> list[dict[str, Any]]:
    """Returns the rows of the baselines, each at the setting that is best on validation images."""
    train = as_seen(data.train, data, len(data.train.x), SEED)
    splits, found = {}, {}
    for name, split in (("validation", data.validation), ("test", data.test)):
        x = as_seen(split, data, NUM_IMAGES, SEED)
        damaged = damage(x, task, data.image_shape, binary=True, seed=SEED)
        splits[name] = x, damaged, make_evidence(model, damaged.y, None, damaged.channel)
    pca = baselines.ProbabilisticPCA(train)
    for name, (x, damaged, evidence) in splits.items():
        view = baselines.view_of(task, damaged)
        y = baselines.seen_part(evidence.y)
        means = np.broadcast_to(train.mean(axis=0), x.shape)
        everything = slice(len(x))
        of_k = baselines.neighbour_means(train, view, evidence, baselines.NEIGHBOURS)
        found[name] = {
            "pixel means": {"": baselines.given_pixel_means(means, evidence, everything)},
            "nearest neighbours": {f"k = {k}": value for k, value in of_k.items()},
            "probabilistic PCA": {
                f"{count} components": pca.conditional_mean(y, view, count)
                for count in baselines.COMPONENTS
            },
        }
    rows = []
    for name, settings in found["validation"].items():
        x, damaged, _ = splits["validation"]
        losses = {
            setting: baselines.pixel_scores(value, x, damaged.held_out)[0]
            for setting, value in settings.items()
        }
        best = min(losses, key=lambda setting: losses[setting])
        x, damaged, _ = splits["test"]
        rows.append(_row(name, best, found["test"][name][best], x, damaged.held_out))
    return rows


def _row(
    method: str, setting: str, probs: np.ndarray, x: np.ndarray, held_out: np.ndarray
) -> dict[str, Any]:
    nats, half_width, error = baselines.pixel_scores(probs, x, held_out)
    return {
        "method": method,
        "setting": setting,
        "datapoints": len(x),
        "nats_per_pixel": nats,
        "half_width_95": half_width,
        "rmse": error,
        "seed": SEED,
    }
