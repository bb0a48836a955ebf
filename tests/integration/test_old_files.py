"""Files that version 0.1 wrote are read: a `.keras` model and the folder of a run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tf_keras

import tfp_aevb
from tests.integration.runs import REPOSITORY
from tfp_aevb.objectives import IWAE, Renyi

OLD = REPOSITORY / "tests" / "fixtures" / "version_0_1"


def test_a_keras_file_has_the_same_answers_and_its_optimizer_s_state() -> None:
    model = tf_keras.models.load_model(OLD / "model_0_1.keras")
    answers = np.load(OLD / "model_0_1_answers.npz")
    x = answers["x"]
    posterior = model.encode(x[:4])
    np.testing.assert_allclose(posterior.mean(), answers["loc"], rtol=1e-5)
    np.testing.assert_allclose(posterior.stddev(), answers["stddev"], rtol=1e-5)
    np.testing.assert_allclose(model.reconstruct(x[:4]), answers["mean"], rtol=1e-5)
    elbo = model.elbo(x[:4], num_samples=5, seed=1)
    np.testing.assert_allclose(elbo, answers["elbo"], rtol=1e-5)
    assert int(model.optimizer.iterations) == answers["iterations"] == 10
    assert model.objective == Renyi(alpha=0.25)
    assert model.num_samples == 3
    model.fit(x, batch_size=20, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 12


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def test_a_run_has_the_same_answers(old_run: Path) -> None:
    config, _, model = tfp_aevb.load_run(old_run)
    assert model.objective == IWAE()
    assert (config.objective, config.num_samples, config.steps) == ("iwae", 2, 60)
    x = tfp_aevb.load_dataset("mnist_5k", binarize="threshold").test.x[:4]
    answers = np.load(OLD / "run_0_1_answers.npz")
    posterior = model.encode(x)
    np.testing.assert_allclose(posterior.mean(), answers["loc"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(posterior.stddev(), answers["stddev"], rtol=1e-4)
    means = np.asarray(model.reconstruct(x)).mean(axis=1)
    np.testing.assert_allclose(means, answers["mean_of_image"], rtol=1e-4)


def test_a_run_resumes(old_run: Path) -> None:
    config, _, _ = tfp_aevb.load_run(old_run)
    settings = {**config.to_dict(), "steps": 80}
    summary = tfp_aevb.train_and_evaluate(tfp_aevb.TrainConfig.from_dict(settings), old_run)
    assert summary["steps"] == 80
    assert len((old_run / "metrics.csv").read_text().splitlines()) == 5
