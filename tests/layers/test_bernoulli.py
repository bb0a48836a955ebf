"""The fast Bernoulli density against the plain formula, in value and in both gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import log_sigmoid_terms
from tfp_aevb.distributions.bernoulli import LogitBernoulli, LogitBernoullis

RNG = np.random.default_rng(2)


def independent(logits: tf.Tensor, event_ndims: int = 1) -> LogitBernoullis:
    return LogitBernoullis(LogitBernoulli(logits=logits, dtype=tf.float32), event_ndims)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("event", [(1,), (784,), (257,), (28, 28), (5, 4, 3)])
@pytest.mark.parametrize("scale", [0.1, 5.0, 50.0])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_density_and_gradients_are_those_of_the_sum_of_log_sigmoids(
    event: tuple[int, ...], scale: float, jit_compile: bool
) -> None:
    logits = RNG.normal(size=[3, 2, *event]) * scale
    x = (RNG.random([2, *event]) < 0.3).astype(np.float64)
    axes = tuple(range(2, logits.ndim))

    @tf.function(jit_compile=jit_compile)
    def value_and_gradients(logits: tf.Tensor, x: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch([logits, x])
            value = independent(logits, len(event)).log_prob(x)
        return value, tape.gradient(value, [logits, x])

    value, (by_logits, by_x) = value_and_gradients(
        tf.constant(logits, tf.float32), tf.constant(x, tf.float32)
    )
    assert value.shape == (3, 2)
    np.testing.assert_allclose(value, log_sigmoid_terms(x, logits).sum(axes), rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(by_logits, x - 1.0 / (1.0 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_allclose(by_x, logits.sum(axis=0), rtol=1e-5, atol=1e-5)


def test_more_data_than_logits_broadcast() -> None:
    logits = RNG.normal(size=[2, 6])
    x = (RNG.random([4, 3, 2, 6]) < 0.5).astype(np.float64)
    value = independent(tf.constant(logits, tf.float32)).log_prob(x.astype(np.float32))
    np.testing.assert_allclose(value, log_sigmoid_terms(x, logits).sum(-1), rtol=1e-5)


def test_extreme_logits_are_certain_and_nan_stays_nan() -> None:
    value = independent(tf.constant([[1e30, 2.0], [np.nan, 2.0]])).log_prob(
        [[1.0, 1.0], [1.0, 1.0]]
    )
    np.testing.assert_allclose(value[0], -np.log1p(np.exp(-2.0)), rtol=1e-6)
    assert np.isnan(value[1])


def test_unknown_event_sizes_have_the_same_density() -> None:
    logits = tf.constant(RNG.normal(size=[2, 6]), tf.float32)
    x = tf.constant((RNG.random([2, 6]) < 0.5).astype(np.float32))
    signature = [tf.TensorSpec([2, None], tf.float32)] * 2
    unknown = tf.function(
        lambda logits, x: independent(logits).log_prob(x),
        input_signature=signature,
    )
    known = independent(logits).log_prob(x)
    np.testing.assert_allclose(unknown(logits, x), known, rtol=1e-6)
