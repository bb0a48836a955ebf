"""What verbs print for programs (`--json`), and what they leave out (`--quiet`)."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.integration.runs import TINY, command
from tfp_aevb.commands import evaluate, main
from tfp_aevb.commands.results import Results
from tfp_aevb.utils import progress


def test_json_is_one_object_of_plain_values(capsys: pytest.CaptureFixture) -> None:
    results = Results(as_json=True)
    results.line("for a reader")
    results.add(nats=np.float32(-1.5), values=np.array([1.0, np.nan]), inf=-np.inf, n=np.int64(3))
    results.add(nested={"a": (1, [np.bool_(True)])})
    results.files(Path("a.png"))
    results.files("b.png")
    results.notes(["doubtful"])
    results.close()
    assert json.loads(capsys.readouterr().out) == {
        "nats": -1.5,
        "values": [1.0, None],
        "inf": None,
        "n": 3,
        "nested": {"a": [1, [True]]},
        "files": ["a.png", "b.png"],
        "notes": ["doubtful"],
    }


def test_text_has_lines_files_and_notes(capsys: pytest.CaptureFixture) -> None:
    results = Results()
    results.line("for a reader")
    results.add(nats=1.0)
    results.files("a.png")
    results.notes(["doubtful"])
    results.close()
    assert capsys.readouterr().out == "for a reader\na.png\ndoubtful\n"


def test_quiet_has_no_progress_and_keeps_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(options: SimpleNamespace, results: Results) -> int:
        progress.say("a line of progress")
        progress.ProgressLine().show("half way", now=True)
        raise ValueError("wrong")

    monkeypatch.setattr(evaluate, "run", run)
    assert main.main(["evaluate", "--quiet"]) == 1
    assert capsys.readouterr().err == "tfp_aevb: wrong\n"
    assert main.main(["evaluate"]) == 1
    assert capsys.readouterr().err == "a line of progress\nhalf way\ntfp_aevb: wrong\n"


def test_nothing_is_printed_as_json_for_a_failure(capsys: pytest.CaptureFixture) -> None:
    assert main.main(["evaluate", "--json", "--workdir=/nowhere/at/all"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", ["evaluate", "diagnose", "sample", "impute", "encode"])
def test_verbs_answer_in_json(
    verb: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = f"--output={tmp_path / 'x.npz'}"
    flags = {
        "evaluate": ("--estimator=elbo,importance", "--num_samples=2", "--noxla"),
        "diagnose": ("--num_refined=0", "--num_draws=5", "--noxla"),
        "sample": (output, "--num=2"),
        "impute": (output, "--task=missing_random", "--count=2", "--burn_in=2", "--draws=2"),
        "encode": (output, "--noxla"),
    }[verb]
    assert command(verb, "--json", f"--workdir={trained}", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    if verb == "evaluate":
        bounds = json.loads((trained / "summary.json").read_text())["bounds_nats_per_datapoint"]
        assert [row["estimator"] for row in found["scores"]] == ["elbo", "importance"]
        assert found["scores"][0]["datapoints"] == bounds["test"]["datapoints"]
        assert set(found["scores"][1]["diagnostics"]) == {
            "effective_sample_size",
            "standard_error",
        }
    elif verb == "diagnose":
        assert json.loads((trained / "diagnostics.json").read_text())["elbo"] == found["elbo"]
    else:
        assert found["files"]
        assert all(Path(name).is_file() for name in found["files"])
    if verb == "impute":
        assert 0.0 <= found["acceptance"]["least"] <= found["acceptance"]["median"] <= 1.0


def test_training_answers_with_its_summary(
    data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = (f"--workdir={tmp_path}", f"--dataset={data_file}", *TINY)
    assert command("train", "--json", "--quiet", *run) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found.pop("workdir") == str(tmp_path)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert captured.err == ""
