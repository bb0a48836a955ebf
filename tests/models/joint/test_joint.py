"""Joint distributions as models: exact answers where they exist, and refusals."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tests.models.joint.two_levels import (
    COVARIANCE,
    TWO_LEVEL,
    V1,
    VX,
    A,
    B,
    exact_encoder,
    exact_posterior,
    gaussian,
    linear,
    structured_encoder,
    two_level_autobatched,
    two_level_data,
    two_level_named,
)
from tfp_aevb import layers
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("form", TWO_LEVEL)
def test_bound_at_the_exact_posterior_is_log_p_of_x(form: str) -> None:
    make, observed = TWO_LEVEL[form]
    model = JointAEVB(make(), exact_encoder, observed=observed)
    x = two_level_data()
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    np.testing.assert_allclose(model.elbo(x, num_samples=3, seed=1), exact, rtol=1e-4)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("form", TWO_LEVEL)
def test_prior_draws_and_densities_are_the_joints(form: str) -> None:
    make, observed = TWO_LEVEL[form]
    model = JointAEVB(make(), exact_encoder, observed=observed)
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


@pytest.mark.compile
def test_a_joint_posterior_that_is_exact_leaves_no_gap() -> None:
    model = JointAEVB(two_level_named(), structured_encoder, num_samples=2)
    x = two_level_data()
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    np.testing.assert_allclose(model.elbo(x, seed=1), exact, rtol=1e-4)
    draws = model.encode(x[:3]).sample(4000, seed=[1, 1]).numpy()
    assert_mean(draws, exact_posterior(x[:3])[0])


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
            "z2": gaussian(tf.zeros(2), 1.0),
            "z1": lambda z2: first(z2),
            "x": lambda z1: second(z1),
        }
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.JointDistributionNamed({"z1": up(x), "z2": lambda z1: further_up(z1)})

    return compiled(
        JointAEVB(joint, encoder, **kwargs), tf_keras.optimizers.Adam(0.02), jit_compile=True
    )


@pytest.mark.compile
def test_training_two_levels_reaches_the_maximum_likelihood() -> None:
    x = two_level_data(2000)
    model = _learned_model()
    assert len(model.trainable_variables) == 8  # found through the joint's functions
    model.fit(x, epochs=60, batch_size=200, verbose=0)
    optimum = gaussian_log_prob(x, x.mean(axis=0), np.cov(x.T, bias=True)).mean()
    assert optimum - 0.15 < float(np.mean(model.elbo(x, num_samples=50, seed=0))) < optimum + 0.02


def test_importance_sampling_of_a_joint_reaches_log_p_of_x() -> None:
    model = JointAEVB(two_level_named(), lambda x: _wider(exact_encoder(x)))
    x = two_level_data()
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
            "u": gaussian(tf.zeros(3), 1.0),
            "z": gaussian(tf.zeros(2), 1.0),
            "x": lambda z, u: gaussian(linear(B[:, :2], z) + linear(B, u), VX),
            "count": lambda z: tfd.Independent(tfd.Poisson(tf.exp(z)), 1),
        }
    )

    def encoder(parts: dict[str, tf.Tensor]) -> tfd.Distribution:
        return gaussian(0.1 * parts["x"][:, :2] + 0.1 * parts["count"], 0.5)

    return JointAEVB(joint, encoder, observed=["x", "u", "count"], given=given)


@pytest.mark.compile
def test_observed_parts_lie_end_to_end_and_their_densities_add_up() -> None:
    model = _observed_parts()
    x = {
        "u": np.array([[0.1, -0.4, 2.0]], np.float32),
        "x": np.array([[1.0, 0.0, -1.0, 0.5]], np.float32),
        "count": np.array([[3.0, 0.0]], np.float32),
    }
    flat = tf.concat([x["x"], x["u"], x["count"]], axis=1)  # the stated order
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
    residual = draws["x"] - linear(B, draws["u"]) - linear(B[:, :2], tf.constant(z))
    assert_mean(residual.numpy(), np.zeros([2, 4]))
    assert_mean(np.square(residual.numpy()), VX)


# Use, and refusals.


def test_autobatched_joint_trains_without_xla_unless_asked() -> None:
    model = JointAEVB(two_level_autobatched(), exact_encoder)
    model.compile()
    assert not model.jit_compile
    model.compile(jit_compile=True)
    assert model.jit_compile
    named = JointAEVB(two_level_named(), exact_encoder)
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
    model = JointAEVB(joint, lambda x: gaussian(tf.tile(x, [1, 3])[:, :7], 1.0))
    parts = model.split_latents(tf.reshape(tf.range(14.0), [2, 7]))
    assert {name: part.shape.as_list() for name, part in parts.items()} == {
        "a": [2, 2, 3],
        "b": [2],
    }
    np.testing.assert_array_equal(parts["b"], [6.0, 13.0])


@pytest.mark.compile
def test_exported_joint_gives_the_live_models_bound(tmp_path) -> None:
    model = _learned_model()
    x = two_level_data(3)
    tfp_aevb.export_saved_model(model, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model"))
    seed = tf.constant([1, 2])
    found = served.elbo(x=tf.constant(x), num_samples=tf.constant(4), seed=seed)["elbo"]
    np.testing.assert_allclose(found, model.elbo(x, num_samples=4, seed=seed), rtol=1e-5)


@pytest.mark.parametrize(
    ("parts", "observed", "words"),
    [
        (lambda: {"z": tfd.Normal(0.0, 1.0)}, "y", "no part 'y'"),
        (lambda: {"x": tfd.Normal(0.0, 1.0)}, "x", "a latent and an observed part"),
        (
            lambda: {
                "k": tfd.Bernoulli(0.5),
                "x": lambda k: tfd.Normal(tf.cast(k, tf.float32), 1.0),
            },
            "x",
            "latent 'k' is discrete",
        ),
        (
            lambda: {"x": tfd.Normal(0.0, 1.0), "z": lambda x: tfd.Normal(x, 1.0)},
            "x",
            "latent 'z' depends on an observed part",
        ),
        (
            lambda: {
                "z": tfd.Normal(tf.zeros(2), 1.0),
                "x": lambda z: tfd.Independent(tfd.Normal(z, 1.0), 1),
            },
            "x",
            "'z' of the joint has loose dimensions",
        ),
    ],
    ids=["unknown", "no latent", "discrete", "backwards", "loose dimensions"],
)
def test_a_joint_that_is_no_such_model_is_refused(
    parts: Callable[[], dict], observed: str, words: str
) -> None:
    def make() -> JointAEVB:
        return JointAEVB(
            tfd.JointDistributionNamed(parts()), lambda x: gaussian(x, 1.0), observed=observed
        )

    assert_one_line(make, ValueError, words)


def test_a_joint_distribution_as_a_part_of_aevb_is_refused() -> None:
    joint = tfd.JointDistributionNamed({"a": tfd.Normal(0.0, 1.0), "b": tfd.Normal(0.0, 1.0)})
    prior, encoder = layers.StandardNormalPrior(2), layers.DiagonalGaussianPosterior(2, ())
    decoder = layers.BernoulliLikelihood(4, ())
    for kind, parts, name in (
        (tfp_aevb.AEVB, (joint, encoder, decoder), "the prior is a joint"),
        (tfp_aevb.AEVB, (lambda: joint, encoder, decoder), "the prior is a joint"),
        (tfp_aevb.FullVB, (joint, encoder, decoder), "the prior is a joint"),
        (tfp_aevb.AEVB, (prior, lambda x: joint, decoder), "the encoder has returned a joint"),
        (tfp_aevb.AEVB, (prior, encoder, lambda z: joint), "the decoder has returned a joint"),
    ):
        assert_one_line(
            lambda kind=kind, parts=parts: kind(*parts), ValueError, name, "`tfp_aevb.JointAEVB`"
        )
