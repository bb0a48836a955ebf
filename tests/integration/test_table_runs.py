"""A table from the command line: trained with gaps, scored, encoded, completed and drawn."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import (
    TINY,
    assert_refused,
    assert_same_run,
    checkpoint_arrays,
    command,
    copy_of,
    metric_rows,
)
from tfp_aevb.runs.finish import load_run

NAMES = ["length", "sort", "count", "wild"]
OPTIONS = ("--likelihood=mixed", "--columns=wild:binary", "--optimizer=adam", *TINY)
AIDS = ("--output_bias=data", "--ema_momentum=0.9")


def cells(seed: int, num: int, gaps: float) -> list[list[str]]:
    """Rows whose columns follow one hidden number, with some cells empty."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=num)
    columns = [
        [f"{10 + 3 * h + rng.normal():.3f}" for h in hidden],
        [("low", "middle", "high")[int(np.digitize(h, [-0.5, 0.5]))] for h in hidden],
        [str(rng.poisson(np.exp(1.5 + 0.5 * h))) for h in hidden],
        ["yes" if h > 0.0 else "no" for h in hidden],
    ]
    hidden_cells = rng.random([num, 4]) < gaps
    return [
        ["" if gone else text for text, gone in zip(row, mask, strict=True)]
        for row, mask in zip(zip(*columns, strict=True), hidden_cells, strict=True)
    ]


def write(path: Path, rows: list[list[str]], names: list[str] = NAMES) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tables") / "table.csv", cells(0, 80, 0.2))


@pytest.fixture(scope="module")
def run_of_table(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "table"
    flags = (f"--workdir={workdir}", f"--dataset={table}", *OPTIONS, *AIDS)
    assert command("train", *flags) == 0
    return workdir


def test_the_columns_are_in_the_record_of_the_run(run_of_table: Path) -> None:
    record = json.loads((run_of_table / "config.json").read_text())["data"]
    kinds = {column["name"]: column["kind"] for column in record["columns"]}
    assert kinds == {"length": "real", "sort": "categorical", "count": "count", "wild": "binary"}
    assert record["columns"][1]["categories"] == ["high", "low", "middle"]
    assert (run_of_table / "saved_model" / "saved_model.pb").is_file()


def test_the_averages_are_what_is_evaluated_and_loaded(run_of_table: Path) -> None:
    arrays = checkpoint_arrays(run_of_table)
    averages = [arrays[name] for name in arrays if "/average_" in name]
    _, _, model = load_run(run_of_table)
    assert len(averages) == len(model.trainable_variables)
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(variable, average)
    summary = json.loads((run_of_table / "summary.json").read_text())
    last = metric_rows(run_of_table)[-1]["validation_elbo"]
    bounds = summary["bounds_nats_per_datapoint"]
    assert bounds["validation"]["elbo"] == pytest.approx(float(last), rel=1e-6)


@pytest.mark.run
def test_a_resumed_run_is_the_same(table: Path, run_of_table: Path, tmp_path: Path) -> None:
    flags = (f"--dataset={table}", *OPTIONS, *AIDS, f"--workdir={tmp_path / 'two'}")
    assert command("train", *flags, "--steps=27") == 0
    assert command("train", *flags, "--steps=40") == 0
    first, second = checkpoint_arrays(run_of_table), checkpoint_arrays(tmp_path / "two")
    for name, value in first.items():
        if "/total" not in name and "/count" not in name:
            np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert command("train", *flags, "--steps=40") == 0
    again = copy_of(tmp_path / "two", tmp_path / "three")
    assert_same_run(tmp_path / "two", again)


@pytest.mark.run
def test_rows_are_scored_and_encoded(run_of_table: Path, tmp_path: Path, capsys) -> None:
    new = write(tmp_path / "new.csv", cells(1, 7, 0.3))
    scores, codes = tmp_path / "scores.csv", tmp_path / "codes.csv"
    where = (f"--workdir={run_of_table}", f"--input={new}")
    estimators = ("--estimator=elbo,importance", "--num_samples=400")
    assert command("evaluate", *where, *estimators, f"--output={scores}") == 0
    assert "effective samples" in capsys.readouterr().out
    rows = read(scores)
    values = np.array([[float(row[name]) for name in ("elbo", "importance")] for row in rows])
    assert values.shape == (7, 2)
    assert (values[:, 1] > values[:, 0] - 0.05).all()
    assert command("encode", *where, f"--output={codes}") == 0
    assert len(read(codes)) == 7


@pytest.mark.run
@pytest.mark.parametrize("method", ["importance", "metropolis"])
def test_gaps_are_filled(method: str, run_of_table: Path, tmp_path: Path) -> None:
    rows = cells(2, 6, 0.4)
    rows[0] = ["", "", "", ""]
    order = [2, 0, 3, 1]
    shuffled = [[row[i] for i in order] for row in rows]
    gaps = write(tmp_path / "gaps.csv", shuffled, [NAMES[i] for i in order])
    output = tmp_path / "full.csv"
    quick = ("--num_samples=20", "--burn_in=4", "--draws=3", f"--method={method}")
    where = (f"--workdir={run_of_table}", f"--input={gaps}", f"--output={output}")
    assert command("impute", *where, *quick) == 0
    full, known = read(output), read(tmp_path / "full_cells.csv")
    assert list(full[0]) == [NAMES[i] for i in order]
    estimates = {(int(cell["row"]), cell["column"]): cell for cell in known}
    assert len(estimates) == sum(row.count("") for row in rows)
    for n, row in enumerate(rows):
        for name, text in zip(NAMES, row, strict=True):
            if text:
                assert full[n][name] == text
                continue
            cell = estimates[n, name]
            assert full[n][name] == cell["estimate"]
            if name in ("length", "count"):
                assert float(cell["stddev"]) > 0.0
                assert float(cell["mean"]) == pytest.approx(float(cell["estimate"]), abs=0.51)
            else:
                draws = {cell[f"draw_{s}"] for s in range(3)}
                assert draws <= ({"yes", "no"} if name == "wild" else {"low", "middle", "high"})
                assert 1.0 / 3.0 <= float(cell["probability"]) <= 1.0
    assert command("evaluate", f"--workdir={run_of_table}", f"--input={output}") == 0


@pytest.mark.run
def test_rows_are_drawn(run_of_table: Path, tmp_path: Path) -> None:
    output = tmp_path / "drawn.csv"
    assert command("sample", f"--workdir={run_of_table}", "--num=5", f"--output={output}") == 0
    assert list(read(output)[0]) == NAMES
    assert command("evaluate", f"--workdir={run_of_table}", f"--input={output}") == 0


@pytest.mark.run
def test_a_table_is_diagnosed_and_reported(run_of_table: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(run_of_table, tmp_path / "copy")
    assert command("diagnose", f"--workdir={workdir}", "--num_refined=3", "--num_draws=20") == 0
    assert "amortisation" in capsys.readouterr().out
    found = json.loads((workdir / "diagnostics.json").read_text())
    assert found["datapoints"] == 8
    # The parts of log p(x) - bound add up to it.
    gaps = {name: part["mean"] for name, part in found["gaps"].items()}
    total = gaps["amortisation"] + gaps["approximation"]
    assert total == pytest.approx(gaps["log_prob"] - gaps["elbo"], abs=1e-6)
    assert gaps["approximation"] > -0.01
    small = ("--num_scored=3", "--num_samples=20", "--num_refined=2")
    assert command("report", f"--workdir={workdir}", *small) == 0
    text = (workdir / "report.html").read_text()
    assert "mixed likelihood" in text
    assert "What the latents do" not in text  # a decoder of images alone is drawn
    assert "NaN" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)  # pictures spell anything


def test_what_does_not_suit_is_one_line(
    table: Path, run_of_table: Path, trained: Path, tmp_path: Path, capsys
) -> None:
    bad = write(tmp_path / "bad.csv", [["1.5", "tiny", "2", "yes"]])
    gaps = write(tmp_path / "gaps.csv", [["", "low", "2", "yes"]])
    out, new = f"--output={tmp_path / 'x.csv'}", f"--workdir={tmp_path / 'new'}"
    here, npz = f"--workdir={run_of_table}", f"--output={tmp_path / 'x.npz'}"
    for verb, flags, naming in (
        ("evaluate", (here, f"--input={bad}"), ("line 2", "'sort'", "'tiny'")),
        ("impute", (here, f"--input={bad}", out), ("line 2", "'sort'", "'tiny'")),
        ("impute", (here, f"--input={gaps}", npz), ("--output", ".csv")),
        ("impute", (here, f"--input={gaps}", out, "--task=noise"), ("--task",)),
        ("evaluate", (f"--workdir={trained}", f"--input={gaps}"), ("gaps.csv", "table")),
        ("sample", (f"--workdir={trained}", out), ("table", ".npz")),
        ("train", (new, f"--dataset={table}"), ("--likelihood=mixed",)),
        ("train", (new, "--likelihood=mixed"), (".csv",)),
        ("train", (new, f"--dataset={table}", *OPTIONS, "--network=conv"), ("--network=conv",)),
        ("train", (new, f"--dataset={table}", *OPTIONS, "--columns=sort:real"), ("line",)),
        (
            "train",
            (new, f"--dataset={table}", *OPTIONS, "--decoder_variance=scalar"),
            ("--decoder_variance", "mixed", "scalar"),
        ),
        ("train", (new, f"--dataset={table}", *OPTIONS, "--missing=zero"), ("--missing", "table")),
        ("train", (new, f"--dataset={bad}", *OPTIONS), ("bad.csv", "one value")),
    ):
        assert_refused(capsys, verb, *flags, naming=naming)
    assert not (tmp_path / "new").exists()


@pytest.mark.run
def test_a_flow_goes_with_a_table(table: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "flow"
    flags = (f"--dataset={table}", *OPTIONS, "--posterior=iaf", "--objective=sgvb_a")
    assert command("train", f"--workdir={workdir}", *flags, "--steps=20") == 0
    assert (workdir / "saved_model" / "saved_model.pb").is_file()
    assert command("evaluate", f"--workdir={workdir}") == 0
    assert [step.activation for step in load_run(workdir)[2].encoder.steps] == ["tanh", "tanh"]


@pytest.mark.run
def test_convolutions_from_the_command_line(data_file: Path, tmp_path: Path, capsys) -> None:
    where = (f"--workdir={tmp_path / 'conv'}", f"--dataset={data_file}")
    aids = ("--network=conv", "--output_bias=data", "--init=glorot", "--activation=relu")
    assert command("train", *where, *TINY, *aids) == 0
    assert command("evaluate", where[0]) == 0
    capsys.readouterr()
    flags = (f"--workdir={tmp_path / 'new'}", f"--dataset={data_file}", "--network=conv")
    assert_refused(capsys, "train", *flags, "--method=full_vb", naming=("--network=conv",))
    flat = tmp_path / "flat.npy"
    np.save(flat, np.zeros([30, 12], np.uint8))
    flags = (f"--workdir={tmp_path / 'new'}", f"--dataset={flat}", "--network=conv")
    assert_refused(capsys, "train", *flags, *TINY, naming=("--network=conv", "images"))
