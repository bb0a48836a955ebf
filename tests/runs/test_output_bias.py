"""Output biases from data means: p(x|z) then has the mean of the data."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import assert_one_line
from tfp_aevb import layers
from tfp_aevb.data.columns import Column
from tfp_aevb.data.observations import Observations
from tfp_aevb.layers import BernoulliLikelihood, ConvDecoder, GaussianLikelihood, MixedLikelihood
from tfp_aevb.runs.output_bias import start_output_bias

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 6)).astype(np.uint8)
Z = np.zeros([1, 2], np.float32)


def _without_weights(layer):
    layer(Z)
    for variable in layer.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: BernoulliLikelihood(6, (3,)),
        lambda: GaussianLikelihood(6, (3,)),
        lambda: GaussianLikelihood(6, (3,), mean="sigmoid", variance="global"),
        lambda: GaussianLikelihood((2, 3), network=lambda n: ConvDecoder(n, (2, 3), (2,))),
    ],
)
def test_pixels_start_at_their_mean(make) -> None:
    layer = _without_weights(make())
    start_output_bias(layer, Observations(GREY, scale=255.0))
    expected = GREY.mean(axis=0) / 255.0
    np.testing.assert_allclose(np.ravel(layer(Z).mean()), expected, rtol=1e-4)
    if isinstance(layer, GaussianLikelihood):
        np.testing.assert_array_equal(np.ravel(layer(Z).stddev()), np.ones(6))


def test_pixels_that_are_always_0_or_1_are_kept_within_a_hundredth() -> None:
    layer = _without_weights(BernoulliLikelihood(2, (3,)))
    start_output_bias(layer, Observations(np.tile([[0.0, 1.0]], [4, 1])))
    np.testing.assert_allclose(layer(Z).mean(), [[0.01, 0.99]], rtol=1e-4)


def test_columns_of_a_table_start_at_the_means_of_what_is_observed() -> None:
    columns = [
        Column("c", "categorical", ("a", "b", "c")),
        Column("r", "real", shift=2.0, scale=3.0),
        Column("n", "count", shift=1.0, scale=0.5),
        Column("b", "binary", ("f", "t")),
    ]
    x = np.array(
        [[0, 1.5, 4, 1], [1, 2.5, 9, 0], [1, np.nan, np.nan, 1], [2, 7.0, 1, 1]], np.float32
    )
    layer = _without_weights(MixedLikelihood(columns, (3,)))
    start_output_bias(layer, Observations(x, allow_missing=True))
    mean, _ = layer(Z).tensor_distribution.distribution.moments(tf.fill([1, 4], np.nan))
    expected = [[0.25, 0.5, 0.25, 11.0 / 3.0, 14.0 / 3.0, 0.75]]
    np.testing.assert_allclose(mean, expected, rtol=1e-4)


COUNTS = RNG.negative_binomial(1, 0.2, (40, 6)).astype(np.float32)
COUNTS[0] = np.nan
CODES = RNG.integers(0, 3, (40, 6)).astype(np.float32)
REAL = RNG.normal(50.0, 3.0, (40, 6)).astype(np.float32)
EIGHT_BIT = Observations(GREY, scale=255.0)


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (layers.PoissonLikelihood, COUNTS),
        (layers.NegativeBinomialLikelihood, COUNTS),
        (layers.ZeroInflatedPoissonLikelihood, COUNTS),
        (layers.ZeroInflatedNegativeBinomialLikelihood, COUNTS),
        (layers.StudentTLikelihood, REAL),
        (layers.BetaLikelihood, EIGHT_BIT),
        (layers.ContinuousBernoulliLikelihood, EIGHT_BIT),
        (layers.DiscretizedLogisticLikelihood, EIGHT_BIT),
        (partial(layers.DiscretizedLogisticLikelihood, num_components=1), EIGHT_BIT),
        (partial(layers.CategoricalLikelihood, num_categories=3), CODES),
    ],
)
def test_other_likelihoods_start_at_the_mean_too(make, x) -> None:
    """The last biases of variances, dispersions and extra zeros stay random: they are kept."""
    tf_keras.utils.set_random_seed(2)
    layer = make((2, 3), hidden_units=())
    layer(Z)
    x = x if isinstance(x, Observations) else Observations(x, allow_missing=True)
    start_output_bias(layer, x)
    expected = np.nanmean(x.x, axis=0) / x.scale
    np.testing.assert_allclose(np.ravel(layer(Z).mean()), expected, rtol=1e-3)
    if isinstance(layer, layers.CategoricalLikelihood):
        probabilities = layer(Z).distribution.probs_parameter()
        expected = [(x.x == code).mean(axis=0) for code in range(3)]
        np.testing.assert_allclose(np.reshape(probabilities, [6, 3]).T, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "ends"),
    [
        (layers.BetaLikelihood, (0.01, 0.99)),
        (layers.ContinuousBernoulliLikelihood, (0.05, 0.95)),
        (layers.DiscretizedLogisticLikelihood, (0.01, 0.99)),
    ],
)
def test_pixels_that_are_always_at_an_end_are_kept_inside(make, ends: tuple) -> None:
    layer = make(2, hidden_units=())
    layer(Z)
    start_output_bias(layer, Observations(np.tile([[0.0, 1.0]], [4, 1])))
    np.testing.assert_allclose(layer(Z).mean(), [ends], rtol=2e-3)


def test_other_layers_and_networks_are_refused() -> None:
    x = Observations(GREY, scale=255.0)
    layer = _without_weights(layers.DiagonalGaussianPosterior(6, (3,)))
    assert_one_line(lambda: start_output_bias(layer, x), ValueError, "DiagonalGaussian")
    dense = _without_weights(BernoulliLikelihood(6, network=tf_keras.layers.Dense))
    assert_one_line(lambda: start_output_bias(dense, x), ValueError, "Dense")


@pytest.mark.parametrize("gaps", [False, True])
def test_weighted_data_start_at_the_means_of_repeated_rows(gaps: bool) -> None:
    columns = [
        Column("c", "categorical", ("a", "b", "c")),
        Column("r", "real", shift=2.0, scale=3.0),
        Column("n", "count", shift=1.0, scale=0.5),
        Column("b", "binary", ("f", "t")),
    ]
    rng = np.random.default_rng(1)
    table = np.stack(
        [rng.integers(0, 3, 30), rng.normal(size=30), rng.poisson(3.0, 30), rng.random(30) < 0.3],
        axis=1,
    ).astype(np.float32)
    if gaps:
        table[rng.random(table.shape) < 0.2] = np.nan
    weights = rng.integers(0, 4, 30)
    for make, x, options in (
        (lambda: MixedLikelihood(columns, (3,)), table, {"allow_missing": True}),
        (lambda: BernoulliLikelihood(6, (3,)), GREY, {"scale": 255.0}),
        (lambda: layers.CategoricalLikelihood(6, 4, (3,)), GREY // 64, {}),
    ):
        weighted, repeated, plain = (_without_weights(make()) for _ in range(3))
        start_output_bias(weighted, Observations(x, weights=weights, **options))
        start_output_bias(repeated, Observations(np.repeat(x, weights, axis=0), **options))
        start_output_bias(plain, Observations(x, **options))
        found, expected = (layer.network.output_bias.numpy() for layer in (weighted, repeated))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(found - plain.network.output_bias.numpy()).max() > 0.01
