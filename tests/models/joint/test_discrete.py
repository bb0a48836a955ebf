"""Integer latents in a joint: bounds and gradients by enumeration, and refusals."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line
from tests.models.joint.two_levels import gaussian
from tfp_aevb.evaluation import sample_posterior
from tfp_aevb.models.joint import JointAEVB
from tfp_aevb.objectives import OBJECTIVES

tfd = tfp.distributions

# k ~ Categorical(WEIGHTS), x | k ~ N(MEANS[k], 1)
WEIGHTS, MEANS = np.array([0.5, 0.2, 0.3]), np.array([-1.0, 0.5, 3.0])
X = np.array([[0.4], [2.0], [-1.5]], np.float32)
# log p(x, k) [B, 3]
LOG_JOINT = np.log(WEIGHTS) - 0.5 * (X - MEANS) ** 2 - 0.5 * np.log(2 * np.pi)
LOG_P = np.log(np.exp(LOG_JOINT).sum(1))

SCORE_OBJECTIVES = [n for n, kind in OBJECTIVES.items() if not kind.needs_reparameterized_q]


def _joint() -> tfd.JointDistribution:
    means = tf.constant(MEANS, tf.float32)
    return tfd.JointDistributionNamed(
        {
            "k": tfd.Categorical(probs=WEIGHTS.astype(np.float32)),
            "x": lambda k: gaussian(tf.gather(means, k)[..., tf.newaxis], 1.0),
        }
    )


def _exact_logits(x: tf.Tensor) -> tf.Tensor:
    return tf.constant(np.log(WEIGHTS) - 0.5 * MEANS**2, tf.float32) + x * tf.constant(
        MEANS, tf.float32
    )


def _encoder(x: tf.Tensor) -> tfd.Distribution:
    return tfd.JointDistributionNamed({"k": tfd.Categorical(logits=_exact_logits(x))})


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", SCORE_OBJECTIVES)
def test_bounds_at_the_exact_posterior_are_log_p_of_x(objective: str) -> None:
    model = JointAEVB(_joint(), _encoder, objective=objective, num_samples=3)
    np.testing.assert_allclose(
        model.bound(tf.constant(X), tf.constant([0, 1])).elbo, LOG_P, rtol=1e-5
    )
    np.testing.assert_allclose(model.elbo(X, seed=1), LOG_P, rtol=1e-5)
    found = tfp_aevb.importance_log_prob(model, X, 20, seed=0).log_prob
    np.testing.assert_allclose(found, LOG_P, rtol=1e-5)


@pytest.mark.compile
@pytest.mark.parametrize("objective", ["score_function", "vimco"])
def test_values_and_gradients_have_the_expectation_over_all_values(objective: str) -> None:
    logits, count = tf.Variable([0.3, -0.2, 0.5]), 2

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.JointDistributionNamed({"k": tfd.Categorical(logits=logits + 0.0 * x)})

    model = JointAEVB(_joint(), encoder, objective=objective, num_samples=count)
    x = tf.repeat(X[:1], 20_000, axis=0)

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(model.bound(x, seed).elbo)
        return value, tape.gradient(value, logits)

    drawn = [draw(tf.constant([seed, 1])) for seed in range(100)]
    with tf.GradientTape() as tape:
        log_q = tf.math.log_softmax(logits)
        log_w = tf.constant(LOG_JOINT[0], tf.float32) - log_q
        terms = []
        for ks in itertools.product(range(3), repeat=count):
            chosen = tf.gather(log_w, ks)
            mean = tf.reduce_mean(chosen)
            if objective == "vimco":
                mean = tf.reduce_logsumexp(chosen) - np.log(count)
            terms.append(tf.exp(tf.reduce_sum(tf.gather(log_q, ks))) * mean)
        exact = tf.add_n(terms)
    gradient = tape.gradient(exact, logits).numpy()
    values, gradients = (np.stack(parts) for parts in zip(*drawn, strict=True))
    assert_mean(values, exact.numpy())
    assert_mean(gradients, gradient)
    errors = gradients.std(axis=0, ddof=1) / 10
    assert (5 * errors < 0.01 * np.abs(gradient).max()).all()


def test_q_may_be_one_distribution_over_integers() -> None:
    probs = np.array([0.3, 0.6])
    joint = tfd.JointDistributionNamed(
        {
            "bits": tfd.Independent(tfd.Bernoulli(probs=probs.astype(np.float32)), 1),
            "x": lambda bits: gaussian(2.0 * tf.cast(bits, tf.float32), 1.0),
        }
    )
    log_odds = tf.constant(np.log(probs / (1 - probs)), tf.float32)
    model = JointAEVB(
        joint,
        lambda x: tfd.Independent(tfd.Bernoulli(logits=log_odds + 2.0 * x - 2.0), 1),
        objective="vimco",
        num_samples=2,
    )
    x = np.array([[0.1, 1.5]], np.float32)
    each = probs * np.exp(-0.5 * (x - 2) ** 2) + (1 - probs) * np.exp(-0.5 * x**2)
    exact = np.log(each / np.sqrt(2 * np.pi)).sum(1)  # at the exact posterior, for any draws
    np.testing.assert_allclose(model.elbo(x, num_samples=5, seed=0), exact, rtol=1e-5)


@pytest.mark.compile
def test_latents_may_be_integers_and_real_numbers() -> None:
    both = tfd.JointDistributionNamed(
        {
            "k": tfd.Bernoulli(probs=0.4),
            "z": lambda k: gaussian(2.0 * tf.cast(k, tf.float32)[..., tf.newaxis], 0.5),
            "x": lambda z: gaussian(z, 1.0),
        }
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        k = tfd.Bernoulli(logits=x[:, 0] - 1.0)
        return tfd.JointDistributionNamed(
            {
                "k": k,
                "z": lambda k: gaussian(0.5 * x + 0.5 * tf.cast(k, tf.float32)[..., None], 1.0),
            }
        )

    model = JointAEVB(both, encoder, objective="rws", num_samples=2)
    x = np.array([[0.3], [2.5]], np.float32)
    density = tfd.Normal(np.array([0.0, 2.0]), np.sqrt(1.5)).prob(x.astype(np.float64)).numpy()
    found = tfp_aevb.importance_log_prob(model, x, 50_000, seed=0).log_prob
    np.testing.assert_allclose(found, np.log(density @ [0.6, 0.4]), atol=0.02)


def test_reconstructions_average_over_the_draws_of_integers() -> None:
    model = JointAEVB(_joint(), _encoder, objective="vimco", num_samples=2)
    posterior = np.exp(LOG_JOINT - LOG_P[:, np.newaxis])
    variance = posterior @ MEANS**2 - (posterior @ MEANS) ** 2
    error = np.abs(model.reconstruct(X).numpy()[:, 0] - posterior @ MEANS)
    assert (error < 5 * np.sqrt(variance / 100)).all()


def test_labels_that_are_known_for_some_count_in_the_bound() -> None:
    model = JointAEVB(_joint(), _encoder, objective="score_function", partly_observed=["k"])
    data = np.concatenate([X, [[2.0], [np.nan], [0.0]]], axis=1).astype(np.float32)
    exact = [LOG_JOINT[0, 2], LOG_P[1], LOG_JOINT[2, 0]]
    np.testing.assert_allclose(model.elbo(data, seed=0), exact, rtol=1e-5)
    found = tfp_aevb.importance_log_prob(model, data, 20, seed=0).log_prob
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", sorted({*OBJECTIVES} - {*SCORE_OBJECTIVES}))
def test_objectives_that_need_reparameterised_draws_are_refused(objective: str) -> None:
    make = lambda: JointAEVB(_joint(), _encoder, objective=objective)  # noqa: E731
    assert_one_line(make, ValueError, "latent 'k' is discrete", repr(objective), "'vimco'")


def test_what_moves_in_all_of_r_refuses_integers() -> None:
    model = JointAEVB(_joint(), _encoder, objective="vimco", num_samples=2)
    assert_one_line(
        lambda: sample_posterior(model, X, 2), NotImplementedError, "latent 'k'", "is discrete"
    )
    assert_one_line(
        lambda: JointAEVB(_joint(), lambda x: gaussian(x, 1.0), objective="vimco", num_samples=2),
        ValueError,
        "the encoder's latent 'k' is over all reals",
    )
    shared = {"global_latents": ["k"], "objective": "vimco", "num_samples": 2}
    assert_one_line(
        lambda: JointAEVB(_with_local(), lambda x: gaussian(x, 1.0), **shared),
        ValueError,
        "`global_latents` need objective 'sgvb_a' or 'stl'",
    )


def _with_local() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {**_joint().model, "z": gaussian(tf.zeros(1), 1.0), "x": lambda z, k: gaussian(z, 1.0)}
    )
