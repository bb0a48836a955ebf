"""Independent Bernoulli elements given by their logits, with a density made for speed."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

# Each factor 1 + exp(-|logit|) is at most 2: a product of so many is far from overflow.
MAX_FACTORS = 64


class LogitBernoulli(tfd.Bernoulli):
    """A Bernoulli whose log density takes one log-sigmoid an element, not two."""

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        labels, logits = _broadcast(tf.cast(event, self.logits.dtype), self.logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


class LogitBernoullis(tfd.Independent):
    """A `tfd.Independent` of a `LogitBernoulli`."""

    def _log_prob(self, event: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        logits = self.distribution.logits
        event_rank = int(tf.get_static_value(self.reinterpreted_batch_ndims))
        size = logits.shape[logits.shape.rank - event_rank :].num_elements()
        if size is None:
            return super()._log_prob(event, **kwargs)
        labels, logits = _broadcast(tf.cast(event, logits.dtype), logits)
        batch_rank = logits.shape.rank - event_rank
        shape = tf.concat([tf.shape(logits)[:batch_rank], [size]], axis=0)
        log_prob = _log_density(tf.reshape(labels, shape), tf.reshape(logits, shape), size)
        return tf.ensure_shape(log_prob, logits.shape[:batch_rank])


def _broadcast(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    if labels.shape == logits.shape:
        return labels, logits
    static = tf.broadcast_static_shape(labels.shape, logits.shape)
    shape = tf.broadcast_dynamic_shape(tf.shape(labels), tf.shape(logits))
    return (
        tf.ensure_shape(tf.broadcast_to(labels, shape), static),
        tf.ensure_shape(tf.broadcast_to(logits, shape), static),
    )


def _log_density(labels: tf.Tensor, logits: tf.Tensor, size: int) -> tf.Tensor:
    """Returns sum{ x l - log(1 + exp(l)) } over the last axis, of labels x and logits l.

    log(1 + exp(l)) = max(l, 0) + log(1 + exp(-|l|)), and the logarithm is taken of products of many
    such factors: an exponential an element and hardly a logarithm, and the gradient needs no more.
    """
    factors = next(n for n in range(min(size, MAX_FACTORS), 0, -1) if size % n == 0)

    @tf.custom_gradient
    def log_density(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
        decay = tf.exp(-tf.abs(logits))
        shape = tf.concat([tf.shape(logits)[:-1], [factors, size // factors]], axis=0)
        products = tf.reduce_prod(tf.reshape(1.0 + decay, shape), axis=-2)
        linear = tf.reduce_sum(labels * logits - tf.maximum(logits, 0.0), axis=-1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            sigmoid = tf.where(logits > 0.0, 1.0, decay) / (1.0 + decay)
            upstream = upstream[..., tf.newaxis]
            return upstream * logits, upstream * (labels - sigmoid)

        return linear - tf.reduce_sum(tf.math.log(products), axis=-1), gradient

    return log_density(labels, logits)
