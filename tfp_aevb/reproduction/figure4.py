"""Figure 4: the learned two-dimensional manifold, at the paper's grid of latents."""

from pathlib import Path

import numpy as np

from tfp_aevb.figures import manifold_figure, manifold_grid, save_figure
from tfp_aevb.reproduction.runs import image_rows, write_csv
from tfp_aevb.reproduction.settings import paper_run
from tfp_aevb.runs.finish import load_run, load_run_data

SIDE = 20


def run_figure4(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    step_size: float | None = None,
) -> list[Path]:
    """Trains AEVB with two latents and draws p(x|z)'s means over the manifold (Figure 4).

    Arguments are those of `run_figure2`.

    Returns:
        `figure4_<dataset>.csv` (each grid point's latents and pixel means) and `.png`.
    """
    run = paper_run(dataset, "aevb", 2, samples, workdir, data_dir=data_dir, step_size=step_size)
    config, folder, model = load_run(run.path)
    shape = load_run_data(config, folder, data_dir).image_shape
    grid = manifold_grid(SIDE)
    means = np.clip(model.decode(grid).mean().numpy(), 0.0, 1.0)
    stem = workdir / f"figure4_{dataset}"
    write_csv(stem.with_suffix(".csv"), image_rows(grid, means))
    title = f"{dataset}: {samples:,} training samples"
    save_figure(manifold_figure(means.reshape(-1, *shape), SIDE, title), stem.with_suffix(".png"))
    return [stem.with_suffix(".csv"), stem.with_suffix(".png")]
