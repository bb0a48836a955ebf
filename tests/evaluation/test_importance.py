from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import LinearGaussian, assert_one_line, binary_data, small_model
from tfp_aevb.evaluation import ImportanceEstimate, importance, importance_log_prob
from tfp_aevb.models.aevb import AEVB

tfd = tfp.distributions
LINEAR = LinearGaussian(data_dim=3, seed=0)  # no term of the weight is close to 0 on average
FAR_AWAY = LINEAR.data(1) + 300.0  # log p(x) is below -1e4: p(x) itself underflows
SEED = np.array([3, 7], np.int32)


def _model(part: str = "", factor: float = 1.0, shift: float = 0.0, widen: float = 1.0) -> AEVB:
    """Returns the linear-Gaussian model; the log density of `part` is multiplied by `factor`."""

    def changed(name: str, distribution: tfd.Distribution) -> tfd.Distribution:
        if name == part:
            log_prob = distribution.log_prob
            distribution.log_prob = lambda value: factor * log_prob(value)
        return distribution

    encoder = LINEAR.encoder(shift, widen, tf.float32)
    decoder = LINEAR.decoder(tf.float32)
    return AEVB(
        lambda: changed("prior", LINEAR.prior(tf.float32)),
        lambda x: changed("encoder", encoder(x)),
        lambda z: changed("decoder", decoder(z)),
    )


def _errors(model: AEVB) -> tuple[np.ndarray, np.ndarray]:
    """Returns estimate - log p(x) for 1000 points, and the computed standard errors."""
    x = LINEAR.data(1000)
    estimate = importance_log_prob(model, x, 4000, seed=1)
    return estimate.log_prob.numpy() - LINEAR.log_prob(x), estimate.standard_error.numpy()


def _mean_in_standard_errors(model: AEVB) -> float:
    errors, standard_errors = _errors(model)
    return errors.sum() / np.linalg.norm(standard_errors)


def _one_shot(log_weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns what the estimator promises for log-weights [K, B], in float64."""
    peak = log_weights.max(axis=0)
    weights = np.exp(log_weights - peak)
    sample_size = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)
    error = np.sqrt(1.0 / sample_size - 1.0 / len(weights))
    return peak + np.log(weights.mean(axis=0)), sample_size, error


def _draws(model: AEVB, x: np.ndarray, num_samples: int, chunk: int) -> np.ndarray:
    """Returns the documented draws z [K, B, J]."""
    posterior = model.encode(x)
    chunks = [
        posterior.sample(chunk, seed=tf.random.experimental.stateless_fold_in(SEED, i))
        for i in range(-(-num_samples // chunk))
    ]
    return np.concatenate(chunks)[:num_samples].astype(np.float64)


@pytest.mark.parametrize("num_samples", [1, 7, 1000])
def test_exact_posterior_gives_exact_log_prob_for_any_number_of_samples(num_samples: int) -> None:
    x = np.concatenate([LINEAR.data(50), FAR_AWAY])
    estimate = importance_log_prob(_model(), x, num_samples, seed=1)
    np.testing.assert_allclose(estimate.log_prob, LINEAR.log_prob(x), rtol=1e-6, atol=2e-5)
    np.testing.assert_allclose(estimate.effective_sample_size[:-1], num_samples, rtol=1e-5)
    assert np.max(estimate.standard_error[:-1]) < 1e-3


def test_wrong_posterior_agrees_with_exact_log_prob_within_standard_errors() -> None:
    assert abs(_mean_in_standard_errors(_model(shift=0.2, widen=1.2))) < 5.0


def test_standard_errors_are_the_spread_of_the_errors() -> None:
    errors, standard_errors = _errors(_model(shift=0.2, widen=1.2))
    spread = np.sqrt(np.mean((errors / standard_errors) ** 2))
    assert abs(spread - 1.0) < 5.0 / np.sqrt(2.0 * len(errors))


@pytest.mark.parametrize("part", ["prior", "encoder", "decoder"])
def test_comparison_with_exact_log_prob_sees_a_term_one_percent_off(part: str) -> None:
    assert abs(_mean_in_standard_errors(_model(part, 1.01, shift=0.2, widen=1.2))) > 50.0


def test_estimate_rises_to_log_prob_with_the_number_of_samples() -> None:
    x, model = LINEAR.data(4000), _model(shift=0.5, widen=1.5)
    one, ten = (importance_log_prob(model, x, k, seed=1).log_prob.numpy() for k in (1, 10))
    for lower, upper in ((one, ten), (ten, LINEAR.log_prob(x))):
        gap = upper - lower
        assert gap.mean() > 5.0 * gap.std() / np.sqrt(len(gap))


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_chunks_give_the_one_shot_estimate_of_the_same_draws(chunk: int) -> None:
    model, x = _model(shift=0.3, widen=1.4), np.concatenate([LINEAR.data(6), FAR_AWAY - 299.0])
    z = _draws(model, x, 23, chunk)
    log_weights = [
        np.asarray(model.log_likelihood(tf.constant(x, tf.float32), tf.constant(z, tf.float32))),
        model.prior_distribution().log_prob(z),
        -model.encode(x).log_prob(z).numpy(),
    ]
    expected = _one_shot(np.sum(log_weights, axis=0, dtype=np.float64))
    for value, exact in zip(importance_log_prob(model, x, 23, SEED, chunk), expected, strict=True):
        np.testing.assert_allclose(value, exact, rtol=5e-5, atol=2e-5)


def test_draws_outside_the_prior_count_with_weight_zero() -> None:
    low, high = tf.constant([-1.5, -1.0]), tf.constant([1.0, 1.5])
    model = AEVB(
        tfd.Independent(tfd.Uniform(low, high), 1),
        lambda x: tfd.MultivariateNormalDiag(tf.zeros([tf.shape(x)[0], 2]), tf.ones([2])),
        LINEAR.decoder(tf.float32),
        objective="sgvb_a",
    )
    x = np.concatenate([LINEAR.data(5), LINEAR.data(5) + 60.0])
    z = _draws(model, x, 40, 1)
    inside = ((z > low.numpy()) & (z < high.numpy())).all(axis=-1)
    assert not inside[0, 5:].all()  # a running sum starts with 0, and tiny weights follow
    assert inside.any(axis=0).all()
    log_likelihood = model.log_likelihood(tf.constant(x, tf.float32), tf.constant(z, tf.float32))
    log_ratio = -np.log(2.5**2) - model.encode(x).log_prob(z).numpy()
    expected = _one_shot(np.where(inside, log_likelihood + log_ratio, -np.inf))
    for value, exact in zip(importance_log_prob(model, x, 40, SEED, 1), expected, strict=True):
        np.testing.assert_allclose(value, exact, rtol=5e-5, atol=2e-5)


def test_impossible_datapoint_has_no_effective_samples() -> None:
    model = AEVB(
        LINEAR.prior(tf.float32),
        lambda x: tfd.MultivariateNormalDiag(x[:, :2], tf.ones([2])),
        lambda z: tfd.Independent(tfd.Uniform(tf.zeros([tf.shape(z)[0], 3]), 1.0), 1),
    )
    estimate = importance_log_prob(model, [[0.5, 0.5, 0.5], [0.5, 0.5, 2.0]], 8, seed=1)
    assert np.isfinite(estimate.log_prob[0])
    np.testing.assert_array_equal([part[1] for part in estimate], [-np.inf, 0.0, np.inf])


def _dynamic(model: AEVB, chunk: int | None) -> Callable[..., ImportanceEstimate]:
    signature = [
        tf.TensorSpec([None, LINEAR.data_dim], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ]
    return tf.function(
        lambda x, num_samples, seed: importance_log_prob(model, x, num_samples, seed, chunk),
        input_signature=signature,
    )


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("num_samples", [1, 4, 5, 13])
def test_graph_with_unknown_sizes_agrees_with_eager(num_samples: int) -> None:
    model, x = _model(shift=0.3, widen=1.4), tf.constant(LINEAR.data(6), tf.float32)
    graph = _dynamic(model, 4)(x, tf.constant(num_samples), SEED)
    eager = importance_log_prob(model, x, num_samples, SEED, 4)
    for value, expected in zip(graph, eager, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_unknown_batch_size_needs_no_chunk() -> None:
    x = LINEAR.data(6).astype(np.float32)
    estimate = _dynamic(_model(), None)(x, tf.constant(13), SEED)
    np.testing.assert_allclose(estimate.log_prob, LINEAR.log_prob(x), atol=2e-5)
    np.testing.assert_allclose(estimate.effective_sample_size, 13.0, rtol=1e-5)


def test_chunk_of_an_unknown_batch_size_bounds_decoded_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importance, "MAX_CHUNK_FLOATS", 4 * 10 * LINEAR.data_dim)
    monkeypatch.setattr(importance, "MAX_CHUNK", 7)
    size = tf.function(lambda x: importance._chunk_size(x, None), reduce_retracing=True)
    x = tf.TensorSpec([None, LINEAR.data_dim])
    sizes = [int(size.get_concrete_function(x)(tf.zeros([n, LINEAR.data_dim]))) for n in (10, 100)]
    assert sizes == [4, 1]
    assert int(size.get_concrete_function(x)(tf.zeros([1, LINEAR.data_dim]))) == 7


def test_xla_takes_unknown_number_of_samples() -> None:
    model, x = _model(), LINEAR.data(6)

    @tf.function(jit_compile=True)
    def compiled(x: tf.Tensor, num_samples: tf.Tensor) -> ImportanceEstimate:
        return importance_log_prob(model, x, num_samples, SEED, 5)

    estimate = compiled(tf.constant(x, tf.float32), tf.constant(23))
    np.testing.assert_allclose(estimate.log_prob, LINEAR.log_prob(x), atol=2e-5)
    np.testing.assert_allclose(estimate.effective_sample_size, 23.0, rtol=1e-5)


def test_seed_determines_the_draws() -> None:
    model, x = small_model(), binary_data(4)
    first, again, other, fresh, fresher = (
        importance_log_prob(model, x, 3, seed=seed).log_prob.numpy()
        for seed in (1, 1, 2, None, None)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()
    assert not np.isclose(fresh, fresher).any()


def test_automatic_chunk_bounds_decoded_values_and_encoder_runs_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importance, "MAX_CHUNK_FLOATS", 4 * 10 * LINEAR.data_dim)
    inner, decoded, encoded = _model(), [], []

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        decoded.append(z.shape[0])
        return inner.decoder(z)

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        encoded.append(x.shape[0])
        return inner.encoder(x)

    model = AEVB(inner.prior, encoder, decoder)
    decoded.clear()
    encoded.clear()
    importance_log_prob(model, LINEAR.data(10), 17, seed=1)
    assert set(decoded) == {4 * 10}
    assert encoded == [10]
    decoded.clear()
    importance_log_prob(model, LINEAR.data(10), 3, seed=1)
    assert set(decoded) == {3 * 10}


@pytest.mark.parametrize("num_samples", [0, -2, np.int32(0)])
def test_number_of_samples_must_be_positive(num_samples: int | np.int32) -> None:
    value = str(int(num_samples))
    assert_one_line(
        lambda: importance_log_prob(small_model(), binary_data(), num_samples),
        ValueError,
        "`num_samples`",
        value,
    )


def test_other_bad_arguments_are_named_in_one_line() -> None:
    model = small_model()
    assert_one_line(
        lambda: importance_log_prob(model, binary_data(), 5, chunk=0), ValueError, "`chunk`", "0"
    )
    assert_one_line(
        lambda: importance_log_prob(model, binary_data(dim=7), 5), ValueError, "`x`", "[B, 6]"
    )
