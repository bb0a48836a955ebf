"""How noisy the gradients of the bound's estimators are, in one pass over many draws."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives import as_objective, minibatch_bound
from tfp_aevb.utils.graphs import graph_function
from tfp_aevb.utils.seeds import as_seed
from tfp_aevb.utils.variables import without


class GradientVariance(NamedTuple):
    """The noise of a gradient g [P], seen over draws.

    Units: g is in nats per datapoint and unit of parameter; its variance is the square of that.

    Attributes:
        mean: [P] float64, the average of g; its own total variance is `total_variance / draws`.
        total_variance: the trace of g's covariance, sum{ Var(g[p]) : p=1...P }, unbiased.
        standard_error: of `total_variance`.
        draws: that these rest on.
    """

    mean: np.ndarray
    total_variance: float
    standard_error: float
    draws: int

    @property
    def squared_norm(self) -> float:
        """|mean|^2 less what noise adds to it, unbiased for |E[g]|^2; it may be negative.

        |mean|^2 - total_variance / draws.
        """
        return float(self.mean @ self.mean) - self.total_variance / self.draws

    @property
    def gradient_norm(self) -> float:
        """|E[g]|, the root of `squared_norm`; 0 where that is negative, all noise."""
        return math.sqrt(max(self.squared_norm, 0.0))


def gradient_variance(
    model: AEVB,
    x: tf.Tensor,
    objective: str,
    num_draws: int,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> dict[str, GradientVariance]:
    """Measures the noise that draws of z put into a minibatch's gradient (Section 2.2).

    g = grad 1/M sum{ L(x[i]) : i=1...M }, L by estimator A (Eq. 6), B (Eq. 7) or with the score
    function (Section 2.2), for one fixed minibatch. With g[1], ..., g[n] of independent draws and
    m[k] the mean of the first k, the terms

        e[k] = (k - 1) / k |g[k] - m[k-1]|^2,  k=2...n

    have the total variance for their expectation each, and add up to sum{ |g[k] - m[n]|^2 }:
    their average is the estimate, and their spread its standard error. Only m and two sums are
    kept, in float64. The prior on the parameters (MAP) has no noise and is left out.

    Args:
        model: the model; its own `objective` and `num_samples` are not used.
        x: [M, ...event], as the likelihood sees it.
        objective: `sgvb_a`, `sgvb_b` or `score_function`.
        num_draws: n, at least 3.
        num_samples: L, samples of z for each datapoint in one draw.
        seed: int or [2] int32; by default a fresh one. Draw i is that of
            `tf.random.experimental.stateless_fold_in(seed, i)`.

    Returns:
        The noise by group of parameters: `encoder` (the paper's phi), `decoder` (theta: p(x|z)'s,
        and p(z)'s where the prior is learned) and `all`, in the order of these two.

    Raises:
        ValueError: if the objective is not known, a number too small, or `x` does not fit.
    """
    estimate = as_objective(objective).estimate
    for name, value, least in (("num_draws", num_draws, 3), ("num_samples", num_samples, 1)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")
    x, first_seed = tf.cast(model.arrange(x), tf.float32), as_seed(seed)
    groups = _parameters(model, x)

    def gradients(i: tf.Tensor) -> list[tf.Tensor]:
        """Returns g of draw `i`, flat, for each group."""
        with tf.GradientTape() as tape:
            bound = estimate(
                model.encode(x),
                model.prior_given(x),
                partial(model.log_likelihood, x),
                num_samples,
                tf.random.experimental.stateless_fold_in(first_seed, i),
            )
            value = minibatch_bound(bound.elbo, 1.0)
        found = tape.gradient(value, groups, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [_flat(parts) for parts in found]

    def add_draw(i: tf.Tensor, means: list, sums: tf.Tensor, squares: tf.Tensor) -> tuple:
        steps = [g - mean for g, mean in zip(gradients(i), means, strict=True)]
        before = tf.cast(i, tf.float64)
        lengths = tf.stack([tf.reduce_sum(tf.square(step)) for step in steps])
        terms = tf.concat([lengths, [tf.reduce_sum(lengths)]], axis=0) * before / (before + 1.0)
        means = [mean + step / (before + 1.0) for mean, step in zip(means, steps, strict=True)]
        return i + 1, means, sums + terms, squares + tf.square(terms)

    def add_draws() -> tuple:
        zeros = tf.zeros([len(groups) + 1], tf.float64)
        start = [tf.zeros_like(_flat(parts)) for parts in groups]
        return tf.while_loop(
            lambda i, *_: i < num_draws, add_draw, [tf.constant(0), start, zeros, zeros]
        )[1:]

    # A graph without XLA: its draws take as long with it, and compiling them takes seconds. The
    # concrete function: each call traces a new one, of which TensorFlow would warn.
    means, sums, squares = graph_function(add_draws).get_concrete_function()()
    vectors = [mean.numpy() for mean in means]
    vectors.append(np.concatenate(vectors))
    variances = sums.numpy() / (num_draws - 1)
    spread = squares.numpy() / (num_draws - 1) - variances**2
    errors = np.sqrt(np.maximum(spread, 0.0) / (num_draws - 2))
    return {
        name: GradientVariance(vector, float(variance), float(error), num_draws)
        for name, vector, variance, error in zip(
            ("encoder", "decoder", "all"), vectors, variances, errors, strict=True
        )
    }


def _parameters(model: AEVB, x: tf.Tensor) -> list[list[tf.Variable]]:
    """Returns the encoder's trainable variables, and the model's others."""
    with tf.GradientTape() as tape:
        posterior = model.encode(x)
    used = [*tape.watched_variables(), *posterior.trainable_variables]
    others = without(model.trainable_variables, used)
    return [without(model.trainable_variables, others), others]


def _flat(parts: list[tf.Tensor]) -> tf.Tensor:
    """Returns all elements as one vector [P], float64; P may be 0."""
    flat = [tf.reshape(tf.cast(part, tf.float64), [-1]) for part in parts]
    return tf.concat([tf.zeros([0], tf.float64), *flat], axis=0)
