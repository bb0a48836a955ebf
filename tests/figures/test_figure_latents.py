import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tfp_aevb.figures import encodings_figure, kl_per_dimension_figure, save_figure
from tfp_aevb.figures.latents import principal_axes
from tfp_aevb.figures.style import LABEL_COLOURS


def _scatters(figure: Figure) -> dict[str, PathCollection]:
    found = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    return {str(scatter.get_label()): scatter for scatter in found}


def _cloud(count: int = 200, dimensions: int = 5) -> np.ndarray:
    rng = np.random.default_rng(1)
    scales = np.linspace(3.0, 0.5, dimensions)
    return rng.standard_normal((count, dimensions)) * scales @ rng.random((dimensions, dimensions))


def test_two_latents_are_drawn_as_they_are_by_class() -> None:
    loc, labels = _cloud(60, 2), np.arange(60) % 3
    scatters = _scatters(encodings_figure(loc, labels))
    assert list(scatters) == ["0", "1", "2"]
    for label, (name, scatter) in enumerate(scatters.items()):
        np.testing.assert_allclose(scatter.get_offsets(), loc[labels == int(name)])
        assert to_hex(scatter.get_facecolor()[0]).upper() == LABEL_COLOURS[label]


def test_legend_names_string_classes_and_is_absent_without_labels() -> None:
    loc = _cloud(4, 2)
    (legend,) = encodings_figure(loc, np.array(["cat", "dog", "cat", "eel"])).legends
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "dog", "eel"]
    assert encodings_figure(loc).legends == []


def test_many_latents_are_projected_on_the_eigenvectors_of_their_covariance() -> None:
    loc = _cloud(200, 5) + 7.0
    covariance = np.cov(loc, rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, ::-1][:, :2].T
    signs = np.sign(directions[[0, 1], np.abs(directions).argmax(axis=1)])
    expected = (loc - loc.mean(axis=0)) @ (directions * signs[:, None]).T
    figure = encodings_figure(loc, np.zeros(200, int))
    np.testing.assert_allclose(_scatters(figure)["0"].get_offsets(), expected, atol=1e-8)
    share = values[::-1] / values.sum()
    label = f"first principal component of the 5 latent means ({share[0]:.0%} of variance)"
    assert figure.axes[0].get_xlabel() == label
    assert f"({share[1]:.0%} of variance)" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize(("count", "rank"), [(1, 0), (2, 1), (3, 2)])
def test_few_points_have_principal_axes_too(count: int, rank: int) -> None:
    loc = _cloud(count, 4)
    directions, fractions = principal_axes(loc)
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(fractions.sum(), min(rank, 1), atol=1e-12)
    encodings_figure(loc, stddev=np.ones((count, 4)))


def test_ellipses_span_one_projected_standard_deviation() -> None:
    rng = np.random.default_rng(2)
    loc, stddev = _cloud(6, 4), rng.uniform(0.1, 1.0, (6, 4))
    axis = encodings_figure(loc, stddev=stddev).axes[0]
    (ellipses,) = [c for c in axis.collections if isinstance(c, EllipseCollection)]
    directions, _ = principal_axes(loc)
    half = np.stack([ellipses.get_widths(), ellipses.get_heights()], axis=1) / 2
    angles = np.radians(ellipses.get_angles())
    for index in range(6):
        cosine, sine = np.cos(angles[index]), np.sin(angles[index])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        drawn = turn @ np.diag(half[index] ** 2) @ turn.T
        expected = directions @ np.diag(stddev[index] ** 2) @ directions.T
        np.testing.assert_allclose(drawn, expected, atol=1e-10)


def test_the_axes_hold_the_whole_ellipses() -> None:
    axis = encodings_figure(np.array([[0.0, 0.0], [1.0, 0.0]]), stddev=np.full((2, 2), 5.0)).axes[0]
    assert axis.get_xlim()[0] <= -5
    assert axis.get_xlim()[1] >= 6
    assert axis.get_ylim()[0] <= -5
    assert axis.get_ylim()[1] >= 5


def test_one_latent_is_drawn_as_a_strip_per_class() -> None:
    loc, labels = _cloud(50, 1), np.arange(50) % 2
    figure = encodings_figure(loc, labels, np.full((50, 1), 0.25))
    for name, scatter in _scatters(figure).items():
        x, y = np.asarray(scatter.get_offsets()).T
        np.testing.assert_allclose(x, loc[labels == int(name), 0])
        assert np.abs(y - int(name)).max() <= 0.3
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "1"]
    segments = np.array(axis.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, 1, 0] - segments[:, 0, 0], 0.5)


@pytest.mark.compile
def test_encodings_draw_the_same_bytes_twice(tmp_path) -> None:
    arguments = _cloud(30, 3), np.arange(30) % 12, np.full((30, 3), 0.1)
    first = save_figure(encodings_figure(*arguments), tmp_path / "a.png", dpi=50)
    second = save_figure(encodings_figure(*arguments), tmp_path / "b.png", dpi=50)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), r"`loc` must be a non-empty array \[N, J\], got \(3,\)"),
        ((np.zeros((0, 2)),), "`loc` must be a non-empty array"),
        ((np.full((3, 2), np.nan),), "`loc` must hold finite"),
        ((np.zeros((3, 2)), np.zeros(2, int)), r"`labels` must have shape \(3,\)"),
        ((np.zeros((3, 2)), np.zeros(3)), "`labels` must be integers or strings"),
        ((np.zeros((3, 2)), None, np.ones((3, 1))), "`stddev` must be positive with the shape"),
        ((np.zeros((3, 2)), None, np.zeros((3, 2))), "`stddev` must be positive with the shape"),
    ],
)
def test_wrong_encodings_are_one_line_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        encodings_figure(*arguments)
    assert "\n" not in str(caught.value)


def test_kl_bars_are_sorted_and_inactive_dimensions_marked() -> None:
    figure = kl_per_dimension_figure(np.array([0.5, 0.0099, 2.0, 0.01, 0.0]))
    axis = figure.axes[0]
    heights = [bar.get_height() for bar in axis.containers[0]]
    assert heights == [2.0, 0.5, 0.01, 0.0099, 0.0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["2", "0", "3", "1", "4"]
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["active: 3 of 5", "inactive (below 0.01 nats): 2 of 5"]
    assert legend.get_title().get_text() == "total 2.52 nats"
    span = axis.patches[-1]
    assert (span.get_x(), span.get_x() + span.get_width()) == (3.5, 5.5)


def test_kl_figure_draws_many_or_only_active_dimensions(tmp_path) -> None:
    figure = kl_per_dimension_figure(np.linspace(0.02, 2.0, 200))
    save_figure(figure, tmp_path / "kl.png", dpi=40)
    assert figure.axes[0].get_xlabel().startswith("rank")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["active: 200 of 200"]


@pytest.mark.parametrize("kl", [[], [[1.0]], [np.nan], [np.inf]])
def test_wrong_kl_is_a_one_line_error(kl: list) -> None:
    with pytest.raises(ValueError, match=r"^`kl` must be a non-empty finite array \[J\]"):
        kl_per_dimension_figure(np.array(kl))
