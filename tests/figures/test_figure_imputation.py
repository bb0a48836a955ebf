from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tfp_aevb.figures import imputation_figure
from tfp_aevb.figures.style import SKY_BLUE

RNG = np.random.default_rng(0)
MEAN = RNG.random((3, 4, 5))
STDDEV = 0.5 * RNG.random((3, 4, 5))
DRAWS = RNG.random((2, 3, 4, 5))
OBSERVED = np.where(RNG.random((3, 4, 5)) < 0.5, np.nan, MEAN)


def cell(picture: Any, row: int, column: int) -> np.ndarray:
    return picture[row * 5 : row * 5 + 4, column * 6 : column * 6 + 5]


def test_each_row_shows_its_images() -> None:
    originals = RNG.random((3, 4, 5))
    (axis,) = imputation_figure(OBSERVED, MEAN, STDDEV, DRAWS, originals).axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [
        *("original", "observed", "mean", f"std. deviation\n(white: {STDDEV.max():.2g})"),
        *("draw 1", "draw 2"),
    ]
    picture: Any = axis.images[0].get_array()
    rows = {0: originals, 2: MEAN, 3: STDDEV / STDDEV.max(), 4: DRAWS[0], 5: DRAWS[1]}
    for row, images in rows.items():
        for column in range(3):
            shown = cell(picture, row, column)
            np.testing.assert_allclose(shown, np.repeat(images[column, ..., None], 3, -1), 1e-6)
    for column in range(3):
        shown, missing = cell(picture, 1, column), np.isnan(OBSERVED[column])
        np.testing.assert_allclose(shown[missing], [to_rgb(SKY_BLUE)] * missing.sum(), 1e-6)
        np.testing.assert_allclose(shown[~missing][:, 0], OBSERVED[column][~missing], 1e-6)
    assert len(picture) == 6 * 5 - 1


def test_colour_images_without_originals_or_uncertainty() -> None:
    images = RNG.random((2, 4, 5, 3))
    (axis,) = imputation_figure(images, images, 0.0 * images, images[None]).axes
    assert axis.get_yticklabels()[0].get_text() == "observed"
    np.testing.assert_allclose(cell(axis.images[0].get_array(), 1, 1), images[1], 1e-6)
    assert cell(axis.images[0].get_array(), 2, 0).max() == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((OBSERVED, MEAN + 1.0, STDDEV, DRAWS), r"`mean` must lie in \[0, 1\]"),
        ((OBSERVED[:2], MEAN, STDDEV, DRAWS), r"observed images.*\(3, 4, 5\).*\(2, 4, 5\)"),
        ((OBSERVED, MEAN, STDDEV[:, :3], DRAWS), r"std. images.*\(3, 3, 5\)"),
        ((OBSERVED, MEAN, -STDDEV, DRAWS), r"`stddev` must lie"),
        ((OBSERVED, MEAN, STDDEV, DRAWS[:, :2]), r"`draws`.*\(2, 2, 4, 5\)"),
        ((OBSERVED, MEAN, STDDEV, DRAWS[:0]), r"`draws`.*\(0, 3, 4, 5\)"),
        ((OBSERVED, MEAN, STDDEV, DRAWS, MEAN * np.nan), r"`originals` must be finite"),
    ],
)
def test_wrong_arrays_are_one_line_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        imputation_figure(*arguments)
    assert "\n" not in str(caught.value)
