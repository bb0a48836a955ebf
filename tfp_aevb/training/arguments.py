"""Arguments of `fit` and its kin that Keras would pass over, or meet with an error of its own."""

from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.utils.counts import check_count

# What the compiled loop has in their place, so that nothing calls them.
_NEVER_CALLED = ("train_step", "test_step", "compute_loss", "compute_metrics")


def check_overrides(model: tf_keras.Model) -> None:
    """Raises a `NotImplementedError` if a method is overridden that nothing would call."""
    for name in _NEVER_CALLED:
        is_own = name in vars(model) or getattr(type(model), name) is not getattr(
            tf_keras.Model, name
        )
        if is_own:
            raise NotImplementedError(
                f"`{name}` is overridden and would not be called: training and evaluation are one "
                "compiled loop; override `training_loss(batch)`, which gives the loss and the bound"
            )


def check_fit(
    *,
    is_array: bool,
    in_batches: bool,
    batch_size: Any,
    shuffle: Any,
    steps_per_epoch: Any,
    has_validation: bool,
    validation_split: Any,
    validation_batch_size: Any,
    others: Mapping[str, Any],
) -> None:
    """Raises a `ValueError` if an argument is wrong, or would not be used.

    Args:
        is_array: whether the data are an array.
        in_batches: whether the data come in batches.
        batch_size: of `fit`, as the next ones.
        shuffle: whether to permute the rows.
        steps_per_epoch: updates in an epoch.
        has_validation: whether there are `validation_data`.
        validation_split: the share of rows to validate on.
        validation_batch_size: for arrays.
        others: what else `fit` got.
    """
    check_batch_size(batch_size, in_batches)
    _check_counts(
        steps_per_epoch=steps_per_epoch,
        validation_batch_size=validation_batch_size,
        epochs=others.get("epochs"),
        validation_steps=others.get("validation_steps"),
    )
    if others.get("initial_epoch") is not None:
        check_count("initial_epoch", others["initial_epoch"], 0)
    if not isinstance(shuffle, bool):
        raise ValueError(f"`shuffle` must be True or False, got {shuffle!r}")
    frequency = others.get("validation_freq", 1)
    epochs = frequency if isinstance(frequency, Collection) else [frequency]
    for epoch in epochs:
        check_count("validation_freq", epoch)
    if isinstance(validation_split, bool) or not isinstance(validation_split, int | float):
        raise ValueError(f"`validation_split` must be a number, got {validation_split!r}")
    if validation_split:
        if has_validation:
            raise ValueError("give `validation_split` or `validation_data`, not both")
        if not is_array:
            raise ValueError("`validation_split` needs an array; give `validation_data`")
    elif not has_validation:
        given = {**others, "validation_batch_size": validation_batch_size}
        for name, default in (
            ("validation_batch_size", None),
            ("validation_steps", None),
            ("validation_freq", 1),
        ):
            if given.get(name, default) != default:
                raise ValueError(f"`{name}` needs `validation_data` or `validation_split`")


def check_evaluate(batch_size: Any, in_batches: bool, steps: Any) -> None:
    """Raises a `ValueError` if an argument of `evaluate` or `predict` is wrong or of no use."""
    check_batch_size(batch_size, in_batches)
    _check_counts(steps=steps)


def check_batch_size(batch_size: Any, in_batches: bool, name: str = "batch_size") -> None:
    """Raises a `ValueError` unless it is `None`, or a positive number for data not in batches."""
    if batch_size is None:
        return
    check_count(name, batch_size)
    if in_batches:
        raise ValueError(
            f"`{name}` is for arrays, and the data come in batches: leave it out, and batch them "
            "as by `ds.batch(100)`"
        )


def check_batches(x: Any) -> None:
    """Raises a `ValueError` unless `x` is of a kind that gives batches."""
    kinds = (tf.data.Dataset, tf_keras.utils.Sequence, tf.distribute.DistributedDataset)
    if isinstance(x, kinds) or hasattr(x, "__next__"):
        return
    advice = "give an array, `Observations`, a `Stream`, a `tf.data.Dataset` or a generator"
    if hasattr(x, "__iter__"):
        advice = "give `iter(x)`, if that gives batches"
    raise ValueError(f"`x` must be data, got {type(x).__name__}; {advice}")


def _check_counts(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            check_count(name, value)
