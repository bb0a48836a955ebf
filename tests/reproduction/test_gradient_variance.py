"""The experiment on gradient noise, tiny, on the embedded digits."""

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from tfp_aevb.evaluation.gradients import gradient_variance
from tfp_aevb.reproduction import gradient_variance as experiment
from tfp_aevb.reproduction import runs, settings
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.data import as_seen, load_data
from tfp_aevb.runs.settings.config import TrainConfig

COLUMNS = (
    *("latent_dim", "point", "samples", "objective", "L", "parameters"),
    *("gradient_norm", "total_variance", "standard_error", "seed"),
)
ESTIMATORS, POINTS = ("sgvb_a", "sgvb_b", "score_function"), ("init", "end")
GROUPS = ("encoder", "decoder")
LATENT_DIM, SAMPLES = 2, 2000


class Outcome:
    """What the experiment left behind, and how many runs it trained."""

    def __init__(self, workdir: Path, patch: pytest.MonkeyPatch) -> None:
        tiny = TrainConfig(
            dataset="mnist_5k", binarize="static", hidden_units=(8,), progress=False, xla=False
        )
        patch.setitem(settings.DATASETS, "mnist_5k", tiny)
        patch.setattr(experiment, "MINIBATCHES", 2)
        patch.setattr(experiment, "DRAWS", 20)
        train, self.trained = runs.train_and_evaluate, 0

        def counted(config: TrainConfig, folder: Path) -> dict[str, Any]:
            self.trained += 1
            return train(config, folder)

        patch.setattr(runs, "train_and_evaluate", counted)
        self.workdir = workdir
        self.paths = self.run()
        with self.paths[0].open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.table, self.picture = (path.read_bytes() for path in self.paths)

    def run(self) -> list[Path]:
        return experiment.run_gradient_variance(
            "mnist_5k", SAMPLES, self.workdir, latent_dims=(LATENT_DIM,), step_size=0.1
        )

    def value(self, column: str, *key: object) -> float:
        """The cell of (point, objective, L, parameters)."""
        names = ("point", "objective", "L", "parameters")
        (row,) = [r for r in self.rows if [r[name] for name in names] == [str(k) for k in key]]
        return float(row[column])


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        yield Outcome(tmp_path_factory.mktemp("gradients"), patch)


def test_a_row_for_each_point_estimator_and_group(outcome: Outcome) -> None:
    assert tuple(outcome.rows[0]) == COLUMNS
    keys = ("latent_dim", "point", "samples", "objective", "L", "parameters", "seed")
    found = [tuple(row[key] for key in keys) for row in outcome.rows]
    expected = [
        (str(LATENT_DIM), *point, objective, count, group, "0")
        for point, objective, count, group in itertools.product(
            (("init", "0"), ("end", str(SAMPLES))), ESTIMATORS, ("1", "10"), GROUPS
        )
    ]
    assert found == expected


@pytest.mark.run
def test_values_are_averages_over_the_minibatches(outcome: Outcome) -> None:
    config = dataclasses.replace(settings.DATASETS["mnist_5k"], latent_dim=LATENT_DIM)
    data = load_data(config)
    model = build_model(config, data.event_shape, len(data.train.x))
    noise = [
        gradient_variance(model, x, "sgvb_b", 20, 10, seed=seed)["encoder"]
        for seed, x in enumerate(np.split(as_seen(data.train, data, 200, 0), 2))
    ]
    expected = {
        "total_variance": (noise[0].total_variance + noise[1].total_variance) / 2.0,
        "standard_error": np.hypot(noise[0].standard_error, noise[1].standard_error) / 2.0,
        "gradient_norm": np.sqrt((noise[0].squared_norm + noise[1].squared_norm) / 2.0),
    }
    for column, value in expected.items():
        assert outcome.value(column, "init", "sgvb_b", 10, "encoder") == pytest.approx(value)


def test_the_score_function_is_far_noisier_and_for_the_encoder_alone(outcome: Outcome) -> None:
    for point, count in itertools.product(POINTS, (1, 10)):
        a, score = (
            [outcome.value("total_variance", point, name, count, group) for group in GROUPS]
            for name in ("sgvb_a", "score_function")
        )
        assert score[0] > 100.0 * a[0]
        assert score[1] == pytest.approx(a[1])  # the decoder's: the same gradient, the same draws


def test_ten_samples_of_z_divide_the_variance_by_ten(outcome: Outcome) -> None:
    for point, name, group in itertools.product(POINTS, ("sgvb_a", "sgvb_b"), GROUPS):
        one, ten = (
            [outcome.value(column, point, name, count, group) for count in (1, 10)]
            for column in ("total_variance", "standard_error")
        )
        error = np.hypot(ten[0] / one[0], ten[1] / one[1])
        assert abs(np.log(one[0] / one[1] / 10.0)) < 5.0 * error < 2.0


def test_training_changes_what_is_measured(outcome: Outcome) -> None:
    start, end = (
        outcome.value("gradient_norm", point, "sgvb_b", 10, "encoder") for point in POINTS
    )
    assert abs(np.log(end / start)) > 0.5


def test_the_figure_shows_every_variance_on_a_log_axis(outcome: Outcome) -> None:
    table, picture = outcome.paths
    assert table.name == "gradient_variance_mnist_5k.csv"
    assert picture.name == "gradient_variance_mnist_5k.png"
    assert matplotlib.image.imread(io.BytesIO(outcome.picture)).std() > 0.01
    rows: list[dict[str, Any]] = [
        {**row, "latent_dim": dim, "L": int(row["L"]), **{c: float(row[c]) for c in COLUMNS[6:9]}}
        for dim in (2, 3)
        for row in outcome.rows
    ]
    figure = experiment.gradient_variance_figure(rows)
    titles = [f"{group}, Nz = {dim}" for group in GROUPS for dim in (2, 3)]
    assert [axis.get_title() for axis in figure.axes] == titles
    for axis in figure.axes:
        assert axis.get_yscale() == "log"
        group, dim = axis.get_title().split(", Nz = ")
        shown = [r for r in rows if (r["parameters"], str(r["latent_dim"])) == (group, dim)]
        points = [line for line in axis.get_lines() if line.get_marker() not in ("None", "_")]
        drawn = [np.asarray(line.get_ydata()).item() for line in points]
        assert drawn == [row["total_variance"] for row in shown]
        low, high = axis.get_ylim()
        assert low < min(drawn) < max(drawn) < high


@pytest.mark.run
def test_a_model_that_is_done_is_not_trained_again(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome.trained == 1
    monkeypatch.setattr(experiment, "_measure", None)  # nor measured
    for path in outcome.paths:
        path.unlink()
    assert outcome.run() == outcome.paths
    assert outcome.trained == 1
    assert outcome.paths[0].read_bytes() == outcome.table
    assert outcome.paths[1].read_bytes() == outcome.picture
