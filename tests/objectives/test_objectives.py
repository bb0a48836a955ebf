from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import (
    LinearGaussian,
    assert_mean,
    assert_one_line,
    binary_data,
    log_sigmoid_terms,
    small_model,
)
from tfp_aevb import layers, objectives
from tfp_aevb.objectives import (
    analytic_kl,
    minibatch_bound,
    negative_log_parameter_prior,
    score_function,
    sgvb_a,
    sgvb_b,
)

tfd = tfp.distributions
SEED = np.array([3, 7], np.int32)
RNG = np.random.default_rng(0)
LOC, SCALE = RNG.normal(size=[4, 2]), np.exp(0.5 * RNG.normal(size=[4, 2]))
WEIGHTS, X = RNG.normal(size=[2, 3]), (RNG.random([4, 3]) < 0.5).astype(np.float64)


def _posterior() -> tfd.Distribution:
    return tfd.MultivariateNormalDiag(tf.constant(LOC), tf.constant(SCALE))


def _prior() -> tfd.Distribution:
    return tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64), tf.ones([2], tf.float64))


def _estimate(objective: Callable, num_samples: int) -> tuple:
    """The bound of a linear Bernoulli model, and the draws z [L, B, J] it was made with."""
    draws = []

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        draws.append(z.numpy())
        logits = tf.einsum("lbj,jd->lbd", z, WEIGHTS)
        return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float64), 1).log_prob(X)

    bound = objective(_posterior(), _prior(), log_likelihood, num_samples, SEED)
    assert draws[-1].shape == (num_samples, 4, 2)
    return bound, draws[-1]


def _reconstruction(z: np.ndarray) -> np.ndarray:
    return log_sigmoid_terms(X, z @ WEIGHTS).sum(-1).mean(0)


def _sampled_kl(z: np.ndarray) -> np.ndarray:
    log_q = -0.5 * (((z - LOC) / SCALE) ** 2 + 2.0 * np.log(SCALE)).sum(-1)
    return (log_q + 0.5 * (z**2).sum(-1)).mean(0)


def _appendix_b_kl() -> np.ndarray:
    return -0.5 * (1.0 + np.log(SCALE**2) - LOC**2 - SCALE**2).sum(-1)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("objective", [sgvb_a, score_function])
def test_estimator_a_is_the_mean_of_its_sampled_terms(objective, num_samples: int) -> None:
    bound, z = _estimate(objective, num_samples)
    np.testing.assert_allclose(bound.reconstruction, _reconstruction(z), rtol=1e-10)
    np.testing.assert_allclose(bound.kl, _sampled_kl(z), rtol=1e-10)
    np.testing.assert_allclose(bound.elbo, _reconstruction(z) - _sampled_kl(z), rtol=1e-10)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_estimator_b_has_the_kl_of_appendix_b(num_samples: int) -> None:
    bound, z = _estimate(sgvb_b, num_samples)
    np.testing.assert_allclose(bound.reconstruction, _reconstruction(z), rtol=1e-10)
    np.testing.assert_allclose(bound.kl, _appendix_b_kl(), rtol=1e-10)
    np.testing.assert_allclose(bound.elbo, _reconstruction(z) - _appendix_b_kl(), rtol=1e-10)


@pytest.mark.parametrize("objective", [sgvb_a, sgvb_b, score_function])
def test_draws_depend_on_the_seed_alone_and_differ_between_samples(objective) -> None:
    first, again = _estimate(objective, 3)[1], _estimate(objective, 3)[1]
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == first.size


@pytest.mark.parametrize(
    "name",
    [
        *("sgvb_a", "sgvb_b", "score_function", "evidence_bound", "importance_weighted", "vimco"),
        *("sticking_the_landing", "doubly_reparameterized", "reweighted_wake_sleep", "renyi"),
        "f_divergence",
    ],
)
def test_a_seed_is_a_whole_number_two_of_them_or_none(name: str) -> None:
    def draw(seed) -> np.ndarray:
        def log_likelihood(z: tf.Tensor) -> tf.Tensor:
            return -tf.reduce_sum((z - 0.3) ** 2, axis=-1)

        return getattr(objectives, name)(_posterior(), _prior(), log_likelihood, 2, seed).elbo

    np.testing.assert_array_equal(draw(3), draw(np.int64(3)))
    np.testing.assert_array_equal(draw((0, 3)), draw(tf.constant([0, 3])))
    assert (draw(3) != draw(4)).numpy().all()
    assert (draw(None) != draw(None)).numpy().all()
    traced = tf.function(lambda: draw(None))
    assert (traced() != traced()).numpy().all()
    assert_one_line(lambda: draw("now"), ValueError, "`seed` must be a whole number", "'now'")


def test_draws_are_from_the_posterior() -> None:
    for objective in (sgvb_a, sgvb_b, score_function):
        noise = (_estimate(objective, 200_000)[1] - LOC) / SCALE
        assert_mean(noise, 0.0)
        assert_mean(noise**2, 1.0)


def test_analytic_kl_is_appendix_b() -> None:
    np.testing.assert_allclose(analytic_kl(_posterior(), _prior()), _appendix_b_kl(), rtol=1e-12)


def _replicated_gradients(objective: Callable, replicates: int) -> tuple[np.ndarray, ...]:
    """Value [R] and gradients [R, ...] of all network weights, one draw for each replicate."""
    encoder = layers.DiagonalGaussianPosterior(2, (3,))
    decoder = layers.GaussianLikelihood(3, (3,))
    encoder.build((None, 3))
    decoder.build((None, 2))
    rng = np.random.default_rng(5)
    shapes = [[3, 3], [3], [3, 4], [4], [2, 3], [3], [3, 6], [6]]
    values = [0.5 * rng.normal(size=shape) for shape in shapes]
    values[3] = np.array([2.5, -2.0, -2.0, -3.0])  # informative posteriors: sharp gradients
    weights = [
        tf.tile(tf.constant(v, tf.float32)[None], [replicates] + [1] * v.ndim) for v in values
    ]
    x = tf.tile(tf.constant([[0.5, -1.0, 2.0]]), [replicates, 1])

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        return decoder.apply(weights[4:], z[0]).log_prob(x)[None]

    prior = layers.StandardNormalPrior(2)()
    with tf.GradientTape() as tape:
        tape.watch(weights)
        elbo = objective(encoder.apply(weights[:4], x), prior, log_likelihood, 1, SEED).elbo
    return elbo.numpy(), *(g.numpy() for g in tape.gradient(elbo, weights))


def test_estimators_a_and_b_agree_in_value_and_in_all_gradients() -> None:
    def sgvb_b_of_the_same_draws(*args) -> tuple:
        return sgvb_b(*args[:-1], tfp.random.split_seed(args[-1])[0])

    first = _replicated_gradients(sgvb_a, 100_000)
    second = _replicated_gradients(sgvb_b_of_the_same_draws, 100_000)
    for a, b in zip(first, second, strict=True):
        assert np.abs(b.mean(0)).max() > 0.1
        assert_mean(a.astype(np.float64) - b, 0.0)


# The score function's gradient of a model with one latent and known gradients: x|z ~ N(w z, 1).
M, LOG_S, W, OBSERVED = 0.8, -0.4, 1.3, 2.0


def _exact_scalar_bound() -> tuple[float, np.ndarray]:
    s2 = np.exp(2.0 * LOG_S)
    error = (OBSERVED - W * M) ** 2 + W**2 * s2
    kl = 0.5 * (s2 + M**2 - 1.0 - np.log(s2))
    value = -0.5 * (np.log(2.0 * np.pi) + error) - kl
    gradient = [W * (OBSERVED - W * M) - M, 1.0 - s2 * (W**2 + 1.0)]
    return value, np.array([*gradient, OBSERVED * M - W * (M**2 + s2)])


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", [score_function, sgvb_a, sgvb_b])
def test_gradients_are_those_of_the_exact_bound(objective) -> None:
    replicates = 4_000_000
    value, gradient = _exact_scalar_bound()
    loc, log_scale, weight = (tf.fill([replicates, 1], v) for v in (M, LOG_S, W))
    with tf.GradientTape() as tape:
        tape.watch([loc, log_scale, weight])
        posterior = tfd.MultivariateNormalDiag(loc, tf.exp(log_scale))

        def log_likelihood(z: tf.Tensor) -> tf.Tensor:
            # A constant changes no gradient; this one takes most of the score function's noise.
            return tfd.Normal(z[..., 0] * weight[:, 0], 1.0).log_prob(OBSERVED) - value

        prior = tfd.MultivariateNormalDiag([0.0], [1.0])
        elbo = objective(posterior, prior, log_likelihood, 1, SEED).elbo
    assert_mean(elbo, 0.0)
    gradients = tape.gradient(elbo, [loc, log_scale, weight])
    assert_mean(np.concatenate(gradients, axis=1), gradient)


@pytest.mark.compile
def test_the_score_function_gradient_varies_more_than_the_reparameterised_one() -> None:
    x, spread = tf.constant(binary_data()), {}
    for objective in ("sgvb_a", "sgvb_b", "score_function"):
        model = small_model(objective=objective)
        weights = model.encoder.trainable_variables

        @tf.function
        def gradients(seed: tf.Tensor, model=model, weights=weights) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(model.bound(x, seed).elbo)
            return [tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)]

        draws = [np.concatenate(gradients(tf.constant([9, i]))) for i in range(100)]
        spread[objective] = np.var(draws, axis=0).sum()
    # At 100 draws, the quotient of two equal variances is below 2 at any usual level.
    assert spread["score_function"] > 5.0 * spread["sgvb_a"]
    assert spread["score_function"] > 5.0 * spread["sgvb_b"]


def test_score_function_serves_posteriors_without_reparameterisation() -> None:
    logits = tf.Variable(tf.fill([200_000, 1], 0.3))
    values = tf.constant([1.0, 4.0])

    with tf.GradientTape() as tape:
        posterior = tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), 1)
        prior = tfd.Independent(tfd.Bernoulli(logits=[0.0], dtype=tf.float32), 1)
        bound = score_function(
            posterior, prior, lambda z: values[0] + (values[1] - values[0]) * z[..., 0], 1, SEED
        )
    # d/dlogit { p f(1) + (1 - p) f(0) - KL } = p (1 - p) (f(1) - f(0) - logit)
    probability = 1.0 / (1.0 + np.exp(-0.3))
    assert_mean(bound.reconstruction, 1.0 + 3.0 * probability)
    assert_mean(tape.gradient(bound.elbo, logits), probability * (1 - probability) * (3.0 - 0.3))


@pytest.mark.parametrize("objective", [sgvb_a, sgvb_b])
def test_sgvb_refuses_posteriors_without_reparameterisation(objective) -> None:
    posterior = tfd.Independent(tfd.Bernoulli(logits=tf.zeros([3, 2]), name="Coins"), 1)
    assert_one_line(
        lambda: objective(posterior, _prior(), lambda z: z, 1, SEED),
        ValueError,
        "Coins",
        "not reparameterised",
        "score_function",
    )


def test_sgvb_b_without_a_closed_form_names_both_distributions_and_sgvb_a() -> None:
    mixture = layers.GaussianMixturePrior(2, 3)()
    posterior = layers.DiagonalGaussianPosterior.new(tf.zeros([1, 4]))
    assert_one_line(
        lambda: sgvb_b(posterior, mixture, lambda z: z[..., 0], 1, SEED),
        NotImplementedError,
        "MultivariateNormalDiag",
        "MixtureSameFamily",
        "'sgvb_a'",
    )
    encoder = layers.DiagonalGaussianPosterior(2)
    assert_one_line(
        lambda: analytic_kl(encoder(tf.zeros([1, 3])), mixture),
        NotImplementedError,
        "MultivariateNormalDiag",
        "MixtureSameFamily",
    )
    assert_one_line(
        lambda: small_model(prior=layers.GaussianMixturePrior(2, 3)),
        NotImplementedError,
        "'sgvb_a'",
    )


@pytest.mark.parametrize("num_batches", [1, 2, 5])
def test_minibatch_bounds_average_to_the_full_bound(num_batches: int) -> None:
    elbo = RNG.normal(size=[10]) - 5.0
    parts = [minibatch_bound(tf.constant(part), 10.0) for part in np.split(elbo, num_batches)]
    assert np.mean(parts) == pytest.approx(elbo.sum(), rel=1e-12)


def test_minibatch_bound_leaves_padding_out() -> None:
    elbo, weights = tf.constant([-3.0, -5.0, 1e6, -7.0]), tf.constant([1.0, 1.0, 0.0, 1.0])
    assert minibatch_bound(elbo, 30.0, weights).numpy() == pytest.approx(30.0 / 3.0 * -15.0)


def test_minibatch_bounds_of_two_devices_add_up() -> None:
    elbo, weights = tf.constant([-3.0, -5.0, -4.0, 9.0]), tf.constant([1.0, 1.0, 1.0, 0.0])
    whole = minibatch_bound(elbo, 30.0, weights)
    shares = [
        minibatch_bound(elbo[part], 30.0, weights[part], tf.constant(3.0))
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert sum(shares).numpy() == pytest.approx(whole.numpy(), rel=1e-6)


def test_parameter_prior_is_half_the_sum_of_squares() -> None:
    weights = [RNG.normal(size=[3, 4]), RNG.normal(size=[5])]
    value = negative_log_parameter_prior([tf.Variable(w, dtype=tf.float32) for w in weights])
    expected = -sum(tfd.Normal(np.float64(0), 1.0).log_prob(w).numpy().sum() for w in weights)
    constant = 0.5 * np.log(2.0 * np.pi) * 17
    assert value.numpy() == pytest.approx(expected - constant, rel=1e-5)


@pytest.fixture(scope="module")
def linear() -> LinearGaussian:
    return LinearGaussian()


def _linear_bound(linear: LinearGaussian, objective: Callable, x: np.ndarray, **shape) -> tuple:
    decoder = linear.decoder()

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        flat = decoder(tf.reshape(z, [-1, linear.latent_dim]))
        return tf.reshape(flat.log_prob(np.tile(x, [z.shape[0], 1])), [z.shape[0], -1])

    posterior = linear.encoder(**shape)(tf.constant(x))
    return objective(posterior, linear.prior(), log_likelihood, 1, SEED), posterior


def test_the_linear_gaussian_marginal_agrees_with_bayes_rule(linear: LinearGaussian) -> None:
    x, z = linear.data(3), RNG.normal(size=[3, 2])
    mean, covariance = linear.posterior(x)
    posterior = tfd.MultivariateNormalFullCovariance(mean, covariance).log_prob(z)
    joint = linear.prior().log_prob(z) + linear.decoder()(tf.constant(z)).log_prob(x)
    np.testing.assert_allclose(joint - posterior, linear.log_prob(x), rtol=1e-10)


@pytest.mark.parametrize("objective", [sgvb_a, score_function])
def test_estimator_a_at_the_exact_posterior_is_log_p_for_every_draw(linear, objective) -> None:
    x = np.tile(linear.data(1), [50, 1])  # 50 draws of z for one datapoint
    bound, _ = _linear_bound(linear, objective, x)
    np.testing.assert_allclose(bound.elbo, linear.log_prob(x), rtol=1e-10)
    assert np.std(bound.reconstruction) > 0.1


def test_estimator_b_at_the_exact_posterior_is_log_p_on_average(linear) -> None:
    x = np.tile(linear.data(1), [400_000, 1])
    bound, _ = _linear_bound(linear, sgvb_b, x)
    assert_mean(bound.elbo, linear.log_prob(x[:1])[0])


@pytest.mark.parametrize("objective", [sgvb_a, sgvb_b, score_function])
@pytest.mark.parametrize("shape", [{"shift": 0.3}, {"widen": 1.5}])
def test_elsewhere_the_bound_is_below_by_the_kl_to_the_posterior(linear, objective, shape) -> None:
    x = linear.data(1)
    bound, posterior = _linear_bound(linear, objective, np.tile(x, [400_000, 1]), **shape)
    exact = linear.encoder()(tf.constant(x))
    gap = linear.log_prob(x)[0] - bound.elbo.numpy()
    assert gap.mean() > 5.0 * gap.std() / np.sqrt(len(gap))
    assert_mean(gap, tfd.kl_divergence(posterior[:1], exact)[0])
