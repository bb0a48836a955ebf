"""Image sets of TensorFlow Datasets (TFDS), read as NumPy arrays."""

import difflib
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfp_aevb.data import arrays, splits, tfds_download

_OWN_NAMES = ("mnist_5k", "frey_face")
_NAME = re.compile(r"(\w+)(/[\w.\-]+)?(:\d+\.\d+\.\d+)?", re.ASCII)
_BATCH = 1000


def load_tfds(name: str, data_dir: str | None) -> splits.RawData:
    """Reads a TFDS image set, and prepares it first when it is not and can be.

    Args:
        name: "name", "name/config", each with an optional ":1.2.3" version; or a folder with
            the set's `dataset_info.json`.
        data_dir: TFDS's data directory, or None for its own default.

    Raises:
        ValueError: the name is unknown, the set has no images of one size, or reading fails.
        DatasetUnavailableError: not prepared, and not downloadable from here.
    """
    builder = prepared_builder(name, data_dir)
    complete, rule = splits.complete_splits(_read(builder, name), f"dataset {name!r}")
    source = f"tensorflow_datasets {builder.info.full_name}"
    return splits.RawData(complete, image_shape(builder), source, rule)


def prepared_builder(name: str, data_dir: str | None) -> Any:
    """Returns the TFDS builder of an image set, prepared if it was not and can be.

    Raises:
        ValueError: see `load_tfds`.
    """
    builder = _builder(name, data_dir)
    _check_features(builder, name)
    if not _is_prepared(builder):
        tfds_download.prepare(builder, name, list(builder.url_infos or {}))
    return builder


def load_frey_face(data_dir: str | None) -> splits.RawData:
    """Frey Face in a fixed split of 1,565 / 200 / 200 images; the paper gives no split.

    Taken from a prepared TFDS folder, else straight from a frey_rawface.mat in `data_dir` or
    its downloads/manual folder (so that a read-only folder will do), else downloaded.
    """
    from tfp_aevb.data.frey_face import frey_face_dataset_builder as frey

    builder = frey.Builder(data_dir=data_dir)
    root = pathlib.Path(builder.data_dir_root)
    places = (root / frey.FILE_NAME, root / "downloads" / "manual" / frey.FILE_NAME)
    local = next((path for path in places if path.exists()), None)
    if local is not None and not _is_prepared(builder):
        source = frey.FILE_NAME
        images = frey.read_rawface(local)
        given = {"train": splits.Split(images.reshape(len(images), -1), None)}
    else:
        if not _is_prepared(builder):
            tfds_download.prepare(builder, "frey_face", [frey.URL])
        source = f"tensorflow_datasets {builder.info.full_name}"
        given = _read(builder, "frey_face")
    complete, rule = splits.complete_splits(
        given, "dataset 'frey_face'", {"validation": 200, "test": 200}
    )
    return splits.RawData(complete, image_shape(builder), source, rule)


def is_tfds_folder(name: str) -> bool:
    """Whether this is the path of a prepared set."""
    return (pathlib.Path(name) / "dataset_info.json").is_file()


def _is_prepared(builder: Any) -> bool:
    # builder.is_prepared() logs a warning when the answer is no.
    return bool((builder.data_path / "dataset_info.json").exists())


def image_shape(builder: Any) -> tuple[int, ...]:
    """Returns the shape to draw an example in, or () where it is not an image."""
    return arrays.image_shape_of(tuple(builder.info.features["image"].shape))


def _builder(name: str, data_dir: str | None) -> Any:
    """The TFDS builder, for a version found on disk when the newest is not prepared."""
    import tensorflow_datasets as tfds

    match = _NAME.fullmatch(name)
    try:
        if is_tfds_folder(name):
            return tfds.builder_from_directory(name)
        if match is None:
            raise tfds.core.DatasetNotFoundError(name)
        builder = tfds.builder(name, data_dir=data_dir)
        if not _is_prepared(builder) and match[3] is None:
            on_disk = tfds.builder(f"{name}:*.*.*", data_dir=data_dir)
            builder = on_disk if _is_prepared(on_disk) else builder
        return builder
    except tfds.core.DatasetNotFoundError as error:
        known = {*_OWN_NAMES, *tfds.list_builders(with_community_datasets=False)}
        near = difflib.get_close_matches(name, sorted(known), n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"`dataset` is {name!r}; expected mnist_5k, frey_face, a .npy or .npz file, or a "
            f"TensorFlow Datasets image set{hint}"
        ) from error
    except Exception as error:  # a builder's constructor is third-party code
        raise ValueError(f"dataset {name!r}: TFDS says: {arrays.one_line(error)}") from error


def _check_features(builder: Any, name: str) -> None:
    import tensorflow_datasets as tfds

    features = builder.info.features
    is_dict = isinstance(features, tfds.features.FeaturesDict)
    image = features["image"] if is_dict and "image" in features else None
    if not isinstance(image, tfds.features.Image | tfds.features.Tensor) or None in image.shape:
        raise ValueError(
            f"dataset {name!r} has no feature `image` of one fixed size; expected an image set "
            f"such as mnist, fashion_mnist or cifar10, or a .npy file made from it"
        )


def _read(builder: Any, name: str) -> dict[str, splits.Split]:
    """The train, validation and test splits that the prepared set has."""
    if "train" not in builder.info.splits:
        raise ValueError(
            f"dataset {name!r} has splits {sorted(builder.info.splits)}; expected a train split"
        )
    names = {split: split for split in splits.SPLIT_NAMES if split in builder.info.splits}
    return read_splits(builder, name, names)


def read_splits(builder: Any, name: str, parts: dict[str, str]) -> dict[str, splits.Split]:
    """Reads parts of a prepared set: for each split's name the TFDS split, e.g. "train[:100]".

    Raises:
        ValueError: reading fails.
    """
    try:
        stored = {split: _read_split(builder, part) for split, part in parts.items()}
    except Exception as error:  # damaged records surface as TensorFlow's own errors
        raise ValueError(
            f"dataset {name!r} in {str(builder.data_path)!r} cannot be read "
            f"({arrays.one_line(error)}); delete that folder and prepare the set again"
        ) from error
    compact = {
        split: arrays.compact_array(x, f"dataset {name!r}, {split}")
        for split, (x, _) in stored.items()
    }
    return {
        split: splits.Split(x.reshape(len(x), -1), stored[split][1]) for split, x in compact.items()
    }


def _read_split(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and class labels of one split, in the order of its files."""
    feature = builder.info.features["image"]
    count = builder.info.splits[split].num_examples
    x = np.empty((count, *feature.shape), feature.np_dtype)
    labels = np.empty(count, np.int64) if has_labels(builder) else None
    row = 0
    for images, classes in batches_in_order(builder, split, _BATCH):
        rows = slice(row, row + len(images))
        x[rows] = images
        if labels is not None:
            labels[rows] = classes
        row = rows.stop
    if row != count:
        raise ValueError(f"{row} of {count} {split} examples found")
    return x, labels


def has_labels(builder: Any) -> bool:
    """Returns whether a set has one class label for each example."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    return "label" in features and isinstance(features["label"], tfds.features.ClassLabel)


def batches_in_order(
    builder: Any, split: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yields images [B, ...] and class labels [B] of a split, in the order of its files."""
    import tensorflow_datasets as tfds

    keep = {"image": True, **({"label": True} if has_labels(builder) else {})}
    # Further features may differ in size between examples, which cannot be batched.
    others = set(builder.info.features) - set(keep)
    stored = builder.as_dataset(
        split=split,
        batch_size=batch_size,
        decoders=tfds.decode.PartialDecoding(keep) if others else None,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    for batch in tfds.as_numpy(stored):
        yield batch["image"], batch.get("label")
