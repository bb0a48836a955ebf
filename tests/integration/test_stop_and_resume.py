"""Runs that are killed or asked to stop, and damaged checkpoints: the same command goes on."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import (
    TINY,
    assert_refused,
    assert_same_run,
    checkpoint_paths,
    command,
    copy_of,
    error_line,
    newest_step,
    python,
    stopped_by,
    tree,
    wait_until,
)
from tfp_aevb.runs.finish import load_run

INTERVAL = 300


@pytest.fixture
def without_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the pictures and the SavedModel that end a run."""
    ending = {
        "bounds_nats_per_datapoint": {},
        "samples_seen": 0,
        "images_per_second": 0.0,
        "seed": 0,
        "notes": [],
        "diverged": False,
    }
    monkeypatch.setattr("tfp_aevb.runs.train.finish", lambda *_: ending)


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGKILL, -9),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("without_ending")
def test_a_stopped_process_is_gone_on_with_exactly(
    signum: signal.Signals, code: int, data_file: Path, tmp_path: Path, capsys
) -> None:
    arguments = (f"--dataset={data_file}", *TINY, f"--eval_every={INTERVAL}")
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = python(
        *("-m", "tfp_aevb", "train", f"--workdir={stopped}", *arguments),
        *("--steps=100000000", "--checkpoint_secs=0.05"),
    )
    wait_until(lambda: newest_step(stopped) > INTERVAL, process)
    returncode, stderr = stopped_by(signum, process)
    assert returncode == code
    if signum != signal.SIGKILL:
        step = newest_step(stopped)
        message = f"tfp_aevb: stopped at step {step}; the same command goes on from there"
        assert stderr[-1] == message
        assert "Traceback" not in "\n".join(stderr)

    steps = f"--steps={newest_step(stopped) + INTERVAL + 13}"  # a short last interval
    assert command("train", f"--workdir={stopped}", *arguments, steps) == 0
    assert "resuming at step" in capsys.readouterr().err
    assert command("train", f"--workdir={whole}", *arguments, steps) == 0
    assert_same_run(stopped, whole)


@pytest.mark.run
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_with_its_exit_code(
    signum: signal.Signals,
    code: int,
    data_file: Path,
    tmp_path: Path,
    capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        os.kill(os.getpid(), signum)

    monkeypatch.setattr("tfp_aevb.runs.callbacks.RunLog.on_epoch_end", stop)
    arguments = (f"--workdir={tmp_path / 'run'}", f"--dataset={data_file}", *TINY)
    assert command("train", *arguments) == code
    line = "tfp_aevb: stopped at step 20; the same command goes on from there"
    assert error_line(capsys) == line
    assert newest_step(tmp_path / "run") == 20


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "one bit flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    else:  # killed between the file and its checksum
        path.with_suffix(".sha256").unlink()


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("how", ["truncated", "one bit flipped", "empty", "without checksum"])
@pytest.mark.usefixtures("without_ending")
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    how: str, trained: Path, data_file: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    damage(checkpoint_paths(workdir)[-1], how)
    assert command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "checkpoint" in line]
    assert lines == ["checkpoint step-00000040.npz is damaged or half-written: passed over"]
    assert_same_run(workdir, trained)


@pytest.mark.parametrize("verb", ["train", "evaluate", "export", "figures", "sample"])
def test_a_run_with_damaged_checkpoints_only_is_refused(
    verb: str, trained: Path, data_file: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    for path in checkpoint_paths(workdir):
        damage(path, "truncated")
    before = tree(workdir)
    more = {
        "train": (f"--dataset={data_file}", *TINY),
        "sample": (f"--output={tmp_path / 'x.npz'}",),
    }
    arguments = (f"--workdir={workdir}", *more.get(verb, ()))
    assert_refused(capsys, verb, *arguments, naming=("all checkpoints", "damaged", str(workdir)))
    assert tree(workdir) == before


@pytest.mark.run
def test_a_checkpoint_of_another_model_is_refused(
    trained: Path, data_file: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    monkeypatch.setattr("tfp_aevb.runs.train.finish", lambda *_: pytest.fail("trained"))
    other = (f"--workdir={tmp_path / 'other'}", f"--dataset={data_file}", *TINY)
    with pytest.raises(pytest.fail.Exception):
        command("train", *other, "--latent_dim=3")
    for path in (tmp_path / "other" / "checkpoints").iterdir():
        (workdir / "checkpoints" / path.name).write_bytes(path.read_bytes())
    capsys.readouterr()
    arguments = (f"--workdir={workdir}", f"--dataset={data_file}", *TINY)
    before = tree(workdir)
    assert_refused(capsys, "train", *arguments, naming=("of another model", "step-00000040.npz"))
    assert_refused(capsys, "evaluate", arguments[0], naming=("of another model",))
    assert tree(workdir) == before


def diverging(data_file: Path, workdir: Path, *more: str) -> int:
    """Trains with a step size that overflows within a few updates."""
    flags = ("--optimizer=sgd", "--learning_rate=1e6", "--checkpoint_secs=0", *more)
    return command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY, *flags)


@pytest.mark.run
def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(
    data_file: Path, tmp_path: Path, capsys
) -> None:
    workdir = tmp_path / "run"
    assert diverging(data_file, workdir) == 1
    line = error_line(capsys)
    step = int(line.partition("infinite at step ")[2].partition(";")[0])
    assert 1 < step <= 20
    assert "lower the learning rate" in line
    assert 0 < newest_step(workdir) < step
    kept = newest_step(workdir)
    _, _, model = load_run(workdir)
    assert int(model.optimizer.iterations) == kept
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)

    # The same command again goes on from there and stops at the same step.
    assert diverging(data_file, workdir) == 1
    assert f"infinite at step {step};" in capsys.readouterr().err
    assert kept <= newest_step(workdir) < step


def test_restoring_after_a_bound_that_is_not_finite_ends_after_three(
    data_file: Path, tmp_path: Path, capsys
) -> None:
    assert diverging(data_file, tmp_path / "run", "--nan_policy=restore") == 1
    *lines, last = capsys.readouterr().err.splitlines()
    restores = [line for line in lines if "going on from step" in line]
    assert [line[line.index("(restore") :] for line in restores] == [
        "(restore 1 of 3)",
        "(restore 2 of 3)",
        "(restore 3 of 3)",
    ]
    assert " became NaN or infinite at step " in last


def test_a_validation_bound_that_is_not_finite_names_the_training_step(
    tmp_path: Path, capsys
) -> None:
    normal = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    huge = np.full((4, 5), 1e30, np.float32)  # its square overflows
    np.savez(tmp_path / "data.npz", train=normal, validation=huge, test=normal[:4])
    arguments = (f"--dataset={tmp_path / 'data.npz'}", *TINY, "--likelihood=gaussian")
    assert command("train", f"--workdir={tmp_path / 'run'}", *arguments, "--eval_every=7") == 1
    line = error_line(capsys)
    assert "validation" in line
    assert "step 7" in line
