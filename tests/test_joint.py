"""Joint distributions as models: exact answers where they exist, and refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from sklearn.decomposition import FactorAnalysis

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tfp_aevb import layers
from tfp_aevb.structured import JointAEVB

tfd = tfp.distributions

# Two levels: z2 ~ N(0, I), z1 | z2 ~ N(A z2, 0.5 I), x | z1 ~ N(B z1, 0.3 I). All Gaussian.
RNG = np.random.default_rng(2)
A, B = RNG.normal(size=[3, 2]), RNG.normal(size=[4, 3])
V1, VX = 0.5, 0.3
COVARIANCE = B @ (A @ A.T + V1 * np.eye(3)) @ B.T + VX * np.eye(4)


def _gaussian(loc: tf.Tensor, variance: float) -> tfd.Distribution:
    scale = tf.sqrt(variance) * tf.ones_like(loc)
    return tfd.MultivariateNormalDiag(loc, scale)


def _linear(matrix: np.ndarray, z: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matvec(tf.constant(matrix, tf.float32), z)


def _two_level_named() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {
            "z2": _gaussian(tf.zeros(2), 1.0),
            "z1": lambda z2: _gaussian(_linear(A, z2), V1),
            "x": lambda z1: _gaussian(_linear(B, z1), VX),
        }
    )


def _two_level_sequential() -> tfd.JointDistribution:
    return tfd.JointDistributionSequential(
        [
            _gaussian(tf.zeros(2), 1.0),
            lambda z2: _gaussian(_linear(A, z2), V1),
            lambda z1: _gaussian(_linear(B, z1), VX),
        ]
    )


def _two_level_autobatched() -> tfd.JointDistribution:
    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        z2 = yield tfd.Normal(tf.zeros(2), 1.0, name="z2")
        z1 = yield tfd.Normal(_linear(A, z2), V1**0.5, name="z1")
        yield tfd.Normal(_linear(B, z1), VX**0.5, name="x")

    return joint


TWO_LEVEL = {
    "named": (_two_level_named, "x"),
    "sequential": (_two_level_sequential, 2),
    "autobatched": (_two_level_autobatched, "x"),
}


def _exact_posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [B, 5] and the covariance [5, 5] of p(z2, z1|x)."""
    prior = np.block([[np.eye(2), A.T], [A, A @ A.T + V1 * np.eye(3)]])
    loadings = np.hstack([np.zeros([4, 2]), B])  # of x on (z2, z1)
    gain = prior @ loadings.T @ np.linalg.inv(COVARIANCE)
    return x @ gain.T, prior - gain @ loadings @ prior


def _two_level_data(num_data: int = 12) -> np.ndarray:
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(4), COVARIANCE, num_data)
    return draws.astype(np.float32)


def _exact_encoder(x: tf.Tensor) -> tfd.Distribution:
    mean, covariance = _exact_posterior(np.zeros([1, 4]))
    gain = _exact_posterior(np.eye(4))[0].T  # [5, 4]
    loc = tf.linalg.matvec(tf.constant(gain, tf.float32), x) + tf.constant(mean, tf.float32)
    return tfd.MultivariateNormalTriL(
        loc, tf.constant(np.linalg.cholesky(covariance), tf.float32)[tf.newaxis]
    )


@pytest.mark.parametrize("form", TWO_LEVEL)
def test_bound_at_the_exact_posterior_is_log_p_of_x(form: str) -> None:
    make, observed = TWO_LEVEL[form]
    model = JointAEVB(make(), _exact_encoder, observed=observed)
    x = _two_level_data()
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    np.testing.assert_allclose(model.elbo(x, num_samples=3, seed=1), exact, rtol=1e-4)


@pytest.mark.parametrize("form", TWO_LEVEL)
def test_prior_draws_and_densities_are_the_joints(form: str) -> None:
    make, observed = TWO_LEVEL[form]
    model = JointAEVB(make(), _exact_encoder, observed=observed)
    prior = model.prior_distribution()
    z = prior.sample(4000, seed=[0, 3]).numpy()
    covariance = np.block([[np.eye(2), A.T], [A, A @ A.T + V1 * np.eye(3)]])
    assert_mean(z, np.zeros(5))
    assert_mean(z[:, :, np.newaxis] * z[:, np.newaxis, :], covariance)
    np.testing.assert_allclose(
        prior.log_prob(z[:20].reshape(4, 5, 5)),
        gaussian_log_prob(z[:20], np.zeros(5), covariance).reshape(4, 5),
        rtol=1e-4,
    )


def _structured_encoder(x: tf.Tensor) -> tfd.Distribution:
    """q(z1|x) q(z2|z1), the exact posterior's own factors."""
    mean, covariance = _exact_posterior(np.eye(4))
    gain, s11 = mean.T[2:], covariance[2:, 2:]
    regression = A.T @ np.linalg.inv(A @ A.T + V1 * np.eye(3))  # of z2 on z1
    rest = np.eye(2) - regression @ A
    z1 = tfd.MultivariateNormalTriL(
        _linear(gain, x), tf.constant(np.linalg.cholesky(s11), tf.float32)
    )
    root = tf.constant(np.linalg.cholesky(rest), tf.float32)
    return tfd.JointDistributionNamed(
        {
            "z1": z1,
            "z2": lambda z1: tfd.MultivariateNormalTriL(_linear(regression, z1), root),
        }
    )


def test_a_joint_posterior_that_is_exact_leaves_no_gap() -> None:
    model = JointAEVB(_two_level_named(), _structured_encoder, num_samples=2)
    x = _two_level_data()
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    np.testing.assert_allclose(model.elbo(x, seed=1), exact, rtol=1e-4)
    draws = model.encode(x[:3]).sample(4000, seed=[1, 1]).numpy()
    assert_mean(draws, _exact_posterior(x[:3])[0])


class _Level(tf_keras.layers.Layer):
    """A Gaussian around a linear map, its matrix learned; any leading shape."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.matrix = self.add_weight("matrix", [out_dim, in_dim], initializer="glorot_uniform")
        self.log_scale = self.add_weight("log_scale", [out_dim], initializer="zeros")

    def call(self, z: tf.Tensor) -> tfd.Distribution:
        loc = tf.linalg.matvec(self.matrix, z)
        return tfd.MultivariateNormalDiag(loc, tf.exp(self.log_scale) * tf.ones_like(loc))


def _learned_model(**kwargs) -> JointAEVB:
    tf_keras.utils.set_random_seed(0)
    first, second, up, further_up = _Level(2, 3), _Level(3, 4), _Level(4, 3), _Level(3, 2)
    joint = tfd.JointDistributionNamed(
        {
            "z2": _gaussian(tf.zeros(2), 1.0),
            "z1": lambda z2: first(z2),
            "x": lambda z1: second(z1),
        }
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.JointDistributionNamed({"z1": up(x), "z2": lambda z1: further_up(z1)})

    return compiled(
        JointAEVB(joint, encoder, **kwargs), tf_keras.optimizers.Adam(0.02), jit_compile=True
    )


def test_training_two_levels_reaches_the_maximum_likelihood() -> None:
    x = _two_level_data(2000)
    model = _learned_model()
    assert len(model.trainable_variables) == 8  # found through the joint's functions
    model.fit(x, epochs=60, batch_size=200, verbose=0)
    optimum = gaussian_log_prob(x, x.mean(axis=0), np.cov(x.T, bias=True)).mean()
    assert optimum - 0.15 < float(np.mean(model.elbo(x, num_samples=50, seed=0))) < optimum + 0.02


def test_importance_sampling_of_a_joint_reaches_log_p_of_x() -> None:
    model = JointAEVB(_two_level_named(), lambda x: _wider(_exact_encoder(x)))
    x = _two_level_data()
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=20_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.05)
    assert (model.elbo(x, num_samples=500, seed=0).numpy() < exact - 0.05).all()


def _wider(exact: tfd.Distribution) -> tfd.Distribution:
    return tfd.MultivariateNormalTriL(exact.loc, 1.4 * exact.scale_tril)


# Several observed parts, some given.


def _observed_parts(given: tuple[str, ...] = ()) -> JointAEVB:
    joint = tfd.JointDistributionNamed(
        {
            "u": _gaussian(tf.zeros(3), 1.0),
            "z": _gaussian(tf.zeros(2), 1.0),
            "x": lambda z, u: _gaussian(_linear(B[:, :2], z) + _linear(B, u), VX),
            "count": lambda z: tfd.Independent(tfd.Poisson(tf.exp(z)), 1),
        }
    )

    def encoder(parts: dict[str, tf.Tensor]) -> tfd.Distribution:
        return _gaussian(0.1 * parts["x"][:, :2] + 0.1 * parts["count"], 0.5)

    return JointAEVB(joint, encoder, observed=["x", "u", "count"], given=given)


def test_observed_parts_lie_end_to_end_and_their_densities_add_up() -> None:
    model = _observed_parts()
    x = {
        "u": np.array([[0.1, -0.4, 2.0]], np.float32),
        "x": np.array([[1.0, 0.0, -1.0, 0.5]], np.float32),
        "count": np.array([[3.0, 0.0]], np.float32),
    }
    flat = tf.concat([x["u"], x["x"], x["count"]], axis=1)
    for name, value in model.split_observed(flat).items():
        np.testing.assert_array_equal(value, x[name])
    z = tf.constant([[[0.3, -0.7]]])
    mean = z[0].numpy() @ B[:, :2].T + x["u"] @ B.T
    expected = (
        gaussian_log_prob(x["u"], np.zeros(3), np.eye(3))
        + gaussian_log_prob(x["x"] - mean, np.zeros(4), VX * np.eye(4))
        + tfd.Poisson(tf.exp(z[0])).log_prob(x["count"]).numpy().sum(axis=1)
    )
    np.testing.assert_allclose(model.log_likelihood(flat, z)[0], expected, rtol=1e-5)
    conditional = _observed_parts(given=("u",)).log_likelihood(flat, z)[0]
    known = gaussian_log_prob(x["u"], np.zeros(3), np.eye(3))
    np.testing.assert_allclose(conditional, expected - known, rtol=1e-5)


def test_observed_parts_are_drawn_together_and_averaged() -> None:
    model = _observed_parts()
    z = np.array([[0.3, -0.7], [0.0, 1.0]], np.float32)
    likelihood = model.decode(z)
    draws = model.split_observed(likelihood.sample(4000, seed=[2, 2]))
    mean = model.split_observed(likelihood.mean())
    assert_mean(draws["count"].numpy(), np.exp(z))
    np.testing.assert_allclose(mean["count"], np.exp(z), rtol=1e-6)
    residual = draws["x"] - _linear(B, draws["u"]) - _linear(B[:, :2], tf.constant(z))
    assert_mean(residual.numpy(), np.zeros([2, 4]))
    assert_mean(np.square(residual.numpy()), VX)


# Known models.


def test_factor_analysis_reaches_the_maximum_likelihood_of_its_kind() -> None:
    x = _two_level_data(2000)
    loadings = tf.Variable(tf.random.stateless_normal([4, 2], [0, 1]) * 0.3)
    log_scale = tf.Variable(tf.zeros(4))
    joint = tfd.JointDistributionNamed(
        {
            "z": _gaussian(tf.zeros(2), 1.0),
            "x": lambda z: tfd.MultivariateNormalDiag(
                tf.linalg.matvec(loadings, z), tf.exp(log_scale)
            ),
        }
    )
    encoder = layers.FullCovarianceGaussianPosterior(2, (), init_stddev=0.1)
    model = compiled(JointAEVB(joint, encoder), tf_keras.optimizers.Adam(0.02), jit_compile=True)
    model.fit(x, epochs=60, batch_size=200, verbose=0)
    model.optimizer.learning_rate = 0.002
    model.fit(x, epochs=30, batch_size=200, verbose=0)
    found = loadings.numpy() @ loadings.numpy().T + np.diag(np.exp(2 * log_scale.numpy()))
    log_prob = gaussian_log_prob(x, np.zeros(4), found).mean()
    bound = float(np.mean(model.elbo(x, num_samples=50, seed=0)))
    assert bound == pytest.approx(log_prob, abs=0.02)
    assert log_prob > FactorAnalysis(2).fit(x).score(x) - 0.03


def test_poisson_lognormal_log_prob_is_that_of_quadrature() -> None:
    def make(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Poisson(tf.exp(0.8 * z + 0.5)), 1)

    joint = tfd.JointDistributionNamed({"z": _gaussian(tf.zeros(1), 1.0), "x": make})
    model = JointAEVB(joint, lambda x: _gaussian(tf.math.log1p(x) - 0.5, 0.6))
    x = np.array([[0.0], [1.0], [7.0]], np.float32)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    densities = tfd.Poisson(np.exp(0.8 * nodes + 0.5)).log_prob(x.astype(np.float64)).numpy()
    exact = np.log(np.exp(densities) @ weights / np.sqrt(2 * np.pi))
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=20_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.02)
    assert (model.elbo(x, num_samples=1000, seed=0).numpy() < exact).all()


def _sunspots(nonlinearity: Callable[[tf.Tensor], tf.Tensor]) -> tfd.JointDistribution:
    """A state-space model of 5 times: z[t] = f(z[t-1]) + 0.5 noise, x[t] = 1.5 z[t] + noise."""
    states = tfd.MarkovChain(
        tfd.Normal(0.0, 1.0), lambda _, z: tfd.Normal(nonlinearity(z), 0.5), num_steps=5
    )
    return tfd.JointDistributionNamed(
        {"z": states, "x": lambda z: tfd.Independent(tfd.Normal(1.5 * z, 1.0), 1)}
    )


def test_linear_state_space_log_prob_is_the_kalman_filters() -> None:
    model = JointAEVB(_sunspots(lambda z: 0.9 * z), lambda x: _gaussian(0.5 * x, 0.4))
    x = np.random.default_rng(5).normal(size=[4, 5]).astype(np.float32)
    covariance = np.zeros([5, 5])
    variance = 1.0
    for t in range(5):
        covariance[t, t] = variance
        for s in range(t):
            covariance[t, s] = covariance[s, t] = 0.9 ** (t - s) * covariance[s, s]
        variance = 0.81 * variance + 0.25
    exact = gaussian_log_prob(x, np.zeros(5), 2.25 * covariance + np.eye(5))
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=50_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.03)


def test_nonlinear_state_space_bound_is_below_log_p_and_importance_agrees_with_quadrature() -> None:
    model = JointAEVB(_sunspots(tf.sin), lambda x: _gaussian(0.4 * x, 0.4))
    x = np.array([[0.5, -1.0, 0.3, 2.0, 1.0]], np.float32)
    grid = np.linspace(-7.0, 7.0, 1401)  # the forward filter, its integrals on a grid
    step = grid[1] - grid[0]

    def normal(value: Any, mean: Any, stddev: float) -> np.ndarray:
        return np.exp(-0.5 * ((value - mean) / stddev) ** 2) / (stddev * np.sqrt(2 * np.pi))

    density, log_prob = normal(grid, 0.0, 1.0), 0.0
    for value in x[0]:
        joint = density * normal(value, 1.5 * grid, 1.0)
        evidence = joint.sum() * step
        log_prob += np.log(evidence)
        density = normal(grid[:, np.newaxis], np.sin(grid), 0.5) @ (joint / evidence) * step
    estimate = tfp_aevb.importance_log_prob(model, x, num_samples=50_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, [log_prob], atol=0.03)
    assert float(np.mean(model.elbo(x, num_samples=2000, seed=0))) < log_prob


# Use, and refusals.


def test_autobatched_joint_trains_without_xla_unless_asked() -> None:
    model = JointAEVB(_two_level_autobatched(), _exact_encoder)
    model.compile()
    assert not model.jit_compile
    model.compile(jit_compile=True)
    assert model.jit_compile
    named = JointAEVB(_two_level_named(), _exact_encoder)
    named.compile()
    assert named.jit_compile


def test_split_latents_gives_each_part_in_its_own_shape() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "a": tfd.Sample(tfd.Normal(0.0, 1.0), [2, 3]),
            "b": tfd.Normal(0.0, 1.0),
            "x": lambda a, b: tfd.Independent(
                tfd.Normal(a[..., 0, :] + b[..., tf.newaxis], 1.0), 1
            ),
        }
    )
    model = JointAEVB(joint, lambda x: _gaussian(tf.tile(x, [1, 3])[:, :7], 1.0))
    parts = model.split_latents(tf.reshape(tf.range(14.0), [2, 7]))
    assert {name: part.shape.as_list() for name, part in parts.items()} == {
        "a": [2, 2, 3],
        "b": [2],
    }
    np.testing.assert_array_equal(parts["b"], [6.0, 13.0])


def test_exported_joint_gives_the_live_models_bound(tmp_path) -> None:
    model = _learned_model()
    x = _two_level_data(3)
    tfp_aevb.export_saved_model(model, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model"))
    seed = tf.constant([1, 2])
    found = served.elbo(x=tf.constant(x), num_samples=tf.constant(4), seed=seed)["elbo"]
    np.testing.assert_allclose(found, model.elbo(x, num_samples=4, seed=seed), rtol=1e-5)


@pytest.mark.parametrize(
    ("parts", "observed", "words"),
    [
        ({"z": tfd.Normal(0.0, 1.0)}, "y", "no part 'y'"),
        ({"x": tfd.Normal(0.0, 1.0)}, "x", "a latent and an observed part"),
        (
            {"k": tfd.Bernoulli(0.5), "x": lambda k: tfd.Normal(tf.cast(k, tf.float32), 1.0)},
            "x",
            "latent 'k' is discrete",
        ),
        (
            {"x": tfd.Normal(0.0, 1.0), "z": lambda x: tfd.Normal(x, 1.0)},
            "x",
            "latent 'z' depends on an observed part",
        ),
        (
            {
                "z": tfd.Normal(tf.zeros(2), 1.0),
                "x": lambda z: tfd.Independent(tfd.Normal(z, 1.0), 1),
            },
            "x",
            "'z' of the joint has loose dimensions",
        ),
    ],
    ids=["unknown", "no latent", "discrete", "backwards", "loose dimensions"],
)
def test_a_joint_that_is_no_such_model_is_refused(parts: dict, observed: str, words: str) -> None:
    def make() -> JointAEVB:
        return JointAEVB(
            tfd.JointDistributionNamed(parts), lambda x: _gaussian(x, 1.0), observed=observed
        )

    assert_one_line(make, ValueError, words)
