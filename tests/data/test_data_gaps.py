"""NaN for what is missing, from files to what the likelihood sees."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_one_line
from tfp_aevb import layers
from tfp_aevb.data import load_dataset
from tfp_aevb.data.binarize import binarize_pixels, is_binary
from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.runs.output_bias import start_output_bias

NAN = np.float32(np.nan)
X = np.array([[0.0, NAN, 1.0], [NAN, NAN, 0.25], [1.0, 0.75, NAN]], np.float32)


def test_files_keep_nan_where_it_is_allowed(tmp_path: Path) -> None:
    path = str(tmp_path / "gaps.npy")
    np.save(path, np.repeat(X, 4, axis=0))
    assert_one_line(lambda: load_dataset(path), ValueError, "gaps.npy", "NaN", "--missing")
    dataset = load_dataset(path, allow_missing=True)
    assert dataset.allow_missing
    every = np.concatenate([getattr(dataset, n).x for n in ("train", "validation", "test")])
    assert np.isnan(every).sum() == 4 * np.isnan(X).sum()
    np.save(path, np.full([12, 3], np.inf))
    assert_one_line(lambda: load_dataset(path, allow_missing=True), ValueError, "infinity")


@pytest.mark.parametrize("method", ["threshold", "static"])
def test_binarised_gaps_stay_gaps(method: str) -> None:
    x = np.repeat(X, 4000, axis=0)
    found = binarize_pixels(x, 1.0, method, 3)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    known = found[~np.isnan(x)]
    assert set(known) == {0.0, 1.0}
    share = found[x == 0.25].mean()
    assert share == (0.0 if method == "threshold" else pytest.approx(0.25, abs=0.03))
    # The draws are those of the same data without gaps.
    filled = binarize_pixels(np.nan_to_num(x), 1.0, method, 3)
    np.testing.assert_array_equal(known, filled[~np.isnan(x)])


def test_what_is_not_missing_is_checked() -> None:
    assert is_binary(np.array([[0.0, NAN, 1.0]]), 1.0)
    assert not is_binary(X, 1.0)
    parts = ("[0, 1]", "2")
    assert_one_line(lambda: binarize_pixels(2.0 * X, 1.0, "static"), ValueError, *parts)
    wide = Observations(2.0 * X, allow_missing=True)
    for support in ("binary", "unit", "counts"):
        assert_one_line(lambda support=support: wide.check_support(support), ValueError)
    binary = np.where(np.isnan(X), X, np.round(X))
    for support in ("binary", "unit", "counts", "codes:2", "levels", "real"):
        Observations(binary, allow_missing=True).check_support(support)
        Observations(np.full([2, 3], NAN), allow_missing=True).check_support(support)
    drawn = lambda x: Observations(x, dynamic_binarization=True, allow_missing=True)  # noqa: E731
    assert drawn(X).x is X
    assert_one_line(lambda: drawn(2.0 * X), ValueError, "dynamic binarisation", "2")


def test_dynamic_binarisation_draws_what_is_known() -> None:
    x = tf.constant(np.repeat(X, 4000, axis=0))
    found = read_values(x, 1.0, True, tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    assert set(found[~np.isnan(found)]) == {0.0, 1.0}
    assert found[x.numpy() == 0.25].mean() == pytest.approx(0.25, abs=0.03)


def test_the_output_bias_starts_at_the_mean_of_what_is_known() -> None:
    tf_keras.utils.set_random_seed(1)
    likelihood = layers.GaussianLikelihood(3, (), variance=1.0, allow_missing=True)
    likelihood(tf.zeros([1, 2]))
    start_output_bias(likelihood, Observations(X, allow_missing=True))
    np.testing.assert_allclose(likelihood.network.output_bias, [0.5, 0.75, 0.625], rtol=1e-6)
