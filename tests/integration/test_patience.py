"""`train --patience`: a run that stops early ends as others do, and stays ended."""

import json
from pathlib import Path

from tests.integration.runs import TINY, command


def test_a_run_that_stops_early_ends_with_everything(
    data_file: Path, tmp_path: Path, capsys
) -> None:
    workdir = tmp_path / "run"
    flags = (*TINY, "--optimizer=sgd", "--learning_rate=1e-20", "--steps=1000", "--patience=1")
    arguments = ("train", f"--workdir={workdir}", f"--dataset={data_file}", *flags)
    assert command(*arguments) == 0
    reason = "stopped at step 40 by --patience=1: the validation bound has not risen since step 20"
    assert f"{workdir}: {reason}" in capsys.readouterr().err
    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["steps"], summary["stopped_because"]) == (40, reason)
    assert summary["samples_seen"] == 384
    assert (workdir / "saved_model" / "saved_model.pb").exists()
    assert (workdir / "figures" / "learning_curves.png").exists()
    assert command(*arguments) == 0
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert command("evaluate", f"--workdir={workdir}", "--checkpoint=best") == 0
