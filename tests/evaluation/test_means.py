"""Means of weighted datapoints: those of repeated rows, and the spread of what is drawn."""

import math

import numpy as np
import pytest

from tfp_aevb.evaluation.means import mean_and_error, weighted_mean, weighted_variance

VALUES = np.random.default_rng(0).normal(-300.0, 20.0, [50, 3])
COUNTS = np.random.default_rng(1).integers(0, 5, 50).astype(np.float64)


def test_a_weighted_mean_is_that_of_repeated_rows() -> None:
    repeated = np.repeat(VALUES, COUNTS.astype(int), axis=0)
    np.testing.assert_allclose(weighted_mean(VALUES, COUNTS), repeated.mean(0), rtol=1e-13)


def test_equal_weights_are_none() -> None:
    for weights in (None, np.full(50, 0.2)):
        mean, error = mean_and_error(VALUES[:, 0], weights)
        assert mean == pytest.approx(VALUES[:, 0].mean(), rel=1e-13)
        assert error == pytest.approx(VALUES[:, 0].std(ddof=1) / math.sqrt(50.0), rel=1e-12)
        np.testing.assert_allclose(
            weighted_variance(VALUES, weights), VALUES.var(0, ddof=1), rtol=1e-12
        )


def test_unequal_weights_by_hand() -> None:
    values, weights = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 1.0])
    mean, error = mean_and_error(values, weights)
    squares = [1.25**2, 4.0 * 0.25**2, 1.75**2]  # w^2 (v - mean)^2
    assert mean == 1.25
    assert error == pytest.approx(math.sqrt(3.0 / 2.0 * sum(squares)) / 4.0, rel=1e-12)
    assert weighted_variance(values, weights) == pytest.approx(1.1875 / (1.0 - 6.0 / 16.0))


def test_what_does_not_count_may_be_anything() -> None:
    values = np.array([1.0, np.nan, 3.0, -np.inf])
    weights = np.array([1.0, 0.0, 1.0, 0.0])
    assert mean_and_error(values, weights) == (2.0, pytest.approx(1.0))
    assert weighted_variance(values, weights) == pytest.approx(2.0)
    mean, error = mean_and_error(values, np.array([1.0, 0.0, 0.0, 0.0]))
    assert mean == 1.0
    assert math.isnan(error)


def test_the_error_is_the_spread_of_means_and_the_variance_is_unbiased() -> None:
    rng = np.random.default_rng(2)
    weights = rng.gamma(1.0, size=[20_000, 200])
    values = rng.normal(5.0, 2.0, [20_000, 200])
    found = [mean_and_error(v, w) for v, w in zip(values, weights, strict=True)]
    means, errors = np.array(found).T
    spread = means.std(ddof=1)
    # The standard error of a spread of 20,000 means is 0.5% of it.
    assert np.sqrt((errors**2).mean()) == pytest.approx(spread, rel=0.02)
    variances = [weighted_variance(v, w) for v, w in zip(values, weights, strict=True)]
    error = np.std(variances) / math.sqrt(len(variances))
    assert abs(np.mean(variances) - 4.0) < 4.0 * error < 0.04
