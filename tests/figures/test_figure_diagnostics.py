import numpy as np
import pytest

from tfp_aevb.figures import latent_use_figure, save_figure

VARIANCES = np.array([0.5, 0.0, 1.2, 0.002])
ACTIVE = VARIANCES > 0.01
KL = np.array([0.9, 0.001, 2.0, 0.004])


def test_bars_and_points_are_sorted_by_variance_and_marked() -> None:
    figure = latent_use_figure(VARIANCES, ACTIVE, KL, threshold=0.01)
    bars, points = figure.axes
    heights = [bar.get_height() for container in bars.containers for bar in container]
    assert heights == [2.0, 0.9, 0.004, 0.001]
    hatched = [bar.get_hatch() for container in bars.containers for bar in container]
    assert hatched == [None, None, "//", "//"]
    assert [label.get_text() for label in points.get_xticklabels()] == ["2", "0", "3", "1"]
    active, inactive, threshold = points.lines
    np.testing.assert_array_equal(active.get_xydata(), [[1, 1.2], [2, 0.5]])
    np.testing.assert_array_equal(inactive.get_xydata(), [[3, 0.002], [4, 1e-6]])
    assert np.unique(np.asarray(threshold.get_ydata())).tolist() == [0.01]
    assert points.get_yscale() == "log"
    assert points.get_ylim()[0] == 1e-6
    assert points.get_ylim()[1] > 1.2
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["active: 2 of 4", "inactive: 2 of 4", "active above 0.01"]


@pytest.mark.compile
def test_without_kl_there_is_one_panel_and_many_latents_have_ranks(tmp_path) -> None:
    assert len(latent_use_figure(VARIANCES, ACTIVE, threshold=0.01).axes) == 1
    many = np.linspace(1e-7, 1.0, 200)
    figure = latent_use_figure(many, many > 0.01, many, threshold=0.01)
    assert figure.axes[1].get_xlabel().startswith("rank")
    first, second = (save_figure(figure, tmp_path / f"{i}.png", dpi=40) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("variances", "active", "kl", "message"),
    [
        ([], [], None, "`variances`"),
        ([[1.0]], [[True]], None, "`variances`"),
        ([np.nan], [True], None, "`variances`"),
        ([1.0, 2.0], [True], None, "active must"),
        ([1.0], [True], [1.0, 2.0], "KL"),
        ([1.0], [True], [np.inf], "KL"),
    ],
)
def test_wrong_arrays_are_one_line_errors(variances, active, kl, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        latent_use_figure(np.array(variances), np.array(active), kl, threshold=0.01)
    assert "\n" not in str(caught.value)
