"""Tests of the optimizer that a run's settings ask for."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfp_aevb.training.build import build_optimizer
from tfp_aevb.training.config import TrainConfig


def updates(gradient: float, count: int, **settings) -> np.ndarray:
    """How far each of `count` updates by plain gradient descent moves two parameters from 1."""
    optimizer = build_optimizer(TrainConfig(optimizer="sgd", learning_rate=0.5, **settings))
    variable = tf.Variable([1.0, 1.0])
    optimizer.build([variable])
    places = [variable.numpy()]
    for _ in range(count):
        optimizer.apply_gradients([(tf.constant([3.0, 4.0]) * gradient, variable)])
        places.append(variable.numpy())
    return np.diff(places, axis=0)


def test_a_cosine_schedule_ends_at_zero() -> None:
    settings = {"learning_rate_schedule": "cosine", "learning_rate_decay_steps": 4}
    moved = updates(1.0, 5, **settings)[:, 0] / -3.0
    expected = [0.5 * 0.5 * (1.0 + math.cos(math.pi * i / 4)) for i in range(5)]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_an_exponential_schedule_falls_to_a_tenth_and_on() -> None:
    settings = {"learning_rate_schedule": "exponential", "learning_rate_decay_steps": 2}
    moved = updates(0.1, 5, **settings)[:, 0] / -0.3
    np.testing.assert_allclose(moved, [0.5 * 10 ** (-i / 2) for i in range(5)], rtol=1e-4)


@pytest.mark.parametrize(("gradient", "norm"), [(1.0, 2.0), (0.1, 0.5)])
def test_gradients_are_scaled_down_to_the_norm_and_never_up(gradient: float, norm: float) -> None:
    moved = updates(gradient, 1, clip_norm=2.0)[0]
    np.testing.assert_allclose(np.linalg.norm(moved), 0.5 * norm, rtol=1e-5)


def test_weight_decay_shrinks_parameters_beside_the_gradient() -> None:
    moved = updates(0.0, 1, weight_decay=0.2)[0]
    np.testing.assert_allclose(moved, [-0.5 * 0.2] * 2, rtol=1e-5)
