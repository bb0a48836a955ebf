import math

import numpy as np
import pytest

from tfp_aevb.figures import (
    image_grid,
    manifold_figure,
    manifold_grid,
    reconstructions_figure,
    samples_figure,
    save_figure,
)


def _images(count: int, height: int = 2, width: int = 3) -> np.ndarray:
    size = count * height * width
    return (np.arange(size, dtype=np.float32) / size).reshape(count, height, width)


def test_image_grid_places_each_pixel() -> None:
    a, b, c = np.array([[[0.1, 0.2]], [[0.3, 0.4]], [[0.5, 0.6]]], np.float32)
    grid = image_grid(np.stack([a, b, c]), columns=2, padding=1, background=0.9)
    expected = [
        [0.1, 0.2, 0.9, 0.3, 0.4],
        [0.9, 0.9, 0.9, 0.9, 0.9],
        [0.5, 0.6, 0.9, 0.9, 0.9],
    ]
    assert grid.dtype == np.float32
    np.testing.assert_array_equal(grid, np.array(expected, np.float32))


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize(
    ("count", "columns", "padding"), [(1, 1, 0), (5, 3, 2), (6, 3, 0), (2, 4, 1)]
)
def test_image_grid_cells_hold_the_images(count, columns, padding, colours) -> None:
    images = np.random.default_rng(0).random((count, 4, 5, *colours)).astype(np.float32)
    grid = image_grid(images, columns, padding, background=0.25)
    rows = math.ceil(count / columns)
    expected = (rows * (4 + padding) - padding, columns * (5 + padding) - padding, *colours)
    assert grid.shape == expected
    covered = np.zeros(grid.shape[:2], bool)
    for k in range(count):
        cell = np.s_[
            (k // columns) * (4 + padding) : (k // columns) * (4 + padding) + 4,
            (k % columns) * (5 + padding) : (k % columns) * (5 + padding) + 5,
        ]
        np.testing.assert_array_equal(grid[cell], images[k])
        covered[cell] = True
    assert (grid[~covered] == 0.25).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (5, 3), (100, 10)])
def test_image_grid_is_nearly_square_by_default(count: int, columns: int) -> None:
    assert image_grid(np.zeros((count, 2, 2)), padding=0).shape[1] == 2 * columns


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4)), r"non-empty array \[N, H, W\]"),
        (np.zeros((2, 4, 4, 4)), r"non-empty array \[N, H, W\]"),
        (np.zeros((0, 4, 4)), r"non-empty array \[N, H, W\]"),
        (np.full((1, 2, 2), np.nan), "finite"),
        (np.full((1, 2, 2), 1.01), r"must lie in \[0, 1\], got \[1.01, 1.01\]"),
        (np.full((1, 2, 2), -0.01), r"must lie in \[0, 1\]"),
        (np.full((1, 2, 2), 255, np.uint8), r"must lie in \[0, 1\], got \[255, 255\]"),
        (np.full((1, 2, 2), "a"), "real numbers"),
    ],
)
def test_wrong_images_are_one_line_errors(images: np.ndarray, message: str) -> None:
    for call in (image_grid, samples_figure, lambda x: manifold_figure(x, 1)):
        with pytest.raises(ValueError, match=message) as caught:
            call(images)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "`columns`"),
        ({"padding": -1}, "`padding`"),
        ({"background": 1.5}, "`background`"),
    ],
)
def test_wrong_grid_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message} must"):
        image_grid(_images(2), **arguments)


def test_samples_figure_shows_the_grid_unscaled() -> None:
    figure = samples_figure(_images(5) * 0.5)
    shown = figure.axes[0].images[0]
    np.testing.assert_array_equal(shown.get_array(), image_grid(_images(5) * 0.5))
    # A grey scale fitted to the data would hide that these samples are dark.
    assert shown.get_clim() == (0, 1)
    with pytest.raises(ValueError, match=r"^`columns` must"):
        samples_figure(_images(5), columns=0)


def test_reconstructions_lie_below_their_data() -> None:
    originals = _images(5)
    reconstructions = 1.0 - originals
    figure = reconstructions_figure(originals, reconstructions, columns=3)
    assert len(figure.axes) == 2
    for axis, chosen in zip(figure.axes, [slice(0, 3), slice(3, 5)], strict=True):
        shown = np.asarray(axis.images[0].get_array())
        pair = np.concatenate([originals[chosen], reconstructions[chosen]])
        np.testing.assert_array_equal(shown, image_grid(pair, chosen.stop - chosen.start))
        assert [label.get_text() for label in axis.get_yticklabels()] == ["data", "reconstruction"]
        # Centres of image rows of 2 pixels with 1 pixel between.
        assert list(axis.get_yticks()) == [0.5, 3.5]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == (-0.5, 10.5)


def test_reconstructions_must_match_the_data() -> None:
    with pytest.raises(ValueError, match=r"^`reconstructions` must have the shape"):
        reconstructions_figure(_images(4), _images(3))
    with pytest.raises(ValueError, match=r"^`reconstructions` must be finite"):
        reconstructions_figure(_images(4), np.full((4, 2, 3), np.nan))
    with pytest.raises(ValueError, match=r"^`columns` must"):
        reconstructions_figure(_images(4), _images(4), columns=0)


def test_manifold_grid_is_the_inverse_gaussian_cdf_of_cell_centres() -> None:
    num = 20
    points = manifold_grid(num)
    assert points.shape == (400, 2)
    assert points.dtype == np.float32
    cdf = np.vectorize(lambda z: 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))))(points)
    k = np.arange(num * num)
    np.testing.assert_allclose(cdf[:, 0], (k % num + 0.5) / num, rtol=1e-5)
    np.testing.assert_allclose(cdf[:, 1], (num - 1 - k // num + 0.5) / num, rtol=1e-5)


def test_manifold_grid_has_the_first_latent_rightwards_and_the_second_upwards() -> None:
    z = 0.6744898  # Upper quartile of N(0, 1).
    expected = [[-z, z], [z, z], [-z, -z], [z, -z]]
    np.testing.assert_allclose(manifold_grid(2), expected, rtol=1e-6)
    np.testing.assert_allclose(manifold_grid(1), [[0.0, 0.0]], atol=1e-7)


def test_a_manifold_grid_is_scaled_about_its_centre() -> None:
    z = 0.6744898  # Upper quartile of N(0, 1).
    found = manifold_grid(2, np.array([1.0, -5.0]), np.array([2.0, 0.1]))
    across, up = [1.0 - 2.0 * z, 1.0 + 2.0 * z], [-5.0 + 0.1 * z, -5.0 - 0.1 * z]
    np.testing.assert_allclose(found, [[x, y] for y in up for x in across], rtol=1e-6)


@pytest.mark.parametrize("moments", [None, (np.array([1.0, -5.0]), np.array([2.0, 0.5]))])
@pytest.mark.parametrize(("num", "ticks"), [(1, 1), (2, 2), (11, 6), (20, 10)])
def test_manifold_ticks_name_the_latent_values_of_their_cell(
    num: int, ticks: int, moments: tuple[np.ndarray, np.ndarray] | None
) -> None:
    height, width = 3, 2
    figure = manifold_figure(np.zeros((num * num, height, width)), num, moments=moments)
    axis = figure.axes[0]
    points = manifold_grid(num, *(moments or ())).reshape(num, num, 2)

    def number(label) -> float:
        return float(label.get_text().replace("\N{MINUS SIGN}", "-"))

    assert len(axis.get_xticks()) == len(axis.get_yticks()) == ticks
    for tick, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True):
        column = round((tick - (width - 1) / 2) / width)
        assert number(label) == pytest.approx(points[0, column, 0], abs=0.0051)
    for tick, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True):
        row = round((tick - (height - 1) / 2) / height)
        assert number(label) == pytest.approx(points[row, 0, 1], abs=0.0051)


def test_manifold_figure_places_the_images_without_gaps() -> None:
    images = _images(4)
    shown = manifold_figure(images, 2).axes[0].images[0].get_array()
    expected = np.block([[images[0], images[1]], [images[2], images[3]]])
    np.testing.assert_array_equal(shown, expected)
    with pytest.raises(ValueError, match=r"^`images` must hold num\^2 = 9 images, got 4$"):
        manifold_figure(images, 3)
    with pytest.raises(ValueError, match=r"^`num` must be at least 1"):
        manifold_grid(0)


def test_image_figures_draw_without_warnings(tmp_path) -> None:
    colour = np.random.default_rng(0).random((3, 4, 4, 3))
    for name, figure in {
        "samples": samples_figure(colour),
        "pairs": reconstructions_figure(colour, colour, columns=2),
        "manifold": manifold_figure(colour[:1], 1),
    }.items():
        assert save_figure(figure, tmp_path / f"{name}.png", dpi=40).stat().st_size > 1000
