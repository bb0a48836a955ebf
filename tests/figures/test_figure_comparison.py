import numpy as np
import pytest
from matplotlib.colors import to_hex

from tfp_aevb.figures import bounds_figure, save_figure
from tfp_aevb.figures.style import GREEN, VERMILLION


def _line(offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    samples = np.logspace(5, 8, 20)
    return samples, -100.0 - offset - 1e4 / np.sqrt(samples)


def _curves() -> dict[str, dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]]:
    lines = {
        ("AEVB", "train"): _line(),
        ("Wake-Sleep", "train"): _line(10.0),
        ("AEVB", "test"): _line(2.0),
        ("Wake-Sleep", "test"): _line(12.0),
    }
    return {"$N_z = 3$": lines, "$N_z = 20$": {("AEVB", "train"): _line(-5.0)}}


def test_a_panel_per_setting_with_the_lines_given() -> None:
    curves = _curves()
    figure = bounds_figure(curves)
    assert [axis.get_title() for axis in figure.axes] == list(curves)
    for axis, lines in zip(figure.axes, curves.values(), strict=True):
        assert axis.get_xscale() == "log"
        assert axis.get_xlabel() == "# training samples evaluated"
        for drawn, (samples, bound) in zip(axis.get_lines(), lines.values(), strict=True):
            np.testing.assert_array_equal(drawn.get_xdata(), samples)
            np.testing.assert_array_equal(drawn.get_ydata(), bound)


def test_colour_tells_the_method_and_line_style_the_split() -> None:
    axis = bounds_figure(_curves()).axes[0]
    looks = [(to_hex(line.get_color()).upper(), line.get_linestyle()) for line in axis.get_lines()]
    assert looks == [(VERMILLION, "-"), (GREEN, "-"), (VERMILLION, "--"), (GREEN, "--")]


def test_one_legend_is_shared_with_a_column_per_method() -> None:
    figure = bounds_figure(_curves())
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["AEVB (train)", "AEVB (test)", "Wake-Sleep (train)", "Wake-Sleep (test)"]
    assert all(axis.get_legend() is None for axis in figure.axes)


def test_all_panels_share_limits_that_hold_every_last_value() -> None:
    first, second = bounds_figure(_curves()).axes
    assert first.get_shared_y_axes().joined(first, second)
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim() == second.get_xlim()
    low, high = first.get_ylim()
    assert low < -113.0
    assert high > -96.0
    assert first.get_xlim()[0] < 1e5 < 1e8 < first.get_xlim()[1]


def test_given_limits_are_used() -> None:
    axis = bounds_figure(_curves(), xlim=(1e6, 1e9), ylim=(-150.0, -90.0), ylabel="nats").axes[0]
    assert axis.get_xlim() == (1e6, 1e9)
    assert axis.get_ylim() == (-150.0, -90.0)
    assert axis.get_ylabel() == "nats"


def test_other_methods_get_colours_of_their_own() -> None:
    methods = ["AEVB", "Wake-Sleep", "MCEM", "score function", "full VB"]
    lines = {(method, "train"): _line() for method in methods}
    drawn = bounds_figure({"panel": lines}).axes[0].get_lines()
    assert len({to_hex(line.get_color()) for line in drawn}) == len(methods)


def test_non_finite_points_are_left_out(tmp_path) -> None:
    line = np.array([1.0, 2.0, np.nan, 4.0]), np.array([-9.0, -np.inf, -7.0, -6.0])
    figure = bounds_figure({"panel": {("AEVB", "validation"): line}}, title="one panel")
    drawn = figure.axes[0].get_lines()[0]
    np.testing.assert_array_equal(drawn.get_xdata(), [1.0, 4.0])
    assert drawn.get_linestyle() == "-."
    save_figure(figure, tmp_path / "bounds.png", dpi=40)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "^`curves` must have at least one panel"),
        ({"panel": {}}, "^`curves` must have at least one panel"),
        (
            {"p": {("AEVB", "dev"): _line()}},
            r"^`curves`\['p'\].*split must be one of .* got 'dev'$",
        ),
        ({"p": {("AEVB", "test"): ([1.0, 2.0], [1.0])}}, "two 1-D arrays of one length"),
        ({"p": {("AEVB", "test"): ([1.0], [np.nan])}}, "has no finite point"),
        ({"p": {("AEVB", "test"): ([0.0, 1.0], [1.0, 2.0])}}, "samples must be > 0"),
        ({"p": {(str(k), "test"): _line() for k in range(8)}}, "at most 7 other methods, got 8"),
    ],
)
def test_wrong_curves_are_one_line_errors(curves: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        bounds_figure(curves)
    assert "\n" not in str(caught.value)


def test_a_linear_axis_is_in_millions() -> None:
    lines = {("AEVB", "test"): (np.array([1e6, 3e6]), np.array([-2.0, -1.0]))}
    figure = bounds_figure({"N = 5": lines}, xscale="linear", xlim=(0.0, 4e6))
    axis = figure.axes[0]
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), [1.0, 3.0])
    assert axis.get_xlim() == (0.0, 4.0)
    assert "millions" in axis.get_xlabel()
