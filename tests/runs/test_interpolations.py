"""Paths between encodings: about the prior's mean for a Gaussian, straight for a mixture."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import small_model
from tfp_aevb import layers
from tfp_aevb.figures import linear_path, spherical_path
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.interpolations import latent_paths

LOC, SCALE = np.array([0.5, -2.0], np.float32), np.array([2.0, 0.5], np.float32)


STARTS, ENDS = np.random.default_rng(0).normal(size=[2, 3, 6]).astype(np.float32)


def model_with(prior: Any, **kwargs) -> AEVB:
    """A model whose encoder's mean is the first two values of x."""

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(x[:, :2], tf.ones_like(x[:, :2]))

    return small_model(prior=prior, encoder=encoder, **kwargs)


@pytest.mark.parametrize(
    ("make_prior", "loc", "scale"),
    [
        (lambda: layers.StandardNormalPrior(2), 0.0, 1.0),
        (lambda: tfd.MultivariateNormalDiag(LOC, SCALE), LOC, SCALE),
    ],
)
def test_a_gaussian_prior_has_arcs_about_its_mean(make_prior: Any, loc: Any, scale: Any) -> None:
    found = latent_paths(model_with(make_prior()), STARTS, ENDS, 5)
    assert (found.shape, found.dtype) == ((3, 5, 2), np.float32)
    for path, start, end in zip(found, STARTS[:, :2], ENDS[:, :2], strict=True):
        expected = spherical_path((start - loc) / scale, (end - loc) / scale, 5)
        np.testing.assert_allclose(path, loc + scale * expected, rtol=1e-4, atol=1e-5)
    straight = [linear_path(*pair, 5) for pair in zip(STARTS[:, :2], ENDS[:, :2], strict=True)]
    assert np.abs(found - np.stack(straight)).max() > 0.005


def test_another_prior_has_straight_paths() -> None:
    model = model_with(layers.GaussianMixturePrior(2, 3), objective="sgvb_a")
    found = latent_paths(model, STARTS, ENDS, 4)
    pairs = zip(STARTS[:, :2], ENDS[:, :2], strict=True)
    expected = np.stack([linear_path(start, end, 4) for start, end in pairs])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
