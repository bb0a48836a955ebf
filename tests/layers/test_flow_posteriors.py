"""Densities of flows, low-rank and constrained posteriors, against independent computations."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from scipy import special, stats
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian, assert_mean, assert_one_line, gaussian_log_prob
from tfp_aevb import layers
from tfp_aevb.layers.flows import flow_bijector, flow_networks
from tfp_aevb.models.aevb import AEVB

J, B = 3, 4
KINDS = ("iaf", "realnvp", "spline")
every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def _flow(kind: str) -> tuple[layers.FlowPosterior, tf.Tensor]:
    """A flow that is far from the identity, and datapoints."""
    tf_keras.utils.set_random_seed(3)
    layer = layers.FlowPosterior(J, kind, 3, (8,), flow_units=(9,), context_size=4, init_stddev=0.4)
    x = tf.constant(np.random.default_rng(0).normal(size=[B, 5]), tf.float32)
    layer(x)
    return layer, x


def _log_density(q: tfd.Distribution, noise: np.ndarray) -> tuple[tf.Tensor, np.ndarray]:
    """z = the flow of mu + sigma noise, and log q(z) by the Jacobian that autodiff finds."""
    q = q.tensor_distribution
    start = q.distribution.mean() + q.distribution.stddev() * tf.constant(noise, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(start)
        z = tf.identity(q.bijector.forward(start))  # a tensor that no bijector has cached
    jacobian = tape.batch_jacobian(z, start, experimental_use_pfor=False).numpy()
    log_base = stats.norm.logpdf(noise) - np.log(q.distribution.stddev().numpy())
    return z, log_base.sum(-1) - np.linalg.slogdet(jacobian.astype(np.float64))[1]


@pytest.mark.compile(but_first=True)
@every_kind
def test_a_flow_has_the_density_of_its_jacobian(kind: str) -> None:
    layer, x = _flow(kind)
    noise = np.random.default_rng(1).normal(size=[B, J])
    q = layer(x)
    z, expected = _log_density(q, noise)
    plain = stats.norm.logpdf(noise).sum(-1)
    assert np.abs(expected - plain).min() > 0.05  # it is no identity
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-3, atol=1e-3)
    compiled = tf.function(lambda: layer(x).log_prob(z), jit_compile=True)
    np.testing.assert_allclose(compiled(), expected, rtol=1e-3, atol=1e-3)


@every_kind
def test_a_flow_knows_the_density_of_its_draws_with_and_without_its_cache(kind: str) -> None:
    layer, x = _flow(kind)
    q = layer(x)
    z = q.sample(5, seed=[1, 2])
    assert z.shape == [5, B, J]
    cached, inverted = q.log_prob(z), q.log_prob(tf.stop_gradient(z))
    np.testing.assert_allclose(cached, inverted, rtol=1e-3, atol=1e-3)
    drawn, log_prob = q.experimental_sample_and_log_prob(5, seed=[1, 2])
    np.testing.assert_array_equal(drawn, z)
    np.testing.assert_allclose(log_prob, cached, rtol=1e-5, atol=1e-5)


@every_kind
def test_draws_of_a_flow_are_its_base_transformed(kind: str) -> None:
    layer, x = _flow(kind)
    q = layer(x).tensor_distribution
    z = q.sample(20_000, seed=[1, 2])
    start = q.bijector.inverse(tf.identity(z))  # not from the cache
    noise = (start - q.distribution.mean()) / q.distribution.stddev()
    assert_mean(noise, 0.0)
    assert_mean(np.einsum("nbi,nbj->nbij", noise, noise), np.eye(J))


@every_kind
def test_apply_takes_all_parameters_of_a_flow(kind: str) -> None:
    layer, x = _flow(kind)
    parameters = [tf.convert_to_tensor(v) for v in layer.parameters]
    assert len(parameters) == len(layer.trainable_variables)
    z = layer(x).sample(seed=[1, 2])
    moved = [p + 0.1 for p in parameters]
    np.testing.assert_allclose(
        layer.apply(parameters, x).log_prob(z), layer(x).log_prob(z), rtol=1e-3, atol=1e-3
    )
    assert np.abs(layer.apply(moved, x).log_prob(z) - layer(x).log_prob(z)).min() > 1e-3


def test_an_autoregressive_step_depends_on_earlier_latents_alone() -> None:
    tf_keras.utils.set_random_seed(1)
    networks = flow_networks("iaf", 4, 2, 1, hidden_units=(11, 6), init_stddev=0.8)
    step = flow_bijector("iaf", networks, 4, tf.ones([1, 2]))
    z = tf.constant([[0.3, -0.5, 0.8, 0.1]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        moved = step.forward(z)
    jacobian = tape.batch_jacobian(moved, z, experimental_use_pfor=False)[0].numpy()
    np.testing.assert_array_equal(np.triu(jacobian, 1), np.zeros([4, 4]))
    assert np.abs(jacobian[np.tril_indices(4, -1)]).min() > 0.0


def test_gradients_reach_every_weight_of_a_flow() -> None:
    for kind in KINDS:
        layer, x = _flow(kind)
        with tf.GradientTape() as tape:
            q = layer(x)
            z = q.sample(seed=[1, 2])
            value = tf.reduce_sum(q.log_prob(z) + z[..., 0] ** 2)
        for gradient in tape.gradient(value, layer.trainable_variables):
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max() > 0.0


def _low_rank(params: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    stddev = np.exp(0.5 * params[:, J : 2 * J])
    factor = params[:, 2 * J :].reshape(-1, J, rank)
    inner = np.eye(J) + factor @ factor.swapaxes(1, 2)
    return params[:, :J], stddev[:, :, None] * inner * stddev[:, None, :]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_low_rank_posterior_is_the_gaussian_of_its_parameters(rank: int) -> None:
    rng = np.random.default_rng(rank)
    params, z = rng.normal(size=[B, (2 + rank) * J]), rng.normal(size=[B, J])
    q = layers.LowRankGaussianPosterior.new(tf.constant(params, tf.float32), J, rank)
    mean, covariance = _low_rank(params, rank)
    prior = tfd.MultivariateNormalDiag(tf.constant([0.5, 0.0, -1.0]), tf.constant([1.0, 2.0, 0.7]))
    kl = tfd.kl_divergence(q, prior)
    wide = np.array([1.0, 4.0, 0.49])
    for i in range(B):
        expected = gaussian_log_prob(z[i : i + 1], mean[i], covariance[i])[0]
        assert q.log_prob(z)[i].numpy() == pytest.approx(expected, rel=1e-4)
        distance = mean[i] - np.array([0.5, 0.0, -1.0])
        trace = np.sum((np.diag(covariance[i]) + distance**2) / wide)
        log_ratio = np.log(wide).sum() - np.linalg.slogdet(covariance[i])[1]
        assert kl[i].numpy() == pytest.approx(0.5 * (trace - J + log_ratio), rel=1e-4)
    np.testing.assert_allclose(q.mean(), mean, rtol=1e-5)
    draws = q.sample(200_000, seed=[1, 2]).numpy().astype(np.float64) - mean
    assert_mean(draws, 0.0)
    assert_mean(np.einsum("nbi,nbj->nbij", draws, draws), covariance)


def _constrained_log_density(support: str, z: np.ndarray, params: np.ndarray) -> np.ndarray:
    loc, log_variance = np.split(params, 2, axis=-1)
    scale = np.exp(0.5 * log_variance)
    if support == "positive":
        return stats.lognorm.logpdf(z, scale, scale=np.exp(loc)).sum(-1)
    if support == "unit":
        return (stats.norm.logpdf(special.logit(z), loc, scale) - np.log(z * (1 - z))).sum(-1)
    free = np.log(z[..., :-1] / z[..., -1:])
    return stats.norm.logpdf(free, loc, scale).sum(-1) - np.log(z).sum(-1)


@pytest.mark.parametrize("support", ["unit", "positive", "simplex"])
def test_constrained_posteriors_have_the_density_of_their_transformation(support: str) -> None:
    rng = np.random.default_rng(2)
    size = layers.ConstrainedPosterior.params_size(J, support)
    params = 0.5 * rng.normal(size=[B, size])
    q = layers.ConstrainedPosterior.new(tf.constant(params, tf.float32), support)
    assert (q.batch_shape, q.event_shape) == ([B], [J])
    z = q.sample(7, seed=[1, 2])
    expected = _constrained_log_density(support, z.numpy().astype(np.float64), params)
    assert np.abs(expected).max() > 0.5  # so that 1% shows
    for value in (z, tf.identity(z)):
        np.testing.assert_allclose(q.log_prob(value), expected, rtol=1e-3, atol=1e-4)


def test_the_simplex_density_integrates_to_one() -> None:
    # Over two of three coordinates, whose triangle has the area 1/2.
    params = tf.constant([[0.3, -0.2, 0.1, -0.4]])
    q = layers.ConstrainedPosterior.new(params, "simplex")
    uniform = np.random.default_rng(0).dirichlet(np.ones(3), 100_000).astype(np.float32)
    uniform = uniform[(uniform > 0.0).all(-1)]
    density = np.exp(q.log_prob(uniform[:, None, :]).numpy()[:, 0].astype(np.float64))
    assert_mean(0.5 * density, 1.0)
    assert np.std(density) / np.sqrt(len(density)) < 0.01


@pytest.mark.parametrize("support", ["unit", "positive", "simplex"])
@pytest.mark.parametrize("size", [30.0, -30.0, 1e30, -1e30])
def test_huge_parameters_keep_draws_inside(support: str, size: float) -> None:
    width = layers.ConstrainedPosterior.params_size(J, support)
    params = tf.Variable([[size] * width])
    with tf.GradientTape() as tape:
        q = layers.ConstrainedPosterior.new(params, support)
        z = q.sample(100, seed=[1, 2])
        value = tf.reduce_sum(q.log_prob(tf.identity(z)))
    assert (z.numpy() > 0.0).all()
    assert np.isfinite(z).all()
    assert np.isfinite(value)
    assert not np.isnan(tape.gradient(value, params)).any()


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("size", [50.0, -50.0, 1e4, 1e30, -1e30])
@pytest.mark.parametrize("kind", [*KINDS, "low_rank"])
def test_huge_parameters_give_no_nan(kind: str, size: float) -> None:
    layer = _flow(kind)[0] if kind != "low_rank" else layers.LowRankGaussianPosterior(J, 2, ())
    width = layer.network.output_size
    for signs in (np.ones(width), np.arange(width) % 2, (-1.0) ** np.arange(width)):
        params = tf.Variable((size * signs)[None, :].astype(np.float32))
        with tf.GradientTape(persistent=True) as tape:
            q = layer.distribution(params)
            z = q.sample(seed=[1, 2])
            values = [z, q.log_prob(z)]
        for value in values:
            assert not np.isnan(value).any()
            assert not np.isnan(tape.gradient(value, params)).any()


def _linear_model(kind: str, exact: LinearGaussian) -> AEVB:
    tf_keras.utils.set_random_seed(0)
    encoder = layers.FlowPosterior(2, kind, 2, (), flow_units=(16,), context_size=4)
    return AEVB(exact.prior(tf.float32), encoder, exact.decoder(tf.float32), objective="sgvb_a")


@pytest.mark.parametrize("kind", ["iaf", "realnvp", pytest.param("spline", marks=pytest.mark.slow)])
def test_the_bound_of_a_flow_comes_near_log_p_and_stays_below(kind: str) -> None:
    exact = LinearGaussian()
    x = exact.data(200)
    model = _linear_model(kind, exact)
    log_p = exact.log_prob(x)

    def gap() -> np.ndarray:
        draws = [model.elbo(x.astype(np.float32), 20, seed=i).numpy() for i in range(10)]
        return log_p - np.mean(draws, axis=0)

    before = gap()
    schedule = tf_keras.optimizers.schedules.CosineDecay(0.03, 600)
    model.compile(tf_keras.optimizers.Adam(schedule), jit_compile=False)
    model.fit(x.astype(np.float32), batch_size=200, epochs=600, verbose=0)
    after = gap()
    error = after.std(ddof=1) / np.sqrt(len(after))
    assert before.mean() > 1.0
    assert after.mean() > -4.0 * error
    assert after.mean() < 0.06


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: layers.FlowPosterior(3, "maf"), ("`kind`", "'maf'", "iaf")),
        (lambda: layers.FlowPosterior(1, "iaf"), ("`latent_dim`", "1")),
        (lambda: layers.FlowPosterior(3, "iaf", 0), ("`num_steps`", "0")),
        (lambda: layers.FlowPosterior(3, "iaf", context_size=0), ("`context_size`", "0")),
        (lambda: layers.LowRankGaussianPosterior(3, 4), ("`rank`", "(3)", "4")),
        (lambda: layers.ConstrainedPosterior(3, "circle"), ("`support`", "'circle'", "simplex")),
        (lambda: layers.ConstrainedPosterior(1, "simplex"), ("`latent_dim`", "1")),
    ],
)
def test_bad_arguments_are_refused(make: Callable[[], object], parts: tuple[str, ...]) -> None:
    assert_one_line(make, ValueError, *parts)
