"""Tests of tfp_aevb.runs.callbacks."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tfp_aevb.runs import callbacks
from tfp_aevb.runs.callbacks import Interrupted, Progress, RunLog, StopSignals
from tfp_aevb.runs.metrics import MetricsLog
from tfp_aevb.training.fused import METRICS
from tfp_aevb.utils import progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Clock:
    """A `time.perf_counter` that the test moves."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    for module in (callbacks, progress):
        monkeypatch.setattr(module, "time", fake)
    return fake


def model_at(step: int) -> SimpleNamespace:
    return SimpleNamespace(optimizer=SimpleNamespace(iterations=tf.Variable(step)))


def logs(value: float) -> dict[str, float]:
    names = [*METRICS, *(f"val_{name}" for name in METRICS)]
    return {name: value + i for i, name in enumerate(names)}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_raised_when_asked(signum: signal.Signals, code: int) -> None:
    with StopSignals() as signals:
        signals.raise_if_stopped(3)
        os.kill(os.getpid(), signum)
        with pytest.raises(Interrupted, match="stopped at step 7; the same command") as stop:
            signals.raise_if_stopped(7)
    assert stop.value.exit_code == code


@pytest.fixture
def python_handles_sigint() -> Iterator[None]:
    """As in a terminal: a shell's background processes ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_sigint")
def test_a_second_signal_acts_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("noted", [False, True])
def test_the_handlers_from_before_come_back(noted: bool) -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with StopSignals():
        assert [signal.getsignal(signum) for signum in SIGNALS] != before
        if noted:
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def interval(log: RunLog, clock: Clock, step: int, seconds: float) -> None:
    """Ends an interval at `step`: `seconds` of training, then 2 of validation."""
    log.on_epoch_begin(0)
    clock.now += seconds
    log.model.optimizer.iterations.assign(step)
    log.on_train_batch_end(0)
    clock.now += 2.0
    log.on_epoch_end(0, logs(float(step)))


def test_a_row_holds_the_bounds_and_the_speed_without_validation(
    tmp_path: Path, clock: Clock
) -> None:
    metrics = MetricsLog(tmp_path / "metrics.csv", 0, 10, 100)
    log = RunLog(metrics, lambda step: 5 * step, num_data=40)
    log.set_model(model_at(0))
    interval(log, clock, 10, seconds=4.0)
    interval(log, clock, 20, seconds=1.0)
    first, second = metrics.rows
    assert [first[name] for name in ("step", "samples_seen", "epoch")] == [10, 50, 1.25]
    assert [first[f"train_{name}"] for name in METRICS] == [10.0, 11.0, 12.0, 13.0]
    assert [first[f"validation_{name}"] for name in METRICS] == [14.0, 15.0, 16.0, 17.0]
    assert first["images_per_second"] == pytest.approx(50 / 4.0)
    assert second["images_per_second"] == pytest.approx(50 / 1.0)
    assert (first["seconds"], second["seconds"]) == (6.0, 9.0)


def test_a_resumed_run_goes_on_counting_seconds(tmp_path: Path, clock: Clock) -> None:
    for step in (10, 20):
        metrics = MetricsLog(tmp_path / "metrics.csv", step - 10, 10, 100)
        log = RunLog(metrics, lambda step: step, num_data=40)
        log.set_model(model_at(step - 10))
        interval(log, clock, step, seconds=3.0)
    assert [row["seconds"] for row in metrics.rows] == [5.0, 10.0]


def progress_output(
    clock: Clock, tmp_path: Path, monkeypatch, terminal: bool, held_out: str = "validation"
) -> str:
    """Shows 4 blocks of 10 steps, 20 seconds each, in 2 intervals."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stream)
    log = MetricsLog(tmp_path / "metrics.csv", 0, 20, 100)
    log.rows.append({"validation_elbo": -87.654})
    shown = Progress(log, lambda step: 5 * step, num_data=50, total_steps=100, held_out=held_out)
    model = model_at(0)
    shown.set_model(model)
    for block in range(1, 5):
        clock.now += 20.0
        model.optimizer.iterations.assign(10 * block)
        shown.on_train_batch_end(block, {"elbo": -90.125})
        if block % 2 == 0:
            shown.on_epoch_end(0, {"elbo": -90.125})
    shown.on_train_end()
    return stream.getvalue()


def test_progress_names_the_split_that_is_followed(
    clock: Clock, tmp_path: Path, monkeypatch
) -> None:
    text = progress_output(clock, tmp_path, monkeypatch, terminal=False, held_out="test")
    assert "bound train -90.12  test -87.65  2 images/s" in text


def test_progress_is_a_line_now_and_then_in_a_log(
    clock: Clock, tmp_path: Path, monkeypatch
) -> None:
    text = progress_output(clock, tmp_path, monkeypatch, terminal=False)
    assert text.splitlines() == [
        "step 20/100  epoch 2.0  bound train -90.12  validation -87.65  2 images/s  2:40 left",
        "step 40/100  epoch 4.0  bound train -90.12  validation -87.65  2 images/s  2:00 left",
    ]


def test_progress_is_one_line_redrawn_on_a_terminal(
    clock: Clock, tmp_path: Path, monkeypatch
) -> None:
    text = progress_output(clock, tmp_path, monkeypatch, terminal=True)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    shown = [part.partition("  ")[0] for part in text.split("\r\x1b[K")[1:]]
    assert shown == ["step 10/100", "step 20/100", "step 30/100", "step 40/100", "step 40/100"]
