"""`train`: a run from its settings to its bound, pictures and SavedModel, resumable."""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.model import AEVB
from tfp_aevb.training.batches import samples_seen
from tfp_aevb.training.build import build_model
from tfp_aevb.training.callbacks import Progress, RunCheckpoints, RunLog, StopSignals
from tfp_aevb.training.checkpoints import Checkpoints
from tfp_aevb.training.config import TrainConfig
from tfp_aevb.training.data import check_data, data_record, load_data, observations
from tfp_aevb.training.fused import NonFiniteBoundError
from tfp_aevb.training.metrics_log import MetricsLog
from tfp_aevb.training.results import finish
from tfp_aevb.training.tensorboard import TensorBoardLog
from tfp_aevb.training.workdir import Workdir

MAX_RESTORES = 3


def train_and_evaluate(
    config: TrainConfig,
    workdir: str | os.PathLike,
    *,
    only_train: bool = False,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains a model, or goes on with it, until `config.steps`; then evaluates and exports it.

    Everything of the run is written to `workdir` (see README). Calling it again resumes from the
    newest checkpoint: parameters, optimizer slots, order and random streams continue exactly.

    Args:
        config: the settings.
        workdir: folder of the run; new, empty, or of a run with the same settings.
        only_train: leave out what follows the training.
        callbacks: for Keras, besides the run's own; an epoch is an interval of
            `config.eval_every` updates.

    Returns:
        The content of `summary.json`; nothing with `only_train`.

    Raises:
        ValueError: if the settings, the data or the folder do not fit.
        NonFiniteBoundError: if the bound becomes NaN or infinite (`nan_policy="stop"`).
        Interrupted: if SIGINT or SIGTERM asked to stop; a checkpoint has been written.
    """
    run = Workdir(workdir)
    resuming = run.check_config(config)
    done = Checkpoints(run.checkpoints).newest_step()
    if done > config.steps:
        raise ValueError(
            f"--workdir {run.path} is at step {done}, beyond --steps={config.steps}; "
            "raise --steps or use another --workdir"
        )
    dataset = load_data(config)
    check_data(config, dataset, run.read()[1] if resuming else None)
    lock = run.claim()
    try:
        run.check_config(config)  # again: another process may have been faster
        if config.progress:
            print(f"{run.path}: training on {_device_names()}", file=sys.stderr)
        run.write_config(config, data_record(dataset))
        model = build_model(config, dataset.event_shape, len(dataset.train.x))
        with StopSignals() as signals:
            _train(config, run, dataset, model, signals, callbacks)
            return {} if only_train else finish(config, run, dataset, model, signals)
    finally:
        lock.release()


def _device_names() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [detail.get("device_name", "GPU") for detail in details]
    return ", ".join(names) or f"CPU, {os.cpu_count()} cores"


def _train(
    config: TrainConfig,
    run: Workdir,
    dataset: Dataset,
    model: AEVB,
    signals: StopSignals,
    extra: Sequence[tf_keras.callbacks.Callback],
) -> None:
    checkpoints = Checkpoints(run.checkpoints)
    while True:
        step, warnings = checkpoints.restore(model)
        for line in warnings:
            print(line, file=sys.stderr)
        if step:
            print(f"{run.path}: resuming at step {step}", file=sys.stderr)
        else:
            checkpoints.save(model)
        try:
            _fit(config, run, dataset, model, checkpoints, signals, extra)
            return
        except NonFiniteBoundError as error:
            if config.nan_policy == "stop" or model.retries.numpy() == MAX_RESTORES:
                raise
            step, _ = checkpoints.restore(model)
            model.retries.assign_add(1)
            checkpoints.save(model)
            print(
                f"{error}; going on from step {step} with other noise "
                f"(restore {model.retries.numpy()} of {MAX_RESTORES})",
                file=sys.stderr,
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
    train = observations(dataset.train, dataset)
    followed = observations(getattr(dataset, config.eval_split), dataset)
    step = int(model.optimizer.iterations.numpy())
    log = MetricsLog(run.metrics, step, config.eval_every, config.steps)

    seen = partial(
        samples_seen,
        num_data=len(train),
        batch_size=config.batch_size,
        updates_per_batch=model.updates_per_batch,
    )
    callbacks: list[tf_keras.callbacks.Callback] = [
        RunLog(log, seen, len(train)),
        TensorBoardLog(run.tensorboard, config, dataset),
        *extra,
    ]
    if config.progress:
        callbacks.append(Progress(log, seen, len(train), config.steps))
    # The last, for it may end the run: what belongs to the step must have been written by then.
    callbacks.append(RunCheckpoints(checkpoints, config, signals))
    for initial_epoch, epochs, steps_per_epoch in _segments(step, config.steps, config.eval_every):
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
    if log.rows and log.rows[-1]["step"] == config.steps:
        checkpoints.save(model)
        return
    # Stopped in an interval at what is now the last step: its row is made from the restored sums.
    sums = {metric.name: float(metric.result()) for metric in model.averages}
    ends = model.evaluate(followed, verbose=0, return_dict=True)
    RunLog(log, seen, len(train)).append_row(
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
