"""Pictures of data outside [0, 1]: codes and counts are divided by what is drawn white."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import DATA_DIM, small_model
from tfp_aevb import figures, layers
from tfp_aevb.commands import impute
from tfp_aevb.runs.images import as_images, white_value
from tfp_aevb.runs.pictures import _image_figures
from tfp_aevb.runs.tensorboard import TensorBoardLog

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("decoder", "x", "white"),
    [
        (layers.CategoricalLikelihood(DATA_DIM, 5, (3,)), [[0.0, 3.0]], 4.0),
        (layers.PoissonLikelihood(DATA_DIM, (3,)), [[0.0, 7.0], [np.nan, 2.0]], 7.0),
        (layers.NegativeBinomialLikelihood(DATA_DIM, (3,)), [[0.0, 0.0]], 1.0),
        (layers.GaussianLikelihood(DATA_DIM, (3,)), [[-3.0, 3.0]], 1.0),
        (layers.BernoulliLikelihood(DATA_DIM, (3,)), [[0.0, 1.0]], 1.0),
        (tf.identity, [[9.0]], 1.0),
    ],
)
def test_white_is_the_largest_code_or_count(decoder: Any, x: list, white: float) -> None:
    model: Any = SimpleNamespace(decoder=decoder)
    assert white_value(model, np.array(x)) == white


def test_images_are_divided_by_white_and_gaps_are_black() -> None:
    found = as_images(np.array([[0.0, 1.0, 4.0, np.nan], [2.0, -1.0, 5.0, 3.0]]), (2, 2), 4.0)
    expected = [[[0.0, 0.25], [1.0, 0.0]], [[0.5, 0.0], [1.0, 0.75]]]
    np.testing.assert_array_equal(found, expected)


def test_originals_and_reconstructions_of_codes_have_one_scale() -> None:
    model = small_model(decoder=layers.CategoricalLikelihood(DATA_DIM, 5, (3,)))
    x = RNG.integers(0, 5, [4, DATA_DIM]).astype(np.float32)
    drawn = _image_figures(model, (2, 3), x, seed=0)
    shown = np.asarray(drawn["reconstructions"].axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[:2, :3], x[0].reshape(2, 3) / 4.0, atol=1e-6)
    mean = model.reconstruct(x[:1]).numpy().reshape(2, 3) / 4.0
    np.testing.assert_allclose(shown[3:5, :3], mean, atol=1e-5)


def test_restored_counts_have_the_scale_of_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(decoder=SimpleNamespace(support="counts"))
    given: list[np.ndarray] = []
    monkeypatch.setattr(figures, "imputation_figure", lambda *images: given.extend(images))
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: path)
    x = np.array([[8.0, np.nan, 2.0, 0.0]])
    arrays = {"observed": x, "mean": np.full([1, 4], 4.0), "stddev": x, "draws": x[None] + 1.0}
    impute._draw(arrays, (2, 2), model, Path("a.png"))
    observed, mean, stddev, draws, _ = given
    np.testing.assert_array_equal(observed, [[[1.0, np.nan], [0.25, 0.0]]])
    np.testing.assert_array_equal(mean, np.full([1, 2, 2], 0.5))
    np.testing.assert_array_equal(stddev, x.reshape(1, 2, 2))  # has a scale of its own
    np.testing.assert_array_equal(draws, [[[[1.0, np.nan], [0.375, 0.125]]]])


def test_pictures_for_tensorboard_have_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[np.ndarray] = []
    monkeypatch.setattr(tf.summary, "image", lambda name, grid: written.append(grid))
    model = SimpleNamespace(decoder=SimpleNamespace(support="codes:3"))
    log: Any = SimpleNamespace(model=model, _x=np.zeros([1, 2]), _image_shape=(1, 2))
    TensorBoardLog._image(log, "samples", np.array([[0.5, 2.0]]), columns=1)
    np.testing.assert_array_equal(written[0], [[[[0.25], [1.0]]]])


def test_the_manifold_is_at_the_quantiles_of_the_prior() -> None:
    loc, scale = np.array([1.0, -2.0], np.float32), np.array([2.0, 0.5], np.float32)
    model = small_model(prior=tfd.MultivariateNormalDiag(loc, scale))
    drawn = _image_figures(model, (2, 3), np.zeros([2, DATA_DIM], np.float32), seed=0)
    shown = np.asarray(drawn["manifold"].axes[0].images[0].get_array())
    z = 1.959964  # the 0.975 quantile of N(0, 1), of the last of 20 cells
    corner = loc + scale * np.array([-z, z], np.float32)
    mean = model.decode(corner[None]).mean().numpy().reshape(2, 3)
    np.testing.assert_allclose(shown[:2, :3], mean, atol=1e-5)


def test_priors_that_are_no_gaussian_have_no_manifold() -> None:
    prior = tfd.Independent(tfd.Uniform(tf.zeros(2), tf.ones(2)), 1)
    model = small_model(prior=prior, objective="sgvb_a")
    drawn = _image_figures(model, (2, 3), np.zeros([2, DATA_DIM], np.float32), seed=0)
    assert sorted(drawn) == ["reconstructions", "samples"]
