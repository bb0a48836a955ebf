"""Tests of tfp_aevb.runs.train: resuming, stopping and bounds that are not finite."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import assert_same_arrays
from tests.integration.runs import (
    assert_same_run,
    checkpoint_arrays,
    checkpoint_paths,
    copy_of,
    metric_rows,
    newest_step,
)
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs import train as run
from tfp_aevb.runs.callbacks import Interrupted, RunCheckpoints
from tfp_aevb.runs.checkpoints import Checkpoints
from tfp_aevb.runs.data import load_data
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.training import fused
from tfp_aevb.training.fused import NonFiniteBoundError

STEPS, INTERVAL = 50, 20


@pytest.fixture(autouse=True)
def without_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the pictures and the SavedModel that end a run."""
    monkeypatch.setattr(run, "finish", lambda *_: {})


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the compiled loop return to Python every other step."""
    monkeypatch.setattr(fused, "MAX_BLOCK", 2)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Settings of 5 minibatches an epoch, the last of them short."""
    path = tmp_path_factory.mktemp("data") / "grey.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 5)).astype(np.uint8)
    np.save(path, pixels)
    return TrainConfig(
        dataset=str(path),
        hidden_units=(16,),
        latent_dim=2,
        batch_size=10,
        steps=STEPS,
        eval_every=INTERVAL,
        xla=False,
        progress=False,
        tensorboard_images=False,
    )


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 50 steps without a stop: two intervals of 20 and a short one."""
    workdir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "finish", lambda *_: {})
        train_and_evaluate(config, workdir)
    return workdir


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends SIGTERM to this process when training has come to `step`."""
    on_train_batch_end = RunCheckpoints.on_train_batch_end

    def stopping(self: RunCheckpoints, batch: int, logs: dict | None = None) -> None:
        if int(self.model.optimizer.iterations) >= step and not stopped:
            stopped.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        on_train_batch_end(self, batch, logs)

    stopped: list[int] = []
    monkeypatch.setattr(RunCheckpoints, "on_train_batch_end", stopping)


def scalar_steps(workdir: Path) -> list[int]:
    accumulator = EventAccumulator(str(workdir / "tensorboard" / "validation"))
    accumulator.Reload()
    return [event.step for event in accumulator.Tensors("elbo")]


def test_the_first_minibatches_are_as_configured(whole: Path) -> None:
    rows = metric_rows(whole)
    assert [row["step"] for row in rows] == ["20", "40", "50"]
    assert [row["samples_seen"] for row in rows] == ["192", "384", "480"]
    assert [row["epoch"] for row in rows] == ["4", "8", "10"]


@pytest.mark.run
@pytest.mark.parametrize("first", [25, 40])
def test_two_runs_are_one(first: int, config: TrainConfig, whole: Path, tmp_path: Path) -> None:
    train_and_evaluate(dataclasses.replace(config, steps=first), tmp_path / "run")
    assert newest_step(tmp_path / "run") == first
    train_and_evaluate(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.run
def test_two_runs_are_one_under_xla(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, xla=True, optimizer="adam", learning_rate=0.001)
    train_and_evaluate(dataclasses.replace(config, steps=25), tmp_path / "halves")
    train_and_evaluate(config, tmp_path / "halves")
    train_and_evaluate(config, tmp_path / "whole")
    assert_same_run(tmp_path / "halves", tmp_path / "whole")


@pytest.mark.run
@pytest.mark.parametrize("step", [3, 20, 31, 49])
@pytest.mark.usefixtures("short_blocks")
def test_a_stopped_run_is_gone_on_with_exactly(
    step: int, config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        with pytest.raises(Interrupted) as stop:
            train_and_evaluate(config, tmp_path / "run")
    stopped_at = newest_step(tmp_path / "run")
    assert step <= stopped_at <= step + 1
    assert str(stop.value) == f"stopped at step {stopped_at}; the same command goes on from there"
    assert stop.value.exit_code == 143
    train_and_evaluate(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.run
@pytest.mark.usefixtures("short_blocks")
def test_a_stop_loses_no_point_of_tensorboard(
    config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(INTERVAL, patch)
        with pytest.raises(Interrupted):
            train_and_evaluate(config, tmp_path / "run")
    assert newest_step(tmp_path / "run") == INTERVAL
    train_and_evaluate(config, tmp_path / "run")
    assert scalar_steps(tmp_path / "run") == scalar_steps(whole) == [20, 40, 50]


def test_weights_and_their_averages_start_with_the_data_s_output_bias(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the checkpoint of step 0, which holds them before anything is trained or evaluated."""

    class StopError(Exception):
        pass

    def stop(_: Checkpoints, model: AEVB) -> None:
        found.append(model)
        raise StopError

    found: list[AEVB] = []
    monkeypatch.setattr(Checkpoints, "save", stop)
    aids: dict[str, Any] = {"output_bias": "data", "ema_momentum": 0.999}
    with pytest.raises(StopError):
        train_and_evaluate(dataclasses.replace(config, **aids), tmp_path / "run")
    (model,) = found
    mean = load_data(config).train.x.reshape(-1, 20).mean(axis=0) / 255.0
    bias = model.decoder.network.output_bias
    np.testing.assert_allclose(bias, np.log(mean / (1.0 - mean)), rtol=1e-4)
    pairs = zip(model.weight_averages, model.trainable_variables, strict=True)
    assert_same_arrays(*zip(*((a.numpy(), v.numpy()) for a, v in pairs), strict=True))


@pytest.mark.run
def test_another_seed_is_another_run(config: TrainConfig, whole: Path, tmp_path: Path) -> None:
    train_and_evaluate(dataclasses.replace(config, seed=1), tmp_path / "run")
    assert metric_rows(tmp_path / "run") != metric_rows(whole)


def test_a_finished_run_is_not_trained_again(
    config: TrainConfig, whole: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(whole, tmp_path / "run")
    train_and_evaluate(config, workdir)
    assert "resuming at step 50" in capsys.readouterr().err
    assert (workdir / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert_same_run(workdir, whole)


def test_fewer_steps_than_done_change_nothing(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    workdir = copy_of(whole, tmp_path / "run")
    with pytest.raises(ValueError, match="at step 50, beyond --steps=49"):
        train_and_evaluate(dataclasses.replace(config, steps=49), workdir)
    assert Workdir(workdir).read() == Workdir(whole).read()
    assert (workdir / "flags.txt").read_bytes() == (whole / "flags.txt").read_bytes()


@pytest.mark.run
def test_the_followed_split_may_be_the_test_split(config: TrainConfig, tmp_path: Path) -> None:
    bounds = {}
    for split in ("validation", "test"):
        once = dataclasses.replace(config, eval_split=split, steps=5, eval_every=5)
        train_and_evaluate(once, tmp_path / split)
        (row,) = metric_rows(tmp_path / split)
        bounds[split] = row.pop("train_elbo"), row["validation_elbo"]
    assert bounds["validation"][0] == bounds["test"][0]
    assert bounds["validation"][1] != bounds["test"][1]


def diverging(config: TrainConfig, **settings) -> TrainConfig:
    settings = {"optimizer": "sgd", "learning_rate": 1e6, "checkpoint_secs": 0.0, **settings}
    return dataclasses.replace(config, **settings)


@pytest.mark.usefixtures("short_blocks")
def test_a_bound_that_is_not_finite_stops_with_good_checkpoints(
    config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(NonFiniteBoundError) as error:
        train_and_evaluate(diverging(config), tmp_path)
    assert f"became NaN or infinite at step {error.value.step + 1};" in str(error.value)
    assert "\n" not in str(error.value)
    assert 0 < newest_step(tmp_path) <= error.value.step < INTERVAL
    for path in checkpoint_paths(tmp_path):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files)


@pytest.mark.usefixtures("short_blocks")
def test_parameters_that_are_not_finite_are_not_saved(config: TrainConfig, tmp_path: Path) -> None:
    # In float32 this step size is infinite: the first bound is finite, its update is not.
    with pytest.raises(NonFiniteBoundError, match="at step 2;"):
        train_and_evaluate(diverging(config, learning_rate=1e39), tmp_path)
    assert all(np.isfinite(array).all() for array in checkpoint_arrays(tmp_path).values())


@pytest.mark.run
def test_three_restores_are_tried(config: TrainConfig, tmp_path: Path, capsys) -> None:
    with pytest.raises(NonFiniteBoundError):
        train_and_evaluate(diverging(config, nan_policy="restore"), tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if "(restore" in line]
    assert [line[line.index("(restore") :] for line in lines] == [
        f"(restore {i} of 3)" for i in (1, 2, 3)
    ]
    assert all("became NaN or infinite at step" in line for line in lines)
    # Nor does starting the command again give it three more.
    with pytest.raises(NonFiniteBoundError):
        train_and_evaluate(diverging(config, nan_policy="restore"), tmp_path)
    assert "(restore" not in capsys.readouterr().err


def test_a_restored_run_goes_on_with_other_noise(
    config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    fit = run._fit
    failures = [NonFiniteBoundError(33)]

    def fit_with_a_failure(config: TrainConfig, *arguments) -> None:
        if failures:
            fit(dataclasses.replace(config, steps=INTERVAL), *arguments)
            raise failures.pop()
        fit(config, *arguments)

    monkeypatch.setattr(run, "_fit", fit_with_a_failure)
    train_and_evaluate(dataclasses.replace(config, nan_policy="restore"), tmp_path)
    assert "going on from step 20 with other noise (restore 1 of 3)" in capsys.readouterr().err
    restored, plain = metric_rows(tmp_path), metric_rows(whole)
    assert restored[0] == plain[0]
    assert [row["step"] for row in restored] == [row["step"] for row in plain]
    assert restored[1] != plain[1]
    # The noise is other, the bound much the same.
    bounds = [float(rows[-1]["validation_elbo"]) for rows in (restored, plain)]
    assert abs(bounds[0] - bounds[1]) < 0.5


def test_the_model_learns(config: TrainConfig, tmp_path: Path) -> None:
    pixels = np.tile(np.random.default_rng(1).integers(0, 2, (2, 20)), (40, 1)).astype(np.uint8)
    np.save(tmp_path / "two.npy", pixels)
    learning = dataclasses.replace(
        config,
        dataset=str(tmp_path / "two.npy"),
        steps=400,
        eval_every=400,
        estimation="ml",
        optimizer="adam",
        learning_rate=0.02,
    )
    train_and_evaluate(learning, tmp_path / "run")
    (row,) = metric_rows(tmp_path / "run")
    # Two patterns of equal frequency: log p(x) = -log 2 at best, 20 fair coins give -13.9.
    assert -3.0 < float(row["validation_elbo"]) < -np.log(2.0) + 0.2


def test_segments_are_whole_intervals_and_their_rests() -> None:
    assert list(run._segments(0, 50, 20)) == [(0, 2, 20), (2, 3, 10)]
    assert list(run._segments(7, 50, 20)) == [(0, 1, 13), (1, 2, 20), (2, 3, 10)]
    assert list(run._segments(7, 13, 20)) == [(0, 1, 6)]
    assert list(run._segments(20, 20, 20)) == []
    for step in range(45):
        parts = list(run._segments(step, 45, 10))
        assert len(parts) <= 3
        assert sum((last - first) * steps for first, last, steps in parts) == 45 - step


def test_validation_examples_come_after_the_first_training_ones(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", train=x[:20], validation=x[20:30], test=x[30:])
    settings = {"train_on_validation": True, "eval_split": "test", "num_train": 5}
    dataset = load_data(TrainConfig(dataset=str(tmp_path / "x.npz"), **settings))
    np.testing.assert_array_equal(dataset.train.x, np.concatenate([x[:5], x[20:30]]))
    assert dataset.num_data == dataset.record["split_sizes"]["train"] == 15
