"""Densities, means and draws of the likelihoods of counts, categories, levels and real values."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.helpers import assert_mean, assert_one_line
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.layers.level_likelihoods import DiscretizedLogistic

RNG = np.random.default_rng(5)
B, D, M = 3, 2, 3
COUNTS = np.array([[[0.0, 3.0]], [[1.0, 0.0]], [[12.0, 2.0]]])  # [3, 1, D]
CODES = np.array([[[0.0, 3.0]], [[1.0, 2.0]], [[2.0, 0.0]]])
LEVELS = np.array([[[0, 255]], [[1, 128]], [[90, 254]]]) / 255.0
UNIT = np.array([[[0.01, 0.5]], [[0.999, 0.3]], [[0.2, 0.7]]])


def _heads(params: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(params.astype(np.float64), count, axis=-1)


def _poisson(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    return stats.poisson.logpmf(x, np.exp(params))


def _negative_binomial(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    log_mean, log_r = _heads(params, 2)
    r = np.exp(log_r)
    return stats.nbinom.logpmf(x, r, r / (r + np.exp(log_mean)))


def _inflated(log_pmf: np.ndarray, x: np.ndarray, odds: np.ndarray) -> np.ndarray:
    zero = special.expit(odds)
    return np.log(zero * (x == 0) + (1.0 - zero) * np.exp(log_pmf))


def _zero_inflated_poisson(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    log_rate, odds = _heads(params, 2)
    return _inflated(_poisson(x, log_rate), x, odds)


def _zero_inflated_negative_binomial(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    log_mean, log_r, odds = _heads(params, 3)
    return _inflated(_negative_binomial(x, np.concatenate([log_mean, log_r], -1)), x, odds)


def _student_t(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    loc, log_variance, raw = _heads(params, 3)
    return stats.t.logpdf(x, 2.0 + np.exp(raw), loc, np.exp(0.5 * log_variance))


def _beta(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    of_one, of_zero = _heads(np.exp(params), 2)
    return stats.beta.logpdf(x, of_one, of_zero)


def _categorical(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    logits = np.stack(_heads(params, 4), axis=-1)
    chosen = np.arange(4) == x[..., None]
    return np.sum(special.log_softmax(logits, -1) * chosen, axis=-1)


def _level_probabilities(params: np.ndarray) -> np.ndarray:
    """P(k / 255), [..., D, 256]."""
    heads = np.stack(_heads(params, 3 * M), axis=-1)  # [..., D, 3 M]
    logits, loc, log_variance = np.split(heads, 3, axis=-1)
    loc = loc + (np.arange(M) + 0.5) / M
    scale = np.exp(0.5 * (log_variance - 4.0))
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255.0, [np.inf]])
    below = special.expit((edges - loc[..., None]) / scale[..., None])
    weights = special.softmax(logits, -1)[..., None]
    return np.sum(weights * np.diff(below, axis=-1), axis=-2)


def _discretized_logistic(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    chosen = np.arange(256) == np.round(255.0 * x)[..., None]
    return np.log(np.sum(_level_probabilities(params) * chosen, axis=-1))


CASES: dict[str, tuple] = {
    "poisson": (layers.PoissonLikelihood, 1, COUNTS, _poisson, ()),
    "negative_binomial": (layers.NegativeBinomialLikelihood, 2, COUNTS, _negative_binomial, ()),
    "zero_inflated_poisson": (
        layers.ZeroInflatedPoissonLikelihood,
        2,
        COUNTS,
        _zero_inflated_poisson,
        (),
    ),
    "zero_inflated_negative_binomial": (
        layers.ZeroInflatedNegativeBinomialLikelihood,
        3,
        COUNTS,
        _zero_inflated_negative_binomial,
        (),
    ),
    "student_t": (layers.StudentTLikelihood, 3, 5.0 * UNIT - 2.0, _student_t, ()),
    "beta": (layers.BetaLikelihood, 2, UNIT, _beta, ()),
    "categorical": (layers.CategoricalLikelihood, 4, CODES, _categorical, (4,)),
    "discretized_logistic": (
        layers.DiscretizedLogisticLikelihood,
        3 * M,
        LEVELS,
        _discretized_logistic,
        (M,),
    ),
}
every_case = pytest.mark.parametrize("name", CASES)


def _params(name: str) -> np.ndarray:
    return np.random.default_rng(7).normal(size=[B, CASES[name][1] * D]).astype(np.float32)


def _distribution(name: str, params: np.ndarray) -> tf.Module:
    make, _, _, _, options = CASES[name]
    return make.new(tf.convert_to_tensor(params), [D], *options)


@pytest.mark.compile(but_first=True)
@every_case
def test_log_density_equals_scipy(name: str) -> None:
    _, _, x, log_density, _ = CASES[name]
    params = _params(name)
    expected = log_density(x, params).sum(-1)  # [3, B]
    assert np.abs(expected).min() > 0.1  # so that 1% shows
    x = tf.constant(x, tf.float32)
    np.testing.assert_allclose(_distribution(name, params).log_prob(x), expected, rtol=1e-4)
    compiled = tf.function(lambda: _distribution(name, params).log_prob(x), jit_compile=True)
    np.testing.assert_allclose(compiled(), expected, rtol=1e-4)


@pytest.mark.compile(but_first=True)
@every_case
def test_means_and_variances_are_those_of_draws(name: str) -> None:
    params = 0.5 * _params(name)
    if name == "student_t":
        params[:, 2 * D :] = 3.0  # few outliers, so that standard errors can be estimated
    distribution = _distribution(name, params)
    draws = distribution.sample(200_000, seed=[1, 2]).numpy().astype(np.float64)
    mean = distribution.mean().numpy()
    assert_mean(draws, mean)
    assert_mean((draws - mean) ** 2, distribution.variance().numpy())


@every_case
def test_draws_are_in_the_support(name: str) -> None:
    make, _, x, _, options = CASES[name]
    layer = make(D, *options, hidden_units=())
    draws = _distribution(name, 3.0 * _params(name)).sample(1000, seed=[3, 4]).numpy()
    Observations(draws.reshape(-1, D)).check_support(layer.support)
    Observations(x.reshape(-1, D)).check_support(layer.support)


@every_case
@pytest.mark.parametrize("size", [50.0, -50.0, 1e4, 1e30, -1e30])
def test_huge_parameters_give_no_nan(name: str, size: float) -> None:
    _, heads, x, _, _ = CASES[name]
    width = heads * D
    x = tf.constant(x[:1], tf.float32)
    for signs in (np.ones(width), np.arange(width) % 2, (-1.0) ** np.arange(width)):
        params = tf.Variable((size * signs)[None, :].astype(np.float32))
        with tf.GradientTape() as tape:
            distribution = _distribution(name, params)
            value = tf.reduce_sum(distribution.log_prob(x))
        assert not np.isnan(value)
        assert not np.isnan(tape.gradient(value, params)).any()
        assert not np.isnan(distribution.mean()).any()


def _of_levels(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters of mixtures, sharp and wide, within their bounds, and P(k / 255)."""
    params = RNG.normal(size=[size, 3 * M * D]).astype(np.float32)
    params[:, 2 * M * D :] -= RNG.uniform(0.0, 12.0, size=[size, 1]).astype(np.float32)
    params = np.maximum(params, -10.0)
    probabilities = _level_probabilities(params)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0)
    return params, probabilities


def test_the_mean_of_levels_is_exact_to_a_fortieth_of_a_level() -> None:
    params, probabilities = _of_levels(200)
    mean = layers.DiscretizedLogisticLikelihood.new(tf.constant(params), [D], M).mean()
    np.testing.assert_allclose(mean, probabilities @ (np.arange(256) / 255.0), atol=1e-4)


def test_the_variance_of_levels_is_the_sum_over_them() -> None:
    params, probabilities = _of_levels(200)
    levels = np.arange(256) / 255.0
    mean = (probabilities @ levels)[..., np.newaxis]
    expected = np.sum(probabilities * (levels - mean) ** 2, axis=-1)

    @tf.function(jit_compile=True)
    def variance() -> tf.Tensor:
        return layers.DiscretizedLogisticLikelihood.new(tf.constant(params), [D], M).variance()

    # Between the components the means' error of up to 1e-4 is in it.
    np.testing.assert_allclose(variance(), expected, rtol=1e-3, atol=5e-6)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("loc", [100.0, 100.3, 100.5, -3.0, 300.0])
@pytest.mark.parametrize("scale", [np.exp(-7.0), 0.02, 2.0, 1000.0])
def test_the_variance_of_one_rounded_logistic_is_exact(loc: float, scale: float) -> None:
    loc, levels = loc / 255.0, np.arange(256) / 255.0
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255.0, [np.inf]])
    low, high = (edges[:-1] - loc) / scale, (edges[1:] - loc) / scale
    above = special.expit(-low) - special.expit(-high)  # exact in the upper tail
    probabilities = np.where(low > 0.0, above, special.expit(high) - special.expit(low))
    mean = probabilities @ levels
    expected = probabilities @ (levels - mean) ** 2
    logistic = DiscretizedLogistic(tf.constant([loc], tf.float32), tf.constant([scale], tf.float32))
    np.testing.assert_allclose(logistic.variance(), [expected], rtol=1e-3, atol=1e-12)


def test_a_sharp_component_gives_its_level_nearly_all() -> None:
    params = tf.constant([[0.0, 100.0 / 255.0 - 0.5, -10.0]])  # s = exp(-7)
    distribution = layers.DiscretizedLogisticLikelihood.new(params, [1], 1)
    expected = np.tanh(0.25 / 255.0 * np.exp(7.0))
    value = np.exp(distribution.log_prob([[100.0 / 255.0]]).numpy())
    np.testing.assert_allclose(value, [expected], rtol=1e-4)


@pytest.mark.parametrize(
    ("support", "good", "bad", "part"),
    [
        ("open_unit", [0.001, 0.999], [0.5, 1.0], "found 1;"),
        ("open_unit", [0.001, 0.999], [0.0, 0.5], "found 0;"),
        ("levels", [0.0, 1.0, 77.0 / 255.0], [0.0, 0.5], "found 0.5;"),
        ("levels", [0.0, 1.0], [0.0, 256.0 / 255.0], "found 1.004;"),
        ("counts", [0.0, 7.0, 1e6], [0.0, 1.5], "found 1.5;"),
        ("counts", [0.0, 7.0], [-1.0, 3.0], "found -1;"),
        ("codes:4", [0.0, 3.0], [0.0, 4.0], "codes 0 to 3, found 4;"),
        ("codes:4", [0.0, 3.0], [0.5, 3.0], "found 0.5;"),
    ],
)
def test_values_outside_the_support_are_refused(
    support: str, good: list, bad: list, part: str
) -> None:
    Observations(np.array([good], np.float32)).check_support(support)
    observations = Observations(np.array([bad], np.float32))
    assert_one_line(lambda: observations.check_support(support), ValueError, part)


def test_pixels_of_bytes_are_levels_and_binarised_ones_are_not_inside_the_unit_interval() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, -1)
    Observations(pixels, scale=255.0).check_support("levels")
    Observations(pixels).check_support("counts")
    Observations(pixels).check_support("codes:256")
    drawn = Observations(pixels, scale=255.0, dynamic_binarization=True)
    drawn.check_support("counts")
    assert_one_line(lambda: drawn.check_support("open_unit"), ValueError, "(0, 1)")


def test_an_unknown_support_is_refused() -> None:
    observations = Observations(np.ones([2, 2]))
    assert_one_line(lambda: observations.check_support("even"), ValueError, "'even'")


def test_bad_sizes_are_refused() -> None:
    assert_one_line(lambda: layers.CategoricalLikelihood(2, 1), ValueError, "`num_categories`")
    assert_one_line(
        lambda: layers.DiscretizedLogisticLikelihood(2, 0), ValueError, "`num_components`"
    )
