"""Gradients of bounds under a flow q(z|x), against differences of an independent computation."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tfp_aevb import layers
from tfp_aevb.objectives import Bound, doubly_reparameterized, sgvb_a, sticking_the_landing

J, B, K = 3, 40, 4
SEED = np.array([3, 8], np.int32)
STEP = 1e-3
RNG = np.random.default_rng(2)
X = RNG.normal(size=[B, 5]).astype(np.float32)
WEIGHTS = RNG.normal(size=[J, 5]).astype(np.float32)


def _log_likelihood(z: tf.Tensor) -> tf.Tensor:
    return -0.5 * tf.reduce_sum((X - tf.tensordot(z, WEIGHTS, 1)) ** 2, axis=-1) / 0.5


def _flow(kind: str) -> layers.FlowPosterior:
    tf_keras.utils.set_random_seed(3)
    layer = layers.FlowPosterior(J, kind, 2, (6,), flow_units=(9,), context_size=4, init_stddev=0.4)
    layer(X)
    return layer


class _Value:
    """The sum of the bounds whose gradient an objective follows, as a function of the flow.

    The weighted sum of log p(x, z) - log q(z|x), written out, at z drawn with the same noise. All
    but estimator A hold the density's parameters; DReG weighs each draw by its squared share.
    """

    def __init__(self, objective: Callable[..., Bound], flow: layers.FlowPosterior) -> None:
        self._flow, self._density, self._seed = flow, flow, SEED
        if objective is sgvb_a:
            self._seed = tfp.random.split_seed(SEED, n=2)[0]  # as TFP's own loss draws
        else:
            self._density = layers.FlowPosterior.from_config(flow.get_config())
            self._density(X)
            self._density.set_weights(flow.get_weights())
        self._shares: tf.Tensor | float = 1.0 / K
        if objective is doubly_reparameterized:
            self._shares = tf.nn.softmax(self._log_weights(), axis=0) ** 2

    def _log_weights(self) -> tf.Tensor:
        z = tf.identity(self._flow(X).sample(K, seed=self._seed))  # no bijector has it cached
        log_prior = -0.5 * tf.reduce_sum(z**2, axis=-1)
        return _log_likelihood(z) + log_prior - self._density(X).log_prob(z)

    def __call__(self) -> float:
        return float(np.sum(self._shares * self._log_weights().numpy().astype(np.float64)))


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("kind", ["iaf", "realnvp", "spline"])
@pytest.mark.parametrize("objective", [sgvb_a, sticking_the_landing, doubly_reparameterized])
def test_gradients_along_directions_are_differences(
    objective: Callable[..., Bound], kind: str
) -> None:
    flow = _flow(kind)
    value = _Value(objective, flow)
    variables = flow.trainable_variables
    prior = layers.StandardNormalPrior(J)()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(objective(flow(X), prior, _log_likelihood, K, SEED).elbo)
    gradients = [gradient.numpy() for gradient in tape.gradient(total, variables)]
    start = [variable.numpy() for variable in variables]
    of_steps = {variable.ref() for variable in flow.own_parameters}
    for own in (False, True):  # the encoder's network, and those of the steps
        # Random directions on the gradient's side, so that no small difference is left.
        directions = [
            np.sign(g) * RNG.uniform(0.0, 1.0, g.shape) * ((variable.ref() in of_steps) == own)
            for variable, g in zip(variables, gradients, strict=True)
        ]
        ends = []
        for sign in (1.0, -1.0):
            for variable, at, direction in zip(variables, start, directions, strict=True):
                variable.assign(at + sign * STEP * direction)
            ends.append(value())
        for variable, at in zip(variables, start, strict=True):
            variable.assign(at)
        expected = (ends[0] - ends[1]) / (2.0 * STEP)
        found = sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True))
        assert expected > 1.0
        assert found == pytest.approx(expected, rel=0.01)
