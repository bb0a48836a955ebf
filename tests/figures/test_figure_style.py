import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from tests.helpers import assert_one_line
from tfp_aevb.figures import learning_curves_figure, new_figure, save_figure
from tfp_aevb.figures.style import LABEL_COLOURS, LABEL_MARKERS, robust_limits
from tfp_aevb.utils.files import WriteError


class _Broken(Artist):
    def draw(self, renderer: RendererBase) -> None:
        raise RuntimeError("drawing failed")


def _example() -> Figure:
    steps = np.arange(1.0, 6.0)
    return learning_curves_figure({"step": steps, "train_elbo": -100.0 / steps}, title="a run")


def test_import_needs_neither_tensorflow_nor_pyplot() -> None:
    code = (
        "import sys, tfp_aevb.figures\n"
        "print([m for m in ('tensorflow', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_figure_gives_the_same_bytes(tmp_path, monkeypatch, suffix: str) -> None:
    # Matplotlib takes this for the present time, so a date in the file would differ.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    first = save_figure(_example(), tmp_path / f"first.{suffix}").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    second = save_figure(_example(), tmp_path / f"second.{suffix}").read_bytes()
    assert first == second
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert first.startswith(start)


def test_callers_rcparams_neither_enter_a_figure_nor_change(tmp_path) -> None:
    plain = save_figure(_example(), tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context({"font.size": 25.0, "axes.facecolor": "red", "savefig.dpi": 30}):
        before = dict(matplotlib.rcParams)
        other = save_figure(_example(), tmp_path / "other.png").read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert other == plain


def test_dpi_sets_the_pixels_of_a_png(tmp_path) -> None:
    figure, _ = new_figure(size=(4.0, 2.0))
    header = save_figure(figure, tmp_path / "a.png", dpi=50).read_bytes()[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (200, 100)


def test_a_failing_draw_keeps_the_old_file_and_leaves_nothing_else(tmp_path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old content")
    figure, _ = new_figure(size=(3.0, 2.0))
    figure.add_artist(_Broken())
    with pytest.raises(RuntimeError, match="drawing failed"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure.png"]


def test_save_replaces_the_old_file_and_makes_the_folder(tmp_path) -> None:
    path = tmp_path / "new" / "figure.png"
    save_figure(_example(), path, dpi=30)
    path.write_bytes(b"old content")
    with path.open("rb") as reader:
        assert save_figure(_example(), str(path), dpi=30) == path
        # The new picture is another file: a reader of the old one never sees half of each.
        assert reader.read() == b"old content"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in path.parent.iterdir()] == ["figure.png"]


def test_a_run_s_folder_that_has_vanished_is_not_made_again(tmp_path) -> None:
    path = tmp_path / "vanished" / "figures" / "figure.png"
    assert_one_line(lambda: save_figure(_example(), path, dpi=30), WriteError, "bring it back")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["figure.gif", "figure"])
def test_unknown_format_is_a_one_line_error(tmp_path, name: str) -> None:
    with pytest.raises(ValueError, match=r"^`path` must end in \.png, \.pdf or \.svg.*$"):
        save_figure(_example(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dpi", [0, -1, float("nan")])
def test_dpi_must_be_positive(tmp_path, dpi: float) -> None:
    with pytest.raises(ValueError, match=r"^`dpi` must be a positive"):
        save_figure(_example(), tmp_path / "a.png", dpi=dpi)


def test_label_colours_and_markers_are_ten_distinct_ones() -> None:
    assert len(set(LABEL_COLOURS)) == len(set(LABEL_MARKERS)) == 10


def test_robust_limits_cut_only_the_values_far_below_the_median() -> None:
    # Median -100, maximum -90: values below -300 are cut; the margin is 5% of -299 to -90.
    values = np.array([-5000.0, -330.0, -299.0, -105.0, -100.0, -95.0, -92.0, -91.0, -90.0])
    values = np.append(values, [-120.0, -91.5])
    low, high, cut = robust_limits([values])
    assert (low, high, cut) == pytest.approx((-299 - 10.45, -90 + 10.45, 2))
    mirrored = robust_limits([-values], "high")
    assert mirrored == pytest.approx((90 - 10.45, 299 + 10.45, 2))


def test_robust_limits_hold_the_last_value_of_each_curve() -> None:
    good = np.linspace(-110.0, -100.0, 50)
    low, high, cut = robust_limits([good, np.array([-2000.0, -1000.0, np.nan])])
    assert low < -1000.0 < -100.0 < high
    assert low > -2000.0
    assert cut == 1


@pytest.mark.parametrize("value", [-80.0, 0.0])
def test_robust_limits_of_a_single_value_enclose_it(value: float) -> None:
    low, high, cut = robust_limits([np.array([value])])
    assert low < value < high
    assert cut == 0
