"""The model without its noise or its KL term, against NumPy and exact gradients."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import (
    assert_mean,
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    small_model,
    weights_of,
)
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.diagnostics import latent_statistics
from tfp_aevb.evaluation.examination import notes_on
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.training.loops import Minibatch

VARIANCE = 0.5
COMBINATIONS = list(itertools.product((False, True), repeat=2))
every_combination = pytest.mark.parametrize(("sampled", "regularised"), COMBINATIONS)
X = np.random.default_rng(2).normal(size=[30, 3])


def linear_parts() -> list[tf_keras.layers.Layer]:
    tf_keras.utils.set_random_seed(5)
    return [
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (), init_stddev=0.4),
        layers.GaussianLikelihood(3, (), variance=VARIANCE, init_stddev=0.7),
    ]


def linear_model(sampled: bool, regularised: bool, **kwargs) -> AblatedAEVB:
    """x = W z + b + noise with 3 pixels and 2 latents, q(z|x) with a linear mean."""
    return AblatedAEVB(*linear_parts(), sampled=sampled, regularised=regularised, **kwargs)


def minibatch(seed: int) -> Minibatch:
    size, x = tf.constant(30.0), tf.constant(X, tf.float32)
    return Minibatch(x, tf.ones([30]), size, tf.constant(30.0), 1, tf.constant([seed, 1]))


def by_hand(model: AEVB) -> dict[str, np.ndarray]:
    """Mean and variance of q, residual at the mean, and both terms, in float64."""
    encoder_kernel, encoder_bias, kernel, bias = (w.astype(np.float64) for w in weights_of(model))
    mean, log_variance = np.split(X @ encoder_kernel + encoder_bias, 2, axis=1)
    variance = np.exp(log_variance)
    residual = X - mean @ kernel - bias
    constant = -1.5 * np.log(2.0 * np.pi * VARIANCE)
    return {
        "mean": mean,
        "variance": variance,
        "kernel": kernel,
        "residual": residual,
        "at_mean": constant - 0.5 * (residual**2).sum(1) / VARIANCE,
        # E|W eps|^2 of z's noise comes on top of the squared error.
        "of_noise": -0.5 * variance @ (kernel**2).sum(1) / VARIANCE,
        "kl": -0.5 * (1.0 + log_variance - mean**2 - variance).sum(1),
    }


@pytest.mark.compile(but_first=True)
@every_combination
def test_the_terms_are_those_computed_by_hand(sampled: bool, regularised: bool) -> None:
    model = linear_model(sampled, regularised)
    hand, x = by_hand(model), tf.constant(X, tf.float32)
    bound = model.bound(x, tf.constant([3, 4]))
    np.testing.assert_allclose(bound.kl, hand["kl"], rtol=1e-5)
    aim = bound.reconstruction - bound.kl if regularised else bound.reconstruction
    np.testing.assert_array_equal(bound.elbo, aim)
    if not sampled:
        np.testing.assert_allclose(bound.reconstruction, hand["at_mean"], rtol=1e-5)
        return
    estimate = tf.function(lambda seed: model.bound(x, seed, 500).reconstruction)
    draws = np.stack([estimate(tf.constant([3, i])) for i in range(200)])
    assert_mean(draws, hand["at_mean"] + hand["of_noise"])
    assert_mean(draws.sum(1), (hand["at_mean"] + hand["of_noise"]).sum(), standard_errors=4.0)


@pytest.mark.compile(but_first=True)
@every_combination
def test_what_evaluates_it_gives_the_evidence_lower_bound(sampled: bool, regularised: bool) -> None:
    model = linear_model(sampled, regularised)
    hand, rows = by_hand(model), Observations(np.tile(X[:3], [1000, 1]))
    exact = (hand["at_mean"] + hand["of_noise"] - hand["kl"])[:3]
    found = latent_statistics(model, rows, seed=1)
    for values in (model.elbo(rows.x, seed=1).numpy(), found.elbo):
        assert_mean(values.reshape([1000, 3]), exact)
    np.testing.assert_allclose(found.rate[:3], hand["kl"][:3], rtol=1e-5)
    model.compile("sgd", jit_compile=False)
    reported = model.evaluate(rows.x, verbose=0, return_dict=True)["elbo"]
    if sampled and regularised:
        assert notes_on(model) == ()
        return
    assert reported > exact.mean() + 0.1
    (note,) = notes_on(model)
    assert ("noise" in note, "KL term" in note) == (not sampled, not regularised)


def test_without_noise_the_seed_and_the_number_of_samples_are_of_no_effect() -> None:
    model = linear_model(False, False)
    first = model.bound(tf.constant(X, tf.float32), tf.constant([1, 2]), 1)
    other = model.bound(tf.constant(X, tf.float32), tf.constant([8, 9]), 7)
    np.testing.assert_array_equal(first.elbo, other.elbo)
    noisy = linear_model(True, False)
    draws = [noisy.bound(tf.constant(X, tf.float32), tf.constant([s, 2])).elbo for s in (1, 8)]
    assert np.abs(draws[0] - draws[1]).max() > 0.1


def test_with_both_parts_it_is_aevb() -> None:
    ablated, plain = linear_model(True, True, num_samples=3), AEVB(*linear_parts(), num_samples=3)
    plain.set_weights(ablated.get_weights())
    mine, theirs = (m.losses_and_gradients(minibatch(3)) for m in (ablated, plain))
    for first, second in zip(tf.nest.flatten(mine), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.compile(but_first=True)
@every_combination
def test_gradients_are_those_of_the_expected_aim(sampled: bool, regularised: bool) -> None:
    model = linear_model(sampled, regularised)
    step = tf.function(model.losses_and_gradients)
    seeds = range(300 if sampled else 2)
    draws = [[g.numpy() for g in step(minibatch(seed))[2]] for seed in seeds]
    _, d_bias_encoder, d_kernel, d_bias = (np.stack(parts) for parts in zip(*draws, strict=True))
    hand = by_hand(model)
    # Of minus the mean aim: with respect to q's mean and log-variance, W and b.
    d_mean = -hand["residual"] @ hand["kernel"].T / VARIANCE
    d_log_variance = np.zeros_like(hand["variance"])
    d_w = -np.einsum("bj,bd->jd", hand["mean"], hand["residual"]) / VARIANCE
    if sampled:
        d_log_variance += 0.5 * hand["variance"] * (hand["kernel"] ** 2).sum(1) / VARIANCE
        d_w += hand["variance"].sum(0)[:, None] * hand["kernel"] / VARIANCE
    if regularised:
        d_mean = d_mean + hand["mean"]
        d_log_variance += 0.5 * (hand["variance"] - 1.0)
    expected = np.concatenate([d_mean, d_log_variance], axis=1).mean(0)
    for found, value in (
        (d_bias_encoder, expected),
        (d_kernel, d_w / 30),
        (d_bias, -hand["residual"].mean(0) / VARIANCE),
    ):
        if sampled:
            assert_mean(found, value)
        else:
            np.testing.assert_allclose(found[0], value, rtol=1e-4, atol=1e-5)


@pytest.mark.compile
def test_a_linear_auto_encoder_finds_the_plane_of_pca() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=[200, 2]) @ rng.normal(size=[2, 3]) + 0.3 * rng.normal(size=[200, 3])
    model = compiled(linear_model(False, False), tf_keras.optimizers.Adam(0.02))
    model.fit(x.astype(np.float32), batch_size=200, epochs=600, verbose=0)
    last = np.linalg.svd(x - x.mean(0))[2][2]  # the direction that PCA leaves out
    directions = weights_of(model)[2]
    assert np.abs(directions @ last).max() < 0.02 * np.linalg.norm(directions, axis=1).min()
    error = np.square(x - model.reconstruct(x)).mean()
    best = np.square((x - x.mean(0)) @ last).mean() / 3
    assert best <= error < 1.01 * best


@pytest.mark.compile(but_first=True)
@every_combination
def test_a_keras_file_holds_it(sampled: bool, regularised: bool, tmp_path: Path) -> None:
    data = binary_data()
    parts = {part: getattr(small_model(), part) for part in ("prior", "encoder", "decoder")}
    model = compiled(AblatedAEVB(**parts, sampled=sampled, regularised=regularised))
    model.fit(data, batch_size=10, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded) is AblatedAEVB
    assert (loaded.sampled, loaded.regularised) == (sampled, regularised)
    assert_same_arrays(weights_of(model), weights_of(loaded))
    np.testing.assert_array_equal(model.elbo(data, seed=1), loaded.elbo(data, seed=1))


def test_other_estimators_are_refused() -> None:
    assert_one_line(
        lambda: linear_model(False, True, objective="sgvb_a"), ValueError, "`objective`", "'sgvb_a'"
    )


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("method", "sampled", "regularised"),
    [("autoencoder", False, False), ("no_kl", True, False), ("mean_only", False, True)],
)
def test_methods_of_train_make_it(method: str, sampled: bool, regularised: bool) -> None:
    num_samples = 2 if sampled else 1  # more are refused where nothing is drawn
    config = TrainConfig(
        method=method, hidden_units=(4,), latent_dim=2, num_samples=num_samples, seed=3
    )
    model = build_model(config, (6,), 25)
    assert type(model) is AblatedAEVB
    assert (model.sampled, model.regularised) == (sampled, regularised)
    assert (model.parameter_prior, model.num_samples) == ("normal", num_samples)
    assert model.seed == 3
    history = model.fit(binary_data(), batch_size=10, epochs=2, verbose=0).history  # under XLA
    expected = history["reconstruction"][1] - (history["kl"][1] if regularised else 0.0)
    assert history["elbo"][1] == pytest.approx(expected, rel=1e-5)
    assert history["elbo"][1] > history["elbo"][0]
