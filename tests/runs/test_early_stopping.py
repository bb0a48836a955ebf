"""Tests of tfp_aevb.runs.early_stopping: the callback for `fit`, and `--patience` of runs."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfp_aevb
from tests.helpers import assert_one_line, binary_data, compiled, small_model
from tests.integration.runs import (
    assert_same_run,
    copy_of,
    metric_rows,
    newest_step,
    tree,
)
from tests.runs.test_train import stop_at
from tfp_aevb.runs import train as run
from tfp_aevb.runs.callbacks import Interrupted
from tfp_aevb.runs.early_stopping import stop_reason
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate
from tfp_aevb.training import fused

X = binary_data(25)
INTERVAL, PATIENCE = 20, 2


def epochs_of(warmup_steps: int, **options) -> int:
    """Trains without moving, 5 updates an epoch; returns the epochs until the callback stops."""
    model = compiled(small_model(kl_warmup_steps=warmup_steps), tf_keras.optimizers.SGD(0.0))
    stop = tfp_aevb.EarlyStopping(patience=2, **options)
    history = model.fit(
        X, batch_size=5, epochs=12, validation_data=X, callbacks=[stop], verbose=0
    ).history
    assert len(set(history["val_elbo"])) == 1
    return len(history["elbo"])


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(("warmup_steps", "epochs"), [(0, 3), (5, 3), (6, 4), (12, 5), (100, 12)])
def test_fit_ends_when_the_bound_has_not_risen_since_the_warm_up(
    warmup_steps: int, epochs: int
) -> None:
    assert epochs_of(warmup_steps) == epochs


def stops_at(bounds: list[float], warmup_steps: int, **options) -> int | None:
    """Shows the callback a bound after every 10 updates; returns the updates when it stops."""
    stop = tfp_aevb.EarlyStopping(patience=2, **options)
    iterations = tf.Variable(0)
    model = SimpleNamespace(
        optimizer=SimpleNamespace(iterations=iterations),
        kl_warmup_steps=warmup_steps,
        stop_training=False,
    )
    stop.set_model(model)
    stop.on_train_begin()
    for epoch, bound in enumerate(bounds):
        iterations.assign(10 * (epoch + 1))
        stop.on_epoch_end(epoch, {"val_elbo": bound, "val_loss": -bound})
        if model.stop_training:
            return int(iterations)
    return None


def test_only_a_higher_bound_after_the_warm_up_starts_the_count_again() -> None:
    bounds = [-5.0, -9.0, -8.0, -8.5, -7.0, -7.5, -7.0, -6.0]
    assert stops_at(bounds, 0) == 30
    assert stops_at(bounds, 15) == 70  # -5 was a bound of the warm-up
    assert stops_at(bounds, 15, min_delta=1.5) == 40
    assert stops_at(bounds, 0, monitor="val_loss", mode="min") == 30
    assert stops_at(bounds, 1000) is None


def test_patience_is_at_least_an_epoch() -> None:
    make = lambda: tfp_aevb.EarlyStopping(patience=0)  # noqa: E731
    assert_one_line(make, ValueError, "`patience`", "at least 1", "0")


def rows_of(bounds: list[float]) -> list[dict[str, float]]:
    return [
        {"step": INTERVAL * (i + 1), "validation_elbo": bound} for i, bound in enumerate(bounds)
    ]


@pytest.mark.parametrize(
    ("bounds", "warmup_steps", "patience", "stops"),
    [
        ([-5.0, -6.0, -6.0], 0, 2, True),
        ([-5.0, -6.0, -6.0], 0, 3, False),
        ([-5.0, -6.0, -6.0], 0, 0, False),
        ([-5.0, -5.0, -5.0], 0, 2, True),
        ([-5.0, -6.0, -4.0], 0, 2, False),
        ([-5.0, -6.0, -6.0], 21, 2, False),
        ([-5.0, -6.0, -6.0, -6.0], 21, 2, True),
        ([-5.0, -6.0, -6.0, -5.5], 40, 2, False),
        ([-5.0, -6.0, -6.0], 61, 1, False),
        ([-6.0] * 10, 0, 2, False),  # all of --steps=200 are done
        ([], 0, 2, False),
    ],
)
def test_the_rows_tell_whether_a_run_is_over(
    bounds: list[float], warmup_steps: int, patience: int, stops: bool
) -> None:
    config = TrainConfig(steps=200, kl_warmup_steps=warmup_steps, patience=patience)
    assert bool(stop_reason(rows_of(bounds), config)) == stops


def test_the_reason_names_the_steps_and_the_split() -> None:
    config = TrainConfig(steps=200, patience=2, eval_split="test")
    assert stop_reason(rows_of([-6.0, -5.0, -7.0, -5.0]), config) == (
        "stopped at step 80 by --patience=2: the test bound has not risen since step 40"
    )


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the compiled loop return to Python every other step."""
    monkeypatch.setattr(fused, "MAX_BLOCK", 2)


@pytest.fixture
def without_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the pictures and the SavedModel that end a run."""
    monkeypatch.setattr(run, "finish", lambda *_: {})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Settings of a run that overfits its 48 random images soon."""
    path = tmp_path_factory.mktemp("data") / "grey.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 5)).astype(np.uint8)
    np.save(path, pixels)
    return TrainConfig(
        dataset=str(path),
        binarize="static",
        hidden_units=(16,),
        latent_dim=2,
        batch_size=10,
        steps=2000,
        eval_every=INTERVAL,
        patience=PATIENCE,
        kl_warmup_steps=50,
        optimizer="adam",
        learning_rate=0.02,
        estimation="ml",
        xla=False,
        progress=False,
        tensorboard_images=False,
    )


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, not interrupted until it stops by itself."""
    workdir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "finish", lambda *_: {})
        train_and_evaluate(config, workdir)
    return workdir


def bounds_of(workdir: Path) -> dict[int, float]:
    return {int(row["step"]): float(row["validation_elbo"]) for row in metric_rows(workdir)}


def test_a_run_stops_by_its_bounds_after_the_warm_up(whole: Path, config: TrainConfig) -> None:
    bounds = bounds_of(whole)
    last = max(bounds)
    assert list(bounds) == list(range(INTERVAL, last + 1, INTERVAL))
    assert newest_step(whole) == last < config.steps
    counted = {step: bound for step, bound in bounds.items() if step >= config.kl_warmup_steps}
    best = max(counted, key=lambda step: counted[step])
    assert last == best + PATIENCE * INTERVAL
    for end in range(min(counted) + PATIENCE * INTERVAL, last, INTERVAL):  # and not before
        recent = [counted[end - i * INTERVAL] for i in range(PATIENCE)]
        assert max(recent) > max(b for s, b in counted.items() if s <= end - PATIENCE * INTERVAL)


@pytest.mark.usefixtures("without_ending")
def test_the_same_command_does_not_go_on_training(
    config: TrainConfig, whole: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(whole, tmp_path / "run")
    before = tree(workdir)
    capsys.readouterr()
    train_and_evaluate(config, workdir)
    assert f"stopped at step {newest_step(whole)} by --patience=2" in capsys.readouterr().err
    after = tree(workdir)
    for name in before:
        if name == "metrics.csv" or name.startswith("checkpoints"):
            assert after[name] == before[name], name
    assert_same_run(workdir, whole)


@pytest.mark.run
@pytest.mark.parametrize("back", [3, INTERVAL + 3])
@pytest.mark.usefixtures("short_blocks", "without_ending")
def test_a_run_stopped_by_a_signal_ends_where_it_would_have(
    back: int, config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(newest_step(whole) - back, patch)
        with pytest.raises(Interrupted):
            train_and_evaluate(config, tmp_path / "run")
    assert newest_step(tmp_path / "run") < newest_step(whole)
    train_and_evaluate(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.run
@pytest.mark.usefixtures("without_ending")
def test_a_run_killed_before_its_last_checkpoint_ends_where_it_would_have(
    config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last row is written, the checkpoint of its step is not."""

    def kill(self: object) -> bool:
        if int(self.model.optimizer.iterations) == newest_step(whole):  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patch:
        patch.setattr("tfp_aevb.runs.early_stopping.RunPatience.is_over", property(kill))
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config, tmp_path / "run")
    assert metric_rows(tmp_path / "run") == metric_rows(whole)
    assert newest_step(tmp_path / "run") < newest_step(whole)
    train_and_evaluate(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.run
@pytest.mark.usefixtures("without_ending")
def test_more_patience_goes_on_as_if_it_had_been_there_from_the_start(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    patient = dataclasses.replace(config, patience=PATIENCE + 2)
    workdir = copy_of(whole, tmp_path / "run")
    train_and_evaluate(patient, workdir)
    assert newest_step(workdir) > newest_step(whole)
    train_and_evaluate(patient, tmp_path / "whole")
    assert_same_run(workdir, tmp_path / "whole")


@pytest.mark.run
@pytest.mark.usefixtures("without_ending")
def test_patience_given_to_a_run_between_two_rows_waits_for_the_next(
    config: TrainConfig, whole: Path, tmp_path: Path, capsys
) -> None:
    over = newest_step(whole)
    without = dataclasses.replace(config, patience=0, steps=over + 3)
    train_and_evaluate(without, tmp_path / "run")
    assert newest_step(tmp_path / "run") == over + 3
    train_and_evaluate(dataclasses.replace(config, patience=1), tmp_path / "run")
    steps = list(bounds_of(tmp_path / "run"))
    assert steps[-1] == newest_step(tmp_path / "run") >= over + INTERVAL
    assert all(step % INTERVAL == 0 for step in steps)
    assert f"stopped at step {steps[-1]} by --patience=1" in capsys.readouterr().err
