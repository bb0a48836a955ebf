"""Missing elements of x are left out of log p(x|z): of each likelihood, and of whole models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import (
    LinearGaussian,
    assert_one_line,
    binary_data,
    compiled,
    gaussian_log_prob,
    small_model,
)
from tfp_aevb import layers
from tfp_aevb.evaluation import importance_log_prob
from tfp_aevb.imputation import impute
from tfp_aevb.imputation.evidence import per_pixel
from tfp_aevb.layers.missing import ObservedElements
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.free_posterior import fit_free_posterior
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.models.wake_sleep import WakeSleep
from tfp_aevb.utils.seeds import as_seed

tfd = tfp.distributions
NAN = np.float32(np.nan)
EVENT = (2, 3)
REAL = np.array([[0.3, -2.0, 7.0, 0.0, 40.0, -0.1], [1.5, 0.2, -3.0, 9.0, 0.7, 0.4]])
COUNTS = np.array([[0, 1, 7, 0, 2, 30], [4, 0, 0, 1, 3, 2]])
UNIT = np.array([[0.1, 0.9, 0.5, 0.3, 0.7, 0.2], [0.6, 0.4, 0.8, 0.2, 0.1, 0.9]])
LIKELIHOODS: dict[str, tuple[Callable, np.ndarray]] = {
    "bernoulli": (layers.BernoulliLikelihood, UNIT > 0.45),
    "continuous_bernoulli": (layers.ContinuousBernoulliLikelihood, UNIT),
    "gaussian": (layers.GaussianLikelihood, REAL),
    "gaussian_global": (
        lambda *a, **k: layers.GaussianLikelihood(*a, variance="global", **k),
        REAL,
    ),
    "gaussian_sigmoid": (
        lambda *a, **k: layers.GaussianLikelihood(*a, mean="sigmoid", variance="scalar", **k),
        REAL,
    ),
    "student_t": (layers.StudentTLikelihood, REAL),
    "beta": (layers.BetaLikelihood, UNIT),
    "discretized_logistic": (layers.DiscretizedLogisticLikelihood, np.round(255 * UNIT) / 255),
    "categorical": (lambda *a, **k: layers.CategoricalLikelihood(*a, 3, **k), COUNTS % 3),
    "poisson": (layers.PoissonLikelihood, COUNTS),
    "negative_binomial": (layers.NegativeBinomialLikelihood, COUNTS),
    "zero_inflated_poisson": (layers.ZeroInflatedPoissonLikelihood, COUNTS),
    "zero_inflated_negative_binomial": (layers.ZeroInflatedNegativeBinomialLikelihood, COUNTS),
}
Z = np.array([[0.5, -1.0], [2.0, 0.3]], np.float32)


def gaps_in(x: np.ndarray, seed: int = 0, share: float = 0.4) -> np.ndarray:
    """Returns `x` as float32 with NaN in places."""
    missing = np.random.default_rng(seed).random(x.shape) < share
    return np.where(missing, NAN, x.astype(np.float32))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("spread", [0.3, 8.0])
def test_density_and_gradient_are_those_of_the_known_elements(name: str, spread: float) -> None:
    make, values = LIKELIHOODS[name]
    plain, marginal = (make(EVENT, hidden_units=(), init_stddev=spread, **option) for option in
                       ({}, {"allow_missing": True}))  # fmt: skip
    for layer in (plain, marginal):
        layer(Z)
    marginal.set_weights(plain.get_weights())
    whole = tf.constant(values.reshape(2, *EVENT), tf.float32)
    gaps = gaps_in(whole.numpy())
    assert 0 < np.isnan(gaps).sum() < gaps.size
    known = tf.constant(~np.isnan(gaps))
    with tf.GradientTape() as tape:
        elements = per_pixel(plain(Z)).log_prob(whole)
        expected = tf.reduce_sum(tf.where(known, elements, 0.0), axis=[1, 2])
    expected_gradients = tape.gradient(expected, plain.trainable_variables)
    with tf.GradientTape() as tape:
        found = marginal(Z).log_prob(gaps)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    gradients = tape.gradient(found, marginal.trainable_variables)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(marginal(Z).log_prob(whole), plain(Z).log_prob(whole), rtol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_all_else_is_as_without_gaps(name: str) -> None:
    make, _ = LIKELIHOODS[name]
    plain, marginal = (make(EVENT, hidden_units=(), allow_missing=gaps) for gaps in (False, True))
    for layer in (plain, marginal):
        layer(Z)
    marginal.set_weights(plain.get_weights())
    both = [layer(Z) for layer in (plain, marginal)]
    for moment in ("mean", "variance"):
        try:
            first = getattr(both[0], moment)()
        except NotImplementedError:
            continue
        np.testing.assert_array_equal(first, getattr(both[1], moment)())
    seed = [3, 4]
    np.testing.assert_array_equal(both[0].sample(2, seed=seed), both[1].sample(2, seed=seed))
    assert both[0].batch_shape == both[1].batch_shape == [2]
    assert both[0].event_shape == both[1].event_shape == list(EVENT)
    again = type(marginal).from_config(marginal.get_config())
    assert again.allows_missing
    assert not type(plain).from_config(plain.get_config()).allows_missing


class Exact:
    """A linear-Gaussian model with gaps: log p(x observed), and q(z|x observed) for the model."""

    allows_missing = True

    def __init__(self, shift: float = 0.0, widen: float = 1.0) -> None:
        self.linear = LinearGaussian()
        self.shift, self.widen = shift, widen
        self.x = gaps_in(self.linear.data(8), seed=5)
        self.x[0] = NAN

    def log_prob(self) -> np.ndarray:
        weights, bias = self.linear.weights, self.linear.bias
        covariance = weights @ weights.T + self.linear.variance * np.eye(5)
        found = np.zeros(len(self.x))
        for n, row in enumerate(self.x):
            o = np.flatnonzero(~np.isnan(row))
            if o.size:
                part = covariance[np.ix_(o, o)]
                found[n] = gaussian_log_prob(row[o][np.newaxis], bias[o], part)[0]
        return found

    def decoder(self) -> layers.GaussianLikelihood:
        layer = layers.GaussianLikelihood(5, (), variance="scalar", allow_missing=True)
        layer(Z)
        layer.network.set_weights([self.linear.weights.T, self.linear.bias])
        layer.log_variance.assign(np.log(self.linear.variance))
        return layer

    def __call__(self, x: tf.Tensor) -> Any:
        """The encoder: p(z|x observed), shifted and widened if asked."""
        known = tf.cast(~tf.math.is_nan(x), tf.float32)
        weights = tf.constant(self.linear.weights, tf.float32)
        offset = tf.where(known > 0.0, x - self.linear.bias.astype(np.float32), 0.0)
        precision = tf.einsum("dj,bd,dk->bjk", weights, known, weights) / self.linear.variance
        covariance = tf.linalg.inv(precision + tf.eye(2))
        mean = tf.einsum("bjk,dk,bd->bj", covariance, weights, offset) / self.linear.variance
        scale = self.widen * tf.linalg.cholesky(covariance)
        return tfd.MultivariateNormalTriL(mean + self.shift, scale)

    def model(self) -> AEVB:
        return AEVB(layers.StandardNormalPrior(2), self, self.decoder(), objective="sgvb_a")


def test_with_the_true_posterior_bound_and_weights_are_log_p_of_what_is_observed() -> None:
    exact = Exact()
    model = exact.model()
    np.testing.assert_allclose(model.elbo(exact.x, 3, seed=1), exact.log_prob(), atol=2e-4)
    found = importance_log_prob(model, exact.x, 4, seed=1)
    np.testing.assert_allclose(found.log_prob, exact.log_prob(), atol=2e-4)
    np.testing.assert_allclose(found.effective_sample_size, 4.0, rtol=1e-3)


def test_importance_sampling_through_another_posterior_agrees_with_the_exact_value() -> None:
    exact = Exact(shift=0.2, widen=1.3)
    found = importance_log_prob(exact.model(), exact.x, 20_000, seed=1)
    assert (found.standard_error.numpy() < 0.01).all()
    distance = np.abs(found.log_prob.numpy() - exact.log_prob())
    assert (distance < 5.0 * found.standard_error.numpy() + 1e-4).all()


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", ["sgvb_b", "sgvb_a", "iwae", "dreg", "vimco"])
def test_bound_and_gradients_are_those_of_the_model_of_the_observed_elements(
    objective: str,
) -> None:
    observed = np.array([0, 2, 3])

    def model(dim: int, **option) -> AEVB:
        return AEVB(
            layers.StandardNormalPrior(2),
            layers.DiagonalGaussianPosterior(2, (4,)),
            layers.GaussianLikelihood(dim, (), variance="scalar", **option),
            objective=objective,
            num_samples=3,
        )

    tf_keras.utils.set_random_seed(2)
    whole, part = model(5, allow_missing=True), model(3)

    def restrict(values: list[np.ndarray]) -> list[np.ndarray]:
        """From arrays of the whole model's variables to those of the part's."""
        axes = {"encoder": 0, "decoder": -1}
        found = []
        for variable, value in zip(whole.trainable_variables, values, strict=True):
            for axis in axes.values():
                if value.ndim and value.shape[axis] == 5:
                    value = value.take(observed, axis=axis)
            found.append(value)
            assert variable.shape.rank == value.ndim
        return found

    start = [variable.numpy() for variable in whole.trainable_variables]
    for variable, value in zip(part.trainable_variables, restrict(start), strict=True):
        variable.assign(value)
    x = np.full([6, 5], NAN)
    x[:, observed] = np.random.default_rng(0).normal(size=[6, 3])
    bounds, gradients = [], []
    for each, data in ((whole, x), (part, x[:, observed])):
        with tf.GradientTape() as tape:
            bound = each.bound(tf.constant(data), tf.constant([1, 2]))
            total = tf.reduce_sum(bound.elbo)
        bounds.append(bound)
        gradients.append([g.numpy() for g in tape.gradient(total, each.trainable_variables)])
    for ours, theirs in zip(*bounds, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for ours, theirs in zip(restrict(gradients[0]), gradients[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    kernel = gradients[0][[v.ref() for v in whole.trainable_variables].index(
        whole.decoder.network.network_weights[0].ref())]  # fmt: skip
    assert (kernel[:, [1, 4]] == 0.0).all()
    assert (kernel[:, observed] != 0.0).all()


def gap_model(model_class: Any = AEVB, mask: bool = False, **kwargs) -> Any:
    tf_keras.utils.set_random_seed(1)
    network = None
    if mask:
        inputs, mlp = layers.ObservedInputs(), layers.MLP(4, (5,))
        network = tf_keras.Sequential([inputs, mlp])
    return model_class(
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (5,), network=network),
        layers.BernoulliLikelihood(6, (5,), allow_missing=True),
        **kwargs,
    )


def test_an_encoder_sees_zeros_or_the_mask_too() -> None:
    x = gaps_in(binary_data(10))
    zeros = np.nan_to_num(x)
    plain, masked = gap_model(), gap_model(mask=True)
    np.testing.assert_array_equal(plain.encode(x).mean(), plain.encode(zeros).mean())
    assert np.abs(masked.encode(x).mean() - masked.encode(zeros).mean()).max() > 1e-3
    seen = layers.ObservedInputs()(tf.constant(x[:3].reshape(3, 2, 3)))
    known = ~np.isnan(x[:3])
    np.testing.assert_array_equal(seen, np.concatenate([zeros[:3], known], axis=1))


@pytest.mark.compile
@pytest.mark.parametrize("mask", [False, True])
def test_a_model_is_fitted_with_gaps_saved_and_loaded(mask: bool, tmp_path: Path) -> None:
    model, x = compiled(gap_model(mask=mask)), gaps_in(binary_data(50))
    history = model.fit(x, epochs=3, validation_split=0.2, verbose=0).history
    assert np.isfinite(history["elbo"] + history["val_elbo"]).all()
    assert history["elbo"][-1] > history["elbo"][0]
    batches = tf.data.Dataset.from_tensor_slices(x).batch(10)
    model.fit(batches, epochs=1, verbose=0)
    assert np.isfinite(model.predict(x, verbose=0)["loc"]).all()
    model.save(tmp_path / "gaps.keras")
    again = tf_keras.models.load_model(tmp_path / "gaps.keras", safe_mode=True)
    np.testing.assert_array_equal(again.elbo(x, seed=1), model.elbo(x, seed=1))
    assert again.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)


def test_a_decoder_of_one_s_own_may_say_so_by_its_distribution() -> None:
    net = tf_keras.layers.Dense(6)
    decoder = lambda z: ObservedElements(tfd.Poisson(log_rate=net(z)), 1)  # noqa: E731
    model, x = small_model(decoder=decoder), gaps_in(COUNTS)
    compiled(model, tf_keras.optimizers.Adam(0.01))
    assert model.allows_missing
    assert not small_model().allows_missing
    history = model.fit(x, epochs=5, verbose=0).history["elbo"]
    assert history[-1] > history[0]
    z = tf.zeros([1, 2, 2])
    rates, known = np.exp(net(z[0])), ~np.isnan(x)
    each = tfd.Poisson(rates).log_prob(COUNTS)
    expected = np.where(known, each, 0.0).sum(axis=1)
    np.testing.assert_allclose(model.log_likelihood(tf.constant(x), z)[0], expected, rtol=1e-5)


@pytest.mark.compile
def test_with_xla_the_bound_is_the_same() -> None:
    model, x = gap_model(mask=True, objective="iwae", num_samples=2), gaps_in(binary_data(20))
    bound = tf.function(lambda x: model.bound(x, tf.constant([1, 2])).elbo, jit_compile=True)
    compiled(model, jit_compile=True).fit(x, epochs=2, verbose=0)
    assert np.isfinite(bound(tf.constant(x))).all()
    assert all(np.isfinite(variable).all() for variable in model.trainable_variables)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("model_class", [WakeSleep, FullVB, AblatedAEVB])
def test_the_other_algorithms_are_fitted_with_gaps(model_class: type[AEVB]) -> None:
    model, x = compiled(gap_model(model_class, num_data=40)), gaps_in(binary_data(40))
    history = model.fit(x, epochs=8, batch_size=8, verbose=0).history
    assert history["reconstruction"][-1] > history["reconstruction"][0] + 0.02


def test_dreams_have_the_gaps_of_the_data() -> None:
    model = gap_model(WakeSleep, mask=True)
    seeds = tf.constant([1, 2]), tf.constant([3, 4])
    nothing = tf.fill([7, 6], NAN)
    z = model.prior_distribution().sample(7, seed=seeds[0])
    expected = model.encode(nothing).log_prob(z)
    np.testing.assert_allclose(model._sleep(nothing, *seeds), expected, rtol=1e-6)
    assert np.abs(model._sleep(tf.zeros([7, 6]), *seeds) - expected).max() > 1e-3


@pytest.mark.compile
def test_monte_carlo_em_fits_q_to_what_is_observed() -> None:
    decoder = layers.BernoulliLikelihood(6, (), init_stddev=3.0, allow_missing=True)
    model = MonteCarloEM(layers.StandardNormalPrior(2), decoder, num_data=4)
    found = model.encode(np.full([1, 6], NAN))
    prior = fit_free_posterior(model.prior_distribution().log_prob, 1, 2, seed=as_seed(0))
    np.testing.assert_allclose(found.mean(), prior.mean(), atol=1e-4)
    np.testing.assert_allclose(found.stddev(), prior.stddev(), rtol=1e-4)
    zeros = model.encode(np.zeros([1, 6], np.float32))
    assert np.abs(zeros.mean() - prior.mean()).max() > 0.3


def test_gaps_that_nobody_marginalises_are_refused() -> None:
    x = gaps_in(binary_data(10))
    assert_one_line(lambda: compiled(small_model()).fit(x, verbose=0), ValueError, "NaN", "row")
    x[2, 3] = np.inf
    assert_one_line(lambda: compiled(gap_model()).fit(x, verbose=0), ValueError, "infinite", "2")
    x[2, 3] = 0.5
    parts = ("Bernoulli", "0.5")
    assert_one_line(lambda: compiled(gap_model()).evaluate(x, verbose=0), ValueError, *parts)


@pytest.mark.compile
def test_missing_beta_elements_are_restored() -> None:
    """0, which has no density under a beta distribution, must not stand for what is missing."""
    tf_keras.utils.set_random_seed(1)
    decoder = layers.BetaLikelihood(6, (5,), allow_missing=True)
    model = small_model(decoder=decoder)
    x = gaps_in(UNIT)
    found = impute(model, x, num_draws=2, num_samples=20, burn_in=4, seed=1, jit_compile=False)
    known = ~np.isnan(x)
    np.testing.assert_array_equal(found.mean[known], x[known])
    assert ((found.mean > 0.0) & (found.mean < 1.0)).all()
    assert (found.stddev[~known] > 0.0).all()
