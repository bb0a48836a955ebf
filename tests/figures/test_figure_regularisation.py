import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.helpers import assert_one_line
from tfp_aevb.figures import LatentSpace, image_grid, latent_spaces_figure, save_figure

RNG = np.random.default_rng(0)
STARTS, ENDS = RNG.random([2, 4, 3]), RNG.random([2, 4, 3])
LABELS = np.repeat(np.arange(4), 5)


def space(name: str = "a", dimension: int = 2, prior: bool = True, **changes) -> LatentSpace:
    made = LatentSpace(
        name,
        RNG.normal(size=[20, dimension]),
        RNG.random([2, 5, 4, 3]),
        "smooth",
        RNG.random([6, 4, 3]) if prior else None,
        "near" if prior else "no prior",
        RNG.random([6, 4, 3]),
        "far",
    )
    return made._replace(**changes)


def images_in(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


@pytest.mark.compile
def test_a_row_has_codes_paths_and_both_kinds_of_draws(tmp_path) -> None:
    models = [space("first"), space("second", prior=False)]
    figure = latent_spaces_figure(models, STARTS, ENDS, LABELS, "title")
    expected = []
    for model in models:
        rows = [
            image
            for i in range(2)
            for image in (STARTS[i], *model.paths[i], ENDS[i])
        ]  # fmt: skip
        expected.append(image_grid(np.stack(rows), 7))
        if model.prior_draws is not None:
            expected.append(image_grid(model.prior_draws, 3))
        expected.append(image_grid(model.fitted_draws, 3))
    for found, wanted in zip(images_in(figure), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert all(axis.images[0].get_clim() == (0, 1) for axis in figure.axes if axis.images)
    titles = [axis.get_title().split("\n")[-1] for axis in figure.axes]
    assert titles == ["first", "smooth", "near", "far", "second", "smooth", "no prior", "far"]
    assert save_figure(figure, tmp_path / "a.png", dpi=40).stat().st_size > 1000


def test_codes_are_drawn_by_class_with_a_marker_of_their_own() -> None:
    model = space()
    figure = latent_spaces_figure([model], STARTS, ENDS, LABELS)
    clouds = figure.axes[0].collections
    for index, cloud in enumerate(clouds):
        np.testing.assert_array_equal(cloud.get_offsets(), model.codes[index == LABELS])
    looks = {(tuple(c.get_facecolor()[0]), len(c.get_paths()[0].vertices)) for c in clouds}
    assert len(looks) == len(clouds) == 4
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["0", "1", "2", "3", "2 deviations of N(0, I)"]
    circle = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(np.linalg.norm(circle, axis=1), 2.0)


def test_the_two_latents_of_largest_variance_are_shown_in_their_order() -> None:
    model = space(dimension=4)
    model = model._replace(codes=model.codes * [0.1, 2.0, 0.5, 9.0])
    axis = latent_spaces_figure([model], STARTS, ENDS).axes[0]
    np.testing.assert_array_equal(axis.collections[0].get_offsets(), model.codes[:, [1, 3]])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("$z_{1}$", "$z_{3}$")


def test_without_a_prior_there_is_no_circle() -> None:
    assert not latent_spaces_figure([space(prior=False)], STARTS, ENDS).axes[0].lines


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"codes": np.zeros([20, 1])}, "`codes`"),
        ({"codes": np.full([20, 2], np.nan)}, "`codes`"),
        ({"paths": np.zeros([3, 5, 4, 3])}, "`paths`"),
        ({"fitted_draws": np.full([6, 4, 3], 2.0)}, "[0, 1]"),
    ],
)
def test_wrong_arrays_are_one_line_errors(changes: dict, part: str) -> None:
    assert_one_line(
        lambda: latent_spaces_figure([space(**changes)], STARTS, ENDS), ValueError, part
    )


def test_labels_must_match_and_models_must_be_there() -> None:
    assert_one_line(
        lambda: latent_spaces_figure([space()], STARTS, ENDS, LABELS[:3]), ValueError, "`labels`"
    )
    assert_one_line(lambda: latent_spaces_figure([], STARTS, ENDS), ValueError, "`models`")
