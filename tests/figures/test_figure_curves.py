import numpy as np
import pytest

from tfp_aevb.figures import learning_curves_figure, read_metrics, save_figure


def _history(rows: int = 200) -> dict[str, np.ndarray]:
    step = np.arange(1.0, rows + 1)
    elbo = -90.0 - 60.0 / np.sqrt(step)
    kl = 25.0 * (1.0 - np.exp(-step / 10.0))
    history = {"step": step, "samples_seen": 100.0 * step}
    history |= {"train_elbo": elbo, "train_reconstruction": elbo + kl, "train_kl": kl}
    scored = np.where(step % 10 == 0, 1.0, np.nan)
    history |= {
        "validation_elbo": (elbo - 2.0) * scored,
        "validation_reconstruction": (elbo + kl - 2.0) * scored,
        "validation_kl": kl * scored,
    }
    return history


def test_read_metrics_gives_one_array_per_column(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train_elbo,validation_elbo\n1,-2.5e2,\n2,-120.25,nan\n3,-100,-101.5\n")
    history = read_metrics(path)
    assert list(history) == ["step", "train_elbo", "validation_elbo"]
    np.testing.assert_array_equal(history["step"], [1, 2, 3])
    np.testing.assert_array_equal(history["train_elbo"], [-250, -120.25, -100])
    np.testing.assert_array_equal(history["validation_elbo"], [np.nan, np.nan, -101.5])


@pytest.mark.parametrize("tail", ["3", "3,-1", "3,-100.25", '3,"-1'])
def test_read_metrics_ignores_a_half_written_last_line(tmp_path, tail: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train_elbo\n1,-200\n2,-150\n" + tail)
    np.testing.assert_array_equal(read_metrics(path)["train_elbo"], [-200, -150])


def test_read_metrics_reads_windows_line_ends_and_blank_lines(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,train_elbo\r\n1,-200\r\n\r\n2,-150\r\n")
    np.testing.assert_array_equal(read_metrics(path)["step"], [1, 2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "metrics file not found"),
        ("", "has no complete row"),
        ("step,train_elbo\n", "has no complete row"),
        ("step,train_elbo\n1,-2", "has no complete row"),
        ("epoch,train_elbo\n1,-2\n", "has no `step` column"),
        ("step,train_elbo\n1,-2\n2,abc\n", "row 2: expected 2 numbers, got '2,abc'"),
        ("step,train_elbo\n1,-2,3\n", "row 1: expected 2 numbers"),
        ("step,train_elbo\n1\n2,-3\n", "row 1: expected 2 numbers"),
        ("\x00\x01\n\x02\n", "has no `step` column"),
    ],
)
def test_read_metrics_errors_are_one_line_with_the_path(tmp_path, content, message) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)
    assert "metrics.csv" in str(caught.value)


def test_the_legend_names_what_was_held_out() -> None:
    legend = learning_curves_figure(_history(), held_out="test").axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]


def test_curves_are_the_finite_values_against_samples() -> None:
    history = _history()
    bound, reconstruction, kl = learning_curves_figure(history).axes
    for axis, name in ((bound, "elbo"), (reconstruction, "reconstruction"), (kl, "kl")):
        lines = {line.get_label(): line for line in axis.get_lines()}
        assert set(lines) == {"train", "validation"}
        for split, line in lines.items():
            values = history[f"{split}_{name}"]
            kept = np.isfinite(values)
            np.testing.assert_array_equal(line.get_xdata(), history["samples_seen"][kept])
            np.testing.assert_array_equal(line.get_ydata(), values[kept])
    assert bound.get_ylabel() == "lower bound per datapoint (nats)"
    assert bound.get_xlabel() == kl.get_xlabel() == "# training samples evaluated"


@pytest.mark.parametrize(("rows", "scale"), [(200, "log"), (100, "linear")])
def test_x_axis_is_logarithmic_beyond_two_decades(rows: int, scale: str) -> None:
    axes = learning_curves_figure(_history(rows)).axes
    assert [axis.get_xscale() for axis in axes] == [scale] * 3


def test_bad_first_values_do_not_flatten_the_curve_and_are_noted() -> None:
    history = _history()
    history["train_elbo"][:2] = [-1e6, -1e5]
    history["train_kl"][0] = 1e5
    figure = learning_curves_figure(history)
    bound, _, kl = figure.axes
    low, high = bound.get_ylim()
    assert -200 < low < history["validation_elbo"][-1] < history["train_elbo"][-1] < high < -80
    assert kl.get_ylim()[0] < history["train_kl"][-1] < kl.get_ylim()[1] < 100
    hidden = 0
    for axis in figure.axes:
        drawn = np.concatenate([line.get_ydata() for line in axis.get_lines()])
        hidden += np.sum((drawn < axis.get_ylim()[0]) | (drawn > axis.get_ylim()[1]))
    assert 3 <= hidden <= 10
    note = f"Not shown: {hidden} values far from the median, outside the y axes."
    assert figure.get_supxlabel() == note
    assert learning_curves_figure(_history(50)).get_supxlabel() == ""


def test_last_values_are_inside_when_a_run_diverges() -> None:
    history = _history()
    history["train_elbo"][-1] = -5e4
    history["train_kl"][-1] = 4e4
    bound, _, kl = learning_curves_figure(history).axes
    assert bound.get_ylim()[0] < -5e4
    assert kl.get_ylim()[1] > 4e4


def test_one_row_and_missing_columns_draw_what_is_there(tmp_path) -> None:
    last = {name: values[-1:] for name, values in _history().items()}
    figure = learning_curves_figure(last)
    for axis in figure.axes:
        for line in axis.get_lines():
            assert line.get_marker() == "o"
            assert axis.get_ylim()[0] < line.get_ydata()[0] < axis.get_ylim()[1]
    save_figure(figure, tmp_path / "one.png", dpi=40)

    only = learning_curves_figure({"step": np.array([1.0, 2.0]), "train_elbo": [-3.0, -2.0]})
    assert [axis.get_xlabel() for axis in only.axes] == ["training step"]
    kl = learning_curves_figure({"step": [1.0], "train_elbo": [-3.0], "train_kl": [1.0]})
    assert [axis.get_ylabel() for axis in kl.axes][1:] == ["KL (nats)"]


def test_a_row_at_zero_samples_is_left_off_a_log_axis() -> None:
    history = {"samples_seen": [0.0, 1.0, 1000.0], "train_elbo": [-9.0, -5.0, -4.0]}
    line = learning_curves_figure(history).axes[0].get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [1.0, 1000.0])


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({}, "1-D arrays of one length"),
        ({"step": [1.0, 2.0], "train_elbo": [1.0]}, "1-D arrays of one length"),
        ({"step": [[1.0]], "train_elbo": [[1.0]]}, "1-D arrays of one length"),
        ({"train_elbo": [1.0]}, "needs a `samples_seen` or `step`"),
        ({"step": [], "train_elbo": []}, "needs a `samples_seen` or `step`"),
        ({"step": [1.0], "train_elbo": [np.nan]}, "needs a finite value"),
        ({"step": [1.0], "train_kl": [1.0]}, "needs a finite value"),
    ],
)
def test_unusable_histories_are_one_line_errors(history: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learning_curves_figure(history)
