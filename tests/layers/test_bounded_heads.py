"""No input, however large, gives NaN in a density, a sample, a KL or their gradients."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_aevb import layers

tfd = tfp.distributions

HUGE = [50.0, -50.0, 1e4, 1e30, -1e30]
LIKELIHOODS = {
    "bernoulli": layers.BernoulliLikelihood(3, ()),
    "continuous": layers.ContinuousBernoulliLikelihood(3, ()),
    "gaussian": layers.GaussianLikelihood(3, ()),
    "sigmoid": layers.GaussianLikelihood(3, (), mean="sigmoid"),
}
POSTERIORS = {
    "diagonal": layers.DiagonalGaussianPosterior(3, ()),
    "full": layers.FullCovarianceGaussianPosterior(3, ()),
}


def _assert_no_nan(values: dict[str, tf.Tensor], sources: list, tape: tf.GradientTape) -> None:
    for name, value in values.items():
        assert not np.isnan(value).any(), name
        for gradient in tape.gradient(value, sources):
            assert gradient is None or not np.isnan(gradient).any(), f"gradient of {name}"


def _params(layer: layers.base.NetworkDistribution, size: float) -> list[np.ndarray]:
    """All parameters huge; every second one huge; alternating signs."""
    width = layer.network.output_size
    signs = np.array([np.ones(width), np.arange(width) % 2, (-1.0) ** np.arange(width)])
    return list((size * signs[:, None, :]).astype(np.float32))


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_give_no_nan(name: str, size: float) -> None:
    layer = LIKELIHOODS[name]
    for value in _params(layer, size):
        params = tf.Variable(value)
        with tf.GradientTape(persistent=True) as tape:
            distribution = layer.distribution(params)
            values = {
                f"log_prob({x})": distribution.log_prob(tf.fill([1, 3], x)) for x in (0.0, 0.3, 1.0)
            }
            values |= {"mean": distribution.mean(), "sample": distribution.sample(seed=[1, 2])}
        _assert_no_nan(values, [params], tape)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize("name", POSTERIORS)
def test_posteriors_give_no_nan(name: str, size: float) -> None:
    layer, prior = POSTERIORS[name], layers.DiagonalNormalPrior(3)
    for value in _params(layer, size):
        params = tf.Variable(value)
        with tf.GradientTape(persistent=True) as tape:
            posterior = layer.distribution(params)
            z = posterior.sample(seed=[1, 2])
            values = {
                "sample": z,
                "log_prob of the sample": posterior.log_prob(z),
                "log_prob": posterior.log_prob(tf.ones([1, 3])),
                "kl": tfd.kl_divergence(posterior, prior()),
                "stddev": posterior.stddev(),
            }
        _assert_no_nan(values, [params, *prior.trainable_variables], tape)


@pytest.mark.parametrize("size", HUGE)
def test_priors_give_no_nan(size: float) -> None:
    diagonal, mixture = layers.DiagonalNormalPrior(2), layers.GaussianMixturePrior(2, 3)
    z = tf.ones([1, 2])
    for prior, names in ((diagonal, ["log_variance"]), (mixture, ["log_variance", "logits"])):
        for name in names:
            variable = getattr(prior, name)
            start = variable.numpy()
            variable.assign(tf.fill(variable.shape, size))
            with tf.GradientTape(persistent=True) as tape:
                distribution = prior()
                values = {
                    "log_prob": distribution.log_prob(z),
                    "log_prob far away": distribution.log_prob(1e4 * z),
                    "sample": distribution.sample(seed=[1, 2]),
                }
            _assert_no_nan(values, prior.trainable_variables, tape)
            variable.assign(start)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "softplus"])
@pytest.mark.parametrize("size", [1e30, -1e30])
@pytest.mark.parametrize("name", POSTERIORS)
def test_huge_datapoints_give_no_nan(name: str, size: float, activation: str) -> None:
    tf.random.set_seed(1)
    layer = type(POSTERIORS[name])(2, (5,), activation=activation)
    x = tf.fill([1, 4], size)
    layer(x)
    with tf.GradientTape(persistent=True) as tape:
        posterior = layer(x)
        z = posterior.sample(seed=[1, 2])
        values = {"sample": z, "log_prob": posterior.log_prob(z)}
        values["kl"] = tfd.kl_divergence(posterior, layers.StandardNormalPrior(2)())
    _assert_no_nan(values, layer.trainable_variables, tape)
