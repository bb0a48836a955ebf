"""Missing cells of a table are restored as the model's exact conditional says."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfp_aevb.data.columns import Column
from tfp_aevb.imputation import impute
from tfp_aevb.imputation.completed import estimates
from tfp_aevb.layers import (
    MLP,
    DiagonalGaussianPosterior,
    MixedLikelihood,
    StandardNormalPrior,
    TableInputs,
)
from tfp_aevb.models.aevb import AEVB

COLUMNS = (
    Column("n", "count", shift=1.5, scale=0.6),
    Column("k", "categorical", ("a", "b", "c")),
    Column("r", "real", shift=5.0, scale=2.0),
    Column("b", "binary", ("f", "t")),
)
NAN = np.nan
Y = np.array(
    [[3, NAN, NAN, 1], [NAN, 2, 8.0, NAN], [NAN, NAN, NAN, NAN], [9, 0, 4.0, 0]], np.float32
)


@pytest.fixture(scope="module")
def model() -> AEVB:
    tf_keras.utils.set_random_seed(4)
    encoder = DiagonalGaussianPosterior(
        1, network=tf_keras.Sequential([TableInputs(COLUMNS), MLP(2, (4,), init_stddev=0.3)])
    )
    decoder = MixedLikelihood(COLUMNS, (), init_stddev=1.0)
    found = AEVB(StandardNormalPrior(1), encoder, decoder, objective="sgvb_a")
    decoder.log_variance.assign([-1.0])
    decoder.log_dispersion.assign([1.5])
    return found


def _exact(model: AEVB) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [N, P] given what is observed, over a fine grid of z."""
    grid = np.linspace(-7.0, 7.0, 4001, dtype=np.float32)[:, None]
    cells = model.decode(tf.constant(grid)).tensor_distribution.distribution
    means, stddevs = [], []
    for row in Y:
        log_joint = (
            cells.log_prob(row[None]).numpy().sum(axis=1, dtype=float) - 0.5 * grid[:, 0] ** 2
        )
        weights = np.exp(log_joint - log_joint.max())
        weights /= weights.sum()
        mean, variance = (
            value.numpy().astype(float) for value in cells.moments(row[None] + 0 * grid)
        )
        means.append(weights @ mean)
        stddevs.append(np.sqrt(weights @ (variance + (mean - means[-1]) ** 2)))
    return np.array(means), np.array(stddevs)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("importance", {"num_samples": 20_000, "num_draws": 400}),
        ("metropolis", {"num_samples": 300, "num_draws": 100}),
    ],
)
def test_moments_are_those_of_the_exact_conditional(
    method: str, settings: dict, model: AEVB
) -> None:
    found = impute(model, Y, method=method, burn_in=30, seed=1, jit_compile=False, **settings)
    mean, stddev = _exact(model)
    np.testing.assert_allclose(found.mean, mean, rtol=0.03, atol=0.012)
    np.testing.assert_allclose(found.stddev, stddev, rtol=0.05, atol=0.03)
    draws = found.draws
    assert draws.shape == (settings["num_draws"], 4, 4)
    known = ~np.isnan(Y)
    np.testing.assert_array_equal(draws[:, known], np.broadcast_to(Y[known], draws[:, known].shape))
    shares = (draws[:, 0, 1, None] == np.arange(3)).mean(axis=0)
    error = np.sqrt(mean[0, 1:4] * (1.0 - mean[0, 1:4]) / len(draws))
    assert (np.abs(shares - mean[0, 1:4]) < 5.0 * error).all()
    codes = estimates(COLUMNS, found)
    np.testing.assert_array_equal(codes[:, 1], mean[:, 1:4].argmax(axis=1))
    np.testing.assert_array_equal(codes[:, [0, 2, 3]], found.mean[:, [0, 4, 5]])
