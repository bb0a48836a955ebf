"""Latents that all datapoints share, against a conjugate model's exact answers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tests.structured.two_levels import gaussian
from tfp_aevb.structured import JointAEVB
from tfp_aevb.training.loops import Minibatch

tfd = tfp.distributions

# mu ~ N(0, 4), z | mu ~ N(mu, 1), x | z ~ N(z, 0.5)
NUM_DATA, PRIOR, V, VX = 20, 4.0, 1.0, 0.5


def _data() -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=[NUM_DATA, 1]) * np.sqrt(V + VX)
    return (1.7 + noise).astype(np.float32)


def _model(**kwargs) -> tuple[JointAEVB, dict[str, tf.Variable]]:
    """Returns the model and the variables of q(z|x) = N(gain x + shift, exp(log_variance))."""
    joint = tfd.JointDistributionNamed(
        {
            "mu": gaussian(tf.zeros(1), PRIOR),
            "z": lambda mu: gaussian(mu, V),
            "x": lambda z: gaussian(z, VX),
        }
    )
    q = {"gain": tf.Variable(0.4), "shift": tf.Variable([0.3]), "log_variance": tf.Variable(-0.9)}

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return gaussian(q["gain"] * x + q["shift"], tf.exp(q["log_variance"]))

    return JointAEVB(joint, encoder, global_latents=["mu"], **kwargs), q


def _moments(model: JointAEVB) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and the variance of q(mu)."""
    normal = model.global_posterior["mu"].distribution.distribution
    return tf.convert_to_tensor(normal.loc), tf.square(tf.convert_to_tensor(normal.scale))


def _exact_bound(model: JointAEVB, q: dict[str, tf.Variable], x: np.ndarray) -> tf.Tensor:
    """The expected bound of each datapoint, for N = NUM_DATA."""
    m, v = _moments(model)
    loc, variance = q["gain"] * x + q["shift"], tf.exp(q["log_variance"])
    terms = (tf.square(x - loc) + variance) / VX + tf.math.log(2 * np.pi * VX)
    terms += (tf.square(loc - m) + variance + v) / V + tf.math.log(2 * np.pi * V)
    terms -= tf.math.log(2 * np.pi * np.e * variance)
    kl = 0.5 * ((tf.square(m) + v) / PRIOR - 1.0 - tf.math.log(v / PRIOR))
    return tf.squeeze(-0.5 * terms - kl / NUM_DATA, axis=-1)


@pytest.mark.parametrize("objective", ["sgvb_a", "stl"])
def test_bound_and_gradients_have_the_exact_expectation(objective: str) -> None:
    model, q = _model(num_data=NUM_DATA, objective=objective)
    variables = model.trainable_variables
    assert len(variables) == 5  # and so a mean and a scale of q(mu)
    x = tf.constant([[2.5], [-1.0]])

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            elbo = model.bound(x, seed, 10_000).elbo
            total = tf.reduce_sum(elbo)
        return elbo, tape.gradient(total, variables)

    drawn = [draw(tf.constant([seed, 3])) for seed in range(200)]
    with tf.GradientTape() as tape:
        exact = _exact_bound(model, q, x)
        total = tf.reduce_sum(exact)
    values = np.stack([elbo for elbo, _ in drawn])
    gradients = np.stack([np.hstack([np.ravel(part) for part in parts]) for _, parts in drawn])
    expected = np.hstack([np.ravel(part) for part in tape.gradient(total, variables)])
    for found, wanted in ((values, exact.numpy()), (gradients, expected)):
        assert_mean(found, wanted)
        errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (5 * errors < 0.01 * np.abs(wanted).max()).all()  # a formula 1% off is seen


def test_the_share_of_the_global_latents_counts_once_for_all_data() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "scale": tfd.LogNormal(0.3, 0.5),
            "z": gaussian(tf.zeros(1), 1.0),
            "x": lambda scale, z: tfd.MultivariateNormalDiag(z, scale[..., tf.newaxis]),
        }
    )
    few, many = (
        JointAEVB(joint, lambda x: gaussian(0.5 * x, 0.5), global_latents=["scale"], num_data=n)
        for n in (10, 40)
    )
    for model in (few, many):  # far out, where the KL is large beside its draws' noise
        model.global_posterior["scale"].distribution.distribution.loc.assign(2.8)
    x = tf.constant(_data()[:3])

    @tf.function
    def difference(seed: tf.Tensor) -> tf.Tensor:
        return many.bound(x, seed).elbo - few.bound(x, seed).elbo

    shares = np.stack([difference(tf.constant([seed, 5])) for seed in range(400)])
    normal = few.global_posterior["scale"].distribution.distribution
    kl = float(tfd.kl_divergence(normal, tfd.Normal(0.3, 0.5)))  # the same of the logarithms
    assert_mean(shares, kl * (1 / 10 - 1 / 40))
    assert (5 * shares.std(axis=0) / np.sqrt(400) < 0.01 * shares.mean(axis=0)).all()


def test_training_finds_the_posterior_of_the_mean() -> None:
    x = _data()
    model, q = _model()
    compiled(model, tf_keras.optimizers.Adam(0.02), jit_compile=True)
    for rate in (0.02, 0.001):  # the second, to settle
        model.optimizer.learning_rate = rate
        model.fit(x, batch_size=NUM_DATA, steps_per_epoch=2000, verbose=0)
    m, v = (float(value[0]) for value in _moments(model))
    precision = 1 / PRIOR + NUM_DATA / (V + VX)
    mean = x.sum() / (V + VX) / precision
    # A factorised q has the posterior's mean, and the variance that is left when all z are known.
    assert m == pytest.approx(mean, abs=0.05 / np.sqrt(precision))
    assert v == pytest.approx(1 / (1 / PRIOR + NUM_DATA / V), rel=0.05)
    covariance = PRIOR * np.ones([NUM_DATA] * 2) + (V + VX) * np.eye(NUM_DATA)
    evidence = gaussian_log_prob(x.T, np.zeros(NUM_DATA), covariance)[0]
    bound = float(tf.reduce_sum(_exact_bound(model, q, x)))
    assert evidence - 1.0 < bound < evidence  # what the factorised q costs is 0.53
    predictive = gaussian_log_prob(x, np.array([m]), np.array([[V + VX + v]]))
    found = tfp_aevb.importance_log_prob(model, x, 20_000, seed=0).log_prob
    np.testing.assert_allclose(found, predictive, atol=0.02)
    draws = model.sample(4000, seed=1).numpy()
    assert_mean(draws, m)
    assert_mean(np.square(draws - m), V + VX + v)


def test_global_latents_stay_in_their_support_and_may_depend_on_each_other() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "scale": tfd.LogNormal(0.3, 0.5),
            "mu": lambda scale: gaussian(tf.zeros(2), scale[..., tf.newaxis]),
            "z": lambda mu: gaussian(mu, 1.0),
            "x": lambda z: gaussian(z, 1.0),
        }
    )
    model = JointAEVB(
        joint, lambda x: gaussian(0.5 * x, 0.5), global_latents=["mu", "scale"], num_data=5
    )
    z = model.encode(np.zeros([3, 2])).sample(500, seed=[0, 1])
    parts = model.split_latents(z)
    assert list(parts) == ["z", "scale", "mu"]
    assert (parts["scale"].numpy() > 0.0).all()
    assert_mean(parts["mu"].numpy()[:, 0] - parts["mu"].numpy()[:, 1], 0.0)
    assert np.unique(parts["scale"]).size == 1500  # a draw for each datapoint and sample


def test_what_does_not_suit_global_latents_is_refused() -> None:
    model, _ = _model()
    for error, action, words in (
        (ValueError, lambda: model.elbo(_data()), "`num_data`"),
        (ValueError, lambda: _model(objective="iwae"), "'sgvb_a' or 'stl', got 'iwae'"),
        (NotImplementedError, lambda: model.log_joint(_data(), None), "importance_log_prob"),
        (ValueError, lambda: _backwards(), "latent 'mu' depends on one that is not global"),
    ):
        assert_one_line(action, error, words)


def _backwards() -> JointAEVB:
    joint = tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(1), 1.0),
            "mu": lambda z: gaussian(z, 1.0),
            "x": lambda mu: gaussian(mu, 1.0),
        }
    )
    return JointAEVB(joint, lambda x: gaussian(x, 1.0), global_latents=["mu"])


def test_the_normal_prior_of_parameters_leaves_q_of_the_global_latents_alone() -> None:
    model, q = _model(num_data=NUM_DATA, parameter_prior="normal")
    plain, _ = _model(num_data=NUM_DATA)
    size, seed = float(NUM_DATA), tf.constant([0, 1])
    batch = Minibatch(tf.constant(_data()), tf.ones(NUM_DATA), size, size, 1, seed)
    penalty = 0.5 * sum(float(tf.reduce_sum(tf.square(v))) for v in q.values())
    assert penalty > 0.1
    for each in (model, plain):
        normal = each.global_posterior["mu"].distribution.distribution
        normal.loc.assign([3.0])  # which would cost 4.5 nats more
    difference = model.training_loss(batch)[0] - plain.training_loss(batch)[0]
    assert float(difference) == pytest.approx(penalty / NUM_DATA, rel=1e-3)
