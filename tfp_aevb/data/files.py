"""The user's own arrays, from .npy and .npz files."""

import math
import os
import pathlib
import zipfile
from typing import IO

import numpy as np

from tfp_aevb.data import arrays, splits

SUFFIXES = (".npy", ".npz")
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ALIASES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
# Array name in an .npz file -> (split, whether it holds labels).
_NPZ_NAMES = {
    prefix + alias: (split, prefix in ("labels_", "y_"))
    for split, aliases in _ALIASES.items()
    for alias in aliases
    for prefix in ("", "x_", "labels_", "y_")
}


def load_file(name: str) -> splits.RawData:
    """Reads a .npy file (one array, to be split) or a .npz file (arrays named for splits).

    A .npz file holds `train` (or `x_train`), and may hold `validation`, `test` (or `x_val`,
    `x_test`) and labels (`labels_train` or `y_train`, and so on). Missing splits are taken
    from the train split by the fixed rule.

    Args:
        name: path of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or its arrays do not make a data set.
    """
    path = pathlib.Path(name).expanduser()
    where = f"dataset file {name!r}"
    if not path.exists():
        raise FileNotFoundError(f"{where} does not exist; check the path")
    if not path.is_file():
        raise ValueError(f"{where} is not a file; expected a .npy or .npz file")
    if path.suffix.lower() == ".npy":
        pixels, labels = {"train": _read_npy(path, where)}, dict[str, np.ndarray]()
    else:
        pixels, labels = _read_npz(path, where)

    compact = {key: arrays.compact_array(x, f"{where}, {key}") for key, x in pixels.items()}
    shape = compact["train"].shape[1:]
    given = {}
    for key, x in compact.items():
        if x.shape[1:] != shape or x.dtype != compact["train"].dtype:
            raise ValueError(
                f"{where}, {key}: examples are {x.dtype} of shape {x.shape[1:]}, those of train "
                f"{compact['train'].dtype} of shape {shape}; expected the same in every split"
            )
        found = labels.get(key)
        if found is not None:
            found = arrays.compact_labels(found, len(x), f"{where}, labels of {key}")
        given[key] = splits.Split(x.reshape(len(x), -1), found)
    complete, rule = splits.complete_splits(given, where)
    return splits.RawData(complete, arrays.image_shape_of(shape), f"file {name}", rule)


def _read_npy(path: pathlib.Path, where: str) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            return _read_array(stream, os.path.getsize(path), where)
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {arrays.one_line(error)}") from error


def _read_npz(
    path: pathlib.Path, where: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of pixels and of labels, by split."""
    pixels: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{where} cannot be read ({arrays.one_line(error)}); write it again with numpy.savez"
        ) from error
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        unknown = sorted(set(members) - set(_NPZ_NAMES))
        if unknown or not {"train", "x_train"} & set(members):
            raise ValueError(
                f"{where} holds arrays {sorted(members)}; expected `train` and optionally "
                f"`validation`, `test`, `labels_train`, `labels_validation`, `labels_test` "
                f"(or x_train, y_train, x_val, ...) and no others"
            )
        for name, info in members.items():
            split, is_labels = _NPZ_NAMES[name]
            target = labels if is_labels else pixels
            if split in target:
                raise ValueError(f"{where} holds two arrays for {split}; keep one of them")
            here = f"{where}, {name}"
            try:
                stream = archive.open(info)
            except Exception as error:  # an untrusted file fails in many ways
                raise _damaged(here, arrays.one_line(error)) from error
            with stream:
                target[split] = _read_array(stream, info.file_size, here)
    orphans = sorted(set(labels) - set(pixels))
    if orphans:
        raise ValueError(f"{where} holds labels of {orphans[0]} but no examples; add the examples")
    return pixels, labels


def _read_array(stream: IO[bytes], size: int, where: str) -> np.ndarray:
    """Reads one .npy stream of `size` bytes, and allocates no more than these.

    NumPy's own reader allocates what the header declares before it reads.
    """
    try:
        shape, fortran_order, dtype = _HEADER_READERS[np.lib.format.read_magic(stream)](stream)
        start = stream.tell()
    except Exception as error:  # an untrusted file fails in many ways
        raise _damaged(where, f"no valid .npy header: {arrays.one_line(error)}") from error
    arrays.check_dtype(dtype, where)
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != size - start:
        raise _damaged(
            where,
            f"its header declares shape {shape} of {dtype}, the file has {size - start} bytes",
        )
    try:
        data = stream.read(declared + 1)  # one more, to reach the end: only there zip checks CRC
    except Exception as error:
        raise _damaged(where, arrays.one_line(error)) from error
    if len(data) != declared:
        raise _damaged(where, f"{declared} bytes declared, {len(data)} found")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _damaged(where: str, reason: str) -> ValueError:
    return ValueError(f"{where} is damaged ({reason}); write it again with numpy.save or savez")
