"""The user's own arrays, from .npy and .npz files."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from tfp_aevb.data import arrays, npy, splits
from tfp_aevb.data.weights import as_weights

SUFFIXES = (".npy", ".npz")
_ALIASES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
# Array name in an .npz file -> (split, what it holds of it).
_NPZ_NAMES = {
    prefix + alias: (split, "labels" if prefix in ("labels_", "y_") else "examples")
    for split, aliases in _ALIASES.items()
    for alias in aliases
    for prefix in ("", "x_", "labels_", "y_")
} | {"x": ("train", "examples"), "labels": ("train", "labels"), "y": ("train", "labels")}


def load_file(
    name: str, allow_missing: bool = False, pixels: bool = True, weights: str | None = None
) -> splits.RawData:
    """Reads a .npy file (one array, to be split) or a .npz file (arrays named for splits).

    A .npz file holds `train` (or `x_train`, or `x`), and may hold `validation`, `test` (or `x_val`,
    `x_test`) and labels (`labels_train` or `y_train`, and so on;
    `labels` or `y` beside `x`). Missing splits are taken
    from the train split by the fixed rule.

    Args:
        name: path of the file.
        allow_missing: accept NaN, for what is missing.
        pixels: whether integers are pixels, not counts or codes.
        weights: of a .npz file, the name of arrays `NAME_train` (or `NAME`), `NAME_validation` and
            `NAME_test` that say how often each example counts; one for each split in the file.

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
        found = {"examples": {"train": npy.read_file(path, where)}}
    else:
        found = _read_npz(path, where, weights)
    given_arrays, labels = found["examples"], found.get("labels", {})
    if weights and set(found.get("weights", {})) != set(given_arrays):
        raise ValueError(
            f"{where} must hold weights for each of its splits {sorted(given_arrays)}, as arrays "
            f"{weights}_train and so on; it has them for {sorted(found.get('weights', {}))}"
        )

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
        classes, counts = labels.get(key), None
        if classes is not None:
            classes = arrays.compact_labels(classes, len(x), f"{where}, labels of {key}")
        if weights:
            try:
                counts = as_weights(found["weights"][key], len(x))
            except ValueError as error:
                raise ValueError(f"{where}, {weights} of {key}: {error}") from None
        given[key] = splits.Split(x.reshape(len(x), -1), classes, counts)
    complete, rule = splits.complete_splits(given, where)
    return splits.RawData(complete, arrays.image_shape_of(shape), f"file {name}", rule)


def _read_npz(
    path: pathlib.Path, where: str, weights: str | None
) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of examples, labels and weights, each by split."""
    names = dict(_NPZ_NAMES)
    if weights:
        own = {
            f"{weights}_{alias}": (s, "weights") for s, known in _ALIASES.items() for alias in known
        }
        own[weights] = ("train", "weights")
        if set(own) & set(names):
            raise ValueError(
                f"{where}: weights cannot be named {weights!r}, as examples or labels are"
            )
        names |= own
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in npy.read_archive(path, where, _check_names(where, names)).items():
        split, content = names[name]
        target = found.setdefault(content, {})
        if split in target:
            raise ValueError(f"{where} holds two arrays for {split}; keep one of them")
        target[split] = array
    for content in found:
        orphans = sorted(set(found[content]) - set(found["examples"]))
        if orphans:
            raise ValueError(
                f"{where} holds {content} of {orphans[0]} but no examples; add the examples"
            )
    return found


def _check_names(where: str, known: Mapping[str, tuple[str, str]]) -> Callable[[list[str]], None]:
    """Returns what refuses an archive by its arrays' names, before any is read."""

    def check(names: list[str]) -> None:
        if set(names) - set(known) or not {"train", "x_train", "x"} & set(names):
            raise ValueError(
                f"{where} holds arrays {sorted(names)}; expected `train` and optionally "
                f"`validation`, `test`, `labels_train`, `labels_validation`, `labels_test` (or "
                f"x_train, y_train, x_val, ..., or x and labels) and no others but those that "
                f"--weights names"
            )

    return check
