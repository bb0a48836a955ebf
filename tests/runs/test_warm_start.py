"""Tests of tfp_aevb.runs.warm_start: runs that start from the parameters of another one."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import assert_one_line, assert_same_arrays, weights_of
from tfp_aevb.runs import train as run
from tfp_aevb.runs.finish import load_run
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate

# Too small a step to move any weight.
STILL = {"optimizer": "sgd", "learning_rate": 1e-30, "steps": 1, "estimation": "ml"}


@pytest.fixture(autouse=True)
def without_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the pictures and the SavedModel that end a run."""
    monkeypatch.setattr(run, "finish", lambda *_: {})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Settings of a run that comes away from its start."""
    return TrainConfig(
        dataset=_data(tmp_path_factory.mktemp("data") / "pixels.npy", 6),
        hidden_units=(4,),
        latent_dim=2,
        batch_size=10,
        steps=20,
        eval_every=20,
        xla=False,
        progress=False,
        tensorboard_images=False,
    )


@pytest.fixture(scope="module")
def first(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps that keeps averages of its weights."""
    workdir = tmp_path_factory.mktemp("first")
    train_and_evaluate(dataclasses.replace(config, ema_momentum=0.9), workdir, only_train=True)
    return workdir


def _data(path: Path, dim: int) -> str:
    np.save(path, np.random.default_rng(0).integers(0, 2, (60, dim)).astype(np.uint8))
    return str(path)


def _second(config: TrainConfig, first: Path, **settings: Any) -> TrainConfig:
    return dataclasses.replace(config, warm_start=str(first), **settings)


@pytest.mark.run
@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "iwae", "num_samples": 3},
        {"method": "wake_sleep", "seed": 7},
        {"ema_momentum": 0.5, "output_bias": "data", "init": "glorot"},
    ],
    ids=["iwae", "wake_sleep", "averages"],
)
def test_a_run_starts_from_the_averages_of_another(
    config: TrainConfig, first: Path, tmp_path: Path, settings: dict
) -> None:
    train_and_evaluate(_second(config, first, **STILL, **settings), tmp_path / "second")
    expected = weights_of(load_run(first)[2])
    assert_same_arrays(weights_of(load_run(tmp_path / "second")[2]), expected)
    train_and_evaluate(dataclasses.replace(config, **STILL, **settings), tmp_path / "cold")
    cold = weights_of(load_run(tmp_path / "cold")[2])
    assert any((a != b).any() for a, b in zip(cold, expected, strict=True))


@pytest.mark.run
def test_a_resumed_run_does_not_start_again_and_needs_the_other_no_more(
    config: TrainConfig, first: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "first")
    moving = _second(config, tmp_path / "first", objective="sgvb_a")
    train_and_evaluate(moving, tmp_path / "whole")
    train_and_evaluate(dataclasses.replace(moving, steps=7), tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    train_and_evaluate(moving, tmp_path / "second")
    whole, second = (weights_of(load_run(tmp_path / name)[2]) for name in ("whole", "second"))
    assert_same_arrays(second, whole)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_units": (5,)}, ("hidden_units=[4] (now [5])",)),
        ({"activation": "relu", "latent_dim": 3}, ("latent_dim=2", "activation=tanh (now relu)")),
        ({"method": "full_vb"}, ("method=aevb (now full_vb)",)),
    ],
)
def test_a_run_of_another_model_is_refused_and_nothing_is_begun(
    config: TrainConfig, first: Path, tmp_path: Path, settings: dict, words: tuple[str, ...]
) -> None:
    other = _second(config, first, **settings)
    workdir = tmp_path / "second"
    assert_one_line(lambda: train_and_evaluate(other, workdir), ValueError, "--warm_start", *words)
    assert not workdir.exists()


def test_a_run_on_data_of_another_shape_is_refused(
    config: TrainConfig, first: Path, tmp_path: Path
) -> None:
    other = _second(config, first, dataset=_data(tmp_path / "wide.npy", 7))
    workdir = tmp_path / "second"
    assert_one_line(lambda: train_and_evaluate(other, workdir), ValueError, "another shape")
    assert not workdir.exists()


@pytest.mark.run
def test_a_run_on_another_table_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    rows = "".join(f"{i % 7}.5,{'abc'[i % 3]},{i * i}\n" for i in range(30))
    text = "size,town,visits\n" + rows

    def table(name: str, text: str, **settings: Any) -> TrainConfig:
        (tmp_path / name).write_text(text)
        settings = {"likelihood": "mixed", "binarize": "none", "steps": 1, **settings}
        return dataclasses.replace(config, dataset=str(tmp_path / name), **settings)

    first = table("first.csv", text)
    train_and_evaluate(first, tmp_path / "first", only_train=True)
    for name, other, words in (
        ("names", text.replace("size", "mass"), ("column 1", "name='size' (now 'mass')")),
        ("categories", text.replace("a", "d"), ("column 2", "('a', 'b', 'c') (now ('b',")),
        ("kinds", text, ("column 3", "kind='count' (now 'real')")),
        ("constants", text.replace("6.5", "7.5"), ("column 1", "shift=")),
    ):
        settings = {"columns": "visits:real"} if name == "kinds" else {}
        second = table(f"{name}.csv", other, **settings, warm_start=str(tmp_path / "first"))
        assert_one_line(
            lambda second=second: train_and_evaluate(second, tmp_path / "second"),
            ValueError,
            "--warm_start",
            *words,
        )
        assert not (tmp_path / "second").exists()
    same = _second(first, tmp_path / "first", **STILL)
    train_and_evaluate(same, tmp_path / "same", only_train=True)
    expected = weights_of(load_run(tmp_path / "first")[2])
    assert_same_arrays(weights_of(load_run(tmp_path / "same")[2]), expected)


def test_a_folder_without_a_run_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    other = _second(config, tmp_path / "none")
    workdir = tmp_path / "second"
    words = ("--warm_start", "holds no run")
    assert_one_line(lambda: train_and_evaluate(other, workdir), FileNotFoundError, *words)
    assert not workdir.exists()
