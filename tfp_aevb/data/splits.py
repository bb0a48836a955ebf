"""The three splits of a data set, and the fixed rule that makes the missing ones."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfp_aevb.data.stream import Stream

SPLIT_SEED = 6114
SPLIT_NAMES = ("train", "validation", "test")
MAX_VALIDATION = 5000


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        x: [N, D] uint8 or float32, each example flattened row by row.
        labels: [N] int64, or None when the source has none.
        weights: [N] float64, how often each example counts; None: once.
    """

    x: np.ndarray
    labels: np.ndarray | None
    weights: np.ndarray | None = None

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The split made of these rows, in this order."""
        labels, weights = (None if part is None else part[rows] for part in self._beside)
        return Split(self.x[rows], labels, weights)

    def followed_by(self, other: "Split") -> "Split":
        """The examples of this split, then those of another; labels only if both have some."""
        labels, weights = (
            None if first is None or second is None else np.concatenate([first, second])
            for first, second in zip(self._beside, other._beside, strict=True)
        )
        return Split(np.concatenate([self.x, other.x]), labels, weights)

    @property
    def num_used(self) -> int:
        """How many examples count."""
        return len(self.x) if self.weights is None else int((self.weights > 0.0).sum())

    @property
    def _beside(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.labels, self.weights


@dataclasses.dataclass(frozen=True)
class RawData:
    """A data set before binarisation.

    Attributes:
        splits: the train, validation and test splits by name.
        image_shape: (H, W), (H, W, 3), or () when the data are not images.
        source: where the data came from, in words.
        split_rule: how the splits were made, in words.
        stream: the train split to read as it is needed; `splits` then has examples of it.
    """

    splits: Mapping[str, Split]
    image_shape: tuple[int, ...]
    source: str
    split_rule: str
    stream: Stream | None = None


def split_generator() -> np.random.RandomState:
    """The generator of every fixed split.

    NumPy freezes the stream of `RandomState`; that of `Generator` may change between releases,
    and a split which changes with NumPy is not fixed.
    """
    return np.random.RandomState(SPLIT_SEED)


def stratified_splits(
    x: np.ndarray, labels: np.ndarray, validation: int, test: int
) -> dict[str, Split]:
    """Splits with the same number of examples of each class, each in a shuffled order.

    Args:
        x: [N, D].
        labels: [N] int.
        validation: examples of each class in the validation split.
        test: examples of each class in the test split.
    """
    rng = split_generator()
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLIT_NAMES}
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        parts["test"].append(rows[:test])
        parts["validation"].append(rows[test : test + validation])
        parts["train"].append(rows[test + validation :])
    whole = Split(x, labels)
    return {name: whole.take(rng.permutation(np.concatenate(parts[name]))) for name in SPLIT_NAMES}


def complete_splits(
    given: Mapping[str, Split], where: str, sizes: Mapping[str, int] | None = None
) -> tuple[dict[str, Split], str]:
    """Takes the splits which are missing from the end of a permuted train split.

    Without `sizes`, a tenth of the train split each (at least one example), and no more than
    5,000 for a validation split when the source has a test split of its own.

    Args:
        given: "train", and "validation" and "test" where the source has them.
        where: what an error message starts with.
        sizes: examples to take for each missing split.

    Returns:
        The three splits, and the rule in words.

    Raises:
        ValueError: the train split has too few examples.
    """
    missing = [name for name in SPLIT_NAMES if name not in given]
    if not missing:
        return {name: given[name] for name in SPLIT_NAMES}, "all three splits as in the source"
    count = len(given["train"].x)
    if sizes is None:
        sizes = {name: max(1, count // 10) for name in missing}
        if missing == ["validation"]:
            sizes["validation"] = min(MAX_VALIDATION, sizes["validation"])
    end = count - sum(sizes[name] for name in missing)
    if end < 1:
        raise ValueError(
            f"{where}: {count} train examples are too few to take the missing "
            f"{' and '.join(missing)} from; expected at least {len(missing) + 1}"
        )
    rows = split_generator().permutation(count)
    splits = dict(given) | {"train": given["train"].take(rows[:end])}
    for name in missing:
        splits[name] = given["train"].take(rows[end : end + sizes[name]])
        end += sizes[name]
    taken = ", ".join(f"{sizes[name]} {name}" for name in missing)
    return splits, f"{taken} examples from the end of the permuted train split"
