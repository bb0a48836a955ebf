"""How a run ends: bounds on all splits, pictures, SavedModel, `summary.json`."""

import dataclasses
import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.constants import constant_bound
from tfp_aevb.evaluation.diagnostics import ACTIVE_ABOVE
from tfp_aevb.evaluation.judgement import Training, divergence, of_objective, of_training
from tfp_aevb.evaluation.scores import bound_note
from tfp_aevb.export import export_saved_model
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.callbacks import StopSignals
from tfp_aevb.runs.checkpoints import Checkpoints
from tfp_aevb.runs.data import as_seen, check_data, load_data, observations
from tfp_aevb.runs.early_stopping import stop_reason
from tfp_aevb.runs.metrics import MetricsLog, median_speed
from tfp_aevb.runs.pictures import draw_figures
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.utils.files import write_json

SPLITS = ("train", "validation", "test")
CHECKPOINTS = ("last", "best")
PACKAGES = ("tfp_aevb", "tensorflow", "tensorflow-probability", "tf_keras", "numpy")
DPI = 150
NUM_ENCODED = 500  # test datapoints whose codes tell which latents are active


def finish(
    config: TrainConfig, run: Workdir, dataset: Dataset, model: AEVB, signals: StopSignals
) -> dict[str, Any]:
    """Evaluates, draws and exports a trained model; returns what `summary.json` holds.

    Raises:
        Interrupted: if a signal asked to stop; the same command does this part again.
    """
    step = int(model.optimizer.iterations.numpy())
    log = MetricsLog(run.metrics, step, config.eval_every, step)
    model.adopt_averages()
    bounds = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        bounds[name] = model.evaluate(observations(split, dataset), verbose=0, return_dict=True)
        bounds[name]["datapoints"] = len(split.x)
        signals.raise_if_stopped(step)
    draw_figures(model, dataset, run, config.eval_split, seed=config.seed, dpi=DPI)
    signals.raise_if_stopped(step)
    run.check_present()
    export_saved_model(model, run.saved_model)
    last = log.rows[-1]
    found = _training(config, dataset, model, log.rows, bounds)
    diverged = divergence(found)
    if diverged:
        print(f"{run.path}: {diverged}", file=sys.stderr)
    notes = [
        *filter(None, [diverged, bound_note(model)]),
        *of_objective(config.objective, config.num_samples),
        *of_training(found),
    ]
    summary = {
        "test_elbo": bounds["test"]["elbo"],
        "note": " ".join(notes),
        "notes": notes,
        "diverged": bool(diverged),
        "bounds_nats_per_datapoint": bounds,
        "objective": config.objective,
        "num_samples": config.num_samples,
        "steps": step,
        "stopped_because": stop_reason(log.rows, config) or _end(step, config),
        "samples_seen": int(last["samples_seen"]),
        "images_per_second": median_speed(log.rows),
        "training_seconds": last["seconds"],
        "restores_after_non_finite_bound": int(model.retries.numpy()),
        "seed": config.seed,
        "config": config.to_dict(),
        "data": run.read()[1],
        "parameters": int(sum(v.shape.num_elements() for v in model.trainable_variables)),
        "versions": versions(),
        "machine": {"processor": platform.machine(), "cpus": os.cpu_count()},
    }
    write_json(run.summary, summary)
    return summary


def _training(
    config: TrainConfig,
    dataset: Dataset,
    model: AEVB,
    rows: Sequence[Mapping[str, float]],
    bounds: Mapping[str, Mapping[str, float]],
) -> Training:
    """Returns what is judged of a run at its end."""
    train, test = (observations(split, dataset) for split in (dataset.train, dataset.test))
    x = as_seen(dataset.test, dataset, NUM_ENCODED, config.seed)
    codes = posterior_moments(model.encode(x))[0].numpy()
    return Training(
        steps=[row["step"] for row in rows],
        bounds=[row["validation_elbo"] for row in rows],
        train=bounds["train"]["elbo"],
        test=bounds["test"]["elbo"],
        kl=bounds["test"]["kl"],
        constants=constant_bound(model.decoder, train, test),
        num_elements=math.prod(dataset.event_shape),
        num_latents=model.latent_dim,
        active=int((codes.var(axis=0) > ACTIVE_ABOVE).sum()) if len(codes) > 1 else None,
        restores=int(model.retries.numpy()),
        followed=config.eval_split,
        stopped=int(rows[-1]["step"]) < config.steps,
    )


def _end(step: int, config: TrainConfig) -> str:
    if step == config.steps:
        return f"--steps={config.steps} are done"
    return f"a callback stopped it at step {step}"


def load_run(
    workdir: str | os.PathLike, checkpoint: str = "last", xla: bool | None = None
) -> tuple[TrainConfig, Workdir, AEVB]:
    """Loads a run's model from a checkpoint.

    Args:
        workdir: folder of the run.
        checkpoint: `last`, the newest good one, or `best`: of those kept, the one with the best
            bound on the data followed while training (`config.eval_split`).
        xla: compile what is computed with the model with XLA; by default as it was trained.

    Raises:
        FileNotFoundError: if the folder holds no run, or no such checkpoint.
        ValueError: if its files are damaged.
    """
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"`checkpoint` must be one of {', '.join(CHECKPOINTS)}, got {checkpoint}")
    run = Workdir(workdir)
    config, data = run.read()
    built = config if xla is None else dataclasses.replace(config, xla=xla)
    model = build_model(built, data["event_shape"], data["split_sizes"]["train"], data)
    checkpoints = Checkpoints(run.checkpoints, run.metrics)
    step, warnings = checkpoints.restore(model, best=checkpoint == "best")
    for line in warnings:
        print(line, file=sys.stderr)
    if not step and checkpoints.newest_step():
        raise FileNotFoundError(
            f"--workdir {run.path} holds no checkpoint with a validation bound; use "
            "--checkpoint=last, or train on"
        )
    if not step:
        raise FileNotFoundError(f"--workdir {run.path} holds no checkpoint yet; train it first")
    model.adopt_averages()
    model.num_data = model.num_data or step * config.batch_size
    return config, run, model


def load_run_data(config: TrainConfig, run: Workdir, data_dir: str | None = None) -> Dataset:
    """Loads the data that a run was trained on, from `data_dir` if given.

    Raises:
        ValueError: if the data are not the run's.
    """
    dataset = load_data(dataclasses.replace(config, data_dir=data_dir or config.data_dir))
    check_data(config, dataset, run.read()[1])
    return dataset


def load_run_split(
    config: TrainConfig, run: Workdir, split: str, data_dir: str | None = None
) -> Observations:
    """Loads one split of a run's data; see `load_run_data`."""
    dataset = load_run_data(config, run, data_dir)
    return observations(getattr(dataset, split), dataset)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def bounds_table(bounds: dict[str, dict[str, float]]) -> str:
    """Returns the bounds of the splits as lines of text."""
    lines = [
        f"{'nats per datapoint':<20}{'bound':>12}{'reconstruction':>17}{'KL':>10}{'datapoints':>13}"
    ]
    for name, terms in bounds.items():
        lines.append(
            f"{name:<20}{terms['elbo']:>12.3f}{terms['reconstruction']:>17.3f}"
            f"{terms['kl']:>10.3f}{terms['datapoints']:>13,}"
        )
    return "\n".join(lines)
