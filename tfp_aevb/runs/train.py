"""`train`: a run from its settings to its bound, pictures and SavedModel, resumable."""

import contextlib
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.data.stream import StreamEndedError
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.callbacks import Progress, RunCheckpoints, RunLog, StopSignals
from tfp_aevb.runs.checkpoints import Checkpoints
from tfp_aevb.runs.data import check_data, data_record, load_data, observations
from tfp_aevb.runs.early_stopping import RunPatience, stop_reason
from tfp_aevb.runs.finish import finish
from tfp_aevb.runs.metrics import MetricsLog
from tfp_aevb.runs.output_bias import start_output_bias
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.tensorboard import TensorBoardLog
from tfp_aevb.runs.warm_start import start_from_run
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.training.batches import samples_seen
from tfp_aevb.training.devices import (
    device_names,
    is_chief,
    is_multi_worker,
    make_strategy,
    mean_over_devices,
)
from tfp_aevb.training.fused import NonFiniteBoundError
from tfp_aevb.utils.files import WriteError
from tfp_aevb.utils.progress import say

MAX_RESTORES = 3


def train_and_evaluate(
    config: TrainConfig,
    workdir: str | os.PathLike,
    *,
    only_train: bool = False,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains a model, or goes on with it, until `config.steps`; then evaluates and exports it.

    With `config.patience`, or by a callback that says so, training may end before.

    Everything of the run is written to `workdir` (docs/commands.md). Calling it again resumes from
    the newest checkpoint: parameters, optimizer slots, order and random streams continue exactly.

    Args:
        config: the settings.
        workdir: folder of the run; new, empty, or of a run with the same settings.
        only_train: leave out what follows the training.
        callbacks: for Keras, besides the run's own; an epoch is an interval of
            `config.eval_every` updates.

    Returns:
        The content of `summary.json`; nothing with `only_train`, and in all workers but the first.

    Raises:
        ValueError: if the settings, the data or the folder do not fit.
        NonFiniteBoundError: if the bound becomes NaN or infinite (`nan_policy="stop"`).
        Interrupted: if SIGINT or SIGTERM asked to stop; a checkpoint has been written.
        WriteError: if the disk is full, read-only or gone; the last checkpoint is as it was.
    """
    tf.config.experimental.enable_tensor_float_32_execution(config.tf32)
    strategy = make_strategy("one" if config.method == "mcem" else config.strategy)
    try:
        with contextlib.ExitStack() as stack:
            run = Workdir(workdir)
            step = _check_resumable(config, run)
            dataset = load_data(config)
            check_data(config, dataset, run.read()[1] if step is not None else None)
            shared = Checkpoints(run.checkpoints, run.metrics)
            build_run_model = partial(
                build_model, config, dataset.event_shape, dataset.num_data, data_record(dataset)
            )
            with strategy.scope():
                model = build_run_model()
            if config.warm_start and not step:
                start_from_run(model, config, data_record(dataset))
            if is_chief(strategy):
                stack.callback(run.claim().release)
                run.check_config(config)  # again: another process may have been faster
                if config.progress:
                    names = device_names(strategy)
                    say(f"{run.path}: training on {names}")
                run.write_config(config, data_record(dataset))
            else:  # what it writes and says is nobody's
                config = dataclasses.replace(config, progress=False)
                metrics, run = run.metrics, Workdir(stack.enter_context(TemporaryDirectory()))
                if metrics.exists():  # they tell whether the last interval has been evaluated
                    shutil.copy(metrics, run.metrics)
            signals = stack.enter_context(StopSignals())
            _train(config, run, shared, dataset, model, signals, callbacks)
            if only_train or not is_chief(strategy):
                return {}
            if strategy.num_replicas_in_sync > 1:  # what follows is the work of one device
                model = build_run_model()
                shared.restore(model)
            steps = int(model.optimizer.iterations.numpy())
            model.num_data = model.num_data or steps * config.batch_size
            return finish(config, run, dataset, model, signals)
    except WriteError as error:
        raise WriteError(
            f"{error}, then the same command goes on from the last checkpoint"
        ) from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
        if not is_multi_worker(strategy):
            raise
        raise ConnectionError(
            "another worker has stopped or cannot be reached; start all workers again with the "
            "same command: the run goes on from its last checkpoint"
        ) from None


def _check_resumable(config: TrainConfig, run: Workdir) -> int | None:
    """Returns the step that a run goes on from, `None` for a new one.

    Raises:
        ValueError: if the folder is not for this run, or the run is beyond `config.steps`.
    """
    if not run.check_config(config):
        return None
    done = Checkpoints(run.checkpoints).newest_step()
    if done > config.steps:
        raise ValueError(
            f"--workdir {run.path} is at step {done}, beyond --steps={config.steps}; "
            "raise --steps or use another --workdir"
        )
    return done


def _train(
    config: TrainConfig,
    run: Workdir,
    shared: Checkpoints,
    dataset: Dataset,
    model: AEVB,
    signals: StopSignals,
    extra: Sequence[tf_keras.callbacks.Callback],
) -> None:
    """Trains from the `shared` checkpoints on; writes into `run`."""
    checkpoints = Checkpoints(run.checkpoints, run.metrics)
    while True:
        step, warnings = shared.restore(model)
        _check_agreement(model, step)
        for line in warnings:
            print(line, file=sys.stderr)
        if not step:
            if config.output_bias == "data" and not config.warm_start:
                start_output_bias(model.decoder, observations(dataset.train, dataset))
                model.restart_averages()
            checkpoints.save(model)
        elif is_chief(model.distribute_strategy):
            say(f"{run.path}: resuming at step {step}")
        try:
            _fit(config, run, dataset, model, checkpoints, signals, extra)
            return
        except StreamEndedError:
            checkpoints.save(model)
            raise
        except NonFiniteBoundError as error:
            if config.nan_policy == "stop" or model.retries.numpy() == MAX_RESTORES:
                raise
            retries = int(model.retries.numpy()) + 1
            step, _ = shared.restore(model)
            model.retries.assign(retries)
            checkpoints.save(model)
            print(
                f"{error}; going on from step {step} with other noise "
                f"(restore {model.retries.numpy()} of {MAX_RESTORES})",
                file=sys.stderr,
            )


def _check_agreement(model: AEVB, step: int) -> None:
    strategy = model.distribute_strategy
    if mean_over_devices(strategy, step) != step:
        raise ValueError(
            f"this worker found a checkpoint of step {step} and another one did not; --workdir "
            "must be the same folder for all workers"
        )


def _fit(
    config: TrainConfig,
    run: Workdir,
    dataset: Dataset,
    model: AEVB,
    checkpoints: Checkpoints,
    signals: StopSignals,
    extra: Sequence[tf_keras.callbacks.Callback],
) -> None:
    train = dataset.stream or observations(dataset.train, dataset)
    followed = observations(getattr(dataset, config.eval_split), dataset)
    step = int(model.optimizer.iterations.numpy())
    log = MetricsLog(run.metrics, step, config.eval_every, config.steps)
    if log.warning:
        print(log.warning, file=sys.stderr)

    seen = partial(
        samples_seen,
        num_data=None if dataset.stream else dataset.num_data,
        batch_size=config.batch_size,
        updates_per_batch=model.updates_per_batch,
    )
    epoch_size = dataset.num_data or config.num_data or None
    run_log, patience = RunLog(log, seen, epoch_size), RunPatience(log, config)
    patience.set_model(model)
    callbacks: list[tf_keras.callbacks.Callback] = [
        run_log,
        patience,
        TensorBoardLog(run.tensorboard, config, dataset),
        *extra,
    ]
    if config.progress:
        callbacks.append(Progress(log, seen, epoch_size, config.steps, config.eval_split))
    # The last, for it may end the run: what belongs to the step must have been written by then.
    callbacks.append(RunCheckpoints(checkpoints, config, signals))
    for initial_epoch, epochs, steps_per_epoch in _segments(step, config.steps, config.eval_every):
        if patience.is_over or model.stop_training:
            break
        model.fit(
            train,
            batch_size=config.batch_size,
            initial_epoch=initial_epoch,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=followed,
            callbacks=callbacks,
            verbose=0,
        )
    if patience.is_over and is_chief(model.distribute_strategy):
        say(f"{run.path}: {stop_reason(log.rows, config)}")
    last = int(model.optimizer.iterations.numpy())
    if patience.is_over or (log.rows and log.rows[-1]["step"] == last):
        checkpoints.save(model)
        return
    # Stopped in an interval at what is now the last step: its row is made from the restored sums.
    sums = {metric.name: float(metric.result()) for metric in model.averages}
    ends = model.evaluate(followed, verbose=0, return_dict=True)
    run_log.append_row(
        config.steps, {**sums, **{f"val_{name}": value for name, value in ends.items()}}
    )


def _segments(step: int, total: int, interval: int) -> Iterator[tuple[int, int, int]]:
    """Splits `step` to `total` into runs of intervals: (first, last + 1, updates in each).

    At most three: the rest of an interrupted interval, whole ones, and a short last one.
    """
    while step < total:
        first = step // interval
        rest = min(interval - step % interval, total - step)
        count = (total - step) // interval if rest == interval else 1
        yield first, first + count, rest
        step += count * rest
