"""KL divergences in closed form, against NumPy and quadrature in float64, values and gradients."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions import kullback_leibler, mvn_linear_operator

from tests.combinations import Combination
from tests.helpers import DATA_DIM, assert_one_line, binary_data, compiled, small_model
from tfp_aevb import layers
from tfp_aevb.distributions.noise import (
    DiagonalGaussian,
    FullCovarianceGaussian,
    LowRankGaussian,
    TransformedGaussian,
)
from tfp_aevb.evaluation.diagnostics import kl_per_dimension
from tfp_aevb.objectives import analytic_kl
from tfp_aevb.runs.build import build_model

tfb, tfd = tfp.bijectors, tfp.distributions
Parameters = dict[str, tf.Tensor]


def _parameters(size: int, seed: int) -> Parameters:
    """Of three Gaussians over [size], in float64."""
    rng = np.random.default_rng(seed)
    below = np.tril(0.3 * rng.normal(size=[3, size, size]), -1)
    scale = np.exp(0.4 * rng.normal(size=[3, size]))
    values = {
        "loc": rng.normal(size=[3, size]),
        "scale": scale,
        "tril": below + scale[:, :, np.newaxis] * np.eye(size),
        "factor": 0.5 * rng.normal(size=[3, size, 2]),
    }
    return {name: tf.constant(value) for name, value in values.items()}


def _diagonal(p: Parameters) -> tf.Tensor:
    return tf.linalg.diag(p["scale"] ** 2)


def _low_rank(p: Parameters) -> tf.Tensor:
    return _diagonal(p) + tf.matmul(p["factor"], p["factor"], transpose_b=True)


def _first(p: Parameters) -> Parameters:
    """Each of the three with one mean and one scale for all dimensions."""
    shape = p["loc"].shape
    return {**p, **{name: tf.broadcast_to(p[name][:, :1], shape) for name in ("loc", "scale")}}


def _tril(p: Parameters) -> tf.Tensor:
    lower = tf.linalg.band_part(p["tril"], -1, 0)
    return tf.matmul(lower, lower, transpose_b=True)


def _size(p: Parameters) -> int:
    return p["loc"].shape[1]


# Name -> the distribution, its mean and covariance.
FORMS: dict[str, Callable[[Parameters], tuple]] = {
    "independent": lambda p: (
        tfd.Independent(tfd.Normal(p["loc"], p["scale"]), 1),
        p["loc"],
        _diagonal(p),
    ),
    "sample": lambda p: (
        tfd.Sample(tfd.Normal(p["loc"][:, 0], p["scale"][:, 0]), _size(p)),
        _first(p)["loc"],
        _diagonal(_first(p)),
    ),
    "sample of one": lambda p: (
        tfd.Sample(tfd.Normal(tf.constant(0.3, tf.float64), 1.7), _size(p)),
        tf.fill(p["loc"].shape, tf.constant(0.3, tf.float64)),
        tf.linalg.diag(tf.fill(p["loc"].shape, tf.constant(1.7**2, tf.float64))),
    ),
    "diag": lambda p: (
        tfd.MultivariateNormalDiag(p["loc"], p["scale"]),
        p["loc"],
        _diagonal(p),
    ),
    "identity": lambda p: (
        tfd.MultivariateNormalDiag(p["loc"]),
        p["loc"],
        tf.eye(_size(p), batch_shape=[3], dtype=tf.float64),
    ),
    "own diag": lambda p: (DiagonalGaussian(p["loc"], p["scale"]), p["loc"], _diagonal(p)),
    "tril": lambda p: (tfd.MultivariateNormalTriL(p["loc"], p["tril"]), p["loc"], _tril(p)),
    "own tril": lambda p: (FullCovarianceGaussian(p["loc"], p["tril"]), p["loc"], _tril(p)),
    "full": lambda p: (
        tfd.MultivariateNormalFullCovariance(p["loc"], _tril(p)),
        p["loc"],
        _tril(p),
    ),
    "low rank": lambda p: (
        tfd.MultivariateNormalDiagPlusLowRankCovariance(p["loc"], p["scale"] ** 2, p["factor"]),
        p["loc"],
        _low_rank(p),
    ),
    "own low rank": lambda p: (
        LowRankGaussian(p["loc"], p["scale"] ** 2, p["factor"]),
        p["loc"],
        _low_rank(p),
    ),
    "low rank scale": lambda p: (
        tfd.MultivariateNormalDiagPlusLowRank(
            p["loc"], p["scale"], scale_perturb_factor=p["factor"]
        ),
        p["loc"],
        tf.linalg.matmul(_scale(p), _scale(p), transpose_b=True),
    ),
    "independent of vectors": lambda p: (
        tfd.Independent(tfd.MultivariateNormalTriL(p["loc"], p["tril"]), 0),
        p["loc"],
        _tril(p),
    ),
    "broadcast": lambda p: (
        tfd.BatchBroadcast(tfd.Independent(tfd.Normal(p["loc"][0], p["scale"][0]), 1), [3]),
        tf.broadcast_to(p["loc"][0], p["loc"].shape),
        tf.linalg.diag(tf.broadcast_to(p["scale"][0] ** 2, p["loc"].shape)),
    ),
    "process": lambda p: (
        tfd.GaussianProcess(
            tfp.math.psd_kernels.ExponentiatedQuadratic(tf.constant(1.3, tf.float64)),
            tf.range(_size(p), dtype=tf.float64)[:, tf.newaxis],
            observation_noise_variance=tf.constant(0.5, tf.float64),
            jitter=0.0,
        ),
        tf.zeros_like(p["loc"]),
        tf.broadcast_to(_kernel(_size(p)), [3, _size(p), _size(p)]),
    ),
}


def _scale(p: Parameters) -> tf.Tensor:
    return tf.linalg.diag(p["scale"]) + tf.matmul(p["factor"], p["factor"], transpose_b=True)


def _kernel(size: int) -> tf.Tensor:
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    return tf.constant(1.3**2 * np.exp(-0.5 * apart**2) + 0.5 * np.eye(size))


def _exact(q: tuple, p: tuple) -> tf.Tensor:
    """KL(q || p) of dense Gaussians by the textbook's formula, [3]."""
    (_, mean, covariance), (_, other_mean, other) = q, p
    apart = other_mean - mean
    quadratic = tf.linalg.trace(tf.linalg.solve(other, covariance))
    quadratic += tf.einsum("bi,bij,bj->b", apart, tf.linalg.inv(other), apart)
    determinants = tf.linalg.logdet(other) - tf.linalg.logdet(covariance)
    return 0.5 * (quadratic - mean.shape[1] + determinants)


@pytest.mark.parametrize("size", [1, 4, 50])
def test_each_two_gaussians_have_their_exact_divergence(size: int) -> None:
    first, second = _parameters(size, 0), _parameters(size, 1)
    some = ["independent", "tril", "low rank"]
    names = FORMS if size == 4 else some
    for q, p in {*itertools.product(names, some), *itertools.product(some, names)}:
        pair = FORMS[q](first), FORMS[p](second)
        found, exact = analytic_kl(pair[0][0], pair[1][0]), _exact(*pair)
        assert found.shape.as_list() in ([3], []), (q, p)  # [] of two without a batch
        np.testing.assert_allclose(
            tf.broadcast_to(found, [3]), exact, rtol=1e-9, err_msg=f"{q} || {p}"
        )


@pytest.mark.parametrize(
    ("q", "p"),
    [
        ("independent", "sample"),
        ("independent", "diag"),
        ("diag", "independent"),
        ("tril", "sample"),
        ("own low rank", "independent"),
        ("low rank", "tril"),
        ("independent", "low rank"),
        ("own low rank", "low rank"),
    ],
)
def test_the_gradients_are_the_formulas(q: str, p: str) -> None:
    gradients = []
    for divergence in (lambda q, p: analytic_kl(q[0], p[0]), _exact):
        parameters = [_parameters(4, 0), _parameters(4, 1)]
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            kl = divergence(FORMS[q](parameters[0]), FORMS[p](parameters[1]))
        found = tape.gradient(kl, parameters, unconnected_gradients="zero")
        gradients.append(np.concatenate([np.ravel(g) for g in tf.nest.flatten(found)]))
    assert np.abs(gradients[1]).max() > 0.1
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-8, atol=1e-10)


def test_tfps_own_divergences_are_left_alone() -> None:
    first, second = _parameters(4, 0), _parameters(4, 1)
    q, p = FORMS["tril"](first)[0], FORMS["diag"](second)[0]
    found = kullback_leibler._registered_kl(type(q), type(p))
    assert found is mvn_linear_operator._kl_brute_force
    with pytest.raises(NotImplementedError):
        tfd.kl_divergence(q, tfd.MultivariateStudentTLinearOperator(3.0, p.loc, p.scale))


def _f64(*values: float) -> tf.Tensor:
    return tf.constant(values, tf.float64)


# Where z is, and the two distributions.
SCALARS = {
    "normal laplace": ("real", tfd.Normal, (0.3, 0.7), tfd.Laplace, (0.5, 1.3)),
    "laplace normal": ("real", tfd.Laplace, (0.3, 0.7), tfd.Normal, (0.5, 1.3)),
    "laplace laplace": ("real", tfd.Laplace, (0.3, 0.7), tfd.Laplace, (0.5, 1.3)),
    "log normal exponential": ("positive", tfd.LogNormal, (0.3, 0.6), tfd.Exponential, (1.7,)),
    "log normal gamma": ("positive", tfd.LogNormal, (0.3, 0.6), tfd.Gamma, (2.5, 2.7)),
    "log normal": ("positive", tfd.LogNormal, (0.3, 0.6), tfd.LogNormal, (0.1, 1.2)),
    "gamma": ("positive", tfd.Gamma, (1.7, 2.0), tfd.Gamma, (2.5, 1.3)),
    "inverse gamma": ("positive", tfd.InverseGamma, (3.0, 2.0), tfd.InverseGamma, (2.5, 1.3)),
    "beta uniform": ("unit", tfd.Beta, (1.7, 2.0), tfd.Uniform, (-0.5, 2.0)),
    "beta": ("unit", tfd.Beta, (1.7, 2.0), tfd.Beta, (2.5, 1.3)),
    "logit normal": ("unit", tfd.LogitNormal, (0.3, 0.6), tfd.LogitNormal, (0.1, 1.2)),
}
WAYS = {"real": tfb.Identity(), "positive": tfb.Exp(), "unit": tfb.Sigmoid()}


def _quadrature(where: str, q: tfd.Distribution, p: tfd.Distribution) -> float:
    """KL(q || p) by the trapezoidal rule in the unconstrained space."""
    t = tf.linspace(_f64(-60.0)[0], _f64(60.0)[0], 240_001)
    z = WAYS[where].forward(t)
    inside = (z > 1e-300) & (z < 1.0) if where == "unit" else tf.math.is_finite(z)
    z = tf.where(inside, z, 0.5)
    log_q = q.log_prob(z)
    mass = tf.exp(log_q + WAYS[where].forward_log_det_jacobian(t, 0))
    terms = tf.where(inside & (mass > 0.0), mass * (log_q - p.log_prob(z)), 0.0)
    return float(tf.reduce_sum(terms)) * 120.0 / 240_000


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", SCALARS)
def test_products_of_scalars_in_each_way_of_writing_add_up(name: str) -> None:
    where, kind_of_q, of_q, kind_of_p, of_p = SCALARS[name]
    exact = _quadrature(where, kind_of_q(*_f64(*of_q)), kind_of_p(*_f64(*of_p)))
    assert exact > 0.05
    ones = tf.ones([2, 3], tf.float64)
    ways_of_q = (
        tfd.Independent(kind_of_q(*(value * ones for value in _f64(*of_q))), 1),
        tfd.Sample(kind_of_q(*(value * ones[:, 0] for value in _f64(*of_q))), 3),
    )
    ways_of_p = (
        tfd.Independent(kind_of_p(*(value * ones[0] for value in _f64(*of_p))), 1),
        tfd.Sample(kind_of_p(*_f64(*of_p)), 3),
        tfd.Independent(tfd.Sample(kind_of_p(*_f64(*of_p)), 3), 0),
    )
    for q, p in itertools.product(ways_of_q, ways_of_p):
        np.testing.assert_allclose(analytic_kl(q, p), [3 * exact] * 2, rtol=1e-6)
        np.testing.assert_allclose(kl_per_dimension(q, p), np.full([2, 3], exact), rtol=1e-6)


def test_a_divergence_of_several_axes_is_summed_over_all() -> None:
    q = tfd.Independent(tfd.Normal(tf.reshape(_f64(*range(6)), [2, 3]), 1.5), 2)
    p = tfd.Sample(tfd.Independent(tfd.Normal(_f64(1.0, 0.0, 2.0), 1.0), 1), 2)
    exact = tfd.kl_divergence(q.distribution, tfd.Normal(_f64(1.0, 0.0, 2.0), 1.0)).numpy().sum()
    np.testing.assert_allclose(tfd.kl_divergence(q, p), exact, rtol=1e-12)


def test_beta_beyond_the_uniforms_range_is_infinitely_far() -> None:
    q = tfd.Independent(tfd.Beta([[1.0, 2.0]], 2.0), 1)
    assert np.isposinf(analytic_kl(q, tfd.Sample(tfd.Uniform(0.1, 1.0), 2)))[0]


def test_transformed_gaussians_are_log_normal_and_logit_normal() -> None:
    gaussian = DiagonalGaussian(_f64(0.3, -1.0)[tf.newaxis], _f64(0.7, 0.2)[tf.newaxis])
    for bijector, kind in ((tfb.Exp(), tfd.LogNormal), (tfb.Sigmoid(), tfd.LogitNormal)):
        q = TransformedGaussian(gaussian, bijector)
        p = tfd.Sample(kind(*_f64(0.1, 1.2)), 2)
        factors = kind(gaussian.mean(), gaussian.stddev()), kind(*_f64(0.1, 1.2))
        np.testing.assert_allclose(kl_per_dimension(q, p), tfd.kl_divergence(*factors), rtol=1e-12)


def test_what_has_no_closed_form_says_so_in_one_line() -> None:
    normal = tfd.Independent(tfd.Normal(tf.zeros([1, 2]), 1.0), 1)
    for q, p in (
        (normal, tfd.Sample(tfd.StudentT(3.0, 0.0, 1.0), 2)),
        (normal, tfd.Sample(tfd.Normal(0.0, 1.0), 3)),
        (tfd.Sample(tfd.Logistic([0.0], 1.0), 2), tfd.MultivariateNormalDiag(tf.zeros(2))),
        (normal, tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), tfb.Tanh())),
    ):
        assert_one_line(lambda q=q, p=p: analytic_kl(q, p), NotImplementedError, "'sgvb_a'")
        assert kl_per_dimension(q, p) is None
    full = tfd.MultivariateNormalTriL(tf.zeros([1, 2]), tf.eye(2))
    assert kl_per_dimension(full, normal) is None


@pytest.mark.compile
def test_models_of_natural_pairs_train_by_estimator_b() -> None:
    """What users write: encoders of plain TFP distributions beside the package's priors."""
    dense = tf.constant(np.random.default_rng(0).normal(size=[DATA_DIM, 4]), tf.float32)

    def heads(x: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(0.1 * x @ dense, 2, axis=-1)

    def independent(x: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Normal(heads(x)[0], tf.exp(heads(x)[1])), 1)

    def triangular(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalTriL(heads(x)[0], tf.linalg.diag(tf.exp(heads(x)[1])))

    layer = layers.DiagonalGaussianPosterior(2, (5,))
    own = lambda x: tfd.Independent(layer(x), 0)  # noqa: E731
    scale = tf.Variable(1.3)
    x = tf.constant(binary_data(3))
    for encoder, prior in (
        (independent, layers.StandardNormalPrior(2)),
        (independent, layers.DiagonalNormalPrior(2)),
        (independent, tfd.Sample(tfd.Normal(0.0, 1.0), 2)),
        (triangular, tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)),
        (layer, lambda: tfd.Sample(tfd.Normal(0.0, scale), 2)),
        (layers.LowRankGaussianPosterior(2, 1, (5,)), tfd.Sample(tfd.Normal(0.0, 1.0), 2)),
        (own, layers.StandardNormalPrior(2)),
        (independent, tfd.Sample(tfd.Laplace(0.0, 1.0), 2)),
    ):
        model = small_model(prior, encoder, objective="sgvb_b")
        bound = model.bound(x, tf.constant([0, 1]))
        q = model.encode(x)
        z = q.sample(20_000, seed=[1, 1])
        sampled = q.log_prob(z) - model.prior_distribution().log_prob(z)
        error = np.std(sampled, axis=0) / np.sqrt(20_000)
        assert (np.abs(np.mean(sampled, axis=0) - bound.kl) < 5 * error + 1e-5).all()


def test_latents_of_a_trained_prior_get_its_gradient() -> None:
    loc = tf.Variable(0.4)
    prior = lambda: tfd.Sample(tfd.Normal(loc, 1.0), 2)  # noqa: E731
    model = compiled(small_model(prior, objective="sgvb_b"))
    before = float(loc.numpy())
    model.fit(binary_data(), epochs=1, verbose=0)
    assert float(loc.numpy()) != before
    assert any(v is loc for v in model.trainable_variables)


@pytest.mark.parametrize("prior", ["log_normal", "exponential"])
def test_positive_latents_of_the_command_line_have_estimator_b(prior: str) -> None:
    combination = Combination(prior, "positive", "gaussian", "sgvb_b")
    assert combination.refusal() is None
    model = build_model(combination.config(), [8], 64, combination.record())
    q = model.encode(combination.data()[:2])
    z = q.sample(50_000, seed=[0, 1])
    sampled = q.log_prob(z) - model.prior_distribution().log_prob(z)
    error = np.std(sampled, axis=0) / np.sqrt(50_000)
    exact = analytic_kl(q, model.prior_distribution())
    assert (np.abs(np.mean(sampled, axis=0) - exact) < 5 * error).all()
