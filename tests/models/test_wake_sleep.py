"""Wake-sleep against the exact expected gradients of both phases on a linear-Gaussian model."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_mean, binary_data, compiled, weights_of
from tfp_aevb import layers
from tfp_aevb.models.wake_sleep import WakeSleep
from tfp_aevb.training.loops import Minibatch

VARIANCE = 0.5
DRAWS = 300


def linear_model(**kwargs) -> WakeSleep:
    """x = W z + b + noise with 3 pixels and 2 latents, q(z|x) with a linear mean."""
    tf.random.set_seed(5)
    return WakeSleep(
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (), init_stddev=0.4),
        layers.GaussianLikelihood(3, (), variance=VARIANCE, init_stddev=0.7),
        **kwargs,
    )


def minibatch(x: np.ndarray, seed: int) -> Minibatch:
    size = tf.constant(len(x), tf.float32)
    x = tf.constant(x, tf.float32)
    return Minibatch(x, tf.ones([len(x)]), size, tf.constant(50.0), 1, tf.constant([seed, 1]))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(2).normal(size=[40, 3])


@pytest.fixture(scope="module")
def gradients(x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights, and the gradients of the loss at many seeds, stacked."""
    model = linear_model()
    step = tf.function(model.losses_and_gradients)
    draws = [[g.numpy() for g in step(minibatch(x, seed))[2]] for seed in range(DRAWS)]
    return weights_of(model), [np.stack(parts) for parts in zip(*draws, strict=True)]


def test_the_wake_phase_ascends_log_p_of_x_and_z_under_q(x, gradients) -> None:
    (encoder_kernel, encoder_bias, kernel, bias), (_, _, d_kernel, d_bias) = gradients
    params = x @ encoder_kernel + encoder_bias
    mean, variance = params[:, :2], np.exp(params[:, 2:])
    residual = x - mean @ kernel - bias
    # E[(x - W z - b) z^T] = (x - W m - b) m^T - W S, for z ~ N(m, S).
    second = np.einsum("bj,bd->jd", mean, residual) - variance.sum(0)[:, None] * kernel
    assert_mean(d_kernel, -second / VARIANCE / len(x))
    assert_mean(d_bias, -residual.mean(0) / VARIANCE)


def test_the_sleep_phase_ascends_log_q_of_dreams(x, gradients) -> None:
    (encoder_kernel, encoder_bias, kernel, bias), (d_kernel, d_bias, _, _) = gradients
    # Dreams: z ~ N(0, I), x = W^T z + b + noise. The gradient's expectation over them has no closed
    # form, for q's variances depend on x: NumPy takes it over 400,000 dreams of its own.
    rng = np.random.default_rng(9)
    z = rng.normal(size=[400_000, 2])
    dreams = z @ kernel + bias + rng.normal(size=[len(z), 3]) * np.sqrt(VARIANCE)
    params = dreams @ encoder_kernel + encoder_bias
    mean, log_variance = params[:, :2], params[:, 2:]
    precision = np.exp(-log_variance)
    d_mean = (mean - z) * precision
    d_log_variance = 0.5 * (1.0 - (z - mean) ** 2 * precision)
    d_params = np.concatenate([d_mean, d_log_variance], axis=1)  # of -log q
    assert_within(d_bias, d_params)
    products = dreams[:, :, None] * d_params[:, None, :]
    assert_within(d_kernel, products)


def assert_within(samples: np.ndarray, reference: np.ndarray) -> None:
    """Fails unless both means agree within 5 standard errors of their difference."""
    errors = [v.std(0, ddof=1) / np.sqrt(len(v)) for v in (samples, reference)]
    difference = np.abs(samples.mean(0) - reference.mean(0))
    assert (difference <= 5 * np.hypot(*errors)).all()


def test_each_phase_moves_its_own_parameters(x) -> None:
    model = linear_model()
    _, _, first = model.losses_and_gradients(minibatch(x, 1))
    _, _, other = model.losses_and_gradients(minibatch(x + 1.0, 1))
    for i in (0, 1):  # the encoder learns from dreams alone, which other data leave as they are
        np.testing.assert_array_equal(first[i], other[i])
    assert np.abs(first[2] - other[2]).max() > 0.01


def test_the_bound_reported_is_the_lower_bound(x) -> None:
    model = linear_model()
    batch = minibatch(x, 3)
    loss, bound = model.training_loss(batch)
    np.testing.assert_allclose(bound.elbo, bound.reconstruction - bound.kl, rtol=1e-5)
    q = model.encode(x)
    log_variance = 2 * np.log(q.stddev())
    kl = -0.5 * np.sum(1 + log_variance - q.mean() ** 2 - np.exp(log_variance), axis=1)
    np.testing.assert_allclose(bound.kl, kl, rtol=1e-4)
    assert abs(float(loss) + float(tf.reduce_mean(bound.elbo))) > 0.1  # its loss is not the bound


def test_map_adds_the_parameter_prior_once(x) -> None:
    plain, penalised = linear_model(), linear_model(parameter_prior="normal")
    penalised.set_weights(plain.get_weights())
    difference = (
        penalised.training_loss(minibatch(x, 4))[0] - plain.training_loss(minibatch(x, 4))[0]
    )
    squares = sum(np.sum(w.astype(np.float64) ** 2) for w in weights_of(plain))
    np.testing.assert_allclose(difference, squares / 2 / 50, rtol=1e-4)


@pytest.mark.compile
def test_training_raises_the_bound() -> None:
    data = binary_data(200)
    model = compiled(
        WakeSleep(
            layers.StandardNormalPrior(2),
            layers.DiagonalGaussianPosterior(2, (8,)),
            layers.BernoulliLikelihood(6, (8,)),
        ),
        "adam",
    )
    before = model.evaluate(data, verbose=0, return_dict=True)["elbo"]
    model.fit(data, batch_size=50, epochs=60, verbose=0)
    assert model.evaluate(data, verbose=0, return_dict=True)["elbo"] > before + 0.1


@pytest.mark.compile
@pytest.mark.parametrize("inflated", [False, True])
def test_dreams_of_counts_are_drawn_by_xla(inflated: bool) -> None:
    likelihood = (
        layers.ZeroInflatedNegativeBinomialLikelihood
        if inflated
        else layers.NegativeBinomialLikelihood
    )
    model = WakeSleep(
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (4,)),
        likelihood(3, (4,)),
    )
    counts = np.random.default_rng(0).poisson(4.0, [40, 3]).astype(np.float32)
    history = compiled(model, jit_compile=True).fit(counts, batch_size=20, epochs=3, verbose=0)
    assert np.isfinite(history.history["elbo"]).all()
