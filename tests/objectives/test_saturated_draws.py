"""Draws that float32 rounds onto an end of where z may be: densities, gradients, and errors."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb
from tests.helpers import assert_one_line, binary_data, compiled, small_model
from tfp_aevb import layers
from tfp_aevb.distributions.bijectors import OpenSigmoid
from tfp_aevb.objectives import OBJECTIVES
from tfp_aevb.objectives.draws import through
from tfp_aevb.training.fused import NonFiniteBoundError

tfb, tfd = tfp.bijectors, tfp.distributions
B, SEED = 4, np.array([0, 1], np.int32)
Maker = Callable[[tf.Tensor], tfd.Distribution]


def _independent(part: tfd.Distribution) -> tfd.Distribution:
    return tfd.Independent(part, 1)


# q given its parameter [B, 2], and a prior of the same support.
POSTERIORS: dict[str, tuple[Maker, Callable[[], tfd.Distribution]]] = {
    "tanh of a vector": (
        lambda v: tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(v, tf.ones_like(v)), tfb.Tanh()
        ),
        lambda: tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)), tfb.Tanh()
        ),
    ),
    "tanh of each": (
        lambda v: _independent(tfd.TransformedDistribution(tfd.Normal(v, 1.0), tfb.Tanh())),
        lambda: _independent(tfd.TransformedDistribution(tfd.Normal(tf.zeros(2), 1.0), tfb.Tanh())),
    ),
    "tanh of a shift": (
        lambda v: tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(tf.zeros_like(v), tf.ones_like(v)),
            tfb.Chain([tfb.Tanh(), tfb.Shift(v)]),
        ),
        lambda: tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)), tfb.Tanh()
        ),
    ),
    "sigmoid": (
        lambda v: _independent(tfd.LogitNormal(v, 1.0)),
        lambda: _independent(tfd.LogitNormal(tf.zeros(2), 1.0)),
    ),
}


def _bound(name: str, q: tfd.Distribution, p: tfd.Distribution, num_samples: int) -> tf.Tensor:
    def nothing(z: tf.Tensor) -> tf.Tensor:
        return tf.zeros(tf.shape(z)[:2])

    return OBJECTIVES[name]().estimate(q, p, nothing, num_samples, SEED).elbo


@pytest.mark.parametrize("name", POSTERIORS)
def test_at_loc_100_the_bound_is_that_of_the_gaussians_behind(name: str) -> None:
    make, prior = POSTERIORS[name]
    loc, found = tf.constant([[100.0, -100.0]] * B), {}
    for objective in ("sgvb_a", "stl", "dreg", "iwae", "renyi", "score_function"):
        with tf.GradientTape() as tape:
            tape.watch(loc)
            elbo = _bound(objective, make(loc), prior(), 1)
        found[objective] = elbo.numpy(), tape.gradient(elbo, loc).numpy()
        # u ~ N(loc, 1): log p(u) - log q(u) is 1/2 (u - loc)^2 - 1/2 u^2, about -loc^2 / 2 each.
        np.testing.assert_allclose(found[objective][0], -10_000.0, rtol=0.06)
    for objective in ("stl", "dreg"):  # along u alone: (u - loc) - u, whatever the draw
        np.testing.assert_allclose(found[objective][1], -loc, rtol=1e-5)
    for objective in ("sgvb_a", "iwae", "renyi"):  # -u
        np.testing.assert_allclose(found[objective][1], -loc, rtol=0.05)
        np.testing.assert_allclose(found[objective][0], found["sgvb_a"][0], rtol=0.06)
    for objective in ("vimco", "rws", "f_divergence", "dreg", "iwae"):
        with tf.GradientTape() as tape:
            tape.watch(loc)
            elbo = _bound(objective, make(loc), prior(), 3)
        assert np.isfinite(elbo).all(), objective
        assert np.isfinite(tape.gradient(elbo, loc)).all(), objective


def _relaxed(kind: str, logits: tf.Tensor) -> tfd.Distribution:
    if kind == "relaxed bernoulli":
        return _independent(tfd.RelaxedBernoulli(0.05, logits=logits))
    return tfd.RelaxedOneHotCategorical(0.05, logits=logits)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", ["relaxed bernoulli", "relaxed categories"])
def test_relaxed_draws_at_a_low_temperature_have_finite_bounds(kind: str, objective: str) -> None:
    if objective == "sgvb_b":
        return
    logits = tf.constant([[1.0, -1.0]] * 50)
    if kind == "relaxed bernoulli":
        prior: tfd.Distribution = _independent(tfd.RelaxedBernoulli(0.5, logits=tf.zeros(2)))
    else:
        prior = tfd.RelaxedOneHotCategorical(0.5, logits=tf.zeros(2))
    z = _relaxed(kind, logits).sample(3, seed=SEED).numpy()
    assert ((z == 0.0) | (z == 1.0)).any()
    for p in (prior, tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            elbo = _bound(objective, _relaxed(kind, logits), p, 3)
        assert np.isfinite(elbo).all()
        assert np.isfinite(tape.gradient(elbo, logits)).all()


def test_the_kl_of_relaxed_bernoullis_is_that_of_their_logistics() -> None:
    """Of saturated draws too: cutting them off at 1 - 6e-8 would take most of it away."""
    logits, draws = tf.constant([[1.0, -2.0]]), 200_000

    def of_logistics(u: np.ndarray) -> np.ndarray:
        def log_prob(loc: float, scale: float) -> np.ndarray:
            t = np.abs(u - loc) / scale
            return -t - np.log(scale) - 2.0 * np.log1p(np.exp(-t))

        return log_prob(1.0 / 0.05, 1.0 / 0.05) - log_prob(0.0, 2.0)

    def q() -> tfd.Distribution:
        return _independent(tfd.RelaxedBernoulli(0.05, logits=logits))

    p = _independent(tfd.RelaxedBernoulli(0.5, logits=tf.zeros(2)))
    sampled = -_bound("sgvb_a", q(), p, draws).numpy()[0]
    uniform = (np.arange(draws) + 0.5) / draws
    logistic = 20.0 * (np.log(uniform) - np.log1p(-uniform))
    exact = of_logistics(20.0 + logistic).mean()  # and of logit -2:
    shifted = logistic - 40.0
    t, s = np.abs(shifted + 40.0) / 20.0, np.abs(shifted) / 2.0
    second = -t - np.log(20.0) - 2 * np.log1p(np.exp(-t)) + s + np.log(2.0)
    exact += (second + 2 * np.log1p(np.exp(-s))).mean()
    assert exact > 15.0
    assert sampled == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("objective", ["stl", "dreg", "vimco", "rws", "f_divergence"])
def test_where_nothing_is_rounded_gradients_are_those_with_the_inverse(objective: str) -> None:
    """`through` makes draws again from what is behind them: another way to the same gradient."""

    class Hidden(tfb.Exp):
        """The same bijector, of which `through` does not know that it has no parameters."""

    found = []
    for bijector in (tfb.Exp(), Hidden()):
        parameters = tf.constant([[0.3, -0.5]] * B), tf.constant([[0.8, 0.4]] * B)
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            q = _independent(tfd.TransformedDistribution(tfd.Normal(*parameters), bijector))
            p = _independent(tfd.Gamma([2.0, 3.0], 1.5))
            elbo = _bound(objective, q, p, 3)
        z = q.sample(3, seed=SEED)
        assert (through(q, z, tf.identity) is z) is False
        found.append([elbo, *tape.gradient(elbo, parameters)])
    for known, hidden in zip(*found, strict=True):
        assert np.abs(hidden).max() > 0.01
        np.testing.assert_allclose(known, hidden, rtol=2e-4, atol=1e-5)


def test_the_open_sigmoid_stays_inside_and_is_the_sigmoid() -> None:
    x = tf.constant([-200.0, -89.0, -3.0, 0.0, 8.0, 17.0, 89.0, 200.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = OpenSigmoid().forward(x)
    assert ((y > 0.0) & (y < 1.0)).numpy().all()
    np.testing.assert_allclose(y, 1.0 / (1.0 + np.exp(-x.numpy().astype(float))), atol=1e-7)
    assert np.isfinite(tape.gradient(y, x)).all()
    q = layers.ConstrainedPosterior.new(tf.constant([[30.0, 5.0]]), "unit")  # at its bounds
    z = q.sample(100_000, seed=SEED)
    assert (z < 1.0).numpy().all()
    assert np.isfinite(layers.UniformPrior(1)().log_prob(z)).all()


def test_models_of_saturated_q_train_and_are_scored() -> None:
    loc = tf.Variable([20.0, -20.0])

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return POSTERIORS["tanh of each"][0](loc + tf.zeros_like(x[:, :2]))

    for objective, num_samples in (("stl", 1), ("dreg", 2)):
        prior = POSTERIORS["tanh of each"][1]
        model = compiled(
            small_model(prior, encoder, objective=objective, num_samples=num_samples),
            tf_keras.optimizers.SGD(0.01),
        )
        before = np.abs(loc.numpy()).max()
        history = model.fit(binary_data(), batch_size=25, epochs=2, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        assert np.abs(loc.numpy()).max() < before  # towards the prior
    found = tfp_aevb.importance_log_prob(model, binary_data(3), 10, seed=0)
    assert np.isfinite(found.log_prob).all()


# What the error says.


class _Forgetful(tfd.TransformedDistribution):
    """A distribution that knows nothing of where its draws came from."""

    def _sample_and_log_prob(self, sample_shape, seed, **kwargs):
        z = tf.identity(self.sample(sample_shape, seed, **kwargs))
        return z, self.log_prob(z)


@tf.autograph.experimental.do_not_convert
def _saturated(x: tf.Tensor) -> tfd.Distribution:
    """Draws of exactly 1."""
    return tfd.Independent(
        _Forgetful(tfd.Normal(50.0 + tf.zeros_like(x[:, :2]), 1.0), tfb.Tanh()), 1
    )


def test_the_error_names_the_term() -> None:
    def rate(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Normal(tf.tile(z[:, :1] / 0.0, [1, 6]), 1.0), 1)

    weights = tf.Variable(tf.ones([2, 6]))

    def broken_penalty(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=z @ weights, dtype=tf.float32), 1)

    end = "an end of where z may be"
    normal = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    inside = tfd.Independent(tfd.Beta([0.5, 0.5], 0.5), 1)
    unit = POSTERIORS["tanh of each"][0]
    for parts, words in (
        ((normal, _saturated, None), ["log q(z|x) is not finite", end, "bounds on what"]),
        (
            (inside, lambda x: unit(30.0 + tf.zeros_like(x[:, :2])), None),
            ["log p(z) is not finite", end],
        ),
        ((normal, None, rate), ["log p(x|z) is not finite"]),
    ):
        model = compiled(small_model(*parts, objective="iwae", num_samples=2))
        model.optimizer.learning_rate = 0.0
        assert_one_line(
            lambda model=model: model.evaluate(binary_data(), verbose=0),
            NonFiniteBoundError,
            "the evaluation bound became NaN",
            *words,
        )
    model = compiled(small_model(normal, None, broken_penalty, parameter_prior="normal"))
    weights.assign(tf.fill([2, 6], 1e25))  # its square is infinite
    assert_one_line(lambda: model.fit(binary_data(), verbose=0), NonFiniteBoundError, "at step 1; ")


def test_the_error_of_a_parameter_names_it() -> None:
    model = compiled(small_model(), tf_keras.optimizers.SGD(1e38))
    with pytest.raises(NonFiniteBoundError) as caught:
        model.fit(binary_data(), batch_size=5, epochs=3, verbose=0)
    assert "\n" not in str(caught.value)
    assert "learning rate" in str(caught.value)
