"""The data of a run, as its settings name them."""

import csv
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.binarize import binarize_pixels
from tfp_aevb.data.cells import Form
from tfp_aevb.data.columns import as_columns
from tfp_aevb.data.dataset import Dataset, Split, StreamOptions, load_dataset
from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.data.table_files import Cells, read_cells
from tfp_aevb.data.tables import Others, encode, split_weights
from tfp_aevb.data.tfds_stream import train_in_order
from tfp_aevb.evaluation.codes import input_parts
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.progress import say
from tfp_aevb.utils.seeds import as_seed


def load_data(config: TrainConfig, record: dict[str, Any] | None = None) -> Dataset:
    """Loads the data of a run, binarised as it says.

    Args:
        config: the settings of the run.
        record: what a run that is gone on with recorded of its data: its table's columns are of
            the kinds that they were.

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
        columns=as_columns(record["columns"]) if record and "columns" in record else config.columns,
        table_form=table_form(config) if config.likelihood == "mixed" else None,
        allow_missing=config.missing != "refuse",
        weights=config.weights,
    )
    if config.num_train:
        dataset = dataset.with_num_train(config.num_train)
    return dataset.with_validation_in_train() if config.train_on_validation else dataset


def table_form(config: TrainConfig) -> Form:
    """Returns how a run's table is written, as far as its settings say."""
    words = next(csv.reader([config.missing_values or ""]), [])
    missing = tuple(word.strip() for word in words)
    return Form(
        config.separator, config.decimal, config.thousands, config.encoding, missing, config.header
    )


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
        weights=split.weights,
    )


def total_weight(config: TrainConfig, record: dict[str, Any]) -> float | None:
    """Returns how many training examples there are, each as often as it counts, which is N.

    For Monte Carlo EM, which keeps a chain for each, how many there are.
    """
    if "weights" in record and config.method != "mcem":
        return record["weights"]["total_train"]
    return record["split_sizes"]["train"]


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


def table_input(
    path: str,
    config: TrainConfig,
    record: dict[str, Any],
    options: Any = None,
    weights: str | None = None,
) -> tuple[Observations, Cells]:
    """Reads a table of the columns that a run was trained on, for a verb's --input.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the run's data are no table, or the file is not such a table.

    Args:
        path: of the file; it may be separated and encoded otherwise than the run's table.
        config: the settings of the run.
        record: of its data.
        options: flags that say what is done about other columns and categories; see `Others`.
        weights: the column that says how often each row counts; by default each does once.

    Returns:
        The rows, and the cells that they are of.
    """
    if "columns" not in record:
        raise ValueError(f"--input {path} is a table, and the run was not trained on one")
    form = table_form(config)
    columns = as_columns(record["columns"])
    form = dataclasses.replace(form, is_hint=True, **record.get("number_marks", {}))
    cells = read_cells(path, form, [column.name for column in columns])
    rules = {
        name: getattr(options, name)
        for name in ("extra_columns", "absent_columns", "unknown_category")
        if options is not None
    }
    ignored = [*record.get("ignored_columns", ()), record.get("weights", {}).get("name")]
    cells, counts = split_weights(cells, weights)
    x = encode(cells, columns, Others(ignored=tuple(ignored), **rules))
    return Observations(x, allow_missing=True, weights=counts), cells


def array_input(
    x: np.ndarray, where: str, config: TrainConfig, record: dict[str, Any], allow_missing: bool
) -> Iterator[Observations]:
    """Yields an array [N, ...] of a verb's --input in parts, read as the run's own data were.

    Args:
        x: the array; integers are divided by what the run's were, floats are as the likelihood
            sees them.
        where: what an error message starts with.
        config: the settings of the run.
        record: of its data.
        allow_missing: accept NaN.

    Raises:
        ValueError: if the run was trained on a table, or the datapoints are not of its shape or
            the values not of its support.
    """
    if "columns" in record:
        raise ValueError(f"{where} is an array, and the run was trained on a table; give a table")
    size = math.prod(x.shape[1:])
    if [size] != record["event_shape"]:
        raise ValueError(
            f"{where}: the model's datapoints have shape {record['event_shape']}, got [{size}]; "
            "reshape the data to [N, ...event]"
        )
    scale = record.get("scale")
    binarize = config.binarize or "none"
    parts = input_parts(x, binarize, where, allow_missing, config.reads_pixels, scale)
    for place, part in enumerate(parts):
        try:
            part.check_support(config.support)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if not place and x.dtype.kind in "ui" and scale not in (None, 1.0):
            say(f"{where}: integers are divided by {scale:g}, as the run's data")
        yield part


def joined(parts: Iterator[Observations]) -> Observations:
    """Returns parts of one array as one."""
    found = list(parts)
    return Observations(
        np.concatenate([part.x for part in found]),
        scale=found[0].scale,
        dynamic_binarization=found[0].dynamic_binarization,
        allow_missing=found[0].allow_missing,
    )


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
    # How numbers are written does not change them; earlier versions did not record the scale.
    left_out = ("source", "number_marks", "scale")
    return {k: value for k, value in record.items() if k not in left_out}


def _is_drawn_at_each_use(dataset: Dataset) -> bool:
    return dataset.binarize == "dynamic" and not dataset.record["already_binary"]
