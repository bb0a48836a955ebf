"""Runs of an experiment: trained once, resumed when interrupted, skipped when done."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from tfp_aevb.figures import read_metrics
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.utils import files
from tfp_aevb.utils.files import read_json
from tfp_aevb.utils.progress import say

# Names as the paper's figures have them.
METHODS = {"aevb": "AEVB", "wake_sleep": "Wake-Sleep", "mcem": "MCEM"}
# The paper picks Adagrad's step size from these "by the performance on the training set in the
# first few iterations"; here, by the bound over the last tenth of the pilot's updates.
STEP_SIZES = (0.01, 0.02, 0.1)
PILOT_STEPS = 1000


def ensure_run(config: TrainConfig, workdir: Path) -> dict[str, Any]:
    """Returns the summary of a run, training what of it is not done yet."""
    summary = Workdir(workdir).summary
    if summary.exists():
        done = read_json(summary)
        if done.get("steps") == config.steps:
            return done
    say(f"{workdir}: {config.method}, Nz = {config.latent_dim}, {config.steps} updates")
    return train_and_evaluate(config, workdir)


def ensure_trained(
    config: TrainConfig, workdir: Path, callbacks: Sequence[tf_keras.callbacks.Callback] = ()
) -> None:
    """Trains a run to `config.steps`, if it is not there yet, and leaves out what follows."""
    say(f"{workdir}: {config.method}, Nz = {config.latent_dim}, to update {config.steps}")
    train_and_evaluate(config, workdir, only_train=True, callbacks=callbacks)


def choose_step_size(config: TrainConfig, workdir: Path) -> tuple[float, dict[str, float]]:
    """Applies the paper's rule for the step size (Section 5).

    Returns:
        The chosen step size, and each candidate's training bound at the end of its pilot, nats
        (minus infinity where it became NaN); for Monte Carlo EM its bound on validation data, for
        which q(z|x) is fitted: on training data q has the moments of its last draws, and lags
        behind.
    """
    bounds: dict[str, float] = {}
    for rate in STEP_SIZES:
        pilot = dataclasses.replace(
            config,
            learning_rate=rate,
            steps=PILOT_STEPS,
            eval_every=PILOT_STEPS * 9 // 10,  # a row of the last tenth
            tensorboard_images=False,
        )
        path = workdir / f"pilot-{rate:g}"
        try:
            ensure_trained(pilot, path)
            metrics = read_metrics(path / "metrics.csv")
            split = "validation" if config.method == "mcem" else "train"
            bounds[f"{rate:g}"] = float(metrics[f"{split}_elbo"][-1])
        except FloatingPointError:
            bounds[f"{rate:g}"] = float("-inf")
    best = max(bounds, key=lambda rate: bounds[rate])
    if bounds[best] == float("-inf"):
        raise FloatingPointError(f"{workdir}: the bound became NaN for every step size")
    return float(best), bounds


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows with the same keys as a table."""
    files.write_csv(path, rows[0], (row.values() for row in rows))


def curve_panels(
    points: Iterable[tuple[str, str, str, float, float]],
) -> dict[str, dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]]:
    """Returns (panel, method, split, samples, nats) as `bounds_figure` takes them."""
    panels: dict[str, dict] = {}
    for panel, method, split, samples, nats in points:
        line = panels.setdefault(panel, {}).setdefault((method, split), ([], []))
        line[0].append(samples)
        line[1].append(nats)
    return {
        panel: {key: (np.array(x), np.array(y)) for key, (x, y) in lines.items()}
        for panel, lines in panels.items()
    }


def limits_with_ends(
    panels: dict[str, dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]],
    limits: tuple[float, float],
) -> tuple[float, float]:
    """Returns the paper's y axis, extended as far as shows where each curve ends."""
    ends = [float(nats[-1]) for lines in panels.values() for _, nats in lines.values()]
    ends = [end for end in ends if np.isfinite(end)]
    low, high = limits
    return min(low, *(end - 10.0 for end in ends)), max(high, *(end + 2.0 for end in ends))


def image_rows(latents: np.ndarray | None, means: np.ndarray) -> list[dict[str, Any]]:
    """Returns rows of a picture's numbers: the latents, if any, and pixel means to two decimals."""
    rows = []
    for i, pixels in enumerate(means.reshape(len(means), -1)):
        latent = {} if latents is None else {f"z{j}": v for j, v in enumerate(latents[i])}
        values = {f"pixel_{j}": f"{value:.2g}" for j, value in enumerate(np.round(pixels, 2))}
        rows.append({**latent, **values})
    return rows
