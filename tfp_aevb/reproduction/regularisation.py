"""What regularisation buys: PCA, auto-encoders and the VAE of one architecture, side by side.

The paper reads its bound as a regularised auto-encoder (Section 2.3); it has no such comparison.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation import regularity
from tfp_aevb.evaluation.codes import encode_all
from tfp_aevb.figures import LatentSpace, latent_spaces_figure, save_figure
from tfp_aevb.reproduction.latent_spaces import (
    SHOWN_CODES,
    SHOWN_PAIRS,
    Fitted,
    Images,
    Number,
    caption,
    completeness,
    load_images,
    measure_model,
)
from tfp_aevb.reproduction.runs import ensure_run, write_csv
from tfp_aevb.reproduction.settings import BATCH, DATASETS, SEED
from tfp_aevb.runs.data import load_data
from tfp_aevb.runs.finish import load_run
from tfp_aevb.runs.settings.config import TrainConfig

STEP_SIZE = 1e-3
LINEAR = "linear auto-encoder"
# What each model is trained with besides. The variance c of an auto-encoder without noise or KL
# term scales its loss alone.
MODELS: dict[str, dict[str, Any]] = {
    "VAE, c = 0.01": {"method": "aevb", "decoder_variance": "0.01"},
    "VAE, c = 0.1": {"method": "aevb", "decoder_variance": "0.1"},
    "VAE, c = 1": {"method": "aevb", "decoder_variance": "1.0"},
    "auto-encoder": {"method": "autoencoder", "decoder_variance": "0.1"},
    "noise without KL, c = 0.1": {"method": "no_kl", "decoder_variance": "0.1"},
    "KL without noise, c = 0.1": {"method": "mean_only", "decoder_variance": "0.1"},
    LINEAR: {
        "method": "autoencoder",
        "decoder_variance": "0.1",
        "likelihood": "gaussian",
        "hidden_units": (),
    },
}


def run_regularisation(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] = (2,),
    step_size: float | None = None,
) -> list[Path]:
    """Trains the models of `MODELS` on grey images, and measures how regular their latents are.

    All have the paper's network (the linear one none), means in (0, 1) and a fixed variance c of
    their pixels, and are fitted by maximum likelihood, or its like, with Adam.

    Args:
        dataset: a key of `settings.DATASETS`, unbinarised.
        samples: training samples of each model.
        workdir: holds the runs and what is returned. Runs that are done are skipped, unfinished
            ones resumed.
        data_dir: as for `train`.
        latent_dims: Nz, each at least 2; all models are fitted for each.
        step_size: Adam's; by default 0.001.

    Returns:
        `regularisation_<dataset>.csv`, a line for each number, with what the draws are from and
        the half width of a 95% interval over the `count` images or paths where it is a mean; and
        a picture for each Nz.

    Raises:
        ValueError: if an Nz is less than 2.
    """
    if min(latent_dims) < 2:
        raise ValueError(f"--latent_dim must be at least 2 here, got {min(latent_dims)}")
    data = load_data(_config(dataset, samples, {}, latent_dims[0], data_dir, step_size))
    images = load_images(data)
    reference = list(completeness("other test images", images.others, images.held_out))
    head: dict[str, Any] = dict.fromkeys(("method", "c", "latent_dim", "samples"), "")
    rows = [_row("held-out images", head, *number) for number in reference]
    paths = [workdir / f"regularisation_{dataset}.csv"]
    for latent_dim in latent_dims:
        models: dict[str, Fitted] = {}
        for name, settings in MODELS.items():
            config = _config(dataset, samples, settings, latent_dim, data_dir, step_size)
            models[name] = _trained(config, workdir / dataset)
        pca = PCA(latent_dim, svd_solver="covariance_eigh").fit(images.train.astype(np.float64))
        head = {"method": "SVD", "c": "", "latent_dim": latent_dim, "samples": ""}
        models["PCA"] = Fitted(pca.transform, pca.inverse_transform, False, head)
        shown = []
        for name, model in models.items():
            numbers, space = measure_model(name, model, images, data.image_shape)
            if name == LINEAR:
                angles = _angles_to(pca, model)
                numbers += [("", f"angle {i + 1} to PCA (deg)", a) for i, a in enumerate(angles)]
                listed = ", ".join(f"{angle:.1f}" for angle in angles)
                space = space._replace(name=f"{space.name}, to PCA {listed} deg")
            rows += [_row(name, model.head, *number) for number in numbers]
            shown.append(space)
        write_csv(paths[0], rows)
        paths.append(workdir / f"regularisation_{dataset}_nz{latent_dim}.png")
        _draw(shown, reference, images, data, latent_dim, paths[-1])
    return paths


def _config(
    dataset: str,
    samples: int,
    settings: dict[str, Any],
    latent_dim: int,
    data_dir: str | None,
    step_size: float | None,
) -> TrainConfig:
    steps = max(1, samples // BATCH)
    common: dict[str, Any] = {
        "binarize": "none",
        "likelihood": "gaussian_sigmoid",
        "latent_dim": latent_dim,
        "estimation": "ml",
        "optimizer": "adam",
        "learning_rate": step_size or STEP_SIZE,
        "data_dir": data_dir,
        "steps": steps,
        "seed": SEED,
        "eval_every": max(1, min(steps // 10, max(500, steps // 200))),
        "tensorboard_images": False,
    }
    return dataclasses.replace(DATASETS[dataset], **{**common, **settings})


def _trained(config: TrainConfig, folder: Path) -> Fitted:
    linear = "" if config.hidden_units else "-linear"
    label = f"{config.method}{linear}-c{config.decoder_variance}-nz{config.latent_dim}"
    run = folder / f"regularisation-{label}"
    head = {
        "method": config.method,
        "c": config.decoder_variance,
        "latent_dim": config.latent_dim,
        "samples": ensure_run(config, run)["samples_seen"],
    }
    model = load_run(run)[2]
    return Fitted(
        lambda x: encode_all(model, Observations(x)).loc.astype(np.float64),
        lambda z: model.decode(z).mean().numpy(),
        True,
        head,
    )


def _angles_to(pca: Any, linear: Fitted) -> np.ndarray:
    """Returns the angles, in degrees, between the columns of a linear decoder and components."""
    columns = np.eye(len(pca.components_))
    return regularity.principal_angles(
        linear.decode(columns) - linear.decode(0.0 * columns), pca.components_
    )


def _row(name: str, head: dict[str, Any], source: str, measure: str, values: Any) -> dict[str, Any]:
    is_mean = np.ndim(values) == 1
    half_width = 1.959964 * np.std(values, ddof=1) / np.sqrt(np.size(values)) if is_mean else ""
    return {
        "model": name,
        **head,
        "draws": source,
        "measure": measure,
        "value": float(np.mean(values)),
        "half_width_95": half_width,
        "count": np.size(values) if is_mean else "",
        "seed": SEED,
    }


def _draw(
    models: list[LatentSpace],
    reference: list[Number],
    images: Images,
    data: Dataset,
    latent_dim: int,
    path: Path,
) -> None:
    labels = None if data.test.labels is None else data.test.labels[:SHOWN_CODES]
    starts, ends = images.test[images.pairs[:, :SHOWN_PAIRS]].reshape(2, -1, *data.image_shape)
    title = (
        f"{data.name}, Nz = {latent_dim}. Over the draws: mean distance per pixel to the nearest "
        f"test image, and back\n(other test images in their place: {caption(reference)})"
    )
    save_figure(latent_spaces_figure(models, starts, ends, labels, title), path)
