"""Weights of datapoints in files: read, split with their rows, or refused with the place."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.data.columns import Column, standardised
from tfp_aevb.data.dataset import Dataset, load_dataset
from tfp_aevb.data.splits import SPLIT_NAMES

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(0, 4, 40).astype(np.float64)
X = RNG.normal(5.0, 2.0, [40, 2]).astype(np.float32)


def table(path: Path, weights: list[str] | None = None, name: str = "w") -> str:
    texts = [f"{w:g}" for w in COUNTS] if weights is None else weights
    with path.open("w", newline="") as file:
        rows = ([f"{a:.9g}", w, f"{b:.9g}"] for (a, b), w in zip(X, texts, strict=True))
        csv.writer(file).writerows([["a", name, "b"], *rows])
    return str(path)


def archive(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def assert_rows_keep_their_weights(dataset: Dataset) -> None:
    of_row = {tuple(row): weight for row, weight in zip(X, COUNTS, strict=True)}
    for name in SPLIT_NAMES:
        split = getattr(dataset, name)
        assert len(split.x) > 0
        np.testing.assert_array_equal(split.weights, [of_row[tuple(row)] for row in split.x])
    assert dataset.record["weights"]["total_train"] == dataset.train.weights.sum()


def test_a_column_of_a_table_goes_with_its_rows_and_is_not_modelled(tmp_path) -> None:
    dataset = load_dataset(table(tmp_path / "t.csv"), weights="w")
    assert [column.name for column in dataset.columns] == ["a", "b"]
    assert_rows_keep_their_weights(dataset)
    assert dataset.num_data == (dataset.train.weights > 0.0).sum()


def test_constants_of_a_table_are_those_of_repeated_rows(tmp_path) -> None:
    dataset = load_dataset(table(tmp_path / "t.csv"), weights="w")
    train = dataset.train
    repeated = np.repeat(train.x, train.weights.astype(int), axis=0).astype(np.float64)
    for column, mean, stddev in zip(
        dataset.columns, repeated.mean(0), repeated.std(0), strict=True
    ):
        assert column.shift == pytest.approx(mean, rel=1e-12)
        assert column.scale == pytest.approx(stddev, rel=1e-12)
    kinds = (Column("n", "count"), Column("p", "positive"))
    counts = RNG.poisson(3.0, [40, 2]) + 1.0
    found = standardised(kinds, counts, COUNTS)
    expected = standardised(kinds, np.repeat(counts, COUNTS.astype(int), axis=0))
    for one, other in zip(found, expected, strict=True):
        assert (one.shift, one.scale) == pytest.approx((other.shift, other.scale), rel=1e-12)


@pytest.mark.parametrize("names", [("train", "w"), ("x_train", "w_train")])
def test_an_array_of_an_archive_goes_with_its_rows(tmp_path, names: tuple[str, str]) -> None:
    path = archive(tmp_path / "a.npz", **dict(zip(names, (X, COUNTS), strict=True)))
    assert_rows_keep_their_weights(load_dataset(path, weights="w"))


def test_an_archive_has_weights_of_each_of_its_splits(tmp_path) -> None:
    parts = {"train": X[:30], "w_train": COUNTS[:30], "val": X[30:], "w_validation": COUNTS[30:]}
    assert_rows_keep_their_weights(load_dataset(archive(tmp_path / "a.npz", **parts), weights="w"))
    del parts["w_validation"]
    path = archive(tmp_path / "b.npz", **parts)
    assert_one_line(
        lambda: load_dataset(path, weights="w"), ValueError, "weights for each", "['train']"
    )


def test_parts_of_the_training_examples_keep_their_weights(tmp_path) -> None:
    dataset = load_dataset(table(tmp_path / "t.csv"), weights="w")
    assert_rows_keep_their_weights(dataset.with_num_train(7))
    assert_rows_keep_their_weights(dataset.with_validation_in_train())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("", "no weight"), ("-1", "no weight"), ("inf", "no weight"), ("much", "no weight")],
)
def test_cells_that_are_no_weights_are_refused_by_line(tmp_path, wrong: str, said: str) -> None:
    path = table(tmp_path / "t.csv", ["1"] * 4 + [wrong] + ["1"] * 35)
    assert_one_line(
        lambda: load_dataset(path, weights="w"), ValueError, "line 6", "column 'w'", said
    )


def test_n_is_said_and_must_be_something(tmp_path) -> None:
    dataset = load_dataset(table(tmp_path / "t.csv"), weights="w")
    total = dataset.train.weights.sum()
    assert any(f"N = {total:g}, " in note for note in dataset.notes)
    path = table(tmp_path / "small.csv", ["1e-30"] * 40)
    assert_one_line(lambda: load_dataset(path, weights="w"), ValueError, "add up to 3.2e-29")


def test_what_has_no_such_weights_is_refused(tmp_path) -> None:
    path = table(tmp_path / "t.csv")
    assert_one_line(lambda: load_dataset(path, weights="v"), ValueError, "'v'", "['a', 'w', 'b']")
    assert_one_line(
        lambda: load_dataset(path, weights="w", columns="w:real"), ValueError, "'w'", "--columns"
    )
    assert_one_line(lambda: load_dataset("mnist_5k", weights="w"), ValueError, "weights", "npz")
    path = archive(tmp_path / "a.npz", train=X, w=COUNTS)
    assert_one_line(lambda: load_dataset(path, weights="v"), ValueError, "'w'")
    assert_one_line(lambda: load_dataset(path, weights="train"), ValueError, "cannot be named")
    assert_one_line(lambda: load_dataset(path), ValueError, "'w'", "--weights")
    path = archive(tmp_path / "b.npz", train=X, w=COUNTS[:-1])
    assert_one_line(lambda: load_dataset(path, weights="w"), ValueError, "w of train", "[40]")
