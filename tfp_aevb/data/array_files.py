"""The user's own arrays, from .npy and .npz files."""

import pathlib
from collections.abc import Callable

import numpy as np

from tfp_aevb.data import arrays, npy, splits

SUFFIXES = (".npy", ".npz")
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
} | {"x": ("train", False), "labels": ("train", True), "y": ("train", True)}


def load_file(name: str, allow_missing: bool = False, pixels: bool = True) -> splits.RawData:
    """Reads a .npy file (one array, to be split) or a .npz file (arrays named for splits).

    A .npz file holds `train` (or `x_train`, or `x`), and may hold `validation`, `test` (or `x_val`,
    `x_test`) and labels (`labels_train` or `y_train`, and so on;
    `labels` or `y` beside `x`). Missing splits are taken
    from the train split by the fixed rule.

    Args:
        name: path of the file.
        allow_missing: accept NaN, for what is missing.
        pixels: whether integers are pixels, not counts or codes.

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
        given_arrays, labels = {"train": npy.read_file(path, where)}, dict[str, np.ndarray]()
    else:
        given_arrays, labels = _read_npz(path, where)

    compact = {
        key: arrays.compact_array(x, f"{where}, {key}", allow_missing, pixels)
        for key, x in given_arrays.items()
    }
    if not pixels and len({x.dtype for x in compact.values()}) > 1:  # counts below 256 in one split
        compact = {key: x.astype(np.float32) for key, x in compact.items()}
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


def _read_npz(
    path: pathlib.Path, where: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of pixels and of labels, by split."""
    pixels: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for name, array in npy.read_archive(path, where, _check_names(where)).items():
        split, is_labels = _NPZ_NAMES[name]
        target = labels if is_labels else pixels
        if split in target:
            raise ValueError(f"{where} holds two arrays for {split}; keep one of them")
        target[split] = array
    orphans = sorted(set(labels) - set(pixels))
    if orphans:
        raise ValueError(f"{where} holds labels of {orphans[0]} but no examples; add the examples")
    return pixels, labels


def _check_names(where: str) -> Callable[[list[str]], None]:
    """Returns what refuses an archive by its arrays' names, before any is read."""

    def check(names: list[str]) -> None:
        if set(names) - set(_NPZ_NAMES) or not {"train", "x_train", "x"} & set(names):
            raise ValueError(
                f"{where} holds arrays {sorted(names)}; expected `train` and optionally "
                f"`validation`, `test`, `labels_train`, `labels_validation`, `labels_test` "
                f"(or x_train, y_train, x_val, ..., or x and labels) and no others"
            )

    return check
