"""The data of a run, as its settings name them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.binarize import binarize_pixels
from tfp_aevb.data.columns import as_columns
from tfp_aevb.data.dataset import Dataset, Split, StreamOptions, load_dataset
from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.data.tables import read_table
from tfp_aevb.data.tfds_stream import train_in_order
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.seeds import as_seed


def load_data(config: TrainConfig) -> Dataset:
    """Loads the data of a run, binarised as it says.

    Raises:
        ValueError: if there are fewer training examples than asked for, and as `load_dataset`.
    """
    dataset = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        binarize=config.binarize or "none",
        binarize_seed=config.seed,
        pixels=config.reads_pixels,
        stream=StreamOptions(config.shuffle_buffer, config.seed) if config.is_streamed else None,
        columns=config.columns,
        allow_missing=config.missing != "refuse",
    )
    if config.num_train:
        dataset = dataset.with_num_train(config.num_train)
    return dataset.with_validation_in_train() if config.train_on_validation else dataset


def data_record(dataset: Dataset) -> dict[str, Any]:
    """Returns what a run records of its data."""
    shapes = {"event_shape": dataset.event_shape, "image_shape": dataset.image_shape}
    return {**dataset.record, **{name: list(shape) for name, shape in shapes.items()}}


def check_data(config: TrainConfig, dataset: Dataset, saved: dict[str, Any] | None) -> None:
    """Raises a `ValueError` if the data do not suit the likelihood or are not the `saved` ones."""
    for split in (dataset.train, dataset.validation, dataset.test):
        try:
            observations(split, dataset).check_support(config.support)
        except ValueError as error:
            raise ValueError(
                f"--dataset={config.dataset} --binarize={config.binarize}: {error}"
            ) from None
    if saved is not None and _comparable(saved) != _comparable(data_record(dataset)):
        raise ValueError(
            f"--dataset={config.dataset} is not what this run was started with; "
            "restore the data or use another --workdir"
        )


def observations(split: Split, dataset: Dataset) -> Observations:
    """Returns a split as the training loop reads it."""
    return Observations(
        split.x,
        scale=dataset.scale,
        dynamic_binarization=_is_drawn_at_each_use(dataset),
        allow_missing=dataset.allow_missing,
    )


def streamed_parts(
    config: TrainConfig, dataset: Dataset, data_dir: str | None, size: int, labels: list[int] | None
) -> Iterator[Observations]:
    """Yields all training images of a streamed TFDS set, `size` at a time, in their files' order.

    `labels` grows by those of each part before the part is yielded, where the set has any.

    Raises:
        ValueError: if the run's stream is not such a set.
    """
    if is_function_name(config.dataset):
        raise ValueError(
            f"the training data of {config.dataset} come from a function and are not kept; encode "
            "another --split, or a file of them with --input"
        )
    threshold = dataset.binarize == "threshold" and not dataset.record["already_binary"]
    for x, classes in train_in_order(config.dataset, data_dir or config.data_dir, size):
        if threshold:
            x = binarize_pixels(x, 255.0 if x.dtype == np.uint8 else 1.0, "threshold")
        if labels is not None and classes is not None:
            labels.extend(classes.tolist())
        yield observations(Split(x, None), dataset)


def table_input(path: str, record: dict[str, Any]) -> Observations:
    """Reads a .csv table of the columns that a run was trained on, for a verb's --input.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the run's data are no table, or the file is not such a table.
    """
    if "columns" not in record:
        raise ValueError(f"--input {path} is a table, and the run was not trained on one")
    table = read_table(path, columns=as_columns(record["columns"]))
    return Observations(table.x, allow_missing=True)


def as_seen(split: Split, dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """Returns the first `count` datapoints as the likelihood sees them, float32, for pictures."""
    x = read_values(
        tf.constant(split.x[:count]),
        dataset.scale,
        _is_drawn_at_each_use(dataset),
        as_seed(seed),
    )
    return x.numpy()


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    """The record without where the data came from: the same data may lie elsewhere."""
    return {name: value for name, value in record.items() if name != "source"}


def _is_drawn_at_each_use(dataset: Dataset) -> bool:
    return dataset.binarize == "dynamic" and not dataset.record["already_binary"]
