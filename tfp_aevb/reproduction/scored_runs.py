"""Runs of the paper's small model, with log p(x) estimated while they train (Appendix D and E)."""

import dataclasses
from pathlib import Path
from typing import Any

import tf_keras

from tfp_aevb.evaluation.scores import Scorer, Scores
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.reproduction.runs import choose_step_size, ensure_trained
from tfp_aevb.reproduction.settings import BATCH, SEED
from tfp_aevb.runs.data import load_data, observations
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.files import read_json, write_json
from tfp_aevb.utils.progress import say

NUM_POINTS = 5


def small_model_config(
    dataset: str, num_train: int, samples: int, *, data_dir: str | None = None, **settings: Any
) -> TrainConfig:
    """Returns the settings of Figure 3: 3 latents and 100 hidden units."""
    interval = max(1, samples // BATCH // NUM_POINTS)
    return TrainConfig(
        dataset=dataset,
        binarize="static",
        num_train=num_train,
        latent_dim=3,
        hidden_units=(100,),
        data_dir=data_dir,
        steps=NUM_POINTS * interval,
        seed=SEED,
        eval_every=interval,
        tensorboard_images=False,
        **settings,
    )


class ScoreAlong(tf_keras.callbacks.Callback):
    """Scores the first datapoints of both splits at the end of each interval, into a file each.

    Args:
        config: of the run.
        folder: where the scores go; what is there is not made again.
        estimators: of `Scorer`, with their numbers of samples.
        last_estimators: at the end of the run, besides.
        num_scored: how many datapoints.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        estimators: dict[str, int],
        last_estimators: dict[str, int],
        num_scored: int,
    ) -> None:
        super().__init__()
        self._config = config
        self._folder = folder
        self._estimators = estimators
        self._last_estimators = last_estimators
        dataset = load_data(config)
        self._splits = {
            split: observations(getattr(dataset, split), dataset)[:num_scored]
            for split in ("train", "test")
        }

    def set_model(self, model: AEVB) -> None:
        super().set_model(model)
        everything = {**self._estimators, **self._last_estimators}
        self._scorers = {
            name: Scorer(model, name, count, SEED) for name, count in everything.items()
        }

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        path = score_file(self._folder, step)
        if path.exists():
            return
        names = [*self._estimators]
        if step == self._config.steps:
            names += self._last_estimators
        rows = []
        for split, x in self._splits.items():
            for name in names:
                say(f"{self._folder}: {name} of {len(x)} {split} images")
                rows.append(self._row(step, split, self._scorers[name](x)))
        self._folder.mkdir(exist_ok=True)
        write_json(path, {"rows": rows})

    def _row(self, step: int, split: str, scores: Scores) -> dict[str, Any]:
        return {
            "method": self._config.method,
            "estimation": "-" if self._config.method == "full_vb" else self._config.estimation,
            "num_train": self._config.num_train,
            "seed": SEED,
            "step_size": self._config.learning_rate,
            "samples": step * BATCH,
            "split": split,
            "estimator": scores.estimator,
            "draws": scores.num_samples,
            "datapoints": len(scores.values),
            "nats": scores.mean,
            "half_width_95": scores.half_width,
            "diagnostics": scores.diagnostics,
        }


def score_file(folder: Path, step: int) -> Path:
    """Returns where the scores after `step` updates are."""
    return folder / f"step-{step}.json"


def score_along(
    config: TrainConfig,
    folder: Path,
    num_scored: int,
    estimators: dict[str, int],
    last_estimators: dict[str, int],
    *,
    step_size: float | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains a run and estimates log p(x), or its bound, at `NUM_POINTS` points on its way.

    Args:
        config: the run; its step size is replaced.
        folder: of the run, its scores and its pilots. What is done is skipped.
        num_scored: the first so many datapoints of the train and of the test set are scored.
        estimators: of `Scorer`, with their numbers of samples, at each point.
        last_estimators: at the last point, besides.
        step_size: Adagrad's; by default chosen by the paper's rule.

    Returns:
        A row for each number, and a record of the run.
    """
    pilots: dict[str, float] = {}
    if step_size is None:
        step_size, pilots = choose_step_size(config, folder)
    config = dataclasses.replace(config, learning_rate=step_size)
    scores = folder / f"scores-{num_scored}"
    steps = range(config.eval_every, config.steps + 1, config.eval_every)
    if not all(score_file(scores, step).exists() for step in steps):
        callback = ScoreAlong(config, scores, estimators, last_estimators, num_scored)
        ensure_trained(config, folder / "run", [callback])
    rows = [row for step in steps for row in read_json(score_file(scores, step))["rows"]]
    return rows, {"pilots": pilots, "config": config.to_dict()}
