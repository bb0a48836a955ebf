"""Codes of data sets: values, batches, files in and out."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_mean, assert_one_line, binary_data, small_model
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.codes import (
    Codes,
    encode_all,
    encode_batches,
    input_parts,
    open_input,
    padded_batches,
    write_codes,
)


@pytest.mark.compile
def test_codes_are_the_posterior_s_moments_in_order() -> None:
    model, x = small_model(), binary_data(1203)
    found = encode_all(model, Observations(x))
    posterior = model.encode(x)
    np.testing.assert_allclose(found.loc, posterior.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.stddev, posterior.stddev(), rtol=1e-5)
    assert found.loc.dtype == found.stddev.dtype == np.float32


@pytest.mark.compile
def test_how_the_data_are_cut_does_not_change_the_codes() -> None:
    model = small_model()
    grey = np.random.default_rng(0).random([1203, 6]).astype(np.float32)

    def drawn(*slices: slice) -> Codes:
        parts = (Observations(grey[rows], dynamic_binarization=True) for rows in slices)
        batches = list(encode_batches(model, parts, seed=3))
        assert [len(batch.loc) for batch in batches] == [500, 500, 203]
        return Codes(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))

    whole, cut = drawn(slice(None)), drawn(slice(1000), slice(1000, None))
    np.testing.assert_array_equal(whole, cut)
    other = encode_all(model, Observations(grey, dynamic_binarization=True), seed=4)
    assert not np.allclose(other.loc, whole.loc)


def test_the_last_batch_is_padded_with_its_last_row() -> None:
    x = np.arange(10).reshape(5, 2)
    (first, full), (second, count) = padded_batches(x, 3)
    assert (full, count) == (3, 2)
    np.testing.assert_array_equal(first, x[:3])
    np.testing.assert_array_equal(second, x[[3, 4, 4]])


def test_an_npy_file_stays_on_disk(tmp_path: Path) -> None:
    x = binary_data(7)
    np.save(tmp_path / "x.npy", x)
    found, labels = open_input(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert labels is None
    np.testing.assert_array_equal(found, x)


def test_an_npz_file_has_x_and_maybe_labels(tmp_path: Path) -> None:
    x = binary_data(7)
    np.savez(tmp_path / "a.npz", x=x, labels=np.arange(7))
    found, labels = open_input(tmp_path / "a.npz")
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(labels, np.arange(7))
    np.savez(tmp_path / "b.npz", x=x)
    assert open_input(tmp_path / "b.npz")[1] is None


def test_inputs_that_cannot_be_read_are_one_line_errors(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "object.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.savez(tmp_path / "names.npz", y=np.zeros([3, 2]))
    np.savez(tmp_path / "labels.npz", x=np.zeros([3, 2]), labels=np.zeros(4, int))
    whole = (tmp_path / "flat.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    for name, error, part in (
        ("missing.npy", FileNotFoundError, "not a file"),
        ("text.npy", ValueError, "cannot be read"),
        ("object.npy", ValueError, "cannot be read"),
        ("cut.npy", ValueError, "cannot be read"),
        ("flat.npy", ValueError, "[5]"),
        ("names.npz", ValueError, "['y']"),
        ("labels.npz", ValueError, "[4], expected [3]"),
    ):
        path = tmp_path / name
        assert_one_line(partial(open_input, path), error, f"--input {path}", part)


@pytest.mark.parametrize("binarize", ["none", "threshold", "dynamic", "static"])
def test_pixels_are_scaled_and_binarised_as_the_run_s(binarize: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, [6000, 2, 3])
    parts = list(input_parts(pixels, binarize, "here"))
    assert [len(part) for part in parts] == [5000, 1000]
    seen = np.concatenate([part.x / part.scale for part in parts])
    flat = pixels.reshape(6000, 6) / 255.0
    expected = flat > 0.5 if binarize == "threshold" else flat
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    drawn = binarize in ("dynamic", "static")
    assert {part.dynamic_binarization for part in parts} == {drawn}


def test_what_is_in_the_unit_interval_keeps_its_scale() -> None:
    for x in (binary_data(20), binary_data(20).astype(np.int64), binary_data(20).astype(bool)):
        (part,) = input_parts(x, "none", "here")
        assert part.scale == 1.0
        np.testing.assert_array_equal(part.x, x)


def test_a_drawn_pixel_has_its_intensity_for_its_mean() -> None:
    # An encoder whose mean is x itself shows what it was given.
    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(x, tf.ones_like(x))

    prior = tfd.MultivariateNormalDiag(tf.zeros([6]), tf.ones([6]))
    model = small_model(prior=prior, encoder=encoder)
    pixels = np.tile(np.array([0, 51, 102, 153, 204, 255], np.uint8), [4000, 1])
    batches = encode_batches(model, input_parts(pixels, "dynamic", "here"), seed=1)
    seen = np.concatenate([batch.loc for batch in batches])
    assert set(np.unique(seen)) == {0.0, 1.0}
    assert_mean(seen, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], standard_errors=4.0)


def test_inputs_that_are_not_data_are_one_line_errors() -> None:
    model = small_model()
    for x, part in (
        (np.full([3, 6], np.nan), "NaN"),
        (np.full([3, 6], 300), "300"),
        (np.full([3, 6], "a"), "dtype"),
        (binary_data(3, dim=5), "[6]"),
        (np.full([3, 6], 100, np.uint8), "binarise"),
    ):
        batches = encode_batches(model, input_parts(x, "none", "here"))
        assert_one_line(partial(list, batches), ValueError, part)


def two_batches() -> list[Codes]:
    rng = np.random.default_rng(0)
    return [Codes(*rng.random([2, n, 2]).astype(np.float32)) for n in (3, 2)]


@pytest.mark.parametrize("labelled", [True, False])
def test_csv_and_npz_give_the_codes_back(labelled: bool, tmp_path: Path) -> None:
    labels = np.arange(5) * 7 if labelled else None
    loc, stddev = (np.concatenate(arrays) for arrays in zip(*two_batches(), strict=True))
    for suffix in (".csv", ".npz"):
        assert write_codes(iter(two_batches()), labels, tmp_path / f"codes{suffix}") == 5
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(["loc", "stddev", *["labels"] * labelled])
        np.testing.assert_array_equal(arrays["loc"], loc)
        np.testing.assert_array_equal(arrays["stddev"], stddev)
        if labels is not None:
            np.testing.assert_array_equal(arrays["labels"], labels)
    with (tmp_path / "codes.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    names = ["loc_0", "loc_1", "stddev_0", "stddev_1"]
    assert header == ["row", *["label"] * labelled, *names]
    table = np.array(rows, np.float64)
    np.testing.assert_array_equal(table[:, 0], np.arange(5))
    if labels is not None:
        np.testing.assert_array_equal(table[:, 1], labels)
    np.testing.assert_array_equal(table[:, -4:].astype(np.float32), np.hstack([loc, stddev]))


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Codes]:
        yield two_batches()[0]
        raise ValueError("broken")

    for suffix in (".csv", ".npz"):
        path = tmp_path / f"codes{suffix}"
        path.write_text("old")
        assert_one_line(partial(write_codes, failing(), None, path), ValueError, "broken")
        assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_integers_are_divided_by_what_the_run_recorded() -> None:
    dark = np.array([[0, 1, 1]], np.uint8)
    bright = np.array([[0, 1, 1], [0, 255, 3]], np.int64)
    for x in (dark, bright):
        (part,) = input_parts(x, "none", "here", scale=255.0)
        assert part.scale == 255.0
        np.testing.assert_array_equal(part.x[0], [0, 1, 1])
    (part,) = input_parts(dark.astype(np.float32), "none", "here", scale=255.0)
    assert part.scale == 1.0  # as the likelihood sees them
    (part,) = input_parts(dark, "none", "here", scale=1.0)
    assert part.scale == 1.0
    counts = np.array([[0, 300, 2]])
    (part,) = input_parts(counts, "none", "here", pixels=False, scale=1.0)
    assert (part.scale, part.x.dtype) == (1.0, np.float32)
    np.testing.assert_array_equal(part.x, counts)


def test_arrays_of_another_scale_than_the_run_s_are_refused() -> None:
    def read(x: np.ndarray, binarize: str = "none", **options) -> list:
        return list(input_parts(x, binarize, "here", scale=255.0, **options))

    assert_one_line(lambda: read(np.array([[0.5, 200.0]])), ValueError, "here", "divided by 255")
    zeros_and_ones = np.array([[0, 1]], np.uint8)
    assert_one_line(lambda: read(zeros_and_ones, "threshold"), ValueError, "here", "bool")
    (part,) = read(zeros_and_ones.astype(bool), "threshold")
    np.testing.assert_array_equal(part.x, [[0, 1]])
    beyond = np.array([[0, 2**24 + 1]])
    assert_one_line(lambda: read(beyond, pixels=False), ValueError, "here", "float32")
    assert_one_line(lambda: read(beyond), ValueError, "here", "0 to 255")
