"""Figure 5: samples of models with 2, 5, 10 and 20 latents."""

from pathlib import Path
from typing import Any

import numpy as np

from tfp_aevb.figures import sample_panels_figure, save_figure
from tfp_aevb.reproduction.runs import image_rows, write_csv
from tfp_aevb.reproduction.settings import SEED, paper_run
from tfp_aevb.runs.finish import load_run, load_run_data

LATENT_DIMS = (2, 5, 10, 20)
NUM_SAMPLES = 100


def run_figure5(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    latent_dims: tuple[int, ...] = LATENT_DIMS,
    step_size: float | None = None,
) -> list[Path]:
    """Trains AEVB for several Nz and draws p(x|z)'s means at z ~ p(z) (Figure 5).

    Arguments are those of `run_figure2`.

    Returns:
        `figure5_<dataset>.csv` (Nz and pixel means of each sample) and `.png`.
    """
    panels: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for latent_dim in latent_dims:
        run = paper_run(
            dataset, "aevb", latent_dim, samples, workdir, data_dir=data_dir, step_size=step_size
        )
        config, folder, model = load_run(run.path)
        shape = load_run_data(config, folder, data_dir).image_shape
        means = np.clip(model.sample_with_latents(NUM_SAMPLES, seed=SEED).mean, 0.0, 1.0)
        panels[f"Nz = {latent_dim}"] = means.reshape(-1, *shape)
        rows += [{"latent_dim": latent_dim, **row} for row in image_rows(None, means)]
    stem = workdir / f"figure5_{dataset}"
    write_csv(stem.with_suffix(".csv"), rows)
    save_figure(sample_panels_figure(panels), stem.with_suffix(".png"))
    return [stem.with_suffix(".csv"), stem.with_suffix(".png")]
