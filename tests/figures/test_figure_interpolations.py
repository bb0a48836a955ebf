import numpy as np
import pytest

from tfp_aevb.figures import (
    image_grid,
    interpolations_figure,
    linear_path,
    save_figure,
    spherical_path,
)

START, END = np.array([3.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])


def test_a_linear_path_has_equal_steps() -> None:
    path = linear_path(START, END, 5)
    np.testing.assert_allclose(path[:, 0], [3.0, 2.25, 1.5, 0.75, 0.0])
    np.testing.assert_allclose(path[:, 1], [0.0, 0.5, 1.0, 1.5, 2.0])


def test_a_spherical_path_keeps_the_length_and_has_equal_angles() -> None:
    start, end = np.array([2.0, 0.0]), 2.0 * np.array([np.cos(1.2), np.sin(1.2)])
    path = spherical_path(start, end, 7)
    angles = np.linspace(0.0, 1.2, 7)
    expected = 2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(path, expected, atol=1e-12)


def test_a_spherical_path_goes_from_one_point_to_the_other() -> None:
    path = spherical_path(START, END, 9)
    np.testing.assert_allclose(path[[0, -1]], [START, END], atol=1e-12)
    assert np.linalg.norm(path, axis=1).min() > 2.0 - 1e-9
    middle = np.sin(np.pi / 4) * (START + END)
    np.testing.assert_allclose(path[4], middle)


@pytest.mark.parametrize("end", [[0.0, 0.0, 0.0], [6.0, 0.0, 0.0], [-3.0, 0.0, 0.0]])
def test_points_without_an_arc_between_them_have_a_straight_path(end: list[float]) -> None:
    found = spherical_path(START, np.array(end), 4)
    np.testing.assert_array_equal(found, linear_path(START, np.array(end), 4))


@pytest.mark.parametrize("path", [linear_path, spherical_path])
def test_a_path_has_two_points_at_least(path) -> None:
    with pytest.raises(ValueError, match=r"^`num` must be at least 2, got 1$"):
        path(START, END, 1)


def test_rows_are_data_path_data(tmp_path) -> None:
    rng = np.random.default_rng(0)
    starts, paths, ends = rng.random([2, 4, 3]), rng.random([2, 5, 4, 3]), rng.random([2, 4, 3])
    figure = interpolations_figure(starts, paths, ends)
    rows = [image for i in range(2) for image in (starts[i], *paths[i], ends[i])]
    shown = figure.axes[0].images[0]
    np.testing.assert_array_equal(shown.get_array(), image_grid(np.stack(rows), 7))
    assert shown.get_clim() == (0, 1)
    ticks = figure.axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, [1.0, 13.0, 25.0])  # centres of columns 0, 3 and 6
    colour = rng.random([1, 4, 4, 3])
    figure = interpolations_figure(colour, rng.random([1, 2, 4, 4, 3]), colour)
    assert save_figure(figure, tmp_path / "a.png", dpi=40).stat().st_size > 1000


@pytest.mark.parametrize(
    ("starts", "paths", "ends"),
    [((2, 4, 3), (2, 5, 4, 3), (1, 4, 3)), ((2, 4, 3), (1, 5, 4, 3), (2, 4, 3)),
     ((2, 4, 3), (2, 5, 3, 4), (2, 4, 3)), ((2, 4, 3), (2,), (2, 4, 3))],
)  # fmt: skip
def test_shapes_that_do_not_match_are_one_line_errors(starts, paths, ends) -> None:
    with pytest.raises(ValueError, match=r"^`starts`, `paths` and `ends` must have shapes"):
        interpolations_figure(np.zeros(starts), np.zeros(paths), np.zeros(ends))
