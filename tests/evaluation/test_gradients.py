"""Gradient noise against its closed form, in a model whose gradients are polynomials of eps.

J independent copies of z ~ N(0, 1), x|z ~ N(w z, v), q(z|x) = N(m + a x, s^2), z = m + a x + s eps.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_one_line, binary_data, small_model
from tfp_aevb import layers
from tfp_aevb.evaluation.gradients import GradientVariance, gradient_variance
from tfp_aevb.models.aevb import AEVB

J, DRAWS, VARIANCE = 1000, 4000, 0.7
OBJECTIVES = ("sgvb_a", "sgvb_b", "score_function")
# Gauss-Hermite quadrature: exact for polynomials of eps up to degree 31.
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
EPS, NODE_WEIGHTS = NODES[:, None, None], NODE_WEIGHTS / np.sqrt(2.0 * np.pi)


class Copies(NamedTuple):
    """The parameters, [J] each: `gain` is a, `log_scale` log s, `weight` w."""

    loc: np.ndarray
    log_scale: np.ndarray
    weight: np.ndarray
    gain: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Of p(z|x): 1 + w^2 / v."""
        return 1.0 + self.weight**2 / VARIANCE

    def model(self) -> AEVB:
        loc, log_scale, weight = (tf.Variable(v, dtype=tf.float32) for v in self[:3])
        gain = tf.constant(self.gain, tf.float32)

        def encoder(x: tf.Tensor) -> tfd.Distribution:
            mean = loc + gain * x
            return tfd.MultivariateNormalDiag(mean, tf.exp(log_scale) * tf.ones_like(mean))

        def decoder(z: tf.Tensor) -> tfd.Distribution:
            return tfd.Independent(tfd.Normal(weight * z, np.float32(np.sqrt(VARIANCE))), 1)

        prior = tfd.MultivariateNormalDiag(tf.zeros([J]), tf.ones([J]))
        return AEVB(prior, encoder, decoder)

    def polynomials(self, x: np.ndarray, objective: str) -> tuple[np.ndarray, np.ndarray]:
        """The gradient of each datapoint's bound at each node, [nodes, B, J] by m, log s and w.

        For the score function the first two are to be multiplied by sum_j{ f } - 1; f, the second
        result, is a copy's log p(x, z) - log q(z|x).
        """
        w, s = self.weight, np.exp(self.log_scale)
        mean = self.loc + self.gain * x
        z = mean + s * EPS
        fit = (x - w * z) * w / VARIANCE  # d log p(x|z) / dz
        by_weight = (x - w * z) * z / VARIANCE
        f = -0.5 * ((x - w * z) ** 2 / VARIANCE + np.log(2.0 * np.pi * VARIANCE) + z**2 - EPS**2)
        f = f + self.log_scale
        ones = np.ones_like(z)
        if objective == "sgvb_a":  # log q(z(eps)|x) = -eps^2 / 2 - log s + const
            by_loc, by_log_scale = fit - z, (fit - z) * s * EPS + ones
        elif objective == "sgvb_b":
            by_loc, by_log_scale = fit - mean, fit * s * EPS - s**2 + 1.0
        else:
            by_loc, by_log_scale = ones * EPS / s, ones * EPS**2 - 1.0
        return np.stack([by_loc, by_log_scale, by_weight]), f

    def moments(self, x: np.ndarray, objective: str) -> tuple[np.ndarray, np.ndarray]:
        """The gradient's mean and variance [3, J] for a minibatch x [B, J] and L = 1."""
        g, f = self.polynomials(x, objective)
        if objective == "score_function":
            f_mean, f_variance = _moments(f[None])
            others = (a.sum(-1, keepdims=True) - a for a in (f_mean[0], f_variance[0]))
            rest, rest_variance = others
            score = g[:2]
            g = np.concatenate([score * (f - 1.0 + rest), g[2:]])
            mean, variance = _moments(g)
            variance[:2] += rest_variance * _moments(score)[1]
        else:
            mean, variance = _moments(g)
        return mean.mean(1), variance.mean(1) / len(x)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [3, B, J] of polynomials at the nodes [3, nodes, B, J]."""
    mean = np.einsum("q,pqbj->pbj", NODE_WEIGHTS, values)
    return mean, np.einsum("q,pqbj->pbj", NODE_WEIGHTS, (values - mean[:, None]) ** 2)


def somewhere() -> Copies:
    rng = np.random.default_rng(0)
    loc, log_scale = rng.normal(size=J), -0.4 + 0.2 * rng.normal(size=J)
    return Copies(loc, log_scale, 1.2 + 0.3 * rng.normal(size=J), np.full(J, 0.3))


def at_the_posterior() -> Copies:
    """q(z|x) = p(z|x)."""
    copies = somewhere()
    gain = copies.weight / VARIANCE / copies.precision
    return copies._replace(loc=np.zeros(J), log_scale=-0.5 * np.log(copies.precision), gain=gain)


X = 1.5 * np.random.default_rng(1).normal(size=[2, J]).astype(np.float32)


def assert_total(found: GradientVariance, exact: float) -> None:
    """Fails unless the variance is exact within 4 standard errors, which are below 0.8%."""
    assert found.standard_error < 0.002 * exact
    assert abs(found.total_variance - exact) < 4.0 * found.standard_error


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("objective", "num_samples"),
    [("sgvb_a", 1), ("sgvb_b", 1), ("sgvb_b", 3), ("score_function", 2)],
)
def test_mean_and_total_variance_are_the_exact_ones(objective: str, num_samples: int) -> None:
    copies = somewhere()
    mean, variance = copies.moments(X, objective)
    variance = variance / num_samples
    found = gradient_variance(copies.model(), X, objective, DRAWS, num_samples, seed=1)
    groups = {"encoder": slice(0, 2), "decoder": slice(2, 3), "all": slice(0, 3)}
    assert list(found) == list(groups)
    for name, rows in groups.items():
        assert_total(found[name], variance[rows].sum())
        error = np.sqrt(variance[rows].ravel() / DRAWS)
        assert (np.abs(found[name].mean - mean[rows].ravel()) < 5.0 * error).all()
        # |mean|^2 - |E[g]|^2 = 2 E[g] (mean - E[g]) + |mean - E[g]|^2, the last less its mean.
        signal, error = mean[rows].ravel(), error**2
        spread = np.sqrt((4.0 * signal**2 * error + 2.0 * error**2).sum())
        assert abs(found[name].squared_norm - signal @ signal) < 5.0 * spread


def test_all_estimators_have_the_exact_gradient_of_the_bound() -> None:
    copies = somewhere()
    mean, s2 = copies.loc + copies.gain * X, np.exp(2.0 * copies.log_scale)
    slope = copies.weight * (X - copies.weight * mean) / VARIANCE
    exact = [
        slope - mean,
        1.0 - s2 * copies.precision * np.ones_like(X),
        (X * mean - copies.weight * (mean**2 + s2)) / VARIANCE,
    ]
    for objective in OBJECTIVES:
        found, _ = copies.moments(X, objective)
        np.testing.assert_allclose(found, np.mean(exact, axis=1), atol=1e-9)


def test_the_standard_error_is_the_exact_one() -> None:
    copies, x = somewhere(), X[:1]
    g, _ = copies.polynomials(x, "sgvb_b")
    mean, _ = copies.moments(x, "sgvb_b")
    found = gradient_variance(copies.model(), x, "sgvb_b", DRAWS, seed=2)
    for name, rows in (("encoder", slice(0, 2)), ("decoder", slice(2, 3)), ("all", slice(0, 3))):
        # |g - E[g]|^2 is a sum over copies, which are independent of each other.
        distance = ((g - mean[:, None, None]) ** 2)[rows].sum(0)
        exact = np.sqrt(_moments(distance[None])[1].sum() / DRAWS)
        assert found[name].standard_error == pytest.approx(exact, rel=0.05)


@pytest.mark.compile
@pytest.mark.parametrize(("size", "less_noisy"), [(1.0, "sgvb_b"), (10.0, "sgvb_a")])
def test_at_the_posterior_a_has_the_noise_of_the_score_and_b_that_of_the_means(
    size: float, less_noisy: str
) -> None:
    # There log p(x, z) - log q(z|x) is constant, and A's gradient is minus the score of q, whose
    # covariance is q's Fisher information, (1/s^2, 2): not zero. B's has var(m) = (r - 1)^2 / r and
    # var(log s) = mu^2 / r + 2 (r - 1)^2 / r^2 with r = 1/s^2, which exceeds A's for large means.
    copies, x = at_the_posterior(), size * X
    r, mu = copies.precision, copies.gain * x
    fisher = (r + 2.0).sum()
    noise_b = ((r - 1.0) ** 2 / r + mu**2 / r + 2.0 * (r - 1.0) ** 2 / r**2).sum(-1)
    marginal = tfd.Normal(np.float64(0.0), np.sqrt(copies.weight**2 + VARIANCE))
    log_prob = marginal.log_prob(x.astype(np.float64)).numpy().sum(-1)
    exact = {
        "sgvb_a": fisher / 2.0,
        "sgvb_b": noise_b.mean() / 2.0,
        "score_function": ((log_prob - 1.0) ** 2).mean() * fisher / 2.0,
    }
    for objective, total in exact.items():
        found = gradient_variance(copies.model(), x, objective, DRAWS, seed=3)["encoder"]
        assert_total(found, total)
    assert min(exact, key=lambda name: exact[name]) == less_noisy


def test_for_the_means_of_a_linear_model_b_has_less_noise_everywhere() -> None:
    # var(m): (r - 1)^2 s^2 for B, r^2 s^2 for A, whatever q.
    for copies in (somewhere(), at_the_posterior()):
        r, s2 = copies.precision, np.exp(2.0 * copies.log_scale)
        for objective, slope in (("sgvb_a", r), ("sgvb_b", r - 1.0)):
            _, variance = copies.moments(X, objective)
            np.testing.assert_allclose(variance[0], slope**2 * s2 / 2.0, rtol=1e-9)


def test_parameters_fall_into_the_encoder_s_and_the_others() -> None:
    encoder = layers.DiagonalGaussianPosterior(2, (5,))
    model = small_model(prior=layers.DiagonalNormalPrior(2), encoder=encoder)
    found = gradient_variance(model, binary_data(4), "sgvb_b", 10, seed=4)
    sizes = {name: part.mean.size for name, part in found.items()}
    own, total = (
        sum(v.shape.num_elements() for v in part.trainable_variables) for part in (encoder, model)
    )
    assert sizes == {"encoder": own, "decoder": total - own, "all": total}
    whole = found["encoder"].total_variance + found["decoder"].total_variance
    assert found["all"].total_variance == pytest.approx(whole, rel=1e-12)


def test_three_draws_give_what_their_gradients_say() -> None:
    found = gradient_variance(somewhere().model(), X, "sgvb_a", 3, seed=5)["all"]
    more = gradient_variance(somewhere().model(), X, "sgvb_a", 4, seed=5)["all"]
    last = 4.0 * more.mean - 3.0 * found.mean  # the fourth draw's gradient
    added = 3.0 / 4.0 * ((last - found.mean) ** 2).sum()
    assert more.total_variance == pytest.approx((2.0 * found.total_variance + added) / 3.0)
    assert found.gradient_norm**2 == pytest.approx(max(found.squared_norm, 0.0))


def test_a_gradient_that_drowns_in_noise_has_length_zero() -> None:
    noise = GradientVariance(np.array([0.3, 0.4]), 10.0, 1.0, draws=4)
    assert noise.squared_norm == pytest.approx(0.25 - 2.5)
    assert noise.gradient_norm == 0.0


def test_bad_arguments_are_refused() -> None:
    model, x = small_model(), binary_data(4)
    for arguments, parts in (
        ((x, "sgvb_c", 10), ("`objective`", "'sgvb_c'", "sgvb_a")),
        ((x, "sgvb_b", 2), ("`num_draws`", "at least 3", "got 2")),
        ((x, "sgvb_b", 10, 0), ("`num_samples`", "at least 1", "got 0")),
        ((x[:, :5], "sgvb_b", 10), ("`x`", "[B, 6]", "(4, 5)")),
    ):
        assert_one_line(partial(gradient_variance, model, *arguments), ValueError, *parts)
