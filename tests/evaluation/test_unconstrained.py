"""Samplers of latents that are not in all of R^J, against conjugate models' exact answers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb import layers
from tfp_aevb.evaluation import annealed_log_prob, hmc_log_prob, sample_posterior
from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.imputation import impute
from tfp_aevb.layers.flows import Softmax
from tfp_aevb.models.aevb import AEVB

COPIES = 100


class Conjugate(NamedTuple):
    """A model with one datapoint, whose log p(x) and moments of p(z|x) are known."""

    model: AEVB
    x: np.ndarray
    log_prob: float
    mean: np.ndarray
    variance: np.ndarray


def encoder(bijector: tfb.Bijector, num_dims: int, loc: float, scale: float) -> Callable:
    """q(z|x) of unconstrained N(loc, scale^2): near the posterior, and not it."""

    def encode(x: tf.Tensor) -> tfd.Distribution:
        rows = tf.fill([tf.shape(x)[0], num_dims], loc)
        return tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(rows, scale * tf.ones_like(rows)), bijector
        )

    return encode


def gamma_poisson(prior: Callable | tfd.Distribution) -> Conjugate:
    """z ~ Exponential(1), four counts of mean z: p(z|x) is Gamma(1 + sum x, 5)."""
    x = np.array([0.0, 2.0, 1.0, 0.0], np.float32)
    a, b = 1.0 + x.sum(), 5.0
    log_prob = special.gammaln(a) - a * np.log(b) - special.gammaln(x + 1.0).sum()
    model = AEVB(
        prior,
        encoder(tfb.Exp(), 1, -0.2, 0.6),
        lambda z: tfd.Independent(tfd.Poisson(z * tf.ones([4])), 1),
        objective="sgvb_a",
    )
    return Conjugate(model, x, log_prob, np.array([a / b]), np.array([a / b**2]))


def beta_binomial() -> Conjugate:
    """z ~ U(0, 1), one of 5 trials each for two coins: p(z_j|x) is Beta(1 + x_j, 6 - x_j)."""
    x = np.array([1.0, 4.0], np.float32)
    a, b = 1.0 + x, 6.0 - x
    model = AEVB(
        layers.UniformPrior(2),
        encoder(tfb.Sigmoid(), 2, 0.0, 1.2),
        lambda z: tfd.Independent(tfd.Binomial(5.0, probs=z), 1),
        objective="sgvb_a",
    )
    variance = a * b / ((a + b) ** 2 * (a + b + 1.0))
    return Conjugate(model, x, -2.0 * np.log(6.0), a / (a + b), variance)


def dirichlet_multinomial(prior: Callable | tfd.Distribution) -> Conjugate:
    """z ~ Dirichlet(1, 1, 1), 6 draws: p(z|x) is Dirichlet(1 + x)."""
    x = np.array([3.0, 1.0, 2.0], np.float32)
    alpha = 1.0 + x
    log_prob = special.gammaln(7.0) + special.gammaln(3.0) - special.gammaln(9.0)
    model = AEVB(
        prior,
        encoder(Softmax(), 2, 0.2, 0.8),
        lambda z: tfd.Multinomial(6.0, probs=z),
        objective="sgvb_a",
    )
    mean = alpha / alpha.sum()
    return Conjugate(model, x, log_prob, mean, mean * (1.0 - mean) / (alpha.sum() + 1.0))


CASES = {
    "positive": lambda: gamma_poisson(layers.ExponentialPrior(1)),
    "positive, TFP's": lambda: gamma_poisson(
        tfd.Independent(tfd.Exponential(tf.ones([1])), reinterpreted_batch_ndims=1)
    ),
    "unit": beta_binomial,
    "simplex": lambda: dirichlet_multinomial(layers.DirichletPrior(3)),
    "simplex, TFP's": lambda: dirichlet_multinomial(tfd.Dirichlet(tf.ones([3]))),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Conjugate:
    return CASES[request.param]()


def rows(case: Conjugate) -> np.ndarray:
    return np.repeat(case.x[np.newaxis], COPIES, axis=0)


def error(values: tf.Tensor, truth: float) -> tuple[float, float]:
    """The mean error over independent copies, and its standard error."""
    found = np.asarray(values, np.float64) - truth
    return found.mean(), found.std(ddof=1) / np.sqrt(len(found))


def test_density_of_the_coordinates_is_that_of_z_by_the_jacobian(case: Conjugate) -> None:
    space = Unconstrained(case.model)
    u = space.draw(case.model.encode(case.x[np.newaxis]), 3, tf.constant([1, 2]))
    step = 1e-2
    free = u.shape[-1]  # of a simplex the density is over the first J - 1
    columns = []
    for k in range(free):
        shift = step * np.eye(free, dtype=np.float32)[k]
        change = space.forward(u + shift) - space.forward(u - shift)
        columns.append((change / (2.0 * step)).numpy()[..., :free])
    jacobian = np.linalg.slogdet(np.stack(columns, axis=-1))[1]
    np.testing.assert_allclose(space.log_jacobian(u), jacobian, atol=5e-3)
    x = tf.constant(case.x[np.newaxis])
    log_joint = case.model.log_joint(x, space.forward(u))
    np.testing.assert_allclose(space.log_joint(x, u), log_joint + jacobian, atol=5e-3)


@pytest.mark.compile
def test_draws_have_the_moments_of_the_posterior(case: Conjugate) -> None:
    draw = tf.function(lambda: sample_posterior(case.model, rows(case), 100, seed=1))
    draws = draw()
    means = draws.z.numpy().mean(axis=(0, 1))  # of each copy
    for j, (mean, variance) in enumerate(zip(case.mean, case.variance, strict=True)):
        bias, deviation = error(means[:, j], mean)
        assert abs(bias) < 4.0 * deviation
        assert deviation < 0.02 * np.sqrt(variance)
        assert draws.z.numpy()[..., j].var() == pytest.approx(variance, rel=0.04)
    folded = tf.reshape(draws.z, [-1, *draws.z.shape[2:]])
    log_joint = tf.reshape(case.model.log_joint(tf.constant(rows(case)), folded), [100, 5, COPIES])
    np.testing.assert_allclose(draws.log_joint, log_joint, atol=1e-3)


@pytest.mark.compile
def test_appendix_d_and_annealing_find_log_p(case: Conjugate) -> None:
    x = rows(case)
    found = tf.function(lambda: hmc_log_prob(case.model, x, 100, seed=2).log_prob)()
    bias, deviation = error(found, case.log_prob)
    assert abs(bias) < 0.02
    assert deviation < 0.005
    found = tf.function(lambda: annealed_log_prob(case.model, x, 20, seed=3).log_prob)()
    bias, deviation = error(found, case.log_prob)
    assert abs(bias) < 0.02
    assert deviation < 0.01


@pytest.mark.compile
@pytest.mark.parametrize("method", ["metropolis", "importance"])
def test_missing_counts_have_the_mean_of_the_exact_posterior(method: str) -> None:
    model = gamma_poisson(layers.ExponentialPrior(1)).model
    y = np.repeat(np.array([[3.0, np.nan, 1.0, np.nan]], np.float32), COPIES, axis=0)
    found = impute(model, y, method=method, num_samples=400, seed=1, jit_compile=False)
    bias, deviation = error(found.mean[:, 1], 5.0 / 3.0)  # the mean of Gamma(1 + 4, 1 + 2)
    assert abs(bias) < 4.0 * deviation
    assert deviation < 0.02


def test_gradients_reach_coordinates_that_came_from_draws(case: Conjugate) -> None:
    space = Unconstrained(case.model)
    x = tf.constant(case.x[np.newaxis])
    u = space.draw(case.model.encode(x), 1, tf.constant([1, 2]))
    gradients = []
    for values in (u, tf.constant(u.numpy())):
        with tf.GradientTape() as tape:
            tape.watch(values)
            log_joint = space.log_joint(x, values)
        gradients.append(tape.gradient(log_joint, values))
    np.testing.assert_allclose(*gradients, rtol=1e-5)
