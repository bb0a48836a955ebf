"""What `fit` and `evaluate` make of their data: minibatches, and what Keras counts steps by."""

from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from tfp_aevb.data.batch_parts import check_target, without_loss
from tfp_aevb.data.observations import Observations, as_observations, is_array
from tfp_aevb.data.stream import Stream
from tfp_aevb.training.arguments import check_batches
from tfp_aevb.training.batches import RowBatches
from tfp_aevb.training.cells import ArrayCells
from tfp_aevb.training.devices import worker_place
from tfp_aevb.training.streams import IteratorBatches, StreamBatches
from tfp_aevb.training.trainable import Trainable

EVAL_BATCH = 500
Batches = RowBatches | ArrayCells | StreamBatches | IteratorBatches


class Source(NamedTuple):
    """Data in the form that training needs.

    Attributes:
        batches: gives the blocks of minibatches.
        x: what Keras iterates over.
        steps: in an epoch, where the data tell.
        num_data: N, where the data tell.
        has_unknown_length: whether Keras has to meet the end of `x` to know it.
    """

    batches: Batches
    x: Any
    steps: int | None = None
    num_data: float | None = None
    has_unknown_length: bool = False


def given_data(model: Trainable, x: Any, y: Any, sample_weight: Any) -> Any:
    """Returns what `fit(x, y, sample_weight=...)` and its kin have to work on.

    Args:
        model: the model.
        x: data of any kind that `fit` takes.
        y: a target, `None` or `x` itself.
        sample_weight: how often each row of an array counts, or `None`.

    Returns:
        `x`; an array with weights as `Observations`.

    Raises:
        ValueError: if there is another target, or weights that cannot be used.
    """
    if not is_array(x):
        if not isinstance(x, Stream):
            check_batches(x)
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` are for arrays; data in batches bring their weights "
                "along, as (x, x, weights)"
            )
        return x
    check_target(x.x if isinstance(x, Observations) else x, getattr(y, "x", y))
    if sample_weight is None:
        return x
    return as_observations(x, model.allows_missing).weighted(sample_weight)


def check_readers(
    x: Any,
    *,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    **others: Any,
) -> None:
    """Raises a `ValueError` unless `x` is given, and what is said of its readers has a use.

    Args:
        x: as given to `fit`, `evaluate` or `predict`.
        max_queue_size: as there.
        workers: as there.
        use_multiprocessing: as there.
        **others: what else is given.
    """
    del others
    if x is None:
        raise ValueError("`x` is missing; give an array [N, ...event] or data in batches")
    given = {
        "max_queue_size": max_queue_size != 10,
        "workers": workers != 1,
        "use_multiprocessing": bool(use_multiprocessing),
    }
    if not is_array(x) and not isinstance(x, Stream | tf.data.Dataset):
        return
    for name in (name for name, is_given in given.items() if is_given):
        raise ValueError(
            f"`{name}` is for Keras' readers of generators and `Sequence`s, which "
            f"{type(x).__name__} does not need; leave it out"
        )


def training_source(model: Trainable, x: Any, batch_size: int, shuffle: bool) -> Source:
    """Returns the source of training data `x` of any kind that `fit` takes.

    Raises:
        ValueError: if the data do not fit the model, or N is needed and not known.
    """
    strategy = model.distribute_strategy
    num_devices = strategy.num_replicas_in_sync
    if isinstance(x, Stream):
        num_data = model.num_data or x.num_data
        worker, num_workers = worker_place(strategy)
        stream = StreamBatches(
            x,
            batch_size,
            num_data,
            model.check_observations,
            model.allows_missing,
            num_devices=num_devices,
            worker=worker,
            num_workers=num_workers,
        )
        steps = max(x.num_data // batch_size, 1) if x.num_data else None
        return Source(stream, _step_numbers(num_devices, None), steps, x.num_data)
    if not is_array(x):
        if model.needs_num_data and not model.num_data and not _is_endless(x):
            raise ValueError(
                "data in batches do not tell N, which the loss needs; give the model `num_data`"
            )
        return _iterator_source(model, x, model.num_data, None)
    x = as_observations(x, model.allows_missing)
    model.check_observations(x)
    rows = RowBatches(
        x,
        batch_size,
        model.stated_num_data(x),
        model.seed if shuffle else None,
        num_devices=num_devices,
        updates_per_batch=model.updates_per_batch,
    )
    return Source(rows, _step_numbers(num_devices, None), rows.steps_per_epoch, rows.num_data)


def evaluation_source(model: Trainable, x: Any, batch_size: int | None) -> Source:
    """Returns the source of data to evaluate on: an array in row order, or batches.

    Raises:
        ValueError: if the data do not fit the model, or are a `Stream`.
    """
    if isinstance(x, Stream):
        raise ValueError(
            "a `Stream` is for training alone: it has no end; evaluate on an array or a tf.data set"
        )
    if not is_array(x):
        return _iterator_source(model, x, model.known_num_data, model.cell_rows)
    num_devices = model.distribute_strategy.num_replicas_in_sync
    x = as_observations(x, model.allows_missing)
    model.check_observations(x)
    cells = ArrayCells(
        x, batch_size or EVAL_BATCH, model.known_num_data, num_devices, model.cell_rows
    )
    return Source(cells, _step_numbers(num_devices, cells.steps), cells.steps)


def _iterator_source(model: Trainable, x: Any, num_data: float | None, cell: int | None) -> Source:
    num_devices = model.distribute_strategy.num_replicas_in_sync
    check, allow_missing = model.check_observations, model.allows_missing
    batches = IteratorBatches(num_data, check, num_devices, allow_missing, cell)
    x = _without_loss(x)
    is_unknown = not isinstance(x, tf.data.Dataset) or (
        int(x.cardinality()) == tf.data.experimental.UNKNOWN_CARDINALITY
    )
    return Source(batches, x, has_unknown_length=is_unknown)


class _WithoutLoss(tf_keras.utils.Sequence):
    """A Keras sequence in a form of which Keras drops nothing."""

    def __init__(self, sequence: tf_keras.utils.Sequence) -> None:
        self._sequence = sequence

    def __len__(self) -> int:
        return len(self._sequence)

    def __getitem__(self, index: int) -> Any:
        return without_loss(self._sequence[index])

    def on_epoch_end(self) -> None:
        self._sequence.on_epoch_end()


def _without_loss(x: Any) -> Any:
    """Returns batches `x` in a form of which Keras drops nothing."""
    if isinstance(x, tf_keras.utils.Sequence):
        return _WithoutLoss(x)
    return map(without_loss, x) if hasattr(x, "__next__") else x


def _is_endless(x: Any) -> bool:
    """Whether no datapoint of `x` can come a second time because it is read again."""
    if isinstance(x, tf.data.Dataset):
        return int(x.cardinality()) == tf.data.experimental.INFINITE_CARDINALITY
    return hasattr(x, "__next__")


def _step_numbers(num_devices: int, steps: int | None) -> tf.data.Dataset:
    """Returns what Keras counts steps by where it does not carry the batches itself."""
    # One element a device, for Keras splits every batch among the devices.
    numbers = tf.data.Dataset.counter()
    numbers = numbers if steps is None else numbers.take(steps * num_devices)
    return numbers.batch(num_devices)
