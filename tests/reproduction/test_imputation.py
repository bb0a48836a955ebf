"""Imputation beside its baselines: the baselines' formulas, and the experiment, tiny."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import small_model
from tfp_aevb import layers
from tfp_aevb.imputation import METHODS, damage
from tfp_aevb.imputation.observed import make_evidence
from tfp_aevb.reproduction import imputation as experiment
from tfp_aevb.reproduction import imputation_baselines as baselines
from tfp_aevb.reproduction import settings

RNG = np.random.default_rng(0)
SHAPE = (4, 4)
TRAIN = (RNG.random((300, 16)) < RNG.random(16)).astype(np.float32)
X = TRAIN[:7]


def test_scores_are_of_the_held_out_pixels() -> None:
    probs, held_out = RNG.random((7, 16)), RNG.random((7, 16)) < 0.5
    probs[0, 0], held_out[0, 0] = 0.0, True
    clipped = np.clip(probs, 0.001, 0.999)
    terms = X * np.log(clipped) + (1.0 - X) * np.log(1.0 - clipped)
    each = np.array([-terms[i, held_out[i]].mean() for i in range(7)])
    squares = [((clipped - X) ** 2)[i, held_out[i]].mean() for i in range(7)]
    nats, half_width, error = baselines.pixel_scores(probs, X, held_out)
    assert nats == pytest.approx(each.mean())
    assert half_width == pytest.approx(1.959964 * each.std(ddof=1) / np.sqrt(7))
    assert error == pytest.approx(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("task", experiment.SHOWN_TASKS)
def test_the_view_is_what_is_seen_on_average(task: str) -> None:
    many = np.repeat(X[:1], 20_000 if task == "noise" else 1, axis=0)
    damaged = damage(many, task, SHAPE, binary=True, seed=1)
    view = baselines.view_of(task, damaged)
    y = baselines.seen_part(damaged.y)
    expected = view.matrix @ X[0] + view.offset
    np.testing.assert_allclose(y.mean(axis=0), expected, atol=5.0 * 0.46 / np.sqrt(20_000))
    if task == "noise":
        np.testing.assert_allclose(y.var(axis=0), view.variance, rtol=0.02)
    else:
        np.testing.assert_allclose(y[0], expected, atol=1e-6)


def test_probabilistic_pca_is_the_gaussian_conditional_of_its_eigenvectors() -> None:
    pca = baselines.ProbabilisticPCA(TRAIN)
    values, vectors = np.linalg.eigh(np.cov(TRAIN, rowvar=False))
    noise = values[:-3].mean()
    top, scale = vectors[:, -3:], values[-3:] - noise
    covariance = top @ np.diag(scale) @ top.T + noise * np.eye(16)
    matrix, mean = RNG.normal(size=[5, 16]), TRAIN.mean(axis=0, dtype=np.float64)
    y = RNG.normal(size=[4, 5])
    of_y = matrix @ covariance @ matrix.T + 0.3 * np.eye(5)
    expected = mean + (y - 0.1 - matrix @ mean) @ np.linalg.inv(of_y) @ matrix @ covariance
    found = pca.conditional_mean(y, baselines.View(matrix, 0.1, 0.3), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_neighbours_are_the_nearest_in_what_is_seen() -> None:
    model = small_model(decoder=_bernoulli())
    damaged = damage(X, "missing_lower_half", SHAPE, binary=True)
    evidence = make_evidence(model, damaged.y)
    view = baselines.view_of("missing_lower_half", damaged)
    found = baselines.neighbour_means(TRAIN, view, evidence, (1, 20))
    distances = ((TRAIN[:, np.newaxis, :8] - X[:, :8]) ** 2).sum(axis=-1)  # [T, N]
    for i in range(len(X)):
        assert (found[1][i, :8] == X[i, :8]).all()
        largest = np.sort(distances[:, i])[19]
        inner = TRAIN[distances[:, i] < largest]
        outer = TRAIN[distances[:, i] == largest]
        low = (
            inner[:, 8:].sum(axis=0) + np.sort(outer[:, 8:], axis=0)[: 20 - len(inner)].sum(0)
        ) / 20
        high = low + (20 - len(inner)) / 20
        assert (found[20][i, 8:] > low - 0.0011).all()
        assert (found[20][i, 8:] < high + 0.0011).all()


def _bernoulli() -> layers.BernoulliLikelihood:
    return layers.BernoulliLikelihood(16, ())


def test_pixel_means_are_conditioned_on_what_is_seen() -> None:
    model = small_model(decoder=_bernoulli())
    damaged = damage(X, "noise", SHAPE, binary=True)
    evidence = make_evidence(model, damaged.y, None, damaged.channel)
    means = np.full(X.shape, 0.2)
    found = baselines.given_pixel_means(means, evidence, slice(7))
    on, off = 0.2 * 0.7 / (0.2 * 0.7 + 0.8 * 0.3), 0.2 * 0.3 / (0.2 * 0.3 + 0.8 * 0.7)
    np.testing.assert_allclose(found, np.where(damaged.y == 1.0, on, off), rtol=1e-5)


@pytest.mark.run
def test_the_experiment_has_each_method_and_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(settings.MNIST, dataset="mnist_5k", hidden_units=(8,))
    monkeypatch.setitem(settings.DATASETS, "mnist_5k", small)
    for method in METHODS:
        monkeypatch.setitem(METHODS, method, 20)
    monkeypatch.setattr(experiment, "NUM_IMAGES", 12)
    monkeypatch.setattr(experiment, "SHOWN_TASKS", ("super_resolution",))

    def run() -> list[Path]:
        return experiment.run_imputation(
            "mnist_5k", 500, tmp_path, latent_dims=(2,), step_size=0.02
        )

    paths = run()
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    methods = ["gibbs", "metropolis", "importance"]
    methods += ["pixel means", "nearest neighbours", "probabilistic PCA"]
    assert [(row["task"], row["method"]) for row in rows] == [
        (task, method) for task in experiment.SHOWN_TASKS for method in methods
    ]
    for row in rows:
        assert 0.0 < float(row["nats_per_pixel"]) < 0.69
        assert 0.0 < float(row["rmse"]) < 0.5
    assert len(paths) == 2
    for path in paths[1:]:
        assert tf.io.decode_png(path.read_bytes()).numpy().std() > 0.0
    before = [path.read_bytes() for path in paths]
    monkeypatch.setattr(experiment, "_restore", None)  # done once is done
    assert run() == paths
    assert [path.read_bytes() for path in paths] == before
