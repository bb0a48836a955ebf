"""Shared by the tests: small models, a model with an exact answer, and statistical assertions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB

tfd = tfp.distributions

LATENT_DIM = 2
DATA_DIM = 6


def binary_data(num_data: int = 25, dim: int = DATA_DIM, seed: int = 0) -> np.ndarray:
    """Returns [num_data, dim] float32 zeros and ones."""
    return (np.random.default_rng(seed).random((num_data, dim)) < 0.4).astype(np.float32)


def small_model(
    prior: Any = None, encoder: Any = None, decoder: Any = None, weight_seed: int = 1, **kwargs
) -> AEVB:
    """Returns an AEVB model of 6 binary pixels and 2 latents, its weights set by `weight_seed`."""
    tf_keras.utils.set_random_seed(weight_seed)
    return AEVB(
        prior or layers.StandardNormalPrior(LATENT_DIM),
        encoder or layers.DiagonalGaussianPosterior(LATENT_DIM, (5,)),
        decoder or layers.BernoulliLikelihood(DATA_DIM, (5,)),
        **kwargs,
    )


def compiled(model: AEVB, optimizer: Any = None, **kwargs) -> AEVB:
    """Compiles without XLA unless asked, with SGD unless given an optimizer."""
    kwargs = {"jit_compile": False, **kwargs}
    model.compile(optimizer or tf_keras.optimizers.SGD(0.05), **kwargs)
    return model


@functools.cache
def _shared_model() -> tuple[AEVB, list[tf.Variable], list[np.ndarray]]:
    model = compiled(small_model())
    variables = [*model.variables, *model.optimizer.variables]
    return model, variables, [variable.numpy() for variable in variables]


def fresh_model(learning_rate: float = 0.05) -> AEVB:
    """Returns the small model compiled with SGD, as newly made.

    The tests share it, and its compiled functions: it is good until the next call.
    """
    model, variables, start = _shared_model()
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    model.optimizer.learning_rate = learning_rate
    return model


def weights_of(model: tf_keras.Model) -> list[np.ndarray]:
    """Returns copies of the trainable weights."""
    return [variable.numpy() for variable in model.trainable_variables]


def assert_same_arrays(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> None:
    """Fails unless both hold the same arrays, bit for bit."""
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_mean(samples: np.ndarray, expected: Any, standard_errors: float = 5.0) -> None:
    """Fails unless the mean over axis 0 is `expected` within so many standard errors."""
    samples = np.asarray(samples, np.float64)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    distance = np.abs(samples.mean(axis=0) - expected)
    assert (distance <= standard_errors * error + 1e-12).all(), (distance / (error + 1e-300)).max()


def assert_one_line(action: Callable[[], Any], error: type[Exception], *parts: str) -> None:
    """Fails unless `action` raises `error` with a message of one line that holds all `parts`."""
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


class LinearGaussian:
    """z ~ N(0, I), x|z ~ N(W z + b, s^2 I) in float64: log p(x) and p(z|x) are known exactly."""

    def __init__(self, latent_dim: int = 2, data_dim: int = 5, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.weights = rng.normal(size=[data_dim, latent_dim])
        self.bias = rng.normal(size=[data_dim])
        self.variance = 0.6
        self.latent_dim, self.data_dim = latent_dim, data_dim

    def data(self, num_data: int, seed: int = 4) -> np.ndarray:
        """Draws x [num_data, D]."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=[num_data, self.latent_dim])
        noise = rng.normal(size=[num_data, self.data_dim]) * np.sqrt(self.variance)
        return z @ self.weights.T + self.bias + noise

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Returns log p(x) [B], nats."""
        covariance = self.weights @ self.weights.T + self.variance * np.eye(self.data_dim)
        return gaussian_log_prob(x, self.bias, covariance)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean [B, J] and the covariance [J, J] of p(z|x)."""
        precision = np.eye(self.latent_dim) + self.weights.T @ self.weights / self.variance
        covariance = np.linalg.inv(precision)
        return (x - self.bias) @ self.weights @ covariance / self.variance, covariance

    def encoder(self, shift: float = 0.0, widen: float = 1.0, dtype: Any = tf.float64) -> Callable:
        """Returns q(z|x): the exact posterior, its mean shifted and its scale widened."""
        _, covariance = self.posterior(np.zeros([1, self.data_dim]))
        gain = tf.constant(self.weights @ covariance / self.variance, dtype)
        scale = tf.constant(widen * np.linalg.cholesky(covariance), dtype)
        bias = tf.constant(self.bias, dtype)
        return lambda x: tfd.MultivariateNormalTriL(tf.matmul(x - bias, gain) + shift, scale)

    def decoder(self, dtype: Any = tf.float64) -> Callable:
        """Returns p(x|z)."""
        weights, bias = tf.constant(self.weights.T, dtype), tf.constant(self.bias, dtype)
        scale = tf.constant(np.sqrt(self.variance), dtype)
        return lambda z: tfd.Independent(tfd.Normal(tf.matmul(z, weights) + bias, scale), 1)

    def prior(self, dtype: Any = tf.float64) -> tfd.Distribution:
        """Returns p(z)."""
        zeros = tf.zeros([self.latent_dim], dtype)
        return tfd.MultivariateNormalDiag(zeros, tf.ones_like(zeros))


def gaussian_log_prob(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Returns log N(x; mean, covariance) [B] for x [B, D], in float64."""
    x, covariance = np.asarray(x, np.float64), np.asarray(covariance, np.float64)
    distance = np.einsum("bi,ij,bj->b", x - mean, np.linalg.inv(covariance), x - mean)
    return -0.5 * (distance + np.linalg.slogdet(2.0 * np.pi * covariance)[1])


def log_sigmoid_terms(x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns log Bernoulli(x; sigmoid(logits)) per element, in float64."""
    x, logits = np.asarray(x, np.float64), np.asarray(logits, np.float64)
    return x * logits - np.logaddexp(0.0, logits)
