"""What `fit` and `evaluate` make of their data: minibatches, and what Keras counts steps by."""

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfp_aevb.data.stream import Stream
from tfp_aevb.training.batches import RowBatches
from tfp_aevb.training.devices import worker_place
from tfp_aevb.training.observations import as_observations, is_array
from tfp_aevb.training.streams import IteratorBatches, StreamBatches

if TYPE_CHECKING:
    from tfp_aevb.training.fused import FusedModel

EVAL_BATCH = 500
Batches = RowBatches | StreamBatches | IteratorBatches


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
    num_data: int | None = None
    has_unknown_length: bool = False


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


def training_source(model: "FusedModel", x: Any, batch_size: int, shuffle: bool) -> Source:
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
        return _iterator_source(model, x, model.num_data)
    x = as_observations(x, model.allows_missing)
    model.check_observations(x)
    rows = RowBatches(
        x,
        batch_size,
        model.num_data,
        model.seed if shuffle else None,
        num_devices=num_devices,
        on_device=True,
        updates_per_batch=model.updates_per_batch,
    )
    return Source(rows, _step_numbers(num_devices, None), rows.steps_per_epoch, len(x))


def evaluation_source(model: "FusedModel", x: Any, batch_size: int | None) -> Source:
    """Returns the source of data to evaluate on: an array in row order, or batches.

    Raises:
        ValueError: if the data do not fit the model, or are a `Stream`.
    """
    if isinstance(x, Stream):
        raise ValueError(
            "a `Stream` is for training alone: it has no end; evaluate on an array or a tf.data set"
        )
    if not is_array(x):
        return _iterator_source(model, x, model.known_num_data)
    num_devices = model.distribute_strategy.num_replicas_in_sync
    x = as_observations(x, model.allows_missing)
    model.check_observations(x)
    rows = RowBatches(
        x,
        batch_size or EVAL_BATCH,
        model.known_num_data,
        None,
        num_devices=num_devices,
        on_device=False,
    )
    return Source(rows, _step_numbers(num_devices, rows.steps_per_epoch), rows.steps_per_epoch)


def _iterator_source(model: "FusedModel", x: Any, num_data: int | None) -> Source:
    num_devices = model.distribute_strategy.num_replicas_in_sync
    batches = IteratorBatches(num_data, model.check_observations, num_devices, model.allows_missing)
    is_unknown = not isinstance(x, tf.data.Dataset) or (
        int(x.cardinality()) == tf.data.experimental.UNKNOWN_CARDINALITY
    )
    return Source(batches, x, has_unknown_length=is_unknown)


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
