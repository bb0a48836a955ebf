"""Stopping when the bound on held-out data no longer rises, once the KL term has its weight."""

from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras

from tfp_aevb.runs.metrics import MetricsLog
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.training.devices import mean_over_devices
from tfp_aevb.training.monitors import better


class EarlyStopping(tf_keras.callbacks.EarlyStopping):
    """Ends `fit` when the validation bound has not risen for so many epochs.

    It is Keras' callback, but that it counts only when the model's warm-up (`kl_warmup_steps`) is
    over: until then other bounds are ascended, and the best of their epochs is none to wait for.

    Args:
        patience: epochs without a better bound.
        monitor: what has to rise, or if it is a loss to fall; `fit` refuses one that it does not
            report, as `val_elbo` without `validation_data`.
        **kwargs: `mode`, `min_delta`, `restore_best_weights` and others of Keras' `EarlyStopping`.

    Raises:
        ValueError: if `patience` is less than 1.
    """

    def __init__(self, patience: int = 10, *, monitor: str = "val_elbo", **kwargs: Any) -> None:
        if patience < 1:
            raise ValueError(f"`patience` must be at least 1 epoch, got {patience}")
        mode = better(monitor) or "max"
        super().__init__(monitor=monitor, patience=patience, **{"mode": mode, **kwargs})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        warmup_steps = getattr(self.model, "kl_warmup_steps", 0)
        if int(self.model.optimizer.iterations.numpy()) >= warmup_steps:
            super().on_epoch_end(epoch, logs)


class RunPatience(tf_keras.callbacks.Callback):
    """Ends a run's training by `config.patience`.

    Its state is the rows of `metrics.csv`, so that a run that was killed stops where it would have.

    Args:
        log: the rows; that of an epoch is written before this callback is asked.
        config: the settings.
    """

    def __init__(self, log: MetricsLog, config: TrainConfig) -> None:
        super().__init__()
        self._log = log
        self._config = config

    @property
    def is_over(self) -> bool:
        """Whether training has to end at this step, for all of several workers alike."""
        rows, step = self._log.rows, int(self.model.optimizer.iterations.numpy())
        if not self._config.patience or not rows or rows[-1]["step"] != step:
            return False
        is_over = bool(stop_reason(rows, self._config))
        return mean_over_devices(self.model.distribute_strategy, float(is_over)) > 0.0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.is_over:
            self.model.stop_training = True


def stop_reason(rows: Sequence[Mapping[str, float]], config: TrainConfig) -> str:
    """Says in a line why a run of these `metrics.csv` rows is to end early; empty if it is not."""
    counted = [row for row in rows if row["step"] >= config.kl_warmup_steps]
    if not config.patience or not counted:
        return ""
    best = max(counted, key=lambda row: row["validation_elbo"])  # the first of several
    since = len(counted) - 1 - counted.index(best)
    if since < config.patience or counted[-1]["step"] >= config.steps:
        return ""
    return (
        f"stopped at step {counted[-1]['step']:.0f} by --patience={config.patience}: the "
        f"{config.eval_split} bound has not risen since step {best['step']:.0f}"
    )
