"""Gradients of the weighted KL term on x = a z + b + e, in closed form at the draws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import compiled
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.training.loops import Minibatch

tfd = tfp.distributions
X = np.random.default_rng(0).normal(size=[30, 1]) * 1.5
VARIANCE = 0.4  # of e
START = {"a": 0.8, "b": 0.3, "gain": 0.5, "shift": -0.2, "log_scale": -0.4}
NUM_SAMPLES = 3
RATE = 1e-3


class Linear:
    """The model, q(z|x) = N(gain x + shift, exp(log_scale)^2), and the draws it was called with."""

    def __init__(self, **options) -> None:
        self.variables = {name: tf.Variable(value, name=name) for name, value in START.items()}
        self.z: list[tf.Tensor] = []
        self.model = AEVB(
            tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1)),
            self.encode,
            self.decode,
            num_samples=NUM_SAMPLES,
            **options,
        )

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        v = self.variables
        loc = v["gain"] * x + v["shift"]
        return tfd.MultivariateNormalDiag(loc, tf.exp(v["log_scale"]) * tf.ones_like(loc))

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        self.z.append(z)
        mean = self.variables["a"] * z + self.variables["b"]
        return tfd.Independent(tfd.Normal(mean, VARIANCE**0.5), 1)

    def gradients(self, step: int | None) -> tuple[dict[str, float], np.ndarray]:
        """The loss's gradients at an update, and the draws z [L, B]."""
        self.z.clear()
        size, at = len(X), None if step is None else tf.constant(step, tf.int64)
        x = tf.constant(X, tf.float32)
        weights, count = tf.ones(size), tf.constant(float(size))
        batch = Minibatch(x, weights, count, count, 1, tf.constant([3, 7]), None, at)
        found = self.model.losses_and_gradients(batch)[2]
        names = [variable.name.partition(":")[0] for variable in self.model.trainable_variables]
        gradients = {name: float(value) for name, value in zip(names, found, strict=True)}
        return gradients, np.reshape(self.z[-1], [NUM_SAMPLES, size]).astype(np.float64)


def expected(
    z: np.ndarray, objective: str, weight: float, free_bits: float = 0.0
) -> dict[str, float]:
    """The gradients of -mean(reconstruction - weight max(KL, free_bits)), derived by hand."""
    x = X[:, 0]
    loc, scale = START["gain"] * x + START["shift"], np.exp(START["log_scale"])
    noise = (z - loc) / scale
    error = (x - START["a"] * z - START["b"]) / VARIANCE
    if objective == "sgvb_b":
        kl = 0.5 * (loc**2 + scale**2 - 1.0) - START["log_scale"]
        of_loc, of_log_scale = loc, np.full_like(x, scale**2 - 1.0)
    else:  # log q(z) - log p(z), in which z moves
        kl = np.full_like(x, np.inf)
        of_loc = z.mean(0)
        of_log_scale = (z * scale * noise).mean(0) - 1.0
    counts = kl > free_bits
    of_loc = (START["a"] * error).mean(0) - weight * counts * of_loc
    of_log_scale = (START["a"] * error * scale * noise).mean(0) - weight * counts * of_log_scale
    return {
        "a": -(error * z).mean(),
        "b": -error.mean(),
        "gain": -(of_loc * x).mean(),
        "shift": -of_loc.mean(),
        "log_scale": -of_log_scale.mean(),
    }


def assert_gradients(linear: Linear, step: int | None, weight: float, bits: float = 0.0) -> None:
    found, z = linear.gradients(step)
    hand = expected(z, linear.model.objective.name, weight, bits)
    assert found == pytest.approx(hand, rel=1e-4, abs=1e-5)
    # The test can tell a weight that is 1% off.
    assert hand != pytest.approx(
        expected(z, linear.model.objective.name, 1.01 * weight + 0.01, bits), rel=1e-3, abs=1e-4
    )


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", ["sgvb_a", "sgvb_b"])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0, 4.0])
def test_the_weight_scales_the_kl_s_gradient(objective: str, weight: float) -> None:
    assert_gradients(Linear(objective=objective, kl_weight=weight), 5, weight)


@pytest.mark.parametrize("objective", ["sgvb_a", "sgvb_b"])
@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.02), (49, 1.0), (98, 1.98), (99, 2.0), (1000, 2.0), (None, 1.0)]
)
def test_the_weight_rises_update_by_update(objective: str, step: int | None, weight: float) -> None:
    linear = Linear(objective=objective, kl_weight=2.0, kl_warmup_steps=100)
    assert_gradients(linear, step, weight)


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_free_bits_have_no_gradient_and_the_others_all_of_it(weight: float) -> None:
    loc, scale = START["gain"] * X[:, 0] + START["shift"], np.exp(START["log_scale"])
    kl = 0.5 * (loc**2 + scale**2 - 1.0) - START["log_scale"]
    bits = float(np.median(kl)) + 1e-3
    assert 10 < (kl > bits).sum() < 20
    assert_gradients(Linear(free_bits=bits, kl_weight=weight), 5, weight, bits)
    everything = float(kl.max()) + 1.0
    found, z = Linear(free_bits=everything).gradients(5)
    assert found == pytest.approx(expected(z, "sgvb_b", 0.0), rel=1e-4, abs=1e-5)


def expected_over_draws(at: dict[str, float], weight: float) -> float:
    """The gradient with respect to `shift`, its mean over draws."""
    x = X[:, 0]
    loc = at["gain"] * x + at["shift"]
    error = (x - at["a"] * loc - at["b"]) / VARIANCE
    return float(-(at["a"] * error - weight * loc).mean())


def test_fit_follows_the_warm_up() -> None:
    """Plain gradient steps in the compiled loop: the encoder's tell the weight of each."""
    linear = Linear(kl_weight=3.0, kl_warmup_steps=2)
    model = compiled(linear.model, tf_keras.optimizers.SGD(RATE))
    many = np.repeat(X, 300, axis=0).astype(np.float32)
    for weight in (1.5, 3.0, 3.0):
        before = {name: float(v) for name, v in linear.variables.items()}
        model.fit(many, batch_size=len(many), epochs=1, verbose=0)
        gradient = (before["shift"] - float(linear.variables["shift"])) / RATE
        assert gradient == pytest.approx(expected_over_draws(before, weight), abs=0.05)
