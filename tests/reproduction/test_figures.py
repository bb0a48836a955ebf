"""The experiments of figures 2 to 5 and of full VB, very short, on the embedded digits."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfp_aevb.reproduction import figure2, figure3, figure4, figure5, full_vb, runs, settings
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.files import read_json

DATASET = "mnist_5k"


@pytest.fixture(autouse=True)
def embedded_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(settings.MNIST, dataset=DATASET, hidden_units=(8,))
    monkeypatch.setitem(settings.DATASETS, DATASET, small)
    for table, value in ((figure2.LATENT_DIMS, (3,)), (figure2.YLIMS, (-300.0, -100.0))):
        monkeypatch.setitem(table, DATASET, value)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_written(paths: list[Path]) -> None:
    for path in paths:
        assert path.stat().st_size > 100, path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The runs trained, in their order."""
    done: list[TrainConfig] = []
    original = runs.train_and_evaluate

    def train(config: TrainConfig, *args, **kwargs) -> dict:
        done.append(config)
        return original(config, *args, **kwargs)

    monkeypatch.setattr(runs, "train_and_evaluate", train)
    return done


@pytest.mark.run
def test_the_other_reading_of_the_start_has_runs_of_its_own(tmp_path: Path, trained) -> None:
    for init in ("variance", "stddev"):
        figure2.run_figure2(DATASET, 300, tmp_path, methods=("aevb",), step_size=0.02, init=init)
        assert {row["init"] for row in rows_of(tmp_path / f"figure2_{DATASET}.csv")} == {init}
    assert [config.init for config in trained] == ["variance", "stddev"]
    folders = {path.name for path in (tmp_path / DATASET).iterdir()}
    assert folders == {"aevb-nz3", "aevb-nz3-init-stddev"}


def test_figure_2_has_both_methods_and_every_plotted_number(tmp_path: Path, trained) -> None:
    paths = figure2.run_figure2(DATASET, 2000, tmp_path, step_size=0.02)
    assert_written(paths)
    rows = rows_of(tmp_path / f"figure2_{DATASET}.csv")
    assert {row["method"] for row in rows} == {"aevb", "wake_sleep"}
    metrics = rows_of(tmp_path / DATASET / "aevb-nz3" / "run" / "metrics.csv")
    of_aevb = [row for row in rows if row["method"] == "aevb"]
    assert [float(r["test_bound"]) for r in of_aevb] == [
        float(r["validation_elbo"]) for r in metrics
    ]
    figure2.run_figure2(DATASET, 2000, tmp_path, step_size=0.02)
    assert len(trained) == 2  # the second time everything was there


def test_figure_3_estimates_log_p_of_x_along_its_curves(tmp_path: Path, trained) -> None:
    arguments = {"step_size": 0.02, "num_train": (1000,), "num_scored": 10, "methods": ("mcem",)}
    paths = figure3.run_figure3(DATASET, 1000, tmp_path, **arguments)
    assert_written(paths)
    rows = rows_of(tmp_path / f"figure3_{DATASET}.csv")
    assert {row["method"] for row in rows} == {"mcem"}
    of_test = [row for row in rows if row["split"] == "test"]
    samples = [int(row["samples"]) for row in of_test if row["estimator"] == "hmc"]
    assert samples == [200 * i for i in range(1, 6)]
    last = {r["estimator"]: float(r["nats"]) for r in of_test if r["samples"] == "1000"}
    assert last.keys() == {"hmc", "elbo", "importance", "ais"}
    assert abs(last["importance"] - last["hmc"]) < 5.0
    figure3.run_figure3(DATASET, 1000, tmp_path, **arguments)
    assert len(trained) == 1


def test_full_vb_is_beside_ml(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(full_vb.METHODS_SHOWN, "MAP")
    paths = full_vb.run_full_vb(DATASET, 500, tmp_path, step_size=0.02, num_scored=10)
    assert_written(paths)
    rows = rows_of(tmp_path / f"full_vb_{DATASET}.csv")
    assert list(dict.fromkeys(row["name"] for row in rows)) == ["ML", "Full VB"]
    record = read_json(tmp_path / f"full_vb_{DATASET}.json")["runs"]
    assert [run["config"]["num_train"] for run in record] == [1000] * 2


def test_figures_4_and_5_share_their_runs(tmp_path: Path, trained) -> None:
    assert_written(figure4.run_figure4(DATASET, 500, tmp_path, step_size=0.02))
    paths = figure5.run_figure5(DATASET, 500, tmp_path, step_size=0.02, latent_dims=(2, 4))
    assert_written(paths)
    assert [config.latent_dim for config in trained] == [2, 4]
    manifold = rows_of(tmp_path / f"figure4_{DATASET}.csv")
    assert len(manifold) == 400
    assert float(manifold[0]["z1"]) == pytest.approx(-1.95996, abs=1e-4)
    assert float(manifold[0]["z2"]) == pytest.approx(1.95996, abs=1e-4)
    samples = rows_of(tmp_path / f"figure5_{DATASET}.csv")
    assert [row["latent_dim"] for row in samples] == ["2"] * 100 + ["4"] * 100
    pixels = np.array([[float(row[f"pixel_{j}"]) for j in range(784)] for row in samples])
    assert pixels.min() >= 0.0
    assert pixels.max() <= 1.0
