"""Tests of tfp_aevb.objectives.importance_weighted on x = a z + b + e, where log p(x) is exact."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_mean, assert_one_line
from tfp_aevb.objectives import (
    Bound,
    doubly_reparameterized,
    importance_weighted,
    renyi,
    reweighted_wake_sleep,
    sgvb_a,
    sticking_the_landing,
    vimco,
)
from tfp_aevb.objectives.importance_weighted import Draws, weighted_bound

tfd = tfp.distributions
SEED = np.array([3, 7], np.int32)
X = np.array([1.3, -0.4, 2.2])
START = {"a": 0.8, "b": 0.3, "loc": np.array([0.5, -0.6, 0.9]), "scale": np.array([0.7, 0.9, 0.6])}
NOISE = 0.5  # standard deviation of e
BOUNDS = [importance_weighted, doubly_reparameterized, vimco, reweighted_wake_sleep]


class Found:
    """A bound at parameters, its gradients, and the draws z [K, B] it was made with."""

    def __init__(
        self, objective: Callable, count: int, x: np.ndarray = X, seed=SEED, **changed
    ) -> None:
        variables = {
            name: tf.constant(value, tf.float64) for name, value in {**START, **changed}.items()
        }
        kept: list[tf.Tensor] = []

        def log_likelihood(z: tf.Tensor) -> tf.Tensor:
            kept.append(z[..., 0])
            mean = variables["a"] * z[..., 0] + variables["b"]
            return tfd.Normal(mean, tf.constant(NOISE, tf.float64)).log_prob(x)

        with tf.GradientTape() as tape:
            tape.watch(list(variables.values()))
            posterior = tfd.MultivariateNormalDiag(
                variables["loc"][:, tf.newaxis], variables["scale"][:, tf.newaxis]
            )
            prior = tfd.MultivariateNormalDiag(tf.zeros([1], tf.float64), tf.ones([1], tf.float64))
            self.bound: Bound = objective(posterior, prior, log_likelihood, count, seed)
            total = tf.reduce_sum(self.bound.elbo)
        self.gradients = {
            name: value.numpy() for name, value in tape.gradient(total, variables).items()
        }
        self.z = kept[0].numpy()
        at = {name: value.numpy() for name, value in variables.items()}
        self.error = x - at["a"] * self.z - at["b"]
        self.eps = (self.z - at["loc"]) / at["scale"]
        self.scale = at["scale"]
        self.log_weights = (
            -0.5 * (self.error / NOISE) ** 2
            - np.log(NOISE)
            - 0.5 * self.z**2
            + 0.5 * self.eps**2
            + np.log(at["scale"])
            - 0.5 * np.log(2.0 * np.pi)
        )
        weights = np.exp(self.log_weights - self.log_weights.max(0))
        self.shares = weights / weights.sum(0)
        # Derivative along z of log p(x, z) - log q(z|x), q's parameters held.
        self.slope = -self.z + at["a"] * self.error / NOISE**2 + self.eps / at["scale"]
        # Derivatives of log q(z|x) with respect to q's parameters, z held.
        self.score = {"loc": self.eps / at["scale"], "scale": (self.eps**2 - 1.0) / at["scale"]}


def log_mean_exp(values: np.ndarray) -> np.ndarray:
    return np.log(np.mean(np.exp(values), axis=0))


def assert_gradients(found: Found, **expected: np.ndarray) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(found.gradients[name], value, rtol=1e-9, atol=1e-12)


def generative_gradients(found: Found, shares: np.ndarray) -> dict[str, np.ndarray]:
    """The weighted average of the derivatives of log p(x, z) with respect to a and b."""
    slope = found.error / NOISE**2
    return {"a": (shares * slope * found.z).sum(), "b": (shares * slope).sum()}


@pytest.mark.parametrize("objective", BOUNDS)
def test_the_bound_is_the_log_of_the_mean_weight(objective: Callable) -> None:
    found = Found(objective, 5)
    np.testing.assert_allclose(found.bound.elbo, log_mean_exp(found.log_weights), rtol=1e-10)


@pytest.mark.parametrize("objective", [*BOUNDS, renyi])
def test_with_the_true_posterior_every_draw_gives_log_p_x(objective: Callable) -> None:
    precision = 1.0 + (START["a"] / NOISE) ** 2
    loc = START["a"] * (X - START["b"]) / NOISE**2 / precision
    found = Found(objective, 4, loc=loc, scale=np.full(3, precision**-0.5))
    exact = tfd.Normal(START["b"], np.hypot(START["a"], NOISE)).log_prob(X)
    np.testing.assert_allclose(found.bound.elbo, exact, rtol=1e-6)


@pytest.mark.parametrize("objective", [*BOUNDS, sticking_the_landing, renyi])
def test_the_terms_make_up_the_bound(objective: Callable) -> None:
    bound = Found(objective, 5).bound
    np.testing.assert_allclose(bound.reconstruction - bound.kl, bound.elbo, rtol=1e-12)


@pytest.mark.parametrize("objective", BOUNDS)
def test_the_reconstruction_is_weighted(objective: Callable) -> None:
    found = Found(objective, 5)
    log_likelihood = -0.5 * (found.error / NOISE) ** 2 - np.log(NOISE * np.sqrt(2.0 * np.pi))
    expected = (found.shares * log_likelihood).sum(0)
    np.testing.assert_allclose(found.bound.reconstruction, expected, rtol=1e-10)


def test_the_bound_rises_with_the_draws_and_stays_below_log_p_x() -> None:
    x = np.full(20_000, X[0])
    wide = {"loc": np.full(20_000, 0.5), "scale": np.full(20_000, 0.7)}
    means, errors = [], []
    for count in (1, 2, 8):
        elbo = Found(importance_weighted, count, x, **wide).bound.elbo.numpy()
        means.append(elbo.mean())
        errors.append(elbo.std() / np.sqrt(len(x)))
    exact = float(tfd.Normal(START["b"], np.hypot(START["a"], NOISE)).log_prob(X[0]))
    assert means[0] + 6 * errors[0] < means[1] < means[2] - 6 * errors[2]
    assert means[2] < exact
    assert exact - means[2] < 0.2 * (exact - means[0])


def test_the_iwae_gradient_is_along_the_draws() -> None:
    found = Found(importance_weighted, 5)
    total = found.shares * found.slope
    score = {name: -found.shares * value for name, value in found.score.items()}
    assert_gradients(
        found,
        loc=(total + score["loc"]).sum(0),
        scale=(total * found.eps + score["scale"]).sum(0),
        **generative_gradients(found, found.shares),
    )


def test_the_doubly_reparameterised_gradient_has_squared_weights_for_q_alone() -> None:
    found = Found(doubly_reparameterized, 5)
    along_z = found.shares**2 * found.slope
    assert_gradients(
        found,
        loc=along_z.sum(0),
        scale=(along_z * found.eps).sum(0),
        **generative_gradients(found, found.shares),
    )


def test_sticking_the_landing_leaves_out_the_score() -> None:
    found = Found(sticking_the_landing, 5)
    np.testing.assert_allclose(found.bound.elbo, found.log_weights.mean(0), rtol=1e-10)
    assert_gradients(
        found,
        loc=found.slope.mean(0),
        scale=(found.slope * found.eps).mean(0),
        **generative_gradients(found, np.full_like(found.z, 0.2)),
    )


def test_the_vimco_gradient_weights_scores_by_what_draws_add() -> None:
    found = Found(vimco, 4)
    signal = np.empty_like(found.z)
    for k in range(4):
        replaced = found.log_weights.copy()
        replaced[k] = np.delete(found.log_weights, k, axis=0).mean(0)
        signal[k] = log_mean_exp(found.log_weights) - log_mean_exp(replaced)
    factor = signal - found.shares
    assert_gradients(
        found,
        **{name: (factor * value).sum(0) for name, value in found.score.items()},
        **generative_gradients(found, found.shares),
    )


def test_reweighted_wake_sleep_draws_q_to_the_weighted_draws() -> None:
    found = Found(reweighted_wake_sleep, 4)
    assert_gradients(
        found,
        **{name: (found.shares * value).sum(0) for name, value in found.score.items()},
        **generative_gradients(found, found.shares),
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_renyi_values_and_gradients(alpha: float) -> None:
    found = Found(lambda *arguments: renyi(*arguments, alpha=alpha), 5)
    power = 1.0 - alpha
    if power:
        expected = log_mean_exp(power * found.log_weights) / power
    else:
        expected = found.log_weights.mean(0)
    np.testing.assert_allclose(found.bound.elbo, expected, rtol=1e-10)
    shares = np.exp(power * found.log_weights)
    shares /= shares.sum(0)
    along_z = shares * found.slope
    assert_gradients(
        found,
        loc=(along_z - shares * found.score["loc"]).sum(0),
        scale=(along_z * found.eps - shares * found.score["scale"]).sum(0),
        **generative_gradients(found, shares),
    )


@pytest.mark.parametrize("shift", [0.0, -500.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99, 0.9999, 1.0 - 1e-6, 1.0])
def test_renyi_loses_no_digits_in_float32(alpha: float, shift: float) -> None:
    """Log weights as of an MNIST model, exact in float32, and their bound and its gradient."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=[50, 20]) * np.linspace(0.01, 30.0, 20) + shift).astype(np.float32)

    def found(dtype: tf.DType) -> tuple[np.ndarray, np.ndarray]:
        log_weights = tf.cast(weights, dtype)
        zeros = tf.zeros_like(log_weights)
        with tf.GradientTape() as tape:
            tape.watch(log_weights)
            draws = Draws(zeros, log_weights, zeros, zeros)
            bound = weighted_bound(draws, 1.0 - alpha).elbo
        return bound.numpy(), tape.gradient(bound, log_weights).numpy()

    (value, gradient), (exact, exact_gradient) = found(tf.float32), found(tf.float64)
    spread = weights.max(0) - weights.min(0)
    assert (abs(value - exact) < 1e-6 * (spread + abs(shift) + 1.0)).all()
    np.testing.assert_allclose(gradient, exact_gradient, rtol=2e-4, atol=1e-6)
    # The same by its definition, where float64 has digits enough for that.
    if 0.0 < alpha < 1.0 - 1e-5:
        power = 1.0 - alpha
        terms = power * weights.astype(np.float64)
        largest = terms.max(0)
        expected = (largest + log_mean_exp(terms - largest)) / power
        np.testing.assert_allclose(exact, expected, rtol=1e-9)


def test_a_draw_without_weight_leaves_the_bound_of_the_others() -> None:
    weights = tf.constant([[-1.0], [-np.inf], [-3.0], [-2.0]])
    zeros = tf.zeros_like(weights)
    for power in (1.0, 0.5, 1e-3):
        found = weighted_bound(Draws(zeros, weights, zeros, zeros), power).elbo.numpy()
        finite = power * np.array([-1.0, -3.0, -2.0])
        assert found[0] == pytest.approx(np.log(np.exp(finite).sum() / 4.0) / power, rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "reference", "count"),
    [
        (doubly_reparameterized, importance_weighted, 4),
        (vimco, importance_weighted, 4),
        (sticking_the_landing, sgvb_a, 2),
    ],
)
def test_gradients_of_less_variance_have_the_same_mean(
    objective: Callable, reference: Callable, count: int
) -> None:
    repeats = 40_000
    x = np.full(repeats, X[0])
    wide = {"loc": np.full(repeats, 0.5), "scale": np.full(repeats, 0.7)}
    ours = Found(objective, count, x, **wide).gradients
    theirs = Found(reference, count, x, seed=tf.constant([4, 8]), **wide).gradients
    for name in ("loc", "scale"):
        assert_mean(ours[name] - theirs[name], 0.0)


def test_the_doubly_reparameterised_gradient_varies_less_with_many_draws() -> None:
    x = np.full(5_000, X[0])
    wide = {"loc": np.full(5_000, 0.5), "scale": np.full(5_000, 0.7)}
    spread = {
        objective: Found(objective, 64, x, **wide).gradients["loc"].std()
        for objective in (doubly_reparameterized, importance_weighted)
    }
    assert spread[doubly_reparameterized] < 0.5 * spread[importance_weighted]


@pytest.mark.parametrize(("objective", "name"), [(vimco, "vimco"), (reweighted_wake_sleep, "rws")])
def test_what_compares_draws_needs_two(objective: Callable, name: str) -> None:
    assert_one_line(lambda: Found(objective, 1), ValueError, f"'{name}'", "at least 2", "1")


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_renyi_is_kept_where_it_is_a_bound(alpha: float) -> None:
    find = lambda: Found(lambda *arguments: renyi(*arguments, alpha=alpha), 2)  # noqa: E731
    assert_one_line(find, ValueError, "alpha", "[0, 1]", str(alpha))


@pytest.mark.parametrize(
    "objective", [importance_weighted, doubly_reparameterized, sticking_the_landing, renyi]
)
def test_draws_that_are_not_reparameterised_are_refused(objective: Callable) -> None:
    categorical = tfd.Independent(tfd.Bernoulli(logits=tf.zeros([3, 1], tf.float64)), 1)
    call = lambda: objective(categorical, categorical, lambda z: z[..., 0], 2, SEED)  # noqa: E731
    assert_one_line(call, ValueError, "not reparameterised")
