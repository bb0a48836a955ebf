"""The joint likelihood of mixed columns, and its missing cells, against exact values."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tf_keras

from tests.helpers import (
    assert_mean,
    assert_one_line,
    binary_data,
    compiled,
    gaussian_log_prob,
    small_model,
)
from tfp_aevb.data.columns import Column
from tfp_aevb.layers import (
    MLP,
    DiagonalGaussianPosterior,
    MixedLikelihood,
    StandardNormalPrior,
    TableInputs,
)
from tfp_aevb.models.aevb import AEVB

COLUMNS = (
    Column("colour", "categorical", ("red", "green", "blue")),
    Column("height", "real", shift=170.0, scale=8.0),
    Column("visits", "count", shift=1.5, scale=0.5),
    Column("sex", "binary", ("f", "m")),
    Column("size", "categorical", ("s", "l")),
)
RNG = np.random.default_rng(5)
PARAMS = RNG.normal(size=[4, 8]).astype(np.float32)  # colour 3, height, visits, sex, size 2
LOG_VARIANCE, LOG_DISPERSION = -0.7, 1.3
X = np.array(
    [[0, 161.0, 3, 1, 1], [2, 180.5, 0, 0, 0], [1, 170.0, 150, 1, 0], [2, 155.0, 7, 0, 1]],
    np.float32,
)
NAN = np.float32(np.nan)


def _layer() -> MixedLikelihood:
    return MixedLikelihood(COLUMNS, (3,))


def _distribution(params: np.ndarray | tf.Tensor = PARAMS):
    own = (tf.constant([LOG_VARIANCE]), tf.constant([LOG_DISPERSION]))
    return _layer().distribution(tf.convert_to_tensor(params), *own)


def _terms(x: np.ndarray, params: np.ndarray) -> np.ndarray:
    """log p of each cell [N, D] by SciPy, in float64."""
    params = params.astype(np.float64)
    mean = np.exp(1.5 + 0.5 * params[:, 4])
    dispersion = np.exp(LOG_DISPERSION)
    scale = 8.0 * np.exp(0.5 * LOG_VARIANCE)
    probs = scipy.special.softmax(params[:, :3], axis=1), scipy.special.softmax(params[:, 6:], 1)
    rows = np.arange(len(x))
    return np.stack(
        [
            np.log(probs[0][rows, x[:, 0].astype(int)]),
            scipy.stats.norm.logpdf(x[:, 1], 170.0 + 8.0 * params[:, 3], scale),
            scipy.stats.nbinom.logpmf(x[:, 2], dispersion, dispersion / (dispersion + mean)),
            scipy.stats.bernoulli.logpmf(x[:, 3], scipy.special.expit(params[:, 5])),
            np.log(probs[1][rows, x[:, 4].astype(int)]),
        ],
        axis=1,
    )


def test_each_column_has_the_density_of_its_kind_in_its_own_units() -> None:
    cells = _distribution().distribution
    np.testing.assert_allclose(cells.log_prob(X), _terms(X, PARAMS), rtol=2e-5)
    np.testing.assert_allclose(_distribution().log_prob(X), _terms(X, PARAMS).sum(1), rtol=1e-5)


def test_large_dispersions_keep_their_digits() -> None:
    layer = MixedLikelihood([Column("n", "count", shift=5.0)], ())
    log_prob = layer.distribution(
        tf.zeros([1, 1]), tf.zeros([0]), tf.constant([10.0])
    ).log_prob(np.array([[150.0]], np.float32))  # fmt: skip
    mean, r = np.exp(5.0), np.exp(10.0)
    expected = scipy.stats.nbinom.logpmf(150, r, r / (r + mean))
    np.testing.assert_allclose(log_prob, [expected], rtol=2e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_missing_cells_contribute_nothing_and_gradients_are_finite(jit_compile: bool) -> None:
    x = X.copy()
    x[0, [0, 2]] = x[1, 1] = x[2, [3, 4]] = x[3] = NAN
    params = tf.constant(PARAMS)

    @tf.function(jit_compile=jit_compile)
    def values_and_gradient() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = _distribution(params).log_prob(x)
        return value, tape.gradient(value, params)

    value, gradient = values_and_gradient()
    terms = np.where(np.isnan(x), 0.0, _terms(X, PARAMS))
    np.testing.assert_allclose(value, terms.sum(axis=1), rtol=2e-5)
    step = 1e-5
    for p in range(8):
        moved = PARAMS.astype(np.float64)
        ends = []
        for sign in (1.0, -1.0):
            moved = PARAMS.astype(np.float64)
            moved[:, p] += sign * step
            ends.append(np.where(np.isnan(x), 0.0, _terms(X, moved)).sum(axis=1))
        np.testing.assert_allclose(
            gradient[:, p], (ends[0] - ends[1]) / (2.0 * step), rtol=1e-3, atol=1e-5
        )


def test_what_is_no_category_has_no_probability() -> None:
    x = X.copy()
    x[0, 4], x[1, 0] = 2.0, 3.0
    np.testing.assert_array_equal(np.isinf(_distribution().log_prob(x)), [1, 1, 0, 0])


def test_samples_and_moments_are_those_of_the_columns() -> None:
    draws = _distribution().sample(100_000, seed=[1, 2]).numpy()
    codes = draws[..., 0][..., None] == np.arange(3)
    sizes = draws[..., 4][..., None] == np.arange(2)
    numbers = np.concatenate([codes, draws[..., 1:4], sizes], axis=-1)
    cells = _distribution().distribution
    mean, variance = (value.numpy() for value in cells.moments(tf.fill([4, 5], NAN)))
    assert_mean(numbers, mean)
    np.testing.assert_allclose(numbers.var(axis=0), variance, rtol=0.06)
    expected = np.exp(1.5 + 0.5 * PARAMS[:, 4])
    np.testing.assert_allclose(mean[:, 4], expected, rtol=1e-5)
    np.testing.assert_allclose(
        variance[:, 4], expected + expected**2 / np.exp(LOG_DISPERSION), rtol=1e-5
    )
    means = _distribution().mean().numpy()
    np.testing.assert_allclose(means[:, 1:4], mean[:, 3:6], rtol=1e-5)
    np.testing.assert_array_equal(means[:, 0], PARAMS[:, :3].argmax(axis=1))
    known, spread = (value.numpy() for value in cells.moments(tf.constant(X)))
    np.testing.assert_array_equal(known[2], [0, 1, 0, 170.0, 150, 1, 1, 0])
    assert not spread.any()


def test_the_encoder_sees_standardised_values_categories_and_the_mask() -> None:
    x = X[:2].copy()
    x[0, [0, 1]] = NAN
    log1p = (np.log1p([3.0, 0.0]) - 1.5) / 0.5
    expected = [
        [0, 0, 0, 0.0, log1p[0], 1, 0, 1, 0, 0, 1, 1, 1],
        [0, 0, 1, 10.5 / 8.0, log1p[1], 0, 1, 0, 1, 1, 1, 1, 1],
    ]
    np.testing.assert_allclose(TableInputs(COLUMNS)(x), expected, rtol=1e-5)


class LinearTable:
    """A linear decoder of real columns: log p(x observed) and p(z|x observed) are Gaussian."""

    def __init__(self) -> None:
        columns = [Column(f"c{d}", "real", shift=d - 2.0, scale=0.5 + d) for d in range(5)]
        self.layer = MixedLikelihood(columns, (), init_stddev=0.8)
        self.layer(tf.zeros([1, 2]))
        kernel, bias = (w.astype(np.float64) for w in self.layer.network.get_weights())
        log_variance = RNG.normal(size=5) * 0.3
        self.layer.log_variance.assign(log_variance)
        scale, shift = np.arange(5) + 0.5, np.arange(5) - 2.0
        self.weights, self.bias = scale[:, None] * kernel.T, shift + scale * bias
        self.variance = scale**2 * np.exp(log_variance)
        self.scale = scale
        self.x = self.bias + RNG.normal(size=[6, 5]) * 2.0
        self.x[RNG.random([6, 5]) < 0.4] = np.nan
        self.x[0] = np.nan

    def log_prob(self, weights: np.ndarray) -> np.ndarray:
        """log p(x observed) [B] with other loadings."""
        covariance = weights @ weights.T + np.diag(self.variance)
        found = []
        for row in self.x:
            o = ~np.isnan(row)
            found.append(
                gaussian_log_prob(row[o][None], self.bias[o], covariance[np.ix_(o, o)])[0]
                if o.any()
                else 0.0
            )
        return np.array(found)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [B, J] and Cholesky factors [B, J, J] of p(z|x observed)."""
        means, factors = [], []
        for row in self.x:
            o = ~np.isnan(row)
            w, v = self.weights[o], self.variance[o, None]
            covariance = np.linalg.inv(np.eye(2) + w.T @ (w / v))
            means.append(covariance @ (w / v).T @ (row[o] - self.bias[o]))
            factors.append(np.linalg.cholesky(covariance))
        return np.array(means), np.array(factors)


@pytest.fixture(scope="module")
def linear() -> tuple[LinearTable, AEVB]:
    tf_keras.utils.set_random_seed(7)
    table = LinearTable()
    encoder = DiagonalGaussianPosterior(
        2, network=tf_keras.Sequential([TableInputs(table.layer.columns), MLP(4, ())])
    )
    return table, AEVB(StandardNormalPrior(2), encoder, table.layer, objective="sgvb_a")


def test_the_bound_is_on_log_p_of_what_is_observed(linear: tuple[LinearTable, AEVB]) -> None:
    """With q the exact posterior every draw's bound is log p(x observed)."""
    table, model = linear
    x = tf.constant(table.x, tf.float32)
    mean, factor = table.posterior()
    eps = RNG.normal(size=[5, 6, 2])
    z = mean + np.einsum("bij,lbj->lbi", factor, eps)
    log_q = -0.5 * (eps**2).sum(-1) - np.log(2 * np.pi) - np.log(np.linalg.det(factor))
    log_joint = model.log_joint(x, tf.constant(z, tf.float32))
    expected = np.broadcast_to(table.log_prob(table.weights), [5, 6])
    np.testing.assert_allclose(log_joint - log_q, expected, rtol=1e-4, atol=1e-4)
    assert (model.elbo(x, 2000, seed=1).numpy() <= expected[0] + 1e-3).all()


def test_gradients_are_those_of_log_p_of_what_is_observed(
    linear: tuple[LinearTable, AEVB],
) -> None:
    """E[d log p(x observed, z) / dW] over p(z|x observed), by quadrature, which is exact."""
    table, model = linear
    mean, factor = table.posterior()
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    eps = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 1, 2)
    weight = np.outer(weights, weights).reshape(-1, 1) / (2 * np.pi)
    z = tf.constant(mean + np.einsum("bij,lbj->lbi", factor, np.repeat(eps, 6, 1)), tf.float32)
    kernel = table.layer.network.network_weights[0]
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(weight * model.log_likelihood(tf.constant(table.x, tf.float32), z))
    found = tape.gradient(value, kernel).numpy()  # [J, D]
    step = 1e-5
    for d in range(5):
        for j in range(2):
            ends = []
            for sign in (1.0, -1.0):
                moved = table.weights.copy()
                moved[d, j] += sign * step * table.scale[d]
                ends.append(table.log_prob(moved).sum())
            assert found[j, d] == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), rel=1e-3, abs=1e-3
            )


def _mixed_model() -> AEVB:
    encoder = DiagonalGaussianPosterior(
        2, network=lambda size: tf_keras.Sequential([TableInputs(COLUMNS), MLP(size, (4,))])
    )
    return compiled(AEVB(StandardNormalPrior(2), encoder, _layer()))


def test_a_model_of_a_table_is_fitted_with_gaps_saved_and_loaded(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(3)
    model, x = _mixed_model(), np.tile(X, [5, 1])
    x[RNG.random(x.shape) < 0.3] = np.nan
    history = model.fit(x, epochs=3, verbose=0, validation_data=x, validation_split=0.0).history
    assert np.isfinite(history["elbo"] + history["val_elbo"]).all()
    assert history["elbo"][-1] > history["elbo"][0]
    model.save(tmp_path / "table.keras")
    again = tf_keras.models.load_model(tmp_path / "table.keras")
    np.testing.assert_array_equal(again.elbo(x, seed=1), model.elbo(x, seed=1))
    assert again.decoder.columns == COLUMNS


@pytest.mark.parametrize(
    ("place", "value", "parts"),
    [
        ((1, 0), 3.0, ("row 1", "'colour'", "0 to 2")),
        ((2, 3), 0.5, ("row 2", "'sex'", "0 to 1")),
        ((0, 2), -1.0, ("row 0", "'visits'")),
        ((3, 2), 2.5, ("row 3", "2.5", "'visits'")),
        ((3, 1), np.inf, ("row 3", "infinite")),
    ],
)
def test_values_that_are_not_of_the_column_are_refused(place, value, parts) -> None:
    x = X.copy()
    x[place] = value
    assert_one_line(lambda: _mixed_model().evaluate(x, verbose=0), ValueError, *parts)


def test_other_likelihoods_go_on_refusing_nan() -> None:
    from tfp_aevb.data.observations import Observations

    model, x = compiled(small_model()), binary_data()
    x[3, 1] = np.nan
    assert_one_line(lambda: model.fit(x, verbose=0), ValueError, "NaN", "row 3")
    allowed = Observations(x, allow_missing=True)
    assert_one_line(
        lambda: model.fit(allowed, verbose=0), ValueError, "BernoulliLikelihood", "allow_missing"
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"kind": "text"}, "kind must be one of"),
        ({"kind": "binary", "categories": ("a",)}, "2 to 2 categories"),
        ({"kind": "categorical", "categories": ("a", "a")}, "different"),
        ({"kind": "real", "scale": 0.0}, "scale"),
        ({"kind": "real", "shift": float("nan")}, "shift"),
    ],
)
def test_columns_that_are_none_are_refused(arguments: dict, part: str) -> None:
    assert_one_line(lambda: Column("a", **arguments), ValueError, "'a'", part)


def test_a_likelihood_needs_columns_of_different_names() -> None:
    for columns in ([], [Column("a", "real")] * 2, [{"nome": "a"}]):
        assert_one_line(partial(MixedLikelihood, columns), ValueError, "`columns`")
