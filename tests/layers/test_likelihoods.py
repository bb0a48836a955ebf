import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_mean, assert_one_line, log_sigmoid_terms
from tfp_aevb import layers
from tfp_aevb.layers import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
)

tfd = tfp.distributions
RNG = np.random.default_rng(0)


def _continuous_log_normaliser(logits: np.ndarray) -> np.ndarray:
    """log C = log(2 atanh(1 - 2 lambda) / (1 - 2 lambda)) = log(logit / tanh(logit / 2))."""
    logits = np.asarray(logits, np.float64)
    series = math.log(2.0) + logits**2 / 12.0 - 7.0 * logits**4 / 1440.0
    safe = np.where(np.abs(logits) < 1e-2, 1.0, logits)
    return np.where(np.abs(logits) < 1e-2, series, np.log(safe / np.tanh(safe / 2.0)))


def _normal_log_prob(x: np.ndarray, loc: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    terms = (x - loc) ** 2 / np.exp(log_variance) + log_variance + math.log(2.0 * math.pi)
    return -0.5 * terms.sum(axis=-1)


@pytest.mark.parametrize("size", [0.01, 1.0, 10.0, 100.0])
def test_bernoulli_log_density_is_the_cross_entropy_of_the_logits(size: float) -> None:
    logits = np.array([[-1.0, 1.0, -0.3, 0.9], [1.0, -1.0, 0.7, 0.2]]) * size
    x = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    value = BernoulliLikelihood.new(tf.constant(logits, tf.float32), [4]).log_prob(x)
    np.testing.assert_allclose(value, log_sigmoid_terms(x, logits).sum(-1), rtol=1e-5)


def test_bernoulli_log_density_broadcasts_sample_axes() -> None:
    logits, x = RNG.normal(size=[3, 1, 4]), (RNG.random([2, 4]) < 0.5).astype(float)
    value = BernoulliLikelihood.new(tf.constant(logits, tf.float32), [4]).log_prob(x)
    np.testing.assert_allclose(value, log_sigmoid_terms(x, logits).sum(-1), rtol=1e-5)


def test_bernoulli_gradient_is_the_residual() -> None:
    logits, x = RNG.normal(size=[3, 4]) * 3.0, (RNG.random([3, 4]) < 0.5).astype(float)
    params = tf.Variable(logits, dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(BernoulliLikelihood.new(params, [4]).log_prob(x))
    expected = x - 1.0 / (1.0 + np.exp(-logits))
    np.testing.assert_allclose(tape.gradient(value, params), expected, rtol=1e-4, atol=1e-7)


def test_bernoulli_mean_and_samples_follow_the_logits() -> None:
    logits = np.array([-2.0, -0.4, 0.0, 1.5])
    distribution = BernoulliLikelihood.new(tf.constant(logits, tf.float32), [4])
    mean = 1.0 / (1.0 + np.exp(-logits))
    np.testing.assert_allclose(distribution.mean(), mean, rtol=1e-6)
    samples = distribution.sample(1_000_000, seed=[1, 2]).numpy()
    assert set(np.unique(samples)) == {0.0, 1.0}
    assert_mean(samples, mean)


@pytest.mark.parametrize(
    "logit", [0.0, 1e-4, -1e-3, 4.1e-3, -0.01, 0.1, -0.5, 1.0, 3.0, -8.0, 20.0, -29.0]
)
def test_continuous_bernoulli_log_density_has_the_exact_normaliser(logit: float) -> None:
    x = np.array([[0.0], [0.2], [0.7], [1.0]])
    expected = log_sigmoid_terms(x, logit) + _continuous_log_normaliser(logit)
    distribution = ContinuousBernoulliLikelihood.new(tf.constant([[logit]], tf.float32), [1])
    np.testing.assert_allclose(distribution.log_prob(x), expected[:, 0], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("logit", [-5.0, -0.3, 0.0, 2e-3, 2.0])
def test_continuous_bernoulli_density_integrates_to_one(logit: float) -> None:
    nodes, quadrature = np.polynomial.legendre.leggauss(20)
    distribution = ContinuousBernoulliLikelihood.new(tf.constant([logit], tf.float32), [1])
    density = np.exp(distribution.log_prob(0.5 * (nodes[:, None] + 1.0)).numpy())
    assert 0.5 * quadrature @ density == pytest.approx(1.0, abs=1e-5)


def test_continuous_bernoulli_logits_are_kept_within_30() -> None:
    x = np.full([1, 1], 0.25)
    values = [
        ContinuousBernoulliLikelihood.new(tf.constant([[logit]]), [1]).log_prob(x).numpy()
        for logit in (30.0, 31.0, 1e30, -30.0, -31.0, -1e30)
    ]
    expected = [log_sigmoid_terms(x, b) + _continuous_log_normaliser(b) for b in (30.0, -30.0)]
    np.testing.assert_allclose(np.ravel(values), np.repeat(np.ravel(expected), 3), rtol=1e-5)


@pytest.mark.parametrize("mean", ["linear", "sigmoid"])
@pytest.mark.parametrize("variance", ["per_pixel", "global", "scalar", 0.3])
def test_gaussian_log_density_equals_numpy(mean: str, variance: str | float) -> None:
    layer = GaussianLikelihood(3, (), mean=mean, variance=variance)
    layer.build((None, 2))
    z, x = RNG.normal(size=[4, 2]), RNG.normal(size=[4, 3])
    layer.network.set_weights([RNG.normal(size=w.shape) for w in layer.network.get_weights()])
    kernel, bias = (w.astype(np.float64) for w in layer.network.get_weights())
    params = z @ kernel + bias
    if variance == "per_pixel":
        params, log_variance = params[:, :3], params[:, 3:]
    elif isinstance(variance, str):
        log_variance = RNG.normal(size=layer.log_variance.shape)
        layer.log_variance.assign(log_variance)
    else:
        log_variance = np.log(variance)
    loc = 1.0 / (1.0 + np.exp(-params)) if mean == "sigmoid" else params
    log_variance = np.broadcast_to(log_variance, [4, 3])
    distribution = layer(tf.constant(z, tf.float32))
    expected = _normal_log_prob(x, loc, log_variance)
    np.testing.assert_allclose(distribution.log_prob(x), expected, rtol=2e-5)
    np.testing.assert_allclose(distribution.mean(), loc, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), np.exp(0.5 * log_variance), rtol=1e-5)


def test_gaussian_learned_variances_start_at_one_and_are_trained() -> None:
    for variance, shape in (("global", [3]), ("scalar", [])):
        layer = GaussianLikelihood(3, (), variance=variance)
        with tf.GradientTape() as tape:
            distribution = layer(tf.ones([2, 2]))
            value = tf.reduce_sum(distribution.log_prob(tf.zeros([2, 3])))
        np.testing.assert_array_equal(distribution.stddev(), np.ones([2, 3]))
        assert any(v is layer.log_variance for v in layer.trainable_variables)
        assert tape.gradient(value, layer.log_variance).shape == shape


@pytest.mark.parametrize("variance", ["per_pixel", "global", "scalar", 0.3])
def test_gaussian_apply_takes_all_parameters(variance: str | float) -> None:
    first, second = (GaussianLikelihood(3, (4,), variance=variance) for _ in range(2))
    z, x = RNG.normal(size=[5, 2]).astype(np.float32), RNG.normal(size=[5, 3])
    for layer in (first, second):
        layer.build((None, 2))
        layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    parameters = [tf.convert_to_tensor(v) for v in second.parameters]
    assert len(parameters) == len(second.trainable_variables)
    value = first.apply(parameters, tf.constant(z)).log_prob(x)
    np.testing.assert_allclose(value, second(z).log_prob(x), rtol=1e-6)


def test_gaussian_log_variances_are_kept_within_14() -> None:
    params = tf.constant([[0.0, 0.0, 14.5, -14.5]])
    stddev = GaussianLikelihood.new(params, [2]).stddev()
    np.testing.assert_allclose(stddev, np.exp([[7.0, -7.0]]), rtol=1e-6)


@pytest.mark.parametrize(
    "make", [BernoulliLikelihood, ContinuousBernoulliLikelihood, GaussianLikelihood]
)
def test_image_events_have_the_density_of_their_pixels_in_row_order(make: type) -> None:
    flat, image = make(6, (4,)), make((2, 3), (4,))
    z, x = RNG.normal(size=[5, 2]).astype(np.float32), (RNG.random([5, 2, 3]) < 0.5) * 1.0
    flat.build((None, 2))
    image.build((None, 2))
    image.set_weights(flat.get_weights())
    assert image(z).event_shape == [2, 3]
    expected = flat(z).log_prob(x.reshape(5, 6))
    np.testing.assert_allclose(image(z).log_prob(x), expected, rtol=1e-6)
    np.testing.assert_allclose(image(z).mean(), flat(z).mean().numpy().reshape(5, 2, 3))


def test_supports() -> None:
    assert BernoulliLikelihood(3).support == "binary"
    assert BernoulliLikelihood(3, allow_grey=True).support == "unit"
    assert ContinuousBernoulliLikelihood(3).support == "unit"
    assert GaussianLikelihood(3).support == "real"


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan, "pixel"])
def test_gaussian_refuses_a_bad_variance(variance: float | str) -> None:
    assert_one_line(
        lambda: GaussianLikelihood(3, variance=variance), ValueError, "variance", str(variance)
    )


def test_gaussian_refuses_a_bad_mean() -> None:
    assert_one_line(lambda: GaussianLikelihood(3, mean="tanh"), ValueError, "`mean`", "tanh")


@pytest.mark.parametrize(
    "name", [n for n in layers.__all__ if n.endswith("Likelihood") and n != "MixedLikelihood"]
)
def test_the_outputs_for_an_element_are_the_class_s_own(name: str) -> None:
    arguments = [3, 4] if name == "CategoricalLikelihood" else [3]
    with pytest.raises((TypeError, ValueError), match="params_per_element") as caught:
        getattr(layers, name)(*arguments, params_per_element=7)
    assert "\n" not in str(caught.value)
