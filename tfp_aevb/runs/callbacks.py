"""Keras callbacks of a run: the metrics file, checkpoints, signals and progress."""

import math
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

import tf_keras

from tfp_aevb.runs.checkpoints import Checkpoints
from tfp_aevb.runs.metrics import MetricsLog
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.training.devices import mean_over_devices
from tfp_aevb.training.fused import METRICS
from tfp_aevb.utils.progress import ProgressLine, clock


class Interrupted(Exception):  # noqa: N818 - an order that was carried out, not an error
    """Training was stopped by a signal, after its checkpoint was written."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.exit_code = 128 + signum


class StopSignals:
    """Notes SIGINT and SIGTERM while in its context; a second signal acts at once."""

    signum: int | None = None

    def __enter__(self) -> "StopSignals":
        self._previous = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, signum: int, frame: Any) -> None:
        del frame
        self.signum = signum
        self.__exit__()

    def raise_if_stopped(self, step: int) -> None:
        """Raises `Interrupted` if a signal has come; the checkpoint of `step` must be written."""
        if self.signum is not None:
            self.stop(step)

    def stop(self, step: int) -> NoReturn:
        """Raises `Interrupted`, for the signal of this process or of another worker's."""
        raise Interrupted(self.signum or signal.SIGTERM, step)

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


class RunLog(tf_keras.callbacks.Callback):
    """Writes a row of `metrics.csv` at the end of each interval.

    Args:
        log: the rows.
        samples_seen: step -> datapoints used for training up to it.
        num_data: N, or `None` if it is not known.
    """

    def __init__(
        self, log: MetricsLog, samples_seen: Callable[[int], int], num_data: int | None
    ) -> None:
        super().__init__()
        self._log = log
        self._samples_seen = samples_seen
        self._num_data = num_data
        self._seconds = log.rows[-1]["seconds"] if log.rows else 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = self._last = time.perf_counter()
        self._first_sample = self._samples_seen(int(self.model.optimizer.iterations.numpy()))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        self._seconds += time.perf_counter() - self._start
        seconds = self._last - self._start
        speed = (self._samples_seen(step) - self._first_sample) / seconds
        self.append_row(step, logs or {}, speed)

    def append_row(self, step: int, logs: dict, images_per_second: float = 0.0) -> None:
        """Writes the row of a step; `logs` holds the bounds as Keras names them."""
        samples = self._samples_seen(step)
        self._log.append(
            {
                "step": step,
                "samples_seen": samples,
                "epoch": samples / self._num_data if self._num_data else 0.0,
                **{f"train_{name}": float(logs[name]) for name in METRICS},
                **{f"validation_{name}": float(logs[f"val_{name}"]) for name in METRICS},
                "images_per_second": images_per_second,
                "seconds": self._seconds,
            }
        )


class RunCheckpoints(tf_keras.callbacks.Callback):
    """Writes checkpoints every so often, at a best validation, and when a signal asks to stop.

    An interval that was interrupted is gone on with: its running sums come back too, so that its
    row of `metrics.csv` is what it would have been.

    Args:
        checkpoints: where to.
        config: tells the time between checkpoints, also of best ones, and where rows are due;
            these are written first.
        signals: asks to stop.
    """

    def __init__(self, checkpoints: Checkpoints, config: TrainConfig, signals: StopSignals) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._every_seconds = config.checkpoint_secs
        self._interval = config.eval_every
        self._total_steps = config.steps
        self._signals = signals
        self._saved_at = self._best_at = time.perf_counter()
        self._best = -math.inf
        self._sums: list[float] | None = None

    def set_model(self, model: tf_keras.Model) -> None:
        super().set_model(model)
        if self._step() % self._interval:
            self._note_sums()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._sums and self._step() % self._interval:
            self._put_back_sums()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._note_sums()
        row_is_due = self._step() % self._interval == 0 or self._step() == self._total_steps
        if not row_is_due:
            self._save_if_due()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._put_back_sums()  # validation has used the same sums since
        bound = float((logs or {}).get("val_elbo", -math.inf))
        is_due = time.perf_counter() - self._best_at >= self._every_seconds
        if self._in_any_process(is_due and bound > self._best):
            self._checkpoints.save(self.model)
            self._best, self._best_at = bound, time.perf_counter()
            self._saved_at = self._best_at
        self._save_if_due()

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _save_if_due(self) -> None:
        is_due = time.perf_counter() - self._saved_at >= self._every_seconds
        stopping = self._in_any_process(self._signals.signum is not None)
        if stopping or self._in_any_process(is_due):
            self._checkpoints.save(self.model)
            self._saved_at = time.perf_counter()
        if stopping:
            self._signals.stop(self._step())

    def _in_any_process(self, wish: bool) -> bool:
        """Whether a process wishes so: workers save together, for sums are read from all."""
        return mean_over_devices(self.model.distribute_strategy, float(wish)) > 0.0

    def _note_sums(self) -> None:
        self._sums = [v.numpy() for metric in self.model.averages for v in metric.variables]

    def _put_back_sums(self) -> None:
        variables = [v for metric in self.model.averages for v in metric.variables]
        for variable, value in zip(variables, self._sums or [], strict=True):
            variable.assign(value)


class Progress(tf_keras.callbacks.Callback):
    """Shows step, epoch, bounds, speed and time left: one line, redrawn on a terminal.

    Elsewhere a line every half minute, at the end of an interval.

    Args:
        log: the rows, for the last validation.
        samples_seen: step -> datapoints used for training up to it.
        num_data: N, or `None` if it is not known.
        total_steps: updates of the whole run.
        held_out: what the data of the log's `validation_` columns are called.
    """

    def __init__(
        self,
        log: MetricsLog,
        samples_seen: Callable[[int], int],
        num_data: int | None,
        total_steps: int,
        held_out: str = "validation",
    ) -> None:
        super().__init__()
        self._log = log
        self._samples_seen = samples_seen
        self._num_data = num_data
        self._total_steps = total_steps
        self._held_out = held_out
        self._line = ProgressLine()

    def set_model(self, model: tf_keras.Model) -> None:
        super().set_model(model)
        self._first_step, self._start = int(model.optimizer.iterations.numpy()), time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._line.is_terminal:
            self._show(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._show(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._line.is_terminal:
            self._show(logs, now=True)
            self._line.end()

    def _show(self, logs: dict | None, *, now: bool = False) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        seen = self._samples_seen(step)
        seconds = max(time.perf_counter() - self._start, 1e-9)
        speed = (seen - self._samples_seen(self._first_step)) / seconds
        steps_per_second = max(step - self._first_step, 1) / seconds
        left = (self._total_steps - step) / steps_per_second
        held_out = f"{self._log.rows[-1]['validation_elbo']:.2f}" if self._log.rows else "-"
        epoch = f"epoch {seen / self._num_data:.1f}  " if self._num_data else ""
        train = f"{float(logs['elbo']):.2f}" if logs else "-"
        self._line.show(
            f"step {step:,}/{self._total_steps:,}  {epoch}"
            f"bound train {train}  {self._held_out} {held_out}  {speed:,.0f} images/s  "
            f"{clock(left)} left",
            now=now,
        )
