"""`load_dataset`: every source of data behind one function."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfp_aevb.data import array_files as files
from tfp_aevb.data import binarize as binarize_lib
from tfp_aevb.data import embedded, splits, tables, tfds_sets
from tfp_aevb.data.cells import Form
from tfp_aevb.data.columns import Column
from tfp_aevb.data.function_stream import is_function_name, load_function_stream
from tfp_aevb.data.splits import Split
from tfp_aevb.data.stream import Stream
from tfp_aevb.data.table_files import is_table_path
from tfp_aevb.data.tfds_stream import load_tfds_stream

DATASET_HELP = (
    "mnist_5k (5,000 MNIST digits, no download), frey_face, the name of a TensorFlow Datasets "
    "image set (mnist, binarized_mnist, fashion_mnist, cifar10, ...) or the folder of a prepared "
    "one, a .npy or .npz file, a table (.csv, .tsv, .parquet, .feather), or module:function for a "
    "stream"
)
_LEAST_N = 1e-3
_MAX_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """How a set of TensorFlow Datasets is streamed.

    Attributes:
        shuffle_buffer: examples among which the next one is drawn.
        seed: of the order.
    """

    shuffle_buffer: int = 50_000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in three splits.

    Attributes:
        name: as given to `load_dataset`.
        train: what the model learns from.
        validation: what choices are made on.
        test: what results are reported on.
        scale: x / scale are the values that the likelihood sees, before dynamic binarisation:
            255 for uint8 pixels, 1 for binary data and floats.
        binarize: "none", "threshold", "static" (both done) or "dynamic" (to be done at each use).
        event_shape: the shape of one example in `x`: (D,).
        image_shape: (H, W) or (H, W, 3) to draw one example; () when the data are not images.
        record: JSON-able: source, split sizes, rule and seed, binarisation, hashes of x.
        stream: what the model learns from where that is not held in memory; `train` then has
            examples of it, to evaluate and to draw.
        columns: of a table, whose missing cells are NaN.
        allow_missing: whether the data may have NaN, for what is missing.
        notes: lines on how the data were read.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    scale: float
    binarize: str
    event_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    record: dict[str, Any]
    stream: Stream | None = None
    columns: tuple[Column, ...] = ()
    allow_missing: bool = False
    notes: tuple[str, ...] = ()

    @property
    def num_data(self) -> int | None:
        """How many different examples there are to learn from; None if it is not known."""
        return self.stream.num_data if self.stream else self.train.num_used

    def with_num_train(self, num_train: int) -> "Dataset":
        """Returns the data with the first `num_train` training examples alone.

        Raises:
            ValueError: if there are fewer.
        """
        if self.stream:
            raise ValueError("`num_train` is for data in memory, not for a stream")
        count = len(self.train.x)
        if not 0 < num_train <= count:
            raise ValueError(
                f"`num_train` is {num_train}, and {self.name} has {count} training examples; "
                f"expected 1 to {count}"
            )
        return self._with_train(self.train.take(slice(num_train)))

    def with_validation_in_train(self) -> "Dataset":
        """Returns the data with the validation examples after the training ones, and as they were.

        For a last run, of settings that nothing is chosen among any more.

        Raises:
            ValueError: if the training examples are streamed.
        """
        if self.stream:
            raise ValueError("validation examples are put to data in memory, not to a stream")
        return self._with_train(self.train.followed_by(self.validation))

    def _with_train(self, train: Split) -> "Dataset":
        record = {
            **self.record,
            "split_sizes": {**self.record["split_sizes"], "train": len(train.x)},
            "sha256": {**self.record["sha256"], "train": _sha256(train.x)},
        }
        if "weights" in record:
            parts = {"train": train, "validation": self.validation, "test": self.test}
            record["weights"] = _weights_record(record["weights"]["name"], parts)
        return dataclasses.replace(self, train=train, record=record)


def load_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    binarize: str = "none",
    binarize_seed: int = 0,
    stream: StreamOptions | None = None,
    pixels: bool = True,
    columns: str | Sequence[Column] | None = None,
    table_form: Form | None = None,
    allow_missing: bool = False,
    weights: str | None = None,
) -> Dataset:
    """Loads a data set, splits it by a fixed rule where its source does not, and binarises it.

    Args:
        name: "mnist_5k", "frey_face", a path ending in .npy or .npz, or as a table's does (.csv,
            .tsv, perhaps .gz, .parquet, .feather), the name of a TensorFlow Datasets image set or
            the folder of a prepared one; or "module:function", which is always read as a stream
            (see `load_function_stream`).
        data_dir: where TensorFlow Datasets keeps its prepared sets and downloads, or a folder
            with frey_rawface.mat. By default TFDS's own folder.
        binarize: "none", "threshold", "static" or "dynamic"; see `binarize_pixels`.
        binarize_seed: of the "static" draw; each split draws from a seed derived from it.
        stream: read the train split as it is needed (TensorFlow Datasets only).
        pixels: whether integers are pixels, to be read divided by 255, not counts or codes.
        columns: kinds of a table's columns, "name:kind,...", or those of a run; see
            `tables.load_table`.
        table_form: how a table's file is written, where that is stated.
        allow_missing: accept NaN in arrays, for models that marginalise it; tables always may.
        weights: the column of a table, or the name of the arrays in an .npz file, that say how
            often each example counts; see `load_file`.

    Returns:
        The data set, its examples flattened: [N, D].

    Raises:
        FileNotFoundError: the file does not exist.
        TypeError: `name` is not a string or `binarize_seed` not an integer.
        ValueError: the name is unknown, the data are damaged or unfit, or the set is neither
            prepared nor reachable (`tfds_download.DatasetUnavailableError`).
    """
    if not isinstance(name, str):
        raise TypeError(f"`dataset` is {name!r}; expected a name or a path as a string")
    if binarize not in binarize_lib.BINARIZE_METHODS:
        methods = ", ".join(binarize_lib.BINARIZE_METHODS)
        raise ValueError(f"`binarize` is {binarize!r}; expected one of {methods}")
    if isinstance(binarize_seed, bool) or not isinstance(binarize_seed, int | np.integer):
        raise TypeError(f"`binarize_seed` is {binarize_seed!r}; expected an integer")
    if not 0 <= binarize_seed <= _MAX_SEED:
        raise ValueError(f"`binarize_seed` is {binarize_seed}; expected 0 to {_MAX_SEED}")

    suffix = pathlib.PurePath(name).suffix.lower()
    is_file, is_table = suffix in files.SUFFIXES, is_table_path(name)
    if columns and not is_table:
        raise ValueError(f"`columns` are for a table, `dataset` is {name!r}; leave them out")
    if weights and not (is_table or suffix == ".npz"):
        raise ValueError(
            f"`weights` are a table's column or arrays of an .npz file, `dataset` is {name!r}"
        )
    if is_table and binarize != "none":
        raise ValueError(f"`binarize` is {binarize!r}; the columns of a table are not binarised")
    if is_function_name(name):
        raw = load_function_stream(name, allow_missing)
    elif stream is not None:
        if name in ("mnist_5k", "frey_face") or is_file or is_table:
            raise ValueError(
                f"`dataset` is {name!r}, which is held in memory; a stream needs a prepared set of "
                "TensorFlow Datasets or module:function"
            )
        raw = load_tfds_stream(name, data_dir, stream.shuffle_buffer, stream.seed)
    elif name == "mnist_5k":
        raw = embedded.load_mnist_5k()
    elif is_file:
        raw = files.load_file(name, allow_missing, pixels, weights)
    elif is_table:
        table = tables.load_table(name, columns, table_form or Form(), weights)
        dataset = _finish(name, table.data, binarize, int(binarize_seed), False, weights)
        record = {**dataset.record, "columns": [column.to_dict() for column in table.columns]}
        if table.form.decimal or table.form.thousands:
            marks = {"decimal": table.form.decimal, "thousands": table.form.thousands}
            record["number_marks"] = marks
        if table.ignored:
            record["ignored_columns"] = list(table.ignored)
        return dataclasses.replace(
            dataset,
            columns=table.columns,
            allow_missing=True,
            record=record,
            notes=(*table.notes, *dataset.notes),
        )
    elif name == "frey_face":
        raw = tfds_sets.load_frey_face(data_dir)
    else:
        raw = tfds_sets.load_tfds(name, data_dir)
    dataset = _finish(name, raw, binarize, int(binarize_seed), pixels, weights)
    notes = dataset.notes
    if is_file:
        scale = dataset.record["scale"]
        notes = (_scale_note(raw.splits["train"].x, scale, pixels), *notes)
    return dataclasses.replace(dataset, allow_missing=allow_missing, notes=notes)


def _finish(
    name: str, raw: splits.RawData, method: str, seed: int, pixels: bool, weights: str | None
) -> Dataset:
    """Scales and binarises the splits, and writes the record."""
    if raw.stream and method == "static":
        raise ValueError(
            "`binarize` is 'static', which keeps one draw of each pixel and so needs the data in "
            "memory; for a stream use dynamic or threshold, or store a binarised set"
        )
    scale = _scale([split.x for split in raw.splits.values()]) if pixels else 1.0
    was_binary = all(binarize_lib.is_binary(split.x, scale) for split in raw.splits.values())
    done = {
        key: dataclasses.replace(
            split, x=binarize_lib.binarize_pixels(split.x, scale, method, [seed, index])
        )
        for index, (key, split) in enumerate((key, raw.splits[key]) for key in splits.SPLIT_NAMES)
    }
    if method == "threshold" and not done["train"].x.any():
        raise ValueError(
            f"`binarize` is 'threshold', which makes all training values 0: the largest is "
            f"{raw.splits['train'].x.max():g} of {scale:g}; rescale them, e.g. as floats in [0, 1]"
        )
    record: dict[str, Any] = {
        "source": raw.source,
        "scale": scale,
        "split_rule": raw.split_rule,
        "split_seed": splits.SPLIT_SEED,
        "split_sizes": {key: len(split.x) for key, split in done.items()},
        "binarize": method,
        "binarize_seed": seed if method == "static" else None,
        "already_binary": was_binary,
        "sha256": {key: _sha256(split.x) for key, split in done.items()},
    }
    if weights:
        record["weights"] = _weights_record(weights, done)
    seen_scale = 1.0 if method in ("threshold", "static") else scale
    stream = raw.stream
    if stream:
        record["split_sizes"]["train"] = stream.num_data
        read = stream.read if method != "threshold" else _thresholded(stream.read, scale)
        stream = dataclasses.replace(
            stream,
            read=read,
            scale=seen_scale,
            dynamic_binarization=method == "dynamic" and not was_binary,
        )
    return Dataset(
        name=name,
        **done,
        stream=stream,
        scale=seen_scale,
        binarize=method,
        event_shape=done["train"].x.shape[1:],
        image_shape=raw.image_shape,
        record=record,
        columns=(),
        allow_missing=False,
        notes=(_weights_note(weights, done["train"]),) if weights else (),
    )


def _thresholded(
    read: Callable[[int, int, int], Iterable[Any]], scale: float
) -> Callable[[int, int, int], Iterable[Any]]:
    def read_binary(*place: int) -> Iterable[Any]:
        for chunk in read(*place):
            yield binarize_lib.binarize_pixels(np.asarray(chunk), scale, "threshold")

    return read_binary


def _scale(values: list[np.ndarray]) -> float:
    """255 for 8-bit pixels, 1 for floats and for integers that are all 0 or 1."""
    is_pixels = values[0].dtype == np.uint8 and max(int(x.max()) for x in values) > 1
    return 255.0 if is_pixels else 1.0


def _weights_note(name: str, train: Split) -> str:
    """Says what N is; in some tables weights add up to 1, in others to a population."""
    return (
        f"{name}: how often each datapoint counts; N = {np.sum(np.asarray(train.weights)):g}, the "
        f"sum over {train.num_used:,} training datapoints (--num_data states another)"
    )


def _weights_record(name: str, parts: Mapping[str, Split]) -> dict[str, Any]:
    """What a run records of its weights: `total_train` is N, each example as often as it counts.

    Raises:
        ValueError: if N is next to nothing.
    """
    total = float(np.asarray(parts["train"].weights).sum())
    if 0.0 < total < _LEAST_N:
        raise ValueError(
            f"the weights {name!r} of the training examples add up to {total:g}, which is N; "
            "multiply them so that they add up to the number of examples"
        )
    return {
        "name": name,
        "total_train": total,
        "sha256": {key: _sha256(np.asarray(split.weights)) for key, split in parts.items()},
    }


def _scale_note(x: np.ndarray, scale: float, pixels: bool) -> str:
    """Returns a line on how the values of a file are read."""
    if x.dtype != np.uint8:
        return "values: as they are"
    if scale != 1.0:
        return f"values: integers from 0 to {x.max()}, read as pixels: divided by {scale:g}"
    return f"values: {'zeros and ones' if pixels else 'counts or codes'}, as they are"


def _sha256(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()
