"""Full variational Bayes on x = A z + b + e, where its bound has a closed form (Appendix F)."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import assert_mean, assert_one_line, compiled, weights_of
from tfp_aevb import layers
from tfp_aevb.evaluation.scores import Scores
from tfp_aevb.models.full_vb import FullVB

NUM_DATA, DRAWS, VARIANCE = 30, 2000, 0.5
FORMS = {
    "a draw each": {},
    "a shared draw": {"shared_draw": True},
    "a sampled theta term": {"shared_draw": True, "sampled_parameter_kl": True},
}


def linear_model(
    data_dim: int = 3, latent_dim: int = 2, variance: float | str = VARIANCE, **kwargs
) -> FullVB:
    tf_keras.utils.set_random_seed(3)
    model = FullVB(
        layers.StandardNormalPrior(latent_dim),
        layers.DiagonalGaussianPosterior(latent_dim, (), init_stddev=0.4),
        layers.GaussianLikelihood(data_dim, (), variance=variance, init_stddev=0.6),
        **{"num_data": NUM_DATA, **kwargs},
    )
    for i, variable in enumerate(model.theta_log_variances):
        variable.assign(tf.random.stateless_uniform(variable.shape, [i, 5], -2.0, 0.0))
    return model


def exact_bound(model: FullVB, x: tf.Tensor) -> tf.Tensor:
    """The expectation over z and theta of Eq. 21, divided by N, [B]."""
    q = model.encode(x)
    m, s = q.mean(), tf.square(q.stddev())  # [B, J]
    kernel, bias = model.decoder.parameters
    kernel_variance, bias_variance = (tf.exp(v) for v in model.theta_log_variances)
    error = tf.square(x - tf.matmul(m, kernel) - bias)
    error += tf.matmul(tf.square(m) + s, kernel_variance) + tf.matmul(s, tf.square(kernel))
    error += bias_variance
    density = -0.5 * (error / VARIANCE + np.log(2 * np.pi * VARIANCE))
    kl_z = 0.5 * tf.reduce_sum(s + tf.square(m) - 1 - tf.math.log(s), axis=1)
    kl_theta = sum(
        0.5 * tf.reduce_sum(tf.exp(v) + tf.square(w) - 1 - v)
        for w, v in zip(model.decoder.parameters, model.theta_log_variances, strict=True)
    )
    return tf.reduce_sum(density, axis=1) - kl_z - kl_theta / NUM_DATA


@pytest.fixture(scope="module")
def x() -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).normal(size=[6, 3]), tf.float32)


@pytest.mark.parametrize("form", FORMS)
def test_a_decoder_may_use_some_of_the_latents_alone(form: str) -> None:
    tf_keras.utils.set_random_seed(3)
    model = FullVB(
        layers.StandardNormalPrior(5),
        layers.DiagonalGaussianPosterior(5, (4,)),
        layers.BernoulliLikelihood(6, network=layers.MLP(6, (4,), num_inputs=3)),
        num_data=NUM_DATA,
        initial_stddev=0.5,
        **FORMS[form],
    )
    pixels = tf.constant(np.random.default_rng(0).integers(0, 2, [8, 6]), tf.float32)
    assert np.isfinite(model.elbo(pixels, num_samples=2, seed=1)).all()
    z = tf.random.stateless_normal([2, 8, 5], [1, 1])
    seed = tf.constant([1, 2])
    before = model.log_likelihood(pixels, z, seed)
    unused = tf.concat([z[..., :3], z[..., 3:] + 1.0], axis=-1)
    used = tf.concat([z[..., :2], z[..., 2:] + 1.0], axis=-1)
    np.testing.assert_array_equal(model.log_likelihood(pixels, unused, seed), before)
    assert np.abs(model.log_likelihood(pixels, used, seed) - before).min() > 1e-4
    assert model.sample(3, seed=1).shape == [3, 6]


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("form", FORMS)
def test_bound_and_gradients_have_the_exact_expectation(form: str, x: tf.Tensor) -> None:
    model = linear_model(**FORMS[form])
    variables = model.trainable_variables

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            elbo = model.bound(x, seed).elbo
            mean = tf.reduce_mean(elbo)
        return elbo, tape.gradient(mean, variables)

    elbos, gradients = [], []
    for seed in range(DRAWS):
        elbo, gradient = draw(tf.constant([seed, 7]))
        elbos.append(elbo.numpy())
        gradients.append([g.numpy() for g in gradient])
    with tf.GradientTape() as tape:
        exact = exact_bound(model, x)
        mean = tf.reduce_mean(exact)
    assert_mean(np.stack(elbos), exact.numpy())
    assert len(variables) == 6  # encoder kernel and bias, decoder's, and their log-variances
    for parts, expected in zip(
        zip(*gradients, strict=True), tape.gradient(mean, variables), strict=True
    ):
        assert_mean(np.stack(parts), expected.numpy())


@pytest.mark.compile
@pytest.mark.parametrize("variance", [VARIANCE, "global"])
def test_draws_of_their_own_have_the_spread_of_drawn_weights(
    variance: float | str, x: tf.Tensor
) -> None:
    """The outputs drawn in place of theta have the distribution of theta's outputs."""
    model = linear_model(variance=variance)
    z = tf.constant(np.random.default_rng(4).normal(size=[1, 6, 2]), tf.float32)
    own = tf.function(lambda seed: model.log_likelihood(x, z, seed))
    shared_model = linear_model(variance=variance, shared_draw=True)
    shared = tf.function(lambda seed: shared_model._shared_log_likelihood(x, z, seed))
    values = [np.stack([f(tf.constant([i, 1]))[0] for i in range(DRAWS)]) for f in (own, shared)]
    for power in (1, 2):
        moments = [v.astype(np.float64) ** power for v in values]
        errors = [v.std(0, ddof=1) / np.sqrt(DRAWS) for v in moments]
        difference = np.abs(moments[0].mean(0) - moments[1].mean(0))
        assert (difference <= 5 * np.hypot(*errors)).all()
    between = [np.abs(np.corrcoef(v.T) - np.eye(6)).max() for v in values]
    assert between[0] < 5 / np.sqrt(DRAWS)
    assert between[1] > 0.3
    # What is not the bound, importance weights among it, draws them independently all the same.
    seed = tf.constant([1, 2])
    weighed = tf.function(lambda seed: shared_model.log_likelihood(x, z, seed))
    np.testing.assert_allclose(weighed(seed), own(seed), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_interval_of_a_score_is_right_however_training_draws(form: str) -> None:
    model = linear_model(**FORMS[form])
    rows = tf.tile(tf.constant([[0.4, -1.0, 0.2]]), [100, 1])
    evidence = tf.function(lambda seed: model.evidence_bound(rows, seed).elbo)
    found = [Scores("elbo", 1, evidence(tf.constant([i, 7])).numpy()) for i in range(400)]
    truth = float(exact_bound(model, rows)[0])
    assert_mean(np.array([scores.mean for scores in found]), truth)
    covered = np.mean([abs(scores.mean - truth) < scores.half_width for scores in found])
    assert 0.91 < covered < 0.98


def test_the_sampled_theta_term_is_log_q_less_log_p_of_the_draw() -> None:
    model = linear_model(shared_draw=True, sampled_parameter_kl=True)
    theta, term = model.draw_parameters(tf.constant([3, 1]))
    expected = 0.0
    for drawn, mean, log_variance in zip(
        theta, model.decoder.parameters, model.theta_log_variances, strict=True
    ):
        drawn, mean, log_variance = (
            v.numpy().astype(np.float64) for v in (drawn, mean, log_variance)
        )
        log_q = -0.5 * (log_variance + (drawn - mean) ** 2 / np.exp(log_variance))
        expected += np.sum(log_q + 0.5 * drawn**2)
    np.testing.assert_allclose(term, expected, rtol=1e-4)
    x = tf.zeros([1, 3])
    seed = tf.constant([1, 2])
    _, term = model.draw_parameters(tf.unstack(tfp.random.split_seed(seed, n=2))[1])
    # What the bound takes off is this term's share.
    alone = linear_model(shared_draw=True, sampled_parameter_kl=True, num_data=10**9)
    difference = alone.bound(x, seed).elbo - model.bound(x, seed).elbo
    np.testing.assert_allclose(difference, [term / NUM_DATA], rtol=1e-4)


def test_parameter_kl_is_the_gaussian_one() -> None:
    model = linear_model()
    expected = 0.0
    for mean, log_variance in zip(model.decoder.parameters, model.theta_log_variances, strict=True):
        mean, log_variance = (v.numpy().astype(np.float64) for v in (mean, log_variance))
        expected += -0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance))
    np.testing.assert_allclose(model.parameter_kl(), expected, rtol=1e-6)


def test_the_theta_term_counts_once_for_all_data(x: tf.Tensor) -> None:
    """Eq. 21: N multiplies the terms of the data only."""
    small, large = linear_model(num_data=30), linear_model(num_data=60)
    seed = tf.constant([1, 2])
    difference = large.bound(x, seed).elbo - small.bound(x, seed).elbo
    share = float(small.parameter_kl()) * (1 / 30 - 1 / 60)
    np.testing.assert_allclose(difference, np.full(6, share), rtol=1e-4)


def log_evidence(x: np.ndarray) -> tuple[float, float]:
    """log p(X) and E[b | X] for scalar x = a z + b + e, by quadrature over (a, b)."""
    grid = np.linspace(-5, 5, 801)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    variance = a**2 + VARIANCE
    log_joint = -0.5 * (a**2 + b**2) - np.log(2 * np.pi)
    for value in x:
        log_joint += -0.5 * ((value - b) ** 2 / variance + np.log(2 * np.pi * variance))
    peak = log_joint.max()
    weights = np.exp(log_joint - peak)
    area = (grid[1] - grid[0]) ** 2
    return peak + np.log(weights.sum() * area), float((weights * b).sum() / weights.sum())


@pytest.mark.compile
def test_the_fitted_bound_stays_below_the_evidence_and_finds_the_posterior_mean() -> None:
    rng = np.random.default_rng(0)
    data = 1.3 * rng.normal(size=[NUM_DATA, 1]) + 0.7 + rng.normal(size=[NUM_DATA, 1]) * 0.7
    data = data.astype(np.float32)
    evidence, bias_mean = log_evidence(data[:, 0].astype(np.float64))
    model = compiled(linear_model(1, 1), tf_keras.optimizers.Adam(0.02), jit_compile=True)
    for rate in (0.02, 0.002):  # the second, to settle
        model.optimizer.learning_rate = rate
        model.fit(data, batch_size=NUM_DATA, steps_per_epoch=3000, verbose=0)
    bounds = [
        float(tf.reduce_sum(model.bound(tf.constant(data), tf.constant([i, 3]), 50).elbo))
        for i in range(40)
    ]
    error = np.std(bounds, ddof=1) / np.sqrt(len(bounds))
    assert np.mean(bounds) < evidence - 3 * error
    assert np.mean(bounds) > evidence - 2.5  # what the factorised q(theta) costs is 1.5
    bias = model.decoder.parameters[1].numpy()[0]
    posterior_stddev = float(tf.exp(0.5 * model.theta_log_variances[1])[0])
    assert abs(bias - bias_mean) < 0.05 * posterior_stddev  # 1% of the mean is more


@pytest.mark.compile
@pytest.mark.parametrize("shared_draw", [False, True])
def test_the_layers_that_are_not_variational_are_point_estimates(shared_draw: bool) -> None:
    model = FullVB(
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, ()),
        layers.GaussianLikelihood(3, (4,), variance=VARIANCE, init_stddev=0.6),
        num_data=NUM_DATA,
        shared_draw=shared_draw,
        variational_layers=[-1],
    )
    kernel, bias = (
        tf.identity(variable.assign(tf.fill(variable.shape, -1.0)))
        for variable in model.theta_log_variances
    )
    first, first_bias, mean_kernel, mean_bias = model.decoder.parameters
    z = tf.constant([[[0.4, -1.0], [1.5, 0.3]]])
    x = tf.constant([[0.2, -0.3, 1.0], [0.0, 2.0, -1.0]])
    hidden = model.decoder.network.activate(tf.matmul(z[0], first) + first_bias)
    error = tf.square(x - tf.matmul(hidden, mean_kernel) - mean_bias)
    error += tf.matmul(tf.square(hidden), tf.exp(kernel)) + tf.exp(bias)
    exact = tf.reduce_sum(-0.5 * (error / VARIANCE + np.log(2 * np.pi * VARIANCE)), axis=1)
    form = model._shared_log_likelihood if shared_draw else model.log_likelihood
    draw = tf.function(lambda seed: form(x, z, seed)[0])
    assert_mean(np.stack([draw(tf.constant([i, 1])) for i in range(DRAWS)]), exact.numpy())
    kl = 0.5 * sum(
        tf.reduce_sum(tf.exp(v) + tf.square(w) - 1 - v)
        for w, v in ((mean_kernel, kernel), (mean_bias, bias))
    )
    np.testing.assert_allclose(model.parameter_kl(), kl, rtol=1e-6)
    theta, _ = model.draw_parameters(tf.constant([0, 1]))
    np.testing.assert_array_equal(theta[0], first)


def test_keras_file_round_trip(tmp_path: Path) -> None:
    model = compiled(linear_model(shared_draw=True, variational_layers=[0]))
    data = np.random.default_rng(5).normal(size=[NUM_DATA, 3]).astype(np.float32)
    model.fit(data, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = tf_keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    for first, second in zip(weights_of(model), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(first, second)


def test_what_does_not_fit_is_refused() -> None:
    prior, encoder = layers.StandardNormalPrior(2), layers.DiagonalGaussianPosterior(2, ())
    decoder = layers.BernoulliLikelihood(3, ())
    for kwargs, part in [
        ({"parameter_prior": "normal"}, "parameter_prior"),
        ({"sampled_parameter_kl": True}, "shared_draw"),
        ({"variational_layers": [1]}, "`variational_layers` must be numbers from -1 to 0, got [1]"),
    ]:
        assert_one_line(
            lambda kwargs=kwargs: FullVB(prior, encoder, decoder, **kwargs), ValueError, part
        )
    assert_one_line(
        lambda: FullVB(layers.DiagonalNormalPrior(2), encoder, decoder), ValueError, "prior"
    )
    assert_one_line(lambda: FullVB(prior, encoder, lambda z: z), ValueError, "decoder")
    model = FullVB(prior, encoder, decoder, num_data=10)
    model.num_data = None
    assert_one_line(lambda: model.elbo(tf.zeros([1, 3])), ValueError, "num_data")
