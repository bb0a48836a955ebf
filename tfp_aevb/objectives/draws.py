"""Draws of q with their densities, without the inverse of what made them.

A draw that float32 rounds onto the end of where z may be, as tanh(50) is 1, has no finite inverse,
and yet a density: its bijector knows where it came from, for as long as the tensor is the same one.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions import kinds
from tfp_aevb.distributions.bijectors import OpenSigmoid
from tfp_aevb.utils.seeds import as_seed

# Of bijectors that say what they are made of.
_MODULES = ("tensorflow_probability.", "tfp_aevb.distributions.bijectors", "tfp_aevb.layers.flows")


def exact_at_draws(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns the same distribution, such that its density and gradient are known at its draws.

    TFP's relaxed Bernoulli takes the inverse of its sigmoid, even of draws that are 0 or 1.
    """
    inner = kinds.bare(distribution)
    if isinstance(inner, kinds.Independent):
        part = exact_at_draws(inner.distribution)
        same = part is inner.distribution
        return distribution if same else tfd.Independent(part, inner.reinterpreted_batch_ndims)
    if isinstance(inner, tfd.RelaxedBernoulli):
        scale = 1.0 / tf.convert_to_tensor(inner.temperature)
        base = tfd.Logistic(scale * inner.logits_parameter(), scale)
    elif isinstance(inner, kinds.TransformedDistribution) and _is_sigmoid(inner.bijector):
        base = inner.distribution
    else:
        return distribution
    return tfd.TransformedDistribution(base, OpenSigmoid(), name=inner.name)


def _is_sigmoid(bijector: tfb.Bijector) -> bool:
    return type(bijector) is tfb.Sigmoid and bijector.parameters.get("low") is None


def exactly(objective: Callable) -> Callable:
    """Returns an objective whose q and p have `exact_at_draws`."""

    @functools.wraps(objective)
    def exact(
        posterior: tfd.Distribution, prior: tfd.Distribution, *args: Any, **kwargs: Any
    ) -> Any:
        return objective(exact_at_draws(posterior), exact_at_draws(prior), *args, **kwargs)

    return exact


def draw(
    posterior: tfd.Distribution, num_samples: int | tf.Tensor, seed: int | tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns draws z [K, B, J] of q(z|x) and log q there [K, B].

    `sample` may give them a new shape, of whose origin the bijectors' cache knows nothing. The
    density is that of `log_prob`, which a user's distribution may override.
    """
    z, _ = posterior.experimental_sample_and_log_prob(num_samples, seed=as_seed(seed))
    return z, posterior.log_prob(z)


def through(
    posterior: tfd.Distribution, z: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Returns `change(z)` for draws z, the same numbers with another gradient.

    Where z are made from u by bijectors without parameters it is made of `change(u)`: gradients are
    the same, and the density is known without an inverse.

    Args:
        posterior: q(z|x).
        z: its draws.
        change: `tf.stop_gradient`, or another identity with a gradient of its own.
    """
    inner = kinds.bare(posterior)
    while isinstance(inner, kinds.Independent):
        inner = kinds.bare(inner.distribution)
    steps = []
    if isinstance(inner, kinds.TransformedDistribution):
        for bijector in _outermost_first(inner.bijector):
            if not _is_fixed(bijector):
                break
            steps.append(bijector)
    for bijector in steps:
        z = bijector.inverse(z)
    z = change(z)
    for bijector in reversed(steps):
        z = bijector.forward(z)
    return z


def _outermost_first(bijector: tfb.Bijector) -> list[tfb.Bijector]:
    if not isinstance(bijector, tfb.Chain):
        return [bijector]
    return [step for part in bijector.bijectors for step in _outermost_first(part)]


def _is_fixed(bijector: tfb.Bijector) -> bool:
    """Whether a bijector has no parameter that could have a gradient: of TFP's own, or ours."""
    if not type(bijector).__module__.startswith(_MODULES):
        return False  # another's may read anything

    def is_constant(value: Any) -> bool:
        if isinstance(value, tfb.Bijector):
            return _is_fixed(value)
        return value is None or isinstance(value, bool | int | float | str | np.ndarray | tf.DType)

    return all(map(is_constant, bijector.parameters.values()))
