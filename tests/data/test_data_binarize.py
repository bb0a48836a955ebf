"""Tests of tfp_aevb.data.binarize."""

import numpy as np
import pytest

from tfp_aevb.data import binarize_pixels
from tfp_aevb.data.binarize import is_binary


def test_threshold_is_above_one_half_exactly() -> None:
    pixels = np.arange(256, dtype=np.uint8)[:, None]
    out = binarize_pixels(pixels, 255.0, "threshold")
    assert out.dtype == np.uint8
    assert np.flatnonzero(out[:, 0]).tolist() == list(range(128, 256))


def test_threshold_separates_floats_one_percent_apart() -> None:
    x = np.array([[0.0, 0.496, 0.5, 0.504, 1.0]], np.float32)
    assert binarize_pixels(x, 1.0, "threshold").tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize("pixel", [51, 128, 229])
def test_static_draws_have_the_intensity_as_their_mean(pixel: int) -> None:
    draws = 4_000_000
    x = np.full((5000, draws // 5000), pixel, np.uint8)
    p = pixel / 255
    out = binarize_pixels(x, 255.0, "static", seed=3)
    error = np.sqrt(p * (1 - p) / draws)
    assert 0.01 * p > 9 * error  # a probability one percent off lies beyond twice the tolerance
    assert abs(out.mean() - p) < 4.5 * error
    assert set(np.unique(out)) == {0, 1}


def test_static_draws_are_independent_between_pixels_and_rows() -> None:
    x = np.full((10_000, 40), 0.5, np.float32)
    signs = 2.0 * binarize_pixels(x, 1.0, "static", seed=5) - 1.0
    tolerance = 4.5 / np.sqrt(signs.size)
    assert abs(np.mean(signs[:, 1:] * signs[:, :-1])) < tolerance
    for lag in (1, 4096):  # 4096 rows are drawn at a time
        assert abs(np.mean(signs[lag:] * signs[:-lag])) < 4.5 / np.sqrt(signs[lag:].size)


def test_static_extremes_are_certain() -> None:
    x = np.tile(np.array([0, 255], np.uint8), (20_000, 1))
    out = binarize_pixels(x, 255.0, "static")
    assert (out == [0, 1]).all()


def test_static_is_fixed_by_its_seed() -> None:
    x = np.full((50, 40), 0.5, np.float32)
    first = binarize_pixels(x, 1.0, "static", seed=1)
    assert (first == binarize_pixels(x, 1.0, "static", seed=1)).all()
    assert (first != binarize_pixels(x, 1.0, "static", seed=2)).any()
    assert (first != binarize_pixels(x, 1.0, "static", seed=[1, 1])).any()


@pytest.mark.parametrize("method", ["none", "dynamic"])
def test_methods_left_to_others_return_the_array_itself(method: str) -> None:
    x = np.array([[0, 7, 255]], np.uint8)
    assert binarize_pixels(x, 255.0, method) is x


@pytest.mark.parametrize("method", ["none", "threshold", "static", "dynamic"])
def test_binary_data_keep_their_values(method: str) -> None:
    x = np.random.RandomState(0).randint(0, 2, (300, 20)).astype(np.uint8)
    assert is_binary(x, 1.0)
    assert (binarize_pixels(x, 1.0, method) == x).all()


def test_is_binary_sees_one_grey_pixel_in_the_last_row() -> None:
    x = np.zeros((5000, 3), np.uint8)
    x[:, 0] = 255
    assert is_binary(x, 255.0)
    x[-1, 2] = 254
    assert not is_binary(x, 255.0)


@pytest.mark.parametrize("method", ["threshold", "static", "dynamic"])
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_intensities_outside_the_unit_interval_are_refused(method: str, value: float) -> None:
    x = np.array([[0.5, value]], np.float32)
    with pytest.raises(ValueError, match=f"^`binarize={method}` needs intensities in") as caught:
        binarize_pixels(x, 1.0, method)
    assert "\n" not in str(caught.value)
    assert binarize_pixels(x, 1.0, "none") is x


def test_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="otsu") as caught:
        binarize_pixels(np.zeros((1, 1), np.uint8), 1.0, "otsu")
    assert str(caught.value) == (
        "`binarize` is 'otsu'; expected one of none, threshold, static, dynamic"
    )
