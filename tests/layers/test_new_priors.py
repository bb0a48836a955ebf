"""Flow, Vamp and constrained priors."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from scipy import special, stats
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_mean, assert_one_line, compiled
from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB

J = 3
RNG = np.random.default_rng(4)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("kind", ["realnvp", "spline", "iaf"])
def test_a_flow_prior_has_the_density_of_its_jacobian(kind: str) -> None:
    tf_keras.utils.set_random_seed(2)
    prior = layers.FlowPrior(J, kind, 3, flow_units=(8,), init_stddev=0.4)()
    noise = RNG.normal(size=[5, J])
    start = tf.constant(noise, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(start)
        z = tf.identity(prior.tensor_distribution.bijector.forward(start))
    jacobian = tape.batch_jacobian(z, start, experimental_use_pfor=False).numpy()
    expected = stats.norm.logpdf(noise).sum(-1) - np.linalg.slogdet(jacobian.astype(float))[1]
    assert (prior.batch_shape, prior.event_shape) == ([], [J])
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-3, atol=1e-3)
    assert prior.log_prob(tf.reshape(z, [5, 1, J])).shape == [5, 1]


def _assert_draws_follow_the_density(prior: tfd.Distribution) -> np.ndarray:
    """E[r(z) / p(z)] = 1 over draws of p, for a known density r where p has its mode.

    Returns the draws.
    """
    z = prior.sample(400_000, seed=[4, 5]).numpy()
    log_p = prior.log_prob(z).numpy().astype(np.float64)  # an array no bijector has cached
    log_r = stats.norm.logpdf(z, z[np.argmax(log_p)], 0.3 * z.std(axis=0)).sum(-1)
    ratio = np.exp(log_r - log_p)
    assert ratio.std() / np.sqrt(len(ratio)) < 0.01
    assert_mean(ratio, 1.0, 4.0)
    return z


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("kind", ["realnvp", "spline", "iaf"])
def test_draws_of_a_flow_prior_follow_its_density(kind: str) -> None:
    tf_keras.utils.set_random_seed(2)
    prior = layers.FlowPrior(J, kind, 3, flow_units=(8,), init_stddev=0.25)()
    z = _assert_draws_follow_the_density(prior)
    noise = prior.tensor_distribution.bijector.inverse(tf.constant(z)).numpy()
    assert np.abs(noise - z).mean() > 0.2  # it is no identity
    assert_mean(noise, 0.0, 4.0)
    assert_mean(noise[:, :, None] * noise[:, None, :], np.eye(J), 4.0)


def test_a_flow_prior_starts_near_the_standard_normal_and_is_trained() -> None:
    tf_keras.utils.set_random_seed(2)
    layer = layers.FlowPrior(J, init_stddev=0.01)
    z = tf.constant(RNG.normal(size=[6, J]), tf.float32)
    with tf.GradientTape() as tape:
        value = layer().log_prob(z)
    np.testing.assert_allclose(value, stats.norm.logpdf(z).sum(-1), atol=0.3)
    gradients = tape.gradient(value, layer.trainable_variables)
    assert all(np.abs(gradient).max() > 0.0 for gradient in gradients)


@pytest.mark.parametrize(
    ("make", "log_density", "z"),
    [
        (layers.UniformPrior, lambda z: np.zeros(len(z)), RNG.random([5, J])),
        (layers.ExponentialPrior, lambda z: -z.sum(-1), RNG.gamma(1.0, size=[5, J])),
        (
            layers.LogNormalPrior,
            lambda z: stats.lognorm.logpdf(z, 1.0).sum(-1),
            RNG.gamma(1.0, size=[5, J]),
        ),
        (
            lambda j: layers.DirichletPrior(j, 2.5),
            lambda z: np.array([stats.dirichlet.logpdf(row, [2.5] * J) for row in z]),
            RNG.dirichlet(np.ones(J), 5),
        ),
    ],
)
def test_constrained_priors_have_the_density_of_scipy(make, log_density, z: np.ndarray) -> None:
    prior = make(J)
    assert prior.weights == []
    np.testing.assert_allclose(
        prior().log_prob(z.astype(np.float32)), log_density(z), rtol=1e-4, atol=1e-6
    )


def _vamp_model(num_components: int = 4, support: str = "unit") -> AEVB:
    tf_keras.utils.set_random_seed(1)
    return AEVB(
        layers.VampPrior(2, 6, num_components, support),
        layers.DiagonalGaussianPosterior(2, (5,)),
        layers.ContinuousBernoulliLikelihood(6, (5,)),
        objective="sgvb_a",
    )


def test_a_vamp_prior_is_the_mixture_of_the_posteriors_of_its_inputs() -> None:
    model = _vamp_model()
    inputs = model.prior.pseudo_inputs()
    np.testing.assert_allclose(inputs, special.expit(model.prior.raw_inputs.numpy()), rtol=1e-5)
    q = model.encode(inputs)
    z = RNG.normal(size=[7, 2]).astype(np.float32)
    loc, stddev = q.mean().numpy(), q.stddev().numpy()
    each = stats.norm.logpdf(z[:, None, :], loc, stddev).sum(-1)
    expected = special.logsumexp(each, axis=-1) - np.log(4.0)
    np.testing.assert_allclose(model.prior_distribution().log_prob(z), expected, rtol=1e-4)
    draws = model.prior_distribution().sample(100_000, seed=[1, 2]).numpy()
    assert_mean(draws, loc.mean(0))
    second = loc[:, :, None] * loc[:, None, :] + stddev[:, :, None] ** 2 * np.eye(2)
    assert_mean(draws[:, :, None] * draws[:, None, :], second.mean(0))


def test_draws_of_a_vamp_prior_follow_its_density() -> None:
    model = _vamp_model()
    kernel = model.encoder.network.network_weights[-2]
    kernel.assign(np.random.default_rng(0).normal(scale=3.0, size=kernel.shape))
    loc = model.encode(model.prior.pseudo_inputs()).mean().numpy()
    assert loc.std(axis=0).max() > 0.1  # the components are apart
    _assert_draws_follow_the_density(model.prior_distribution())


def test_a_vamp_prior_shares_the_encoder_and_holds_its_inputs_alone() -> None:
    model = _vamp_model()
    assert [v.name for v in model.prior.variables] == ["raw_inputs:0"]
    assert len(model.variables) == len({v.ref() for v in model.variables})
    x = RNG.random([10, 6]).astype(np.float32)
    start = model.prior.raw_inputs.numpy()
    compiled(model).fit(x, batch_size=10, verbose=0)
    assert (model.prior.raw_inputs.numpy() != start).any()


@pytest.mark.parametrize(
    ("support", "low", "high"),
    [("binary", 0, 1), ("open_unit", 0, 1), ("counts", 0, np.inf), ("codes:5", 0, 4)],
)
def test_pseudo_inputs_are_within_the_data(support: str, low: float, high: float) -> None:
    prior = layers.VampPrior(2, (2, 3), 50, support)
    prior.raw_inputs.assign(3.0 * prior.raw_inputs)
    values = prior.pseudo_inputs().numpy()
    assert values.shape == (50, 2, 3)
    assert values.min() >= low
    assert values.max() <= high
    assert values.max() > 0.9 * min(high, 5.0)


def test_priors_that_do_not_fit_are_refused() -> None:
    encoder = layers.DiagonalGaussianPosterior(2, (5,))
    decoder = layers.BernoulliLikelihood(6, (5,))
    for prior, parts in (
        (layers.VampPrior(2, 7), ("pseudo-inputs", "[7]", "[6]")),
        (layers.UniformPrior(2), ("unit", "real")),
    ):
        assert_one_line(
            lambda prior=prior: AEVB(prior, encoder, decoder, objective="sgvb_a"),
            ValueError,
            *parts,
        )
    assert_one_line(lambda: layers.VampPrior(2, 6, 0), ValueError, "`num_components`", "0")
    assert_one_line(lambda: layers.VampPrior(2, 6)(), ValueError, "given(encoder)")
    assert_one_line(lambda: layers.DirichletPrior(1), ValueError, "`latent_dim`", "1")
    assert_one_line(lambda: layers.DirichletPrior(2, 0.0), ValueError, "`concentration`", "0")
    assert_one_line(lambda: layers.FlowPrior(1), ValueError, "`latent_dim`", "1")
