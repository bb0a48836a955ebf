"""Latents that are known for some datapoints: bounds on log p(x, z known), exactly."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tests.models.joint.two_levels import (
    V1,
    VX,
    A,
    B,
    exact_encoder,
    exact_posterior,
    gaussian,
    linear,
    structured_encoder,
    two_level_named,
)
from tfp_aevb.evaluation import sample_posterior
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions

# Of (z2, z1, x) together.
Z2, Z1, X = [0, 1], [2, 3, 4], [5, 6, 7, 8]
_LOADINGS = np.vstack([np.eye(2), A, B @ A])
_NOISE = np.zeros([9, 9])
_NOISE[2:, 2:] = np.vstack([np.eye(3), B]) @ np.vstack([np.eye(3), B]).T * V1
_NOISE[5:, 5:] += VX * np.eye(4)
EVERYTHING = _LOADINGS @ _LOADINGS.T + _NOISE


def _log_prob(values: np.ndarray, columns: list[int]) -> np.ndarray:
    """The log density of some elements of (z2, z1, x)."""
    covariance = EVERYTHING[np.ix_(columns, columns)]
    return gaussian_log_prob(values[:, columns], np.zeros(len(columns)), covariance)


def _draws(num_data: int = 6) -> np.ndarray:
    """Draws (z2, z1, x)."""
    draws = np.random.default_rng(7).multivariate_normal(np.zeros(9), EVERYTHING, num_data)
    return draws.astype(np.float32)


def _with_z1(draws: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Data (x, z1), z1 only where it is known."""
    z1 = np.where(known[:, np.newaxis], draws[:, 2:5], np.nan)
    return np.concatenate([draws[:, 5:], z1], axis=1).astype(np.float32)


def _autobatched_encoder(x: tf.Tensor) -> tfd.Distribution:
    """The factors of `structured_encoder`, TFP's batching over draws."""
    named = structured_encoder(x)

    def model():
        z1 = yield named.model["z1"].copy(name="z1")
        yield named.model["z2"](z1).copy(name="z2")

    return tfd.JointDistributionCoroutineAutoBatched(model, batch_ndims=1)


@pytest.mark.compile
@pytest.mark.parametrize("encoder", [structured_encoder, _autobatched_encoder])
def test_bounds_at_the_exact_posterior_are_log_p_of_what_is_known(encoder) -> None:
    draws, known = _draws(), np.array([True, False] * 3)
    model = JointAEVB(two_level_named(), encoder, partly_observed=["z1"])
    found = model.elbo(_with_z1(draws, known), num_samples=3, seed=1).numpy()
    exact = np.where(known, _log_prob(draws, Z1 + X), _log_prob(draws, X))
    np.testing.assert_allclose(found, exact, rtol=1e-4)


@pytest.mark.compile
def test_a_datapoint_with_nothing_known_has_the_bound_of_the_plain_model() -> None:
    data = _with_z1(_draws(), np.zeros(6, bool))
    plain = JointAEVB(two_level_named(), _rough_encoder)
    model = JointAEVB(two_level_named(), _rough_encoder, partly_observed=["z1"])
    for found, expected in zip(
        model.bound(tf.constant(data), tf.constant([0, 1]), 2),
        plain.bound(tf.constant(data[:, :4]), tf.constant([0, 1]), 2),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def _rough_encoder(x: tf.Tensor) -> tfd.Distribution:
    """Wide factors, z2 first: nothing of q(z2|x) is learned from a known z1."""
    loc, covariance = exact_encoder(x).mean(), exact_posterior(np.zeros([1, 4]))[1]
    variance = [float(np.diag(covariance)[part].max()) for part in (slice(2), slice(2, 5))]

    @tfd.JointDistributionCoroutine
    def posterior():
        root = tfd.JointDistributionCoroutine.Root
        z2 = yield root(gaussian(loc[:, :2], 1.5 * variance[0]).copy(name="z2"))
        mean = loc[:, 2:] + 0.3 * linear(A, z2 - loc[:, :2])
        yield gaussian(mean, 1.5 * variance[1]).copy(name="z1")

    return posterior


@pytest.mark.parametrize(
    "options", [{"kl_weight": 0.0}, {"kl_warmup_steps": 10}, {"kl_weight": 2.0}]
)
def test_the_kl_term_has_no_weight_for_it_would_weigh_known_latents_too(options: dict) -> None:
    make = lambda: JointAEVB(  # noqa: E731
        two_level_named(), _rough_encoder, partly_observed=["z1"], **options
    )
    assert_one_line(make, ValueError, "`partly_observed`", "`kl_weight`", "`kl_warmup_steps`")


@pytest.mark.compile
def test_importance_sampling_estimates_log_p_of_what_is_known() -> None:
    draws = np.repeat(_draws(1), 4, axis=0)
    latents = np.full([4, 5], np.nan, np.float32)  # z2 and z1: neither, either and both known
    latents[[1, 3], :2], latents[2:, 2:] = draws[0, :2], draws[0, 2:5]
    data = np.concatenate([draws[:, 5:], latents], axis=1)
    model = JointAEVB(two_level_named(), _rough_encoder, partly_observed=["z2", "z1"])
    estimate = tfp_aevb.importance_log_prob(model, data, num_samples=20_000, seed=0)
    exact = [_log_prob(draws, part + X)[0] for part in ([], Z2, Z1, Z2 + Z1)]
    np.testing.assert_allclose(estimate.log_prob, exact, atol=0.05)
    assert (estimate.standard_error[:3].numpy() > 1e-4).all()
    np.testing.assert_allclose(estimate.log_prob[3], exact[3], rtol=1e-5)


@pytest.mark.compile
def test_values_and_gradients_have_the_exact_expectation() -> None:
    """In one dimension, q(z1|x) = N(g x, s) and q(z2|z1) = N(h z1, t): all is in closed form."""
    parameters = {name: tf.Variable(value) for name, value in START.items()}
    g, h, b = (parameters[name] for name in ("g", "h", "b"))
    log_s, log_t = parameters["log_s"], parameters["log_t"]
    joint = tfd.JointDistributionNamed(
        {
            "z2": gaussian(tf.zeros(1), 1.0),
            "z1": lambda z2: gaussian(0.8 * z2, 0.5),
            "x": lambda z1: gaussian(b * z1, 0.3),
        }
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        z1 = gaussian(g * x, tf.exp(log_s))
        return tfd.JointDistributionNamed(
            {"z1": z1, "z2": lambda z1: gaussian(h * z1, tf.exp(log_t))}
        )

    model = JointAEVB(joint, encoder, partly_observed=["z1"])
    data = tf.constant([[1.5, 2.0], [-2.0, np.nan]])
    variables = list(parameters.values())

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            elbo = model.bound(data, seed, 10_000).elbo
            total = tf.reduce_sum(elbo)
        return elbo, tape.gradient(total, variables)

    drawn = [draw(tf.constant([seed, 3])) for seed in range(200)]
    with tf.GradientTape() as tape:
        s, t = tf.exp(log_s), tf.exp(log_t)
        rows = [
            _expected_bound(b, h, t, x=1.5, mean=2.0, variance=0.0),
            _expected_bound(b, h, t, x=-2.0, mean=g * -2.0, variance=s)
            + 0.5 * tf.math.log(2 * np.pi * np.e * s),
        ]
        total = tf.add_n(rows)
    assert_mean(np.stack([elbo for elbo, _ in drawn]), [row.numpy() for row in rows])
    exact = [gradient.numpy() for gradient in tape.gradient(total, variables)]
    found = np.array([[part.numpy() for part in gradient] for _, gradient in drawn])
    assert_mean(found, exact)
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (5 * errors < 0.01 * np.abs(exact)).all()  # so that a formula 1% off is seen


START = {"g": 0.3, "h": 1.4, "b": 1.2, "log_s": -0.4, "log_t": 0.3}


def _expected_bound(b, h, t, *, x: float, mean, variance) -> tf.Tensor:
    """E log p(x, z1, z2) - log q(z2|z1) for z1 of this mean and variance, z2 ~ N(h z1, t)."""
    square = tf.square(mean) + variance  # of z1
    terms = (
        (tf.square(x - b * mean) + tf.square(b) * variance) / 0.3 + np.log(2 * np.pi * 0.3),
        (tf.square(1 - 0.8 * h) * square + 0.64 * t) / 0.5 + np.log(2 * np.pi * 0.5),
        tf.square(h) * square + t + np.log(2 * np.pi),
        -tf.math.log(2 * np.pi * np.e * t),
    )
    return -0.5 * tf.add_n([tf.cast(term, tf.float32) for term in terms])


@pytest.mark.compile
def test_training_keeps_nan_out_of_the_parameters_and_draws_hold_what_is_known() -> None:
    gain = tf.Variable(tf.zeros([3, 4]))

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        z1 = gaussian(tf.linalg.matvec(gain, x), 0.5)
        return tfd.JointDistributionNamed(
            {"z1": z1, "z2": lambda z1: gaussian(0.1 * z1[..., :2], 0.5)}
        )

    model = compiled(JointAEVB(two_level_named(), encoder, partly_observed=["z1"]))
    draws = _draws()
    data = _with_z1(draws, np.array([True, False] * 3))
    model.fit(data, batch_size=3, verbose=0)
    assert np.isfinite(gain.numpy()).all()
    assert (gain.numpy() != 0.0).any()
    z = model.split_latents(model.encode(data).sample(2, seed=[0, 1]))
    np.testing.assert_array_equal(z["z1"][:, ::2], np.stack([draws[::2, 2:5]] * 2))
    sampled = model.sample_with_latents(5, seed=1)
    for x in (sampled.x, sampled.mean):
        assert x.shape == (5, 7)
        np.testing.assert_array_equal(
            model.split_observed(x)["z1"], model.split_latents(sampled.z)["z1"]
        )


@pytest.mark.compile
def test_what_does_not_suit_partly_observed_latents_is_refused() -> None:
    def make(**kwargs) -> JointAEVB:
        return JointAEVB(
            two_level_named(), **{"encoder": structured_encoder, "partly_observed": ["z1"]} | kwargs
        )

    assert_one_line(lambda: make(partly_observed=["x"]), ValueError, "`partly_observed`", "'x'")
    assert_one_line(lambda: make(encoder=exact_encoder), ValueError, "a joint distribution")
    model = compiled(make())
    data = _with_z1(_draws(2), np.array([True, False]))
    for column, name in ((5, "'z1' has NaN in row 0"), (1, "'x' has NaN in row 0")):
        wrong = data.copy()
        wrong[0, column] = np.nan
        assert_one_line(lambda wrong=wrong: model.fit(wrong), ValueError, name)
    assert_one_line(
        lambda: sample_posterior(model, data, 2),
        NotImplementedError,
        "importance_log_prob",
    )
