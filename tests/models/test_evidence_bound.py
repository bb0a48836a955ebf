"""`elbo` is the evidence lower bound whatever the objective, with any number of samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import LinearGaussian, assert_mean, assert_one_line, small_model
from tfp_aevb import objectives
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.diagnostics import latent_statistics
from tfp_aevb.evaluation.scores import bound_note, score
from tfp_aevb.export import export_saved_model
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives import OBJECTIVES
from tfp_aevb.runs.settings.config import TrainConfig

tfd = tfp.distributions
EXACT = LinearGaussian()
SHIFT, WIDEN = 0.3, 1.4
ROWS = 4000
X = np.repeat(EXACT.data(1), ROWS, axis=0).astype(np.float32)
OTHERS = sorted(n for n, kind in OBJECTIVES.items() if not kind.ascends_evidence)


def model_of(objective: str, prior: Any = None) -> AEVB:
    """A linear-Gaussian model whose q(z|x) is the posterior, shifted and widened."""
    return AEVB(
        prior or EXACT.prior(tf.float32),
        EXACT.encoder(SHIFT, WIDEN, tf.float32),
        EXACT.decoder(tf.float32),
        objective=objective,
        num_samples=4,
    )


def exact_elbo() -> float:
    """log p(x) - KL(q(z|x) || p(z|x)), in closed form."""
    covariance = EXACT.posterior(X[:1])[1]
    squared = SHIFT**2 * np.linalg.inv(covariance).sum()
    kl = 0.5 * (squared + 2 * (WIDEN**2 - 1 - np.log(WIDEN**2)))
    return float(EXACT.log_prob(X[:1])[0] - kl)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_elbo_is_the_evidence_lower_bound_of_every_objective(objective: str) -> None:
    model = model_of(objective)
    assert_mean(model.elbo(X, 1, seed=1).numpy(), exact_elbo())
    assert_mean(model.elbo(X, seed=2).numpy(), exact_elbo())
    assert_mean(score(model, Observations(X), "elbo", 1, seed=3).values, exact_elbo())
    found = latent_statistics(model, Observations(X), seed=3)
    assert_mean(found.elbo, exact_elbo())
    kl = tfd.kl_divergence(EXACT.encoder(SHIFT, WIDEN)(X[:1]), EXACT.prior()).numpy()[0]
    if model.objective.name in ("sgvb_a", "score_function", "stl"):
        assert_mean(found.rate, kl)
    else:  # in closed form
        np.testing.assert_allclose(found.rate, kl, rtol=1e-4)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", OTHERS)
def test_what_is_trained_and_reported_by_keras_is_another_bound(objective: str) -> None:
    model = model_of(objective)
    model.compile("sgd", jit_compile=False)
    reported = model.evaluate(X, verbose=0, return_dict=True)["elbo"]
    assert reported > exact_elbo() + 0.02
    note = bound_note(model)
    assert f"--objective={objective}" in note
    assert ("Renyi" if objective == "renyi" else "L_4") in note
    assert bound_note(model_of("stl")) == ""


def test_a_prior_without_closed_form_has_its_kl_sampled() -> None:
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]),
        tfd.MultivariateNormalDiag(tf.zeros([2, 2]), tf.ones([2, 2])),
    )
    assert_mean(model_of("iwae", mixture).elbo(X, 1, seed=1).numpy(), exact_elbo())


def test_a_posterior_that_is_not_reparameterised_has_the_score_function() -> None:
    class Posterior(tfd.MultivariateNormalDiag):  # type: ignore[name-defined]
        reparameterization_type = tfd.NOT_REPARAMETERIZED

    loc = tf.Variable(0.4)
    prior = tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1))
    with tf.GradientTape() as tape:
        posterior = Posterior(tf.fill([200_000, 1], loc), tf.ones([200_000, 1]))
        found = objectives.evidence_bound(posterior, prior, lambda z: z[..., 0], 1, [1, 2])
        total = tf.reduce_mean(found.elbo)
    # E[z] - KL = loc - loc^2 / 2
    assert float(total) == pytest.approx(0.4 - 0.08, abs=0.02)
    assert float(tape.gradient(total, loc)) == pytest.approx(1.0 - 0.4, abs=0.03)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", ["vimco", "rws", "f_divergence"])
def test_a_tensor_of_one_sample_gives_the_ordinary_bound(objective: str) -> None:
    function: Callable = tf.function(OBJECTIVES[objective]().estimate)
    posterior = EXACT.encoder(SHIFT, WIDEN, tf.float32)(X)
    decoder = EXACT.decoder(tf.float32)

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        return tf.reshape(decoder(tf.reshape(z, [-1, 2])).log_prob(X), [-1, ROWS])

    prior = EXACT.prior(tf.float32)
    found = function(posterior, prior, log_likelihood, tf.constant(1), tf.constant([1, 2]))
    assert_mean(found.elbo.numpy(), exact_elbo())


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", OTHERS)
def test_the_exported_elbo_is_the_live_one(objective: str, tmp_path) -> None:
    model = small_model(objective=objective, num_samples=3)
    export_saved_model(model, tmp_path / "saved")
    served = tf.saved_model.load(tmp_path / "saved")
    x = tf.zeros([5, 6])
    for count in (1, 4):
        found = served.elbo(x=x, num_samples=tf.constant(count), seed=tf.constant([1, 2]))
        expected = model.elbo(x, count, seed=tf.constant([1, 2]))
        np.testing.assert_allclose(found["elbo"], expected, rtol=1e-5)
        assert (found["kl"].numpy() >= 0.0).all()


@pytest.mark.parametrize("objective", ["vimco", "rws", "f_divergence"])
def test_one_sample_is_refused_in_training(objective: str) -> None:
    make = lambda: small_model(objective=objective)  # noqa: E731
    assert_one_line(make, ValueError, objective, "at least 2 samples", "1")
    config = lambda: TrainConfig(objective=objective)  # noqa: E731
    assert_one_line(config, ValueError, f"--objective={objective}", "--num_samples=2", "got 1")
