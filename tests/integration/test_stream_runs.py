"""`train` on streams: resumed, evaluated, on several devices, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import (
    TINY,
    assert_refused,
    assert_same_run,
    command,
    metric_rows,
    newest_step,
    python,
)
from tests.integration.test_workers import MIRRORED, assert_same_bounds
from tfp_aevb.runs.finish import load_run

SOURCE = ("--dataset=tests.integration.stream_source:rows", *TINY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on an endless stream."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert command("train", f"--workdir={workdir}", *SOURCE) == 0
    return workdir


@pytest.mark.run
def test_a_run_on_a_stream_goes_on_exactly(whole: Path, tmp_path: Path) -> None:
    for steps in (13, 40):
        assert command("train", f"--workdir={tmp_path}", *SOURCE, f"--steps={steps}") == 0
    rows = metric_rows(whole)
    assert [row["samples_seen"] for row in rows] == ["200", "400"]
    assert metric_rows(tmp_path)[-1] == rows[-1]
    for name in ("checkpoints", "saved_model"):
        assert (tmp_path / name).is_dir()
    ours, theirs = (load_run(run)[2] for run in (tmp_path, whole))
    for a, b in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_on_an_endless_stream_records_what_it_was(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["data"]["split_sizes"] == {"train": None, "validation": 1000, "test": 1000}
    assert summary["samples_seen"] == 400
    assert load_run(whole)[2].num_data == 400  # takes the place of N


def test_the_other_verbs_work_on_a_run_of_a_stream(whole: Path, capsys) -> None:
    assert command("evaluate", f"--workdir={whole}", "--split=test") == 0
    assert "1,000" in capsys.readouterr().out


@pytest.mark.run
def test_two_devices_share_a_stream_and_train_as_one(whole: Path, tmp_path: Path) -> None:
    process = python(
        *("-c", MIRRORED, "train", f"--workdir={tmp_path / 'two'}", "--strategy=mirrored"), *SOURCE
    )
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert_same_bounds(whole, tmp_path / "two")


@pytest.mark.run
def test_where_a_stream_ends_its_run_is_kept(tmp_path: Path, capsys) -> None:
    # 2,000 rows are held out, so that 130 minibatches of 10 can be read.
    source = "--dataset=tests.integration.stream_source:ending"
    arguments = (f"--workdir={tmp_path}", *TINY, source, "--steps=1000")
    assert_refused(capsys, "train", *arguments, naming=("stream ended",))
    kept = newest_step(tmp_path)
    assert 0 < kept <= 130
    assert command("train", *arguments[:-1], f"--steps={kept}") == 0
    assert load_run(tmp_path)[2].optimizer.iterations == kept


@pytest.mark.run
def test_n_can_be_declared(whole: Path, tmp_path: Path) -> None:
    assert command("train", f"--workdir={tmp_path}", *SOURCE, "--num_data=7000") == 0
    assert load_run(tmp_path)[2].num_data == 7000
    assert metric_rows(tmp_path)[-1]["epoch"] == f"{400 / 7000:.10g}"
    with pytest.raises(AssertionError):
        assert_same_run(whole, tmp_path)  # MAP's penalty is another


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("--dataset=tests.integration.stream_source:missing",), ("missing",)),
        (("--dataset=tests.integration.stream_source:BLOCK",), ("BLOCK", "no function")),
        (("--dataset=mnist_5k", "--stream"), ("mnist_5k", "memory")),
        (("--method=mcem", "--num_data=5"), ("--num_data", "mcem")),
        ((SOURCE[0], "--method=mcem"), ("mcem", "memory")),
        ((SOURCE[0], "--num_train=5"), ("num_train", "stream")),
        ((SOURCE[0], "--binarize=static"), ("static", "dynamic")),
    ],
)
def test_what_makes_no_stream_is_refused(arguments, naming, tmp_path: Path, capsys) -> None:
    assert_refused(capsys, "train", f"--workdir={tmp_path / 'w'}", *TINY, *arguments, naming=naming)
    assert not (tmp_path / "w").exists()
