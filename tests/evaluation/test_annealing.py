"""Annealed importance sampling against exact log p(x), far from 0 and where q is bad."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tests.exact_answers import Case, linear, pixels
from tests.helpers import assert_mean, assert_one_line
from tfp_aevb.evaluation import AnnealedEstimate, annealed_log_prob, importance_log_prob
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.seeds import as_seed

CASES = {
    "log p near -450, q three sds off": (lambda: pixels(20), 5),
    "log p near -126": (lambda: linear(4, 100, 60, shift=0.1, widen=1.5), 5),
    "log p near +130": (lambda: linear(2, 100, 60, sd=0.06, shift=0.01, widen=1.5), 5),
    "q too narrow": (lambda: linear(2, 20, 60, widen=0.2), 10),
    "q too wide": (lambda: linear(2, 20, 60, widen=10.0), 10),
}


@functools.cache
def found(name: str) -> tuple[Case, AnnealedEstimate]:
    make, num_chains = CASES[name]
    exact = make()
    estimate = annealed_log_prob(exact.model, exact.x, num_chains, seed=1)
    return exact, AnnealedEstimate(*(value.numpy() for value in estimate))


@pytest.mark.compile
@pytest.mark.parametrize("name", CASES)
def test_weights_are_unbiased_and_their_logarithm_nearly_so(name: str) -> None:
    exact, estimate = found(name)
    difference = estimate.log_prob.astype(np.float64) - exact.log_prob
    assert_mean(np.exp(difference), 1.0, standard_errors=4.0)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    # The bias of a logarithm of a mean is half its variance.
    assert abs(difference.mean() + 0.5 * difference.var()) < 4.0 * error + 0.01
    assert error < 0.08
    assert abs(estimate.acceptance.mean() - 0.95) < 0.02
    assert (estimate.acceptance < 1.0).all()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("log p")])
def test_a_likelihood_one_percent_off_is_seen(name: str) -> None:
    """The tolerances above are far smaller than what one percent of log p(x) is."""
    exact, estimate = found(name)
    difference = estimate.log_prob.astype(np.float64) - 1.01 * exact.log_prob
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert abs(difference.mean() + 0.5 * difference.var()) > 10.0 * error + 0.1


@pytest.mark.compile
def test_compiled_by_xla_it_is_unbiased_too() -> None:
    exact = linear(5, 7, 100, shift=0.5, widen=1.5)
    run = tf.function(lambda: annealed_log_prob(exact.model, exact.x, 10, seed=3), jit_compile=True)
    estimate = run()
    assert_mean(np.exp(estimate.log_prob.numpy().astype(np.float64) - exact.log_prob), 1.0)
    assert np.median(estimate.effective_sample_size) > 5.0


@pytest.mark.compile
def test_from_a_far_proposal_it_beats_importance_sampling_from_it() -> None:
    exact = linear(2, 4, 100, shift=1.0)
    annealed = annealed_log_prob(exact.model, exact.x, 10, num_temperatures=50, seed=4)
    plain = importance_log_prob(exact.model, exact.x, 10, seed=4)
    errors = [abs((found.log_prob - exact.log_prob).numpy().mean()) for found in (annealed, plain)]
    assert errors[0] < 0.1 * errors[1]
    sizes = [np.median(found.effective_sample_size) for found in (annealed, plain)]
    assert sizes[0] > 2.0 * sizes[1]


@pytest.mark.compile
def test_one_temperature_is_importance_sampling() -> None:
    exact = linear(2, 4, 50, widen=1.5)
    estimate = annealed_log_prob(exact.model, exact.x, 3, num_temperatures=1, seed=5)
    start_seed = tfp.random.split_seed(as_seed(5), n=4)[0]
    q = exact.model.encode(tf.constant(exact.x))
    z = q.sample(3, seed=start_seed)
    log_weights = exact.model.log_joint(tf.constant(exact.x), z) - q.log_prob(z)
    log_mean = tf.reduce_logsumexp(log_weights, axis=0) - np.log(3.0)
    np.testing.assert_allclose(estimate.log_prob, log_mean, rtol=1e-5)
    weights = np.exp(log_weights - log_mean)
    size = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)
    np.testing.assert_allclose(estimate.effective_sample_size, size, rtol=1e-3)


@pytest.mark.compile
def test_the_seed_decides_and_no_seed_is_another_one_each_time() -> None:
    exact = linear(2, 4, 3, widen=2.0)
    runs = [
        annealed_log_prob(exact.model, exact.x, 2, num_temperatures=2, seed=seed).log_prob.numpy()
        for seed in (1, 1, 2, None, None)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert len({float(run[0]) for run in runs}) == 4


@pytest.mark.compile
def test_impossible_data_have_a_log_probability_of_minus_infinity() -> None:
    prior = tfd.MultivariateNormalDiag(tf.zeros([1]))
    model = AEVB(
        prior,
        lambda x: tfd.MultivariateNormalDiag(tf.zeros([tf.shape(x)[0], 1])),
        lambda z: tfd.Independent(tfd.Bernoulli(probs=tf.zeros_like(z), dtype=tf.float32), 1),
        objective="sgvb_a",
    )
    estimate = annealed_log_prob(model, np.ones([1, 1], np.float32), 3, num_temperatures=4, seed=0)
    assert estimate.log_prob.numpy() == -np.inf
    assert estimate.effective_sample_size.numpy() == 0.0


def test_bad_numbers_are_refused() -> None:
    exact = linear(2, 4, 2)
    for name, value in (
        ("num_chains", 0),
        ("num_temperatures", 0),
        ("num_leapfrog_steps", -1),
        ("step_size", 0.0),
    ):
        assert_one_line(
            lambda name=name, value=value: annealed_log_prob(exact.model, exact.x, **{name: value}),
            ValueError,
            f"`{name}` must be ",
            f"got {value}",
        )
