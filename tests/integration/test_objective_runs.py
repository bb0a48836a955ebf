"""A run of each objective is scored, examined, reported and served with the default flags."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.runs import TINY, command
from tfp_aevb.objectives import as_objective
from tfp_aevb.runs.settings.choices import OBJECTIVES

QUICK = ("vimco",)


@pytest.mark.parametrize(
    "objective",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OBJECTIVES],
)
def test_every_verb_takes_the_run(objective: str, data_file: Path, tmp_path: Path, capsys) -> None:
    workdir = tmp_path / "run"
    flags = (f"--objective={objective}", "--num_samples=5", "--optimizer=adam")
    assert command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY, *flags) == 0
    printed = capsys.readouterr().out
    summary = json.loads((workdir / "summary.json").read_text())
    note = f"--objective={objective} ascends; `evaluate`"
    is_other = not as_objective(objective).ascends_evidence
    assert (note in printed, note in summary["note"]) == (is_other, is_other)

    scores = tmp_path / "scores.csv"
    assert command("evaluate", f"--workdir={workdir}", f"--output={scores}") == 0
    assert (note in capsys.readouterr().out) == is_other
    elbo = np.loadtxt(scores, delimiter=",", skiprows=1)[:, 1]
    assert np.isfinite(elbo).all()
    # Six images of 20 pixels, nearly fair coins (-13.9): one sample and 5, and L_5 above the bound.
    assert summary["test_elbo"] == pytest.approx(elbo.mean(), abs=0.5)

    assert command("diagnose", f"--workdir={workdir}") == 0
    assert (note in capsys.readouterr().out) == is_other
    found = json.loads((workdir / "diagnostics.json").read_text())
    assert found["elbo"]["mean"] == pytest.approx(elbo.mean(), rel=1e-5)
    assert command("report", f"--workdir={workdir}") == 0
    page = (workdir / "report.html").read_text()
    assert f"test bound {elbo.mean():.2f} nats" in page
    assert (f"--objective={objective} ascends" in page) == is_other

    assert command("export", f"--workdir={workdir}", f"--output={tmp_path / 'saved'}") == 0
    x = tf.zeros([3, 20])
    for folder in (workdir / "saved_model", tmp_path / "saved"):
        served = tf.saved_model.load(folder)
        for count in (1, 3):
            seed = tf.constant([1, 2])
            bound = served.elbo(x=x, num_samples=tf.constant(count), seed=seed)
            assert all(np.isfinite(part).all() for part in bound.values())
