"""Tests of the optimizer that a run's settings ask for."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfp_aevb.runs.build import build_optimizer
from tfp_aevb.runs.settings.config import TrainConfig


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


RATE, EPSILON = 0.1, 1e-7


def adam(gradients: np.ndarray) -> list[np.ndarray]:
    first, second, steps = np.zeros(2), np.zeros(2), []
    for t, g in enumerate(gradients, start=1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        unbiased = math.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        steps.append(RATE * unbiased * first / (np.sqrt(second) + EPSILON))
    return steps


def rmsprop(gradients: np.ndarray) -> list[np.ndarray]:
    mean, steps = np.zeros(2), []
    for g in gradients:
        mean = 0.9 * mean + 0.1 * g**2
        steps.append(RATE * g / np.sqrt(mean + EPSILON))
    return steps


def adagrad(gradients: np.ndarray) -> list[np.ndarray]:
    return [
        RATE * g / np.sqrt(total + EPSILON)
        for g, total in zip(gradients, np.cumsum(gradients**2, axis=0), strict=True)
    ]


def sgd(gradients: np.ndarray) -> list[np.ndarray]:
    return list(RATE * gradients)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("formula", [adam, rmsprop, adagrad, sgd])
def test_the_first_two_updates_are_those_of_the_formula(
    formula: Callable[[np.ndarray], list[np.ndarray]], weight_decay: float
) -> None:
    config = TrainConfig(optimizer=formula.__name__, learning_rate=RATE, weight_decay=weight_decay)
    optimizer = build_optimizer(config)
    gradients = np.array([[3.0, -0.02], [-1.0, 0.05]])
    variable, place = tf.Variable([1.0, -2.0]), np.array([1.0, -2.0])
    optimizer.build([variable])
    for gradient, step in zip(gradients, formula(gradients), strict=True):
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        place = place * (1.0 - RATE * weight_decay) - step
        np.testing.assert_allclose(variable, place, rtol=1e-5)


def test_weight_decay_shrinks_parameters_beside_the_gradient() -> None:
    moved = updates(0.0, 1, weight_decay=0.2)[0]
    np.testing.assert_allclose(moved, [-0.5 * 0.2] * 2, rtol=1e-5)
