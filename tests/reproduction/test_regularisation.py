"""The comparison of PCA, auto-encoders and the VAE, very short, on the embedded digits."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.commands import reproduce
from tfp_aevb.evaluation import regularity
from tfp_aevb.reproduction import latent_spaces, regularisation, runs, settings
from tfp_aevb.runs.data import load_data
from tfp_aevb.runs.settings.config import TrainConfig

DATASET = "mnist_5k"
SHOWN = ("VAE, c = 0.1", regularisation.LINEAR)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(settings.MNIST, dataset=DATASET, hidden_units=(8,), xla=False)
    monkeypatch.setitem(settings.DATASETS, DATASET, config)
    models = {name: regularisation.MODELS[name] for name in SHOWN}
    monkeypatch.setattr(regularisation, "MODELS", models)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_models_differ_in_what_they_are_compared_for() -> None:
    made = {
        name: regularisation._config("mnist", 1000, special, 2, None, None)
        for name, special in regularisation.MODELS.items()
    }
    assert [config.decoder_variance for config in made.values()][:3] == ["0.01", "0.1", "1.0"]
    assert {config.method for config in made.values()} == {
        *("aevb", "autoencoder", "no_kl", "mean_only")
    }
    for name, config in made.items():
        assert (config.binarize, config.estimation, config.optimizer) == ("none", "ml", "adam")
        assert (config.learning_rate, config.steps, config.batch_size) == (0.001, 10, 100)
        linear = name == regularisation.LINEAR
        assert config.hidden_units == (() if linear else (500,))
        assert config.likelihood == ("gaussian" if linear else "gaussian_sigmoid")


def test_every_model_has_its_numbers_and_its_row(tmp_path: Path, small, monkeypatch) -> None:
    trained: list[TrainConfig] = []
    original = runs.train_and_evaluate

    def train(config: TrainConfig, *args, **kwargs) -> dict:
        trained.append(config)
        return original(config, *args, **kwargs)

    monkeypatch.setattr(runs, "train_and_evaluate", train)
    paths = regularisation.run_regularisation(DATASET, 4000, tmp_path, step_size=0.02)
    assert [path.name for path in paths] == [
        f"regularisation_{DATASET}.csv",
        f"regularisation_{DATASET}_nz2.png",
    ]
    assert paths[1].stat().st_size > 10_000
    rows = rows_of(paths[0])
    numbers = {(r["model"], r["draws"], r["measure"]): float(r["value"]) for r in rows}
    assert len(numbers) == len(rows)  # none twice
    assert list(dict.fromkeys(row["model"] for row in rows)) == ["held-out images", *SHOWN, "PCA"]
    sources = {
        row["model"]: {r["draws"] for r in rows if r["model"] == row["model"]} for row in rows
    }
    prior, fitted = latent_spaces.PRIOR, latent_spaces.FITTED
    assert sources["PCA"] == {"", fitted}
    assert sources[SHOWN[0]] == sources[SHOWN[1]] == {"", prior, fitted}

    data = load_data(dataclasses.replace(settings.DATASETS[DATASET], binarize="none"))
    train_x, test_x = data.train.x / data.scale, data.test.x / data.scale
    singular_vectors = np.linalg.svd(train_x - train_x.mean(0), full_matrices=False)[2][:2]
    centred = test_x - train_x.mean(0)
    rest = centred - centred @ singular_vectors.T @ singular_vectors
    assert numbers["PCA", "", "test RMSE"] == pytest.approx(np.sqrt((rest**2).mean()), rel=1e-4)
    for measure in ("path length / distance of its ends", "largest step / mean step of a path"):
        for model in ("PCA", regularisation.LINEAR):
            assert numbers[model, "", measure] == pytest.approx(1.0, abs=1e-4)
        assert numbers["VAE, c = 0.1", "", measure] > 1.001
    angles = [numbers[regularisation.LINEAR, "", f"angle {i} to PCA (deg)"] for i in (1, 2)]
    assert 90.0 >= angles[0] > angles[1] > 0.0
    distances = regularity.nearest_distances(test_x[250:], test_x[:250])
    key = ("held-out images", "other test images", "draw to nearest test image")
    assert numbers[key] == pytest.approx(distances.mean(), rel=1e-5)
    assert {row["count"] for row in rows if row["measure"] == key[2]} == {"250"}

    again = regularisation.run_regularisation(DATASET, 4000, tmp_path, step_size=0.02)
    assert rows_of(again[0]) == rows
    assert [config.method for config in trained] == ["aevb", "autoencoder"]


def test_one_latent_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    assert_one_line(
        lambda: regularisation.run_regularisation(DATASET, 100, tmp_path, latent_dims=(3, 1)),
        ValueError,
        "--latent_dim",
        "got 1",
    )
    assert not list(tmp_path.iterdir())


def test_reproduce_knows_it() -> None:
    module, function, datasets, arguments = reproduce.FIGURES["regularisation"]
    assert getattr(regularisation, function).__module__ == f"tfp_aevb.reproduction.{module}"
    assert set(datasets) <= set(settings.DATASETS)
    assert arguments == ("latent_dims",)
