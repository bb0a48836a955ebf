import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_mean, assert_one_line, binary_data
from tfp_aevb.data.observations import Observations, as_observations, is_array, read_values

GREY = np.array([[0, 51, 255], [102, 0, 204]], np.uint8)


@pytest.mark.parametrize(
    "convert", [np.asarray, np.ndarray.tolist, tf.constant], ids=["array", "list", "tensor"]
)
def test_arrays_lists_and_tensors_are_read_alike(convert: Callable) -> None:
    x = convert(binary_data(4, 3))
    observations = as_observations(x)
    assert is_array(x)
    assert observations.x.dtype == np.float32
    np.testing.assert_array_equal(observations.x, binary_data(4, 3))


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(np.uint8, np.uint8), (bool, np.float32), (np.int64, np.float32), (np.float64, np.float32)],
)
def test_bytes_stay_bytes_and_the_rest_becomes_float32(dtype: type, kept: type) -> None:
    observations = Observations(np.ones([3, 2], dtype))
    assert observations.x.dtype == kept
    np.testing.assert_array_equal(observations.x, np.ones([3, 2]))


def test_length_event_shape_and_slices() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    observations = Observations(x, scale=255.0, dynamic_binarization=True)
    assert (len(observations), observations.event_shape) == (4, (3, 2))
    part = observations[1:3]
    np.testing.assert_array_equal(part.x, x[1:3])
    assert (part.scale, part.dynamic_binarization) == (255.0, True)


def test_observations_are_passed_through() -> None:
    observations = Observations(GREY)
    assert as_observations(observations) is observations
    assert is_array(observations)
    assert not is_array(tf.data.Dataset.range(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_are_refused_by_row(value: float) -> None:
    x = np.ones([5, 3])
    x[3, 1] = value
    assert_one_line(lambda: Observations(x), ValueError, "NaN", "infinite", "row 3")


def test_values_too_large_for_float32_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_one_line(lambda: Observations(np.full([2, 2], 1e300)), ValueError, "row 0")


@pytest.mark.parametrize(
    "x",
    [
        np.ones(3),
        np.ones([0, 3]),
        np.ones([3, 0]),
        np.array([["a", "b"]]),
        np.ones([2, 2], complex),
        np.array([[None, 1.0]]),
        [[1.0, 2.0], [3.0]],
    ],
)
def test_what_is_not_an_array_of_datapoints_is_refused(x) -> None:
    assert_one_line(lambda: Observations(x), ValueError, "`x` must")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_bad_scale_is_refused(scale: float) -> None:
    assert_one_line(lambda: Observations(GREY, scale=scale), ValueError, "`scale`", str(scale))


def test_dynamic_binarization_needs_values_that_are_probabilities() -> None:
    assert_one_line(
        lambda: Observations(GREY, dynamic_binarization=True), ValueError, "[0, 255]", "`scale`"
    )
    Observations(GREY, scale=255.0, dynamic_binarization=True)


@pytest.mark.parametrize(
    ("x", "scale", "supports"),
    [
        (GREY, 255.0, {"unit", "real"}),
        (GREY, 1.0, {"real"}),
        (255 * binary_data(3, 4).astype(np.uint8), 255.0, {"binary", "unit", "real"}),
        (255 * binary_data(3, 4).astype(np.uint8), 1.0, {"real"}),
        (binary_data(3, 4).astype(np.uint8), 1.0, {"binary", "unit", "real"}),
        (binary_data(3, 4), 1.0, {"binary", "unit", "real"}),
        (0.5 * binary_data(3, 4), 1.0, {"unit", "real"}),
        (0.5 * binary_data(3, 4), 0.5, {"binary", "unit", "real"}),
        (-binary_data(3, 4), 1.0, {"real"}),
        (np.array([[0, 2]], np.uint8), 2.5, {"unit", "real"}),
    ],
)
def test_supports_are_checked_in_the_units_the_model_sees(x, scale, supports) -> None:
    observations = Observations(x, scale=scale)
    for support in ("binary", "unit", "real"):
        if support in supports:
            observations.check_support(support)
        else:
            assert_one_line(lambda s=support: observations.check_support(s), ValueError, "needs")


def test_a_single_byte_outside_the_support_is_found_anywhere() -> None:
    x = np.zeros([3, 1 << 17], np.uint8)  # more than one part
    for place in (0, (1 << 18) - 1, 1 << 18, x.size - 1):
        x.flat[place] = 7
        for support in ("binary", "codes:7"):
            check = partial(Observations(x).check_support, support)
            assert_one_line(check, ValueError, "found 7")
        x.flat[place] = 1
    for support in ("binary", "codes:7"):
        Observations(x).check_support(support)


def test_the_binary_message_names_a_grey_value_and_the_ways_out() -> None:
    observations = Observations(np.array([[0.0, 0.25, 1.0]]))
    assert_one_line(
        lambda: observations.check_support("binary"), ValueError, "0.25", "`allow_grey`", "dynamic"
    )


def test_binarised_observations_have_binary_support() -> None:
    Observations(GREY, scale=255.0, dynamic_binarization=True).check_support("binary")


def test_values_are_read_scaled_in_float32() -> None:
    x = read_values(tf.constant(GREY), 255.0, False, tf.constant([1, 2]))
    assert x.dtype == tf.float32
    np.testing.assert_allclose(x, GREY / 255.0, rtol=1e-6)


def test_binarised_values_are_draws_with_the_pixels_as_means() -> None:
    values = tf.tile(tf.constant(GREY)[:1], [1_000_000, 1])
    x = read_values(values, 255.0, True, tf.constant([1, 2])).numpy()
    assert set(np.unique(x)) == {0.0, 1.0}
    assert_mean(x, GREY[0] / 255.0)
    assert len(np.unique(x[:100], axis=0)) == 2


def test_binarisation_depends_on_the_seed_alone() -> None:
    values = tf.constant(np.full([50, 4], 128, np.uint8))
    draws = [read_values(values, 255.0, True, tf.constant(s)).numpy() for s in ([1, 2], [1, 3])]
    np.testing.assert_array_equal(draws[0], read_values(values, 255.0, True, tf.constant([1, 2])))
    assert (draws[0] != draws[1]).any()
