"""Models p(z|u) p(x|z, u) of given u: all of it uses u, against exact answers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tests.models.joint.two_levels import gaussian, linear
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation import sample_posterior
from tfp_aevb.evaluation.diagnostics import aggregate_posterior_test
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions

# z | u ~ N(C u, 0.8 I), x | z, u ~ N(W z + D u, 0.5 I)
RNG = np.random.default_rng(1)
C, D, W = RNG.normal(size=[2, 3]), RNG.normal(size=[4, 3]), RNG.normal(size=[4, 2])
VZ, VX = 0.8, 0.5
COVARIANCE = VZ * W @ W.T + VX * np.eye(4)  # of x given u
GAIN = VZ * W.T @ np.linalg.inv(COVARIANCE)
POSTERIOR_COVARIANCE = VZ * (np.eye(2) - GAIN @ W)
U, X = RNG.normal(size=[5, 3]).astype(np.float32), 2 * RNG.normal(size=[5, 4]).astype(np.float32)
DATA = np.concatenate([U, X], axis=1)


def _named() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {
            "u": gaussian(tf.zeros(3), 1.0),
            "z": lambda u: gaussian(linear(C, u), VZ),
            "x": lambda z, u: gaussian(linear(W, z) + linear(D, u), VX),
        }
    )


def _autobatched() -> tfd.JointDistribution:
    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        u = yield tfd.Normal(tf.zeros(3), 1.0, name="u")
        z = yield tfd.Normal(linear(C, u), VZ**0.5, name="z")
        yield tfd.Normal(linear(W, z) + linear(D, u), VX**0.5, name="x")

    return joint


def _encoder(widen: float = 1.0):
    root = tf.constant(widen * np.linalg.cholesky(POSTERIOR_COVARIANCE), tf.float32)

    def encoder(seen: dict[str, tf.Tensor]) -> tfd.Distribution:
        residual = seen["x"] - linear(W @ C + D, seen["u"])
        mean = linear(C, seen["u"]) + linear(GAIN, residual)
        return tfd.MultivariateNormalTriL(mean, root)

    return encoder


def _model(joint: tfd.JointDistribution | None = None, widen: float = 1.0, **kwargs) -> JointAEVB:
    joint = joint or _named()
    return JointAEVB(joint, _encoder(widen), observed=["u", "x"], given=["u"], **kwargs)


def _exact_log_prob() -> np.ndarray:
    return gaussian_log_prob(X - U @ (W @ C + D).T, np.zeros(4), COVARIANCE)


@pytest.mark.compile
@pytest.mark.parametrize("make", [_named, _autobatched])
def test_bounds_at_the_exact_posterior_are_log_p_of_x_given_u(make) -> None:
    model, exact = _model(make()), _exact_log_prob()
    np.testing.assert_allclose(model.elbo(DATA, num_samples=3, seed=1), exact, rtol=1e-5)
    found = tfp_aevb.importance_log_prob(model, DATA, 10, seed=0)
    np.testing.assert_allclose(found.log_prob, exact, rtol=1e-5)
    tighter = _model(make(), objective="iwae")  # whose evidence bound is another estimator
    np.testing.assert_allclose(tighter.elbo(DATA, seed=1), exact, rtol=1e-5)


@pytest.mark.compile
def test_importance_sampling_by_another_q_reaches_log_p_of_x_given_u() -> None:
    found = tfp_aevb.importance_log_prob(_model(widen=1.5), DATA, 20_000, seed=0)
    np.testing.assert_allclose(found.log_prob, _exact_log_prob(), atol=0.03)


@pytest.mark.compile
def test_the_prior_and_the_joint_density_are_those_given_u() -> None:
    model = _model()
    # u far from 0, so that 1% of it is more than the noise.
    draws = model.prior_given(tf.constant(30.0 * DATA)).sample(4000, seed=[0, 3]).numpy()
    assert draws.shape == (4000, 5, 2)
    residual = draws - 30.0 * U @ C.T
    assert_mean(residual, np.zeros([5, 2]))
    assert_mean(np.square(residual), VZ)
    prior = model.prior_given(tf.constant(DATA))
    z = (U @ C.T + residual[:3]).astype(np.float32)
    log_prior = [gaussian_log_prob(r, np.zeros(2), VZ * np.eye(2)) for r in z - U @ C.T]
    np.testing.assert_allclose(prior.log_prob(z), log_prior, rtol=1e-4)
    means = z @ W.T + U @ D.T
    log_x = [gaussian_log_prob(X - mean, np.zeros(4), VX * np.eye(4)) for mean in means]
    found = model.log_joint(tf.constant(DATA), tf.constant(z))
    np.testing.assert_allclose(found, np.add(log_prior, log_x), rtol=1e-5)


@pytest.mark.compile
def test_reconstructions_hold_u_and_are_the_means_given_it() -> None:
    model = _model()
    residual = X - U @ (W @ C + D).T
    loc = U @ C.T + residual @ GAIN.T
    expected = np.concatenate([U, loc @ W.T + U @ D.T], axis=1)
    np.testing.assert_allclose(model.reconstruct(DATA), expected, atol=1e-4)
    compiled(model)
    np.testing.assert_allclose(
        model.predict(DATA, verbose=0)["reconstruction"], expected, atol=1e-4
    )


def test_draws_given_u_hold_it_and_have_the_moments_of_p_of_x_given_u() -> None:
    model = _model()
    rows = np.repeat(U[:2], 2000, axis=0)
    for given, u in ((U[0], U[:1]), (rows, rows)):
        drawn = model.sample_with_latents(4000, seed=1, given={"u": given})
        parts, means = model.split_observed(drawn.x), model.split_observed(drawn.mean)
        np.testing.assert_array_equal(parts["u"], np.broadcast_to(u, [4000, 3]))
        np.testing.assert_array_equal(means["u"], parts["u"])
        np.testing.assert_allclose(means["x"], drawn.z @ W.T + u @ D.T, atol=1e-4)
        residual = parts["x"].numpy() - u @ (W @ C + D).T
        assert_mean(residual, np.zeros(4))
        assert_mean(residual[:, :, np.newaxis] * residual[:, np.newaxis], COVARIANCE)
        assert_mean(drawn.z - u @ C.T, np.zeros(2))


def test_draws_without_u_are_those_of_the_joint() -> None:
    model = _model()
    drawn = model.sample_with_latents(4000, seed=1)
    parts = model.split_observed(drawn.x)
    u = parts["u"].numpy()
    assert_mean(np.square(u), 1.0)
    residual = parts["x"].numpy() - u @ (W @ C + D).T
    assert_mean(residual[:, :, np.newaxis] * residual[:, np.newaxis], COVARIANCE)
    assert_mean((drawn.z - u @ C.T)[:, :, np.newaxis] * u[:, np.newaxis], np.zeros([2, 3]))
    assert_mean(
        np.square(model.prior_distribution().sample(4000, seed=[1, 2]).numpy()).sum(1),
        np.trace(C @ C.T) + 2 * VZ,
    )


@pytest.mark.compile
def test_hamiltonian_monte_carlo_draws_from_the_posterior_given_u() -> None:
    model = _model(widen=1.5)

    @tf.function
    def draw(x: tf.Tensor) -> tf.Tensor:
        return sample_posterior(model, x, 10, num_chains=200, burn_in=60, thinning=5, seed=2).z

    z = draw(tf.constant(DATA[:2])).numpy().reshape(-1, 2, 2)
    mean = U[:2] @ C.T + (X[:2] - U[:2] @ (W @ C + D).T) @ GAIN.T
    residual = z - mean
    assert_mean(residual, np.zeros([2, 2]))
    assert_mean(residual[..., np.newaxis] * residual[:, :, np.newaxis], [POSTERIOR_COVARIANCE] * 2)


@pytest.mark.compile
def test_the_gradient_of_the_priors_parameters_is_that_of_log_p_of_x_given_u() -> None:
    matrix = tf.Variable(C, dtype=tf.float32)
    joint = tfd.JointDistributionNamed(
        {
            "u": gaussian(tf.zeros(3), 1.0),
            "z": lambda u: gaussian(tf.linalg.matvec(matrix, u), VZ),
            "x": lambda z, u: gaussian(linear(W, z) + linear(D, u), VX),
        }
    )
    model = _model(joint)
    assert len(model.trainable_variables) == 1

    @tf.function
    def gradient(seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(model.bound(tf.constant(DATA), seed, 500).elbo)
        return tape.gradient(value, matrix)

    found = np.stack([gradient(tf.constant([seed, 1])) for seed in range(100)])
    residual = X - U @ (W @ C + D).T
    exact = W.T @ np.linalg.inv(COVARIANCE) @ residual.T @ U
    assert_mean(found, exact)
    errors = found.std(axis=0, ddof=1) / 10
    assert (5 * errors < 0.01 * np.abs(exact).max()).all()  # so that a formula 1% off is seen


@pytest.mark.compile
def test_global_latents_stand_beside_a_prior_given_u() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "mu": gaussian(tf.zeros(1), 4.0),
            "u": gaussian(tf.zeros(1), 1.0),
            "z": lambda mu, u: gaussian(mu + 2.0 * u, VZ),
            "x": lambda z, u: gaussian(z - u, VX),
        }
    )
    model = JointAEVB(
        joint,
        lambda seen: gaussian(0.6 * seen["x"] + 1.7 * seen["u"] + 0.2, 0.6),
        observed=["u", "x"],
        given=["u"],
        global_latents=["mu"],
    )
    normal = model.global_posterior["mu"].distribution.distribution
    normal.loc.assign([0.7])
    variance = float(normal.scale[0]) ** 2
    drawn = model.sample(4000, seed=3, given={"u": [1.5]}).numpy()[:, 1]
    assert_mean(drawn, 0.7 + 1.5)
    assert_mean(np.square(drawn - 2.2), variance + VZ + VX)
    x = np.array([[1.5, 1.0], [-0.5, 2.0]], np.float32)
    exact = gaussian_log_prob(
        x[:, 1:] - x[:, :1], np.array([0.7]), np.array([[variance + VZ + VX]])
    )
    found = tfp_aevb.importance_log_prob(model, x, 20_000, seed=0).log_prob
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_the_aggregate_posterior_is_compared_with_the_priors_given_each_u() -> None:
    model = _model()
    x = model.sample(300, seed=4, given={"u": 3.0 * RNG.normal(size=[300, 3])}).numpy()
    assert aggregate_posterior_test(model, Observations(x), permutations=100).p_value > 0.05


def test_what_needs_u_says_so() -> None:
    model = _model()
    plain = JointAEVB(
        tfd.JointDistributionNamed(
            {"z": gaussian(tf.zeros(1), 1.0), "x": lambda z: gaussian(z, 1.0)}
        ),
        lambda x: gaussian(x, 1.0),
    )
    for error, action, words in (
        (
            NotImplementedError,
            lambda: model.prior_distribution().log_prob(tf.zeros([3, 2])),
            "`prior_given(x)`",
        ),
        (ValueError, lambda: model.sample(2, given={"v": U[0]}), "['u'], got ['v']"),
        (ValueError, lambda: model.sample(2, given={"u": U}), "(3,), or (2, 3)"),
        (ValueError, lambda: plain.sample(2, given={"x": [1.0]}), "no given parts"),
        (ValueError, lambda: tfp_aevb.impute(model, DATA), "ObservedParts"),
    ):
        assert_one_line(action, error, words)
