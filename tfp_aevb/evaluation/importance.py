"""Importance-sampling estimates of the marginal likelihood log p(x), through q(z|x)."""

import math
from typing import NamedTuple

import tensorflow as tf

from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives.draws import draw, exact_at_draws
from tfp_aevb.utils.graphs import in_graph
from tfp_aevb.utils.seeds import as_seed

# Decoded values held at a time: 16 MB of float32; more is not faster.
MAX_CHUNK_FLOATS = 2**22
MAX_CHUNK = 500


class ImportanceEstimate(NamedTuple):
    """Importance-sampling estimates of log p(x), one for each of B datapoints.

    Attributes:
        log_prob: [B] nats; on average below log p(x).
        effective_sample_size: [B], (sum w)^2 / sum w^2, from 1 to K. Estimates whose value is near
            1 rest on a single draw; they, and their standard errors, are not to be trusted.
        standard_error: [B] nats, of `log_prob` (delta method): sqrt(1 / ESS - 1 / K).
    """

    log_prob: tf.Tensor
    effective_sample_size: tf.Tensor
    standard_error: tf.Tensor


def importance_log_prob(
    model: AEVB,
    x: tf.Tensor,
    num_samples: int | tf.Tensor = 5000,
    seed: int | tf.Tensor | None = None,
    chunk: int | None = None,
) -> ImportanceEstimate:
    """Estimates log p(x) by importance sampling, with q(z|x) as the proposal.

    log p(x) ~= log( 1/K sum{ w[k] : k=1...K } ),
    w[k] = p(x|z[k]) p(z[k]) / q(z[k]|x), z[k] ~ q(z|x).

    The average of the weights is unbiased for p(x), so that its logarithm is biased down (Jensen's
    inequality): in expectation the estimate is a lower bound of log p(x), at least as tight as the
    ELBO, which it is for K = 1, and it rises to log p(x) as K grows.

    Where the model's parameters are random (`FullVB`), each weight draws them too: the estimate is
    then of the predictive density, p(x|theta) averaged over q(theta).

    The encoder runs once. Samples are decoded in chunks, whose weights go into running sums:
    memory does not grow with K.

    Args:
        model: the model; works in eager mode, inside `tf.function` and with XLA.
        x: [B, ...event].
        num_samples: K; an int, or an int32 scalar that need not be known until run time.
        seed: int or [2] int32; by default a fresh one. Chunk i draws from
            `tf.random.experimental.stateless_fold_in(seed, i)`.
        chunk: samples of each datapoint decoded at once; by default as many as keep the decoded
            values within 16 MB, at most 500.

    Returns:
        The estimates, their effective sample sizes and standard errors, [B] each.

    Raises:
        ValueError: if `num_samples` or `chunk` is less than 1, or `x` does not fit the model.
    """
    x = tf.cast(model.arrange(x), tf.float32)
    posterior, prior = map(exact_at_draws, (model.encode(x), model.prior_given(x)))
    known_samples = tf.get_static_value(num_samples)
    for name, value in (("num_samples", known_samples), ("chunk", chunk)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    size = _chunk_size(x, known_samples) if chunk is None else chunk
    num_samples = tf.convert_to_tensor(num_samples, tf.int32)
    seed = as_seed(seed)

    def add_chunk(
        i: tf.Tensor, peak: tf.Tensor, total: tf.Tensor, squares: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        chunk_seed = tf.random.experimental.stateless_fold_in(seed, i)
        z, log_q = draw(posterior, size, chunk_seed)
        parameter_seed = tf.random.experimental.stateless_fold_in(chunk_seed, 1)
        log_weights = model.log_likelihood(x, z, parameter_seed)
        log_weights += prior.log_prob(z) - log_q
        log_weights = tf.ensure_shape(log_weights, [None, x.shape[0]])  # [size, B]
        wanted = i * size + tf.range(size) < num_samples
        log_weights = tf.where(wanted[:, tf.newaxis], log_weights, -math.inf)
        # The sums are kept relative to the largest weight so far, so that none overflows.
        new_peak = tf.maximum(peak, tf.reduce_max(log_weights, axis=0))
        offset = tf.where(tf.math.is_finite(new_peak), new_peak, 0.0)
        weights, rescale = tf.exp(log_weights - offset), tf.exp(peak - offset)
        total = total * rescale + tf.reduce_sum(weights, axis=0)
        squares = squares * rescale**2 + tf.reduce_sum(weights**2, axis=0)
        return i + 1, new_peak, total, squares

    def estimate() -> ImportanceEstimate:
        zeros = tf.zeros(tf.shape(x)[:1])
        _, peak, total, squares = tf.while_loop(
            lambda i, *_: i * size < num_samples,
            add_chunk,
            [tf.constant(0), zeros - math.inf, zeros, zeros],
            parallel_iterations=1,  # more would hold several chunks in memory at once
        )
        count = tf.cast(num_samples, tf.float32)
        sample_size = tf.math.divide_no_nan(total**2, squares)
        variance = 1.0 / sample_size - 1.0 / count
        return ImportanceEstimate(
            peak + tf.math.log(total / count),
            sample_size,
            tf.sqrt(tf.maximum(variance, 0.0)),  # rounding could leave it below 0
        )

    return in_graph(estimate)


def _chunk_size(x: tf.Tensor, num_samples: int | None) -> int | tf.Tensor:
    """Returns the samples of each datapoint to decode at once; an int if B is known."""
    largest = MAX_CHUNK if num_samples is None else min(MAX_CHUNK, int(num_samples))
    event_size = x.shape[1:].num_elements()
    if x.shape[0] is not None:
        return min(max(MAX_CHUNK_FLOATS // max(event_size * x.shape[0], 1), 1), largest)
    size = MAX_CHUNK_FLOATS // tf.maximum(event_size * tf.shape(x)[0], 1)
    return tf.clip_by_value(size, 1, largest)
