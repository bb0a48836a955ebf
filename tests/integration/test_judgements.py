"""What is said of doubtful results: in `summary.json`, on the terminal, in the report."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.helpers import binary_data
from tests.integration.runs import TINY, command
from tfp_aevb.evaluation.scores import Scores
from tfp_aevb.runs import finish as results
from tfp_aevb.runs.report import build
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.sklearn import AEVBTransformer


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes long at a run's end and is not asked for."""
    for name in ("draw_figures", "export_saved_model"):
        monkeypatch.setattr(results, name, lambda *_, **__: None)


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_diverged_says_so(data_file: Path, tmp_path: Path, capsys) -> None:
    workdir = tmp_path / "run"
    flags = ("--optimizer=adam", "--learning_rate=1000", "--notensorboard_images")
    assert command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY, *flags) == 0
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"{workdir}: Training diverged: the bound ended at -")
    assert "Training diverged" not in captured.out
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["diverged"]
    assert summary["test_elbo"] < -1000.0
    assert line.endswith(summary["notes"][0])
    assert summary["note"] == " ".join(summary["notes"])
    scores = Scores("importance", 5, np.zeros(3), notes=("rests on few",))
    (bullets,) = build._notes(Workdir(workdir), scores)
    assert "Training diverged" in bullets
    assert "rests on few" in bullets


@pytest.mark.usefixtures("without_pictures")
def test_what_is_doubtful_of_a_run_is_printed(data_file: Path, tmp_path: Path, capsys) -> None:
    workdir = tmp_path / "run"
    flags = ("--objective=iwae", "--learning_rate=1e-6", "--init=stddev", "--notensorboard_images")
    assert command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY, *flags) == 0
    captured = capsys.readouterr()
    summary = json.loads((workdir / "summary.json").read_text())
    assert not summary["diverged"]
    notes = "\n".join(summary["notes"])
    for part in ("ascends; `evaluate`", "--num_samples=2", "Posterior collapse"):
        assert part in notes
    for note in summary["notes"]:
        assert note in captured.out
    assert captured.err == ""


def test_verbs_say_what_their_numbers_are_worth(trained: Path, tmp_path: Path, capsys) -> None:
    run = f"--workdir={trained}"
    assert command("evaluate", run, "--estimator=importance", "--num_samples=1", "--noxla") == 0
    assert "With one sample importance sampling is the evidence bound" in capsys.readouterr().out
    output = f"--output={tmp_path / 'x.npz'}"
    few = ("--method=importance", "--num_samples=10", "--burn_in=2", "--draws=2", "--count=2")
    assert command("impute", run, output, "--task=missing_random", *few, "--noxla") == 0
    assert "effective samples: their draws are much the same" in capsys.readouterr().out


def test_scikit_learn_is_warned_of_divergence() -> None:
    x = binary_data(60, 8)
    with pytest.warns(ConvergenceWarning, match="Training diverged: .* `learning_rate`"):
        AEVBTransformer(learning_rate=1000.0, max_epochs=8, batch_size=10, random_state=0).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        AEVBTransformer(max_epochs=2, hidden_units=(4,), random_state=0).fit(x)
