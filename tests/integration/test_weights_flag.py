"""`--weights`: trained, scored and diagnosed on the command line as rows are repeated."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import TINY, assert_refused, command

OPTIONS = ("--likelihood=mixed", "--optimizer=adam", "--output_bias=data", *TINY)


def write(path: Path, names: tuple[str, ...] = ("a", "w", "b"), num: int = 80) -> Path:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=num)
    cells = {
        "a": 3.0 * hidden + rng.normal(size=num),
        "b": 10.0 - hidden + rng.normal(size=num),
        "w": np.where(hidden > 0.5, 5.0, rng.integers(0, 2, num)),
    }
    with path.open("w", newline="") as file:
        rows = zip(*(cells[name] for name in names), strict=True)
        csv.writer(file).writerows([names, *([f"{v:.6g}" for v in row] for row in rows)])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("weights")
    path = write(folder / "table.csv")
    workdir = f"--workdir={folder}/run"
    assert command("train", f"--dataset={path}", "--weights=w", *OPTIONS, workdir) == 0
    return path, folder / "run"


@pytest.fixture
def scores(run: tuple[Path, Path], capsys: pytest.CaptureFixture) -> Callable[..., dict]:
    """Evaluates the run with these flags; returns the first of the scores."""

    def found(*options: str) -> dict:
        capsys.readouterr()
        assert command("evaluate", f"--workdir={run[1]}", "--json", *options) == 0
        return json.loads(capsys.readouterr().out)["scores"][0]

    return found


@pytest.mark.run
def test_a_run_is_scored_with_its_weights(run, scores, capsys, tmp_path) -> None:
    path, workdir = run
    with path.open(newline="") as file:
        weights = np.array([float(row["w"]) for row in csv.DictReader(file)])
    output = f"--output={tmp_path}/values.csv"
    found = scores(f"--input={path}", output)
    with (tmp_path / "values.csv").open(newline="") as file:
        values = np.array([float(row["elbo"]) for row in csv.DictReader(file)])
    assert len(values) == len(weights)
    mean = np.repeat(values, weights.astype(int)).mean()
    assert found["nats"] == pytest.approx(mean, rel=1e-7)
    assert abs(mean - values.mean()) > 0.1
    once = scores(f"--input={path}", "--weights=")
    assert once["nats"] == pytest.approx(values.mean(), rel=1e-7)
    # The run's own test rows: the bound of summary.json has other draws of z.
    test, unweighted = scores("--num_samples=500"), scores("--weights=")
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["data"]["weights"]["name"] == "w"
    assert test["nats"] == pytest.approx(summary["test_elbo"], abs=1.0)
    assert test["nats"] != unweighted["nats"]
    expected = scores()["nats"]
    assert command("diagnose", f"--workdir={workdir}", "--num_refined=0", "--json") == 0
    found = json.loads(capsys.readouterr().out)["elbo"]["mean"]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.run
@pytest.mark.parametrize("method", ["mcem", "full_vb"])
def test_methods_with_a_use_for_n_take_weights(run, method: str, tmp_path) -> None:
    path, _ = run
    options = (f"--method={method}", "--weights=w", f"--workdir={tmp_path}/{method}")
    settings = [option for option in OPTIONS if option != "--output_bias=data"]
    assert command("train", f"--dataset={path}", *options, *settings) == 0


@pytest.mark.run
def test_other_weights_and_tables_without(run, scores, capsys, tmp_path) -> None:
    _, workdir = run
    without = write(tmp_path / "without.csv", ("a", "b"))
    where, naming = f"--workdir={workdir}", ("no column 'w'", "--weights")
    assert_refused(capsys, "evaluate", where, f"--input={without}", naming=naming)
    assert scores(f"--input={without}", "--weights=")["datapoints"] == 80
    assert_refused(capsys, "evaluate", where, "--weights=a", naming=("--input",))
    options = ("--weights=w", f"--workdir={tmp_path}/new", *TINY)
    assert_refused(capsys, "train", *options, naming=("--weights", "npz"))
