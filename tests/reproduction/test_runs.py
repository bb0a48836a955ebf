"""Runs of an experiment: the paper's rule for the step size, and skipping what is done."""

from pathlib import Path

import numpy as np
import pytest

from tfp_aevb.reproduction import runs
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.files import write_json


def trainer(bounds: dict[float, float], trained: list[TrainConfig]):
    """Returns a stand-in for training that ends at the bound of each step size."""

    def train(config: TrainConfig, workdir: Path, **options) -> dict:
        del options
        trained.append(config)
        bound = bounds[config.learning_rate]
        if np.isnan(bound):
            raise FloatingPointError("NaN")
        workdir.mkdir(parents=True)
        rows = f"step,train_elbo\n{config.steps // 2},-1\n{config.steps},{bound}\n"
        (workdir / "metrics.csv").write_text(rows)
        summary = {"steps": config.steps}
        write_json(workdir / "summary.json", summary)
        return summary

    return train


@pytest.mark.parametrize(
    ("bounds", "best"),
    [
        ({0.01: -150.0, 0.02: -140.0, 0.1: -160.0}, 0.02),
        ({0.01: -150.0, 0.02: float("nan"), 0.1: -160.0}, 0.01),
    ],
)
def test_the_step_size_with_the_best_training_bound_is_chosen(
    bounds: dict[float, float], best: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[TrainConfig] = []
    monkeypatch.setattr(runs, "train_and_evaluate", trainer(bounds, trained))
    chosen, candidates = runs.choose_step_size(TrainConfig(latent_dim=3), tmp_path)
    assert chosen == best
    assert [config.learning_rate for config in trained] == [0.01, 0.02, 0.1]
    assert {config.steps for config in trained} == {runs.PILOT_STEPS}
    expected = {f"{r:g}": -np.inf if np.isnan(b) else b for r, b in bounds.items()}
    assert candidates == expected


def test_no_step_size_without_a_finite_bound(tmp_path, monkeypatch) -> None:
    bounds = dict.fromkeys((0.01, 0.02, 0.1), float("nan"))
    monkeypatch.setattr(runs, "train_and_evaluate", trainer(bounds, []))
    with pytest.raises(FloatingPointError, match="every step size"):
        runs.choose_step_size(TrainConfig(), tmp_path)


def test_a_run_that_is_done_is_not_trained_again(tmp_path, monkeypatch) -> None:
    trained: list[TrainConfig] = []
    monkeypatch.setattr(runs, "train_and_evaluate", trainer({0.02: -100.0}, trained))
    config = TrainConfig(steps=40)
    first = runs.ensure_run(config, tmp_path / "run")
    assert runs.ensure_run(config, tmp_path / "run") == first
    assert len(trained) == 1


def test_the_paper_s_axis_is_extended_to_where_the_curves_end() -> None:
    samples = np.array([1.0, 2.0])
    good, bad = np.array([-900.0, -120.0]), np.array([-900.0, -200.0])
    lost = np.array([-900.0, np.nan])
    panels = {"a": {("AEVB", "test"): (samples, good)}}
    assert runs.limits_with_ends(panels, (-150.0, -100.0)) == (-150.0, -100.0)
    panels["b"] = {("AEVB", "test"): (samples, bad), ("AEVB", "train"): (samples, lost)}
    assert runs.limits_with_ends(panels, (-150.0, -100.0)) == (-210.0, -100.0)
    panels["c"] = {("AEVB", "train"): (samples, np.array([-900.0, -95.0]))}
    assert runs.limits_with_ends(panels, (-150.0, -100.0)) == (-210.0, -93.0)
