"""The bound of a model without latents: each element of x with a distribution of its own."""

import math
from typing import Any

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from tfp_aevb import layers
from tfp_aevb.data.observations import Observations

MAX_ROWS = 10_000


def constant_bound(likelihood: Any, train: Observations, x: Observations) -> float | None:
    """Returns the mean log density of `x` under constants, nats per datapoint.

    The constants are those that fit `train`, or less: a model that learns anything has a higher
    bound. An element's variance is at least the elements' mean variance, for that of pixels that
    are always black would give any density; counts are Poisson; categories, levels and other
    values in [0, 1] are uniform.

    Args:
        likelihood: the layer of p(x|z).
        train: the data to fit; of many the first 10,000 rows.
        x: the data to score, likewise.

    Returns:
        The bound, or `None` if the likelihood is not one of these.
    """
    kinds = _kinds(likelihood)
    if kinds is None:
        return None
    fitted, scored = _rows(train), _rows(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = ~np.isnan(fitted)
        count = known.sum(0)
        total = np.where(known, fitted, 0.0).sum(0)
        # As if one more row had been seen, with half an event.
        rate = (total + 0.5) / (count + 1.0)
        mean = total / np.maximum(count, 1)
        square = (np.where(known, fitted - mean, 0.0) ** 2).sum(0) / np.maximum(count, 1)
        densities = {
            "binary": lambda: xlogy(scored, rate) + xlog1py(1.0 - scored, -rate),
            "real": lambda: _normal(scored, mean, _variance(likelihood, square)),
            "count": lambda: xlogy(scored, rate) - rate - gammaln(scored + 1.0),
        }
        log_prob = np.zeros(scored.shape)
        for kind in set(kinds):
            columns = np.array([k == kind for k in kinds])
            density = densities[kind]() if kind in densities else np.full(scored.shape, kind)
            log_prob = np.where(columns, density, log_prob)
    return float(np.where(np.isnan(scored), 0.0, log_prob).sum(1).mean())


def _rows(x: Observations) -> np.ndarray:
    """Returns rows [N, D] in float64; what is binarised dynamically as the means of its draws."""
    values = x.x[:MAX_ROWS]
    return values.reshape(len(values), -1).astype(np.float64) / x.scale


def _kinds(likelihood: Any) -> list[Any] | None:
    """Returns each element's kind: a name, or the log density of all its values."""
    if isinstance(likelihood, layers.MixedLikelihood):
        return [
            -math.log(column.size) if column.kind == "categorical" else column.kind
            for column in likelihood.columns
        ]
    kinds: list[tuple[type, Any]] = [
        (layers.BernoulliLikelihood, "binary"),
        (layers.GaussianLikelihood, "real"),
        (layers.PoissonLikelihood, "count"),
        (layers.NegativeBinomialLikelihood, "count"),
        (layers.ZeroInflatedPoissonLikelihood, "count"),
        (layers.ZeroInflatedNegativeBinomialLikelihood, "count"),
        (layers.DiscretizedLogisticLikelihood, -math.log(256.0)),
        (layers.ContinuousBernoulliLikelihood, 0.0),
        (layers.BetaLikelihood, 0.0),
    ]
    if isinstance(likelihood, layers.CategoricalLikelihood):
        kinds = [(layers.CategoricalLikelihood, -math.log(likelihood.num_categories))]
    found = [kind for layer, kind in kinds if isinstance(likelihood, layer)]
    return found[:1] * math.prod(likelihood.event_shape) if found else None


def _variance(likelihood: Any, square: np.ndarray) -> np.ndarray:
    """Returns the elements' variances, as far as the likelihood can have them."""
    if isinstance(likelihood, layers.MixedLikelihood):
        scales = np.array([column.scale for column in likelihood.columns])
        return np.maximum(square, scales**2)
    fixed = likelihood.variance
    if isinstance(fixed, int | float):
        return np.full(square.shape, float(fixed))
    return np.maximum(square, max(float(square.mean()), 1e-6))


def _normal(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2.0 * math.pi * variance))
