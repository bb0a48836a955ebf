"""The bound of a model without latents, against densities of SciPy and against models."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.combinations import COLUMNS, Combination
from tfp_aevb import layers
from tfp_aevb.data.columns import Column
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.constants import constant_bound
from tfp_aevb.runs import build
from tfp_aevb.runs.settings.choices import LIKELIHOODS

RNG = np.random.default_rng(0)
NETWORK: dict[str, Any] = {"hidden_units": (3,)}


def bound_of(likelihood: object, train: np.ndarray, x: np.ndarray, **options: object) -> float:
    data = (Observations(values, **options) for values in (train, x))  # type: ignore[arg-type]
    found = constant_bound(likelihood, *data)
    assert found is not None
    return found


def test_pixels_have_their_own_frequencies() -> None:
    train, x = (RNG.random((n, 4)) < [0.1, 0.5, 0.9, 0.0] for n in (500, 60))
    rate = (train.sum(0) + 0.5) / 501.0
    expected = stats.bernoulli.logpmf(x, rate).sum(1).mean()
    likelihood = layers.BernoulliLikelihood((2, 2), **NETWORK)
    images = (values.reshape(-1, 2, 2).astype(np.uint8) for values in (train, x))
    assert bound_of(likelihood, *images) == pytest.approx(expected, rel=1e-6)


def test_grey_pixels_that_are_drawn_anew_count_as_their_draws_do() -> None:
    grey = RNG.integers(0, 256, (300, 3)).astype(np.uint8)
    likelihood = layers.BernoulliLikelihood(3, **NETWORK)
    found = bound_of(likelihood, grey, grey, scale=255.0, dynamic_binarization=True)
    draws = (RNG.random((400, *grey.shape)) < grey / 255.0).reshape(-1, 3)
    rate = ((grey / 255.0).sum(0) + 0.5) / 301.0
    assert found == pytest.approx(stats.bernoulli.logpmf(draws, rate).sum(1).mean(), rel=1e-2)


@pytest.mark.parametrize(
    ("variance", "expected"),
    [("per_pixel", [1.0, 4.0]), ("global", [1.0, 4.0]), ("scalar", [1.0, 4.0]), (2.0, None)],
)
def test_real_values_have_their_own_moments(variance: object, expected: list[float] | None) -> None:
    train, x = (RNG.normal([3.0, -1.0], [1.0, 2.0], (n, 2)) for n in (2000, 500))
    square = train.astype(np.float32).var(0)
    scale = np.sqrt(2.0 if expected is None else np.maximum(square, square.mean()))
    likelihood = layers.GaussianLikelihood(2, variance=variance, **NETWORK)  # type: ignore[arg-type]
    by_hand = stats.norm.logpdf(x, train.mean(0), scale).sum(1).mean()
    assert bound_of(likelihood, train, x) == pytest.approx(by_hand, rel=1e-4)


def test_a_pixel_that_is_always_black_does_not_decide() -> None:
    train = RNG.random((100, 8)) * [1, 1, 1, 1, 0, 0, 0, 0]
    assert bound_of(layers.GaussianLikelihood(8, **NETWORK), train, train) < 8.0


def test_counts_have_their_means() -> None:
    train = RNG.poisson([1.0, 30.0, 0.0], (400, 3)).astype(float)
    expected = stats.poisson.logpmf(train, (train.sum(0) + 0.5) / 401.0).sum(1).mean()
    for name in ("Poisson", "NegativeBinomial", "ZeroInflatedPoisson"):
        likelihood = getattr(layers, f"{name}Likelihood")(3, **NETWORK)
        assert bound_of(likelihood, train, train) == pytest.approx(expected, rel=1e-6)


def test_a_table_has_each_column_of_its_kind_without_the_gaps() -> None:
    columns = [
        Column("a", "real", scale=2.0),
        Column("b", "count"),
        Column("c", "binary", ("no", "yes")),
        Column("d", "categorical", ("x", "y", "z")),
    ]
    x = np.stack(
        [
            RNG.normal(5.0, 2.0, 300),
            RNG.poisson(4.0, 300),
            RNG.random(300) < 0.3,
            RNG.integers(0, 3, 300),
        ],
        axis=1,
    )
    x[::3, 0] = np.nan
    x[1::3, 3] = np.nan
    likelihood = layers.MixedLikelihood(columns, **NETWORK)
    found = bound_of(likelihood, x, x, allow_missing=True)
    real = x[~np.isnan(x[:, 0]), 0]
    parts = [
        stats.norm.logpdf(real, real.mean(), max(real.std(), 2.0)).sum(),
        stats.poisson.logpmf(x[:, 1], (x[:, 1].sum() + 0.5) / 301).sum(),
        stats.bernoulli.logpmf(x[:, 2], (x[:, 2].sum() + 0.5) / 301).sum(),
        -np.log(3.0) * 200,
    ]
    assert found == pytest.approx(sum(parts) / 300, rel=1e-5)


def test_what_is_not_known_is_none() -> None:
    x = Observations(RNG.normal(size=(5, 2)))
    assert constant_bound(layers.StudentTLikelihood(2, **NETWORK), x, x) is None
    assert constant_bound(lambda z: z, x, x) is None


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        (layers.DiscretizedLogisticLikelihood(3, **NETWORK), -3 * np.log(256.0)),
        (layers.CategoricalLikelihood(3, 4, **NETWORK), -3 * np.log(4.0)),
        (layers.BetaLikelihood(3, **NETWORK), 0.0),
        (layers.ContinuousBernoulliLikelihood(3, **NETWORK), 0.0),
    ],
)
def test_others_are_uniform(likelihood: object, expected: float) -> None:
    x = np.full((5, 3), 0.0)
    assert bound_of(likelihood, x, x) == pytest.approx(expected)


def test_each_likelihood_of_a_run_has_one_but_student_s() -> None:
    for name in LIKELIHOODS:
        combination = Combination("standard_normal", "diagonal", name, "sgvb_b")
        x = combination.data()
        if name == "mixed":
            likelihood: object = layers.MixedLikelihood(COLUMNS, **NETWORK)
        else:
            likelihood = build._likelihood(combination.config(), [x.shape[1]], NETWORK)
        data = Observations(x, allow_missing=True)
        found = constant_bound(likelihood, data, data)
        assert (found is None) == (name == "student_t")
        assert found is None or np.isfinite(found)


def test_weighted_rows_are_repeated_ones() -> None:
    train, x = (RNG.normal(1.0, 2.0, (n, 3)).astype(np.float32) for n in (40, 30))
    counts = [RNG.integers(0, 4, n) for n in (40, 30)]
    likelihood = layers.GaussianLikelihood(3, **NETWORK)
    weighted = constant_bound(
        likelihood, *(Observations(v, weights=w) for v, w in zip((train, x), counts, strict=True))
    )
    repeated = [np.repeat(v, w, axis=0) for v, w in zip((train, x), counts, strict=True)]
    assert weighted == pytest.approx(bound_of(likelihood, *repeated), rel=1e-6)
    assert abs(weighted - bound_of(likelihood, train, x)) > 0.01
