"""Runs of an experiment: trained once, resumed when interrupted, skipped when done."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from tfp_aevb.figures import read_metrics
from tfp_aevb.files import read_json
from tfp_aevb.training.config import TrainConfig
from tfp_aevb.training.run import train_and_evaluate
from tfp_aevb.training.workdir import Workdir

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
    print(
        f"{workdir}: {config.method}, Nz = {config.latent_dim}, {config.steps} updates",
        file=sys.stderr,
    )
    return train_and_evaluate(config, workdir)


def choose_step_size(config: TrainConfig, workdir: Path) -> tuple[float, dict[str, float]]:
    """Applies the paper's rule for the step size (Section 5).

    Returns:
        The chosen step size, and each candidate's training bound at the end of its pilot, nats
        (minus infinity where it became NaN).
    """
    bounds: dict[str, float] = {}
    for rate in STEP_SIZES:
        pilot = dataclasses.replace(
            config,
            learning_rate=rate,
            steps=PILOT_STEPS,
            eval_every=PILOT_STEPS // 10,
            tensorboard_images=False,
        )
        path = workdir / f"pilot-{rate:g}"
        try:
            ensure_run(pilot, path)
            bounds[f"{rate:g}"] = float(read_metrics(path / "metrics.csv")["train_elbo"][-1])
        except FloatingPointError:
            bounds[f"{rate:g}"] = float("-inf")
    best = max(bounds, key=lambda rate: bounds[rate])
    if bounds[best] == float("-inf"):
        raise FloatingPointError(f"{workdir}: the bound became NaN for every step size")
    return float(best), bounds
