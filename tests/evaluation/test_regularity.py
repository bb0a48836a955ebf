"""Regularity of latent spaces, against values computed by hand."""

import numpy as np
import pytest

from tests.helpers import assert_mean, assert_one_line
from tfp_aevb.evaluation import regularity
from tfp_aevb.figures import linear_path


def test_the_error_is_over_all_pixels() -> None:
    x = np.array([[0.0, 1.0], [0.5, 0.5]])
    found = regularity.root_mean_square_error(x, np.array([[0.3, 1.0], [0.5, 0.1]]))
    assert found == pytest.approx(np.sqrt((0.09 + 0.16) / 4))


def test_error_of_another_shape_is_refused() -> None:
    x = np.zeros([2, 3])
    for bad in (np.zeros([2, 4]), np.zeros([3]), np.zeros([0, 3])):
        assert_one_line(
            lambda bad=bad: regularity.root_mean_square_error(x, bad), ValueError, "[N, D]"
        )


def test_a_path_is_measured_by_its_length_and_its_largest_step() -> None:
    corner = [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]  # 3 and 4 long, ends 5 apart
    uneven = [[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]  # straight, steps 1 and 3
    still = [[2.0, 2.0]] * 3
    back = [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    found = regularity.continuity(np.array([corner, uneven, still, back], np.float32))
    np.testing.assert_allclose(found.stretch, [1.4, 1.0, 1.0, np.inf])
    np.testing.assert_allclose(found.jump, [4.0 / 3.5, 1.5, 1.0, 1.0])


def test_a_linear_decoder_moves_evenly_straight() -> None:
    rng = np.random.default_rng(0)
    paths = linear_path(rng.normal(size=[6, 1, 2]), rng.normal(size=[6, 1, 2]), 20)
    found = regularity.continuity(paths @ rng.normal(size=[2, 7]) + 3.0)
    np.testing.assert_allclose(np.concatenate(found), 1.0, rtol=1e-9)


def test_a_leap_is_as_large_as_the_path_has_steps() -> None:
    path = np.concatenate([np.zeros([9, 4]), np.ones([11, 4])])[np.newaxis]
    assert regularity.continuity(path).jump == pytest.approx(19.0)


def test_paths_of_one_point_are_refused() -> None:
    assert_one_line(
        lambda: regularity.continuity(np.zeros([3, 1, 2])), ValueError, "`paths`", "(3, 1, 2)"
    )


def test_the_nearest_is_found_and_its_distance_is_per_pixel() -> None:
    x = np.array([[0.0, 0.0, 0.0, 0.0], [10.0, 10.0, 10.0, 10.0]])
    others = np.array([[1.0, 1.0, 1.0, 1.0], [9.0, 9.0, 9.0, 4.0], [0.0, 0.0, 0.0, 3.0]])
    expected = [1.0, np.sqrt((1 + 1 + 1 + 36) / 4)]
    np.testing.assert_allclose(regularity.nearest_distances(x, others), expected)
    expected = [1.0, np.sqrt((1 + 1 + 1 + 36) / 4), 1.5]
    np.testing.assert_allclose(regularity.nearest_distances(others, x), expected)


def test_distances_equal_those_of_a_loop_far_from_the_origin() -> None:
    rng = np.random.default_rng(1)
    x, others = rng.random([30, 5]) + 1e4, rng.random([40, 5]) + 1e4
    looped = [min(np.sqrt(np.mean((a - b) ** 2)) for b in others) for a in x]
    np.testing.assert_allclose(regularity.nearest_distances(x, others), looped, rtol=1e-7)
    same = regularity.nearest_distances(x, x)
    np.testing.assert_array_equal(same, 0.0)


def test_angles_are_those_between_the_planes() -> None:
    x_axis, y_axis, z_axis = np.eye(3)
    tilted = np.cos(0.5) * y_axis + np.sin(0.5) * z_axis
    found = regularity.principal_angles(np.stack([x_axis, y_axis]), np.stack([tilted, x_axis]))
    np.testing.assert_allclose(found, [np.degrees(0.5), 0.0], atol=1e-6)
    # Directions of other lengths and with other combinations span the same plane.
    mixed = np.stack([3.0 * x_axis + y_axis, x_axis - 2.0 * y_axis])
    found = regularity.principal_angles(np.stack([x_axis, y_axis]), mixed)
    np.testing.assert_allclose(found, 0.0, atol=1e-5)
    np.testing.assert_allclose(regularity.principal_angles(x_axis[None], z_axis[None]), 90.0)


def test_a_gaussian_has_the_moments_of_the_codes() -> None:
    codes = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 7.0]], np.float32)
    found = regularity.fit_gaussian(codes)
    np.testing.assert_allclose(found.mean, [2.0, 3.0])
    np.testing.assert_allclose(found.covariance, [[4.0, 6.0], [6.0, 12.0]])
    draws = found.draw(20_000, np.random.default_rng(0))
    assert_mean(draws, found.mean)
    centred = draws - found.mean
    assert_mean(centred[:, :, None] * centred[:, None, :], found.covariance)
    one = regularity.fit_gaussian(codes[:, :1])
    np.testing.assert_allclose(one.covariance, [[4.0]])
    assert one.draw(3, np.random.default_rng(0)).shape == (3, 1)
