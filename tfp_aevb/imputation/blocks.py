"""Evidence of noisy or coarse pixels: p(y|x) by blocks, of Bernoulli or Gaussian pixels."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.imputation.channels import Channel
from tfp_aevb.imputation.evidence import Conditional, per_pixel

MAX_BLOCK = 4  # pixels of 0 or 1, whose 16 states are enumerated


class _Blocks:
    """Pixels in blocks, of each of which there is one value of y."""

    def __init__(self, y: np.ndarray, channel: Channel, event_shape: tuple[int, ...]) -> None:
        self.channel = channel
        self.blocks = channel.pixels(math.prod(event_shape))  # [G, P]
        self._order = np.argsort(self.blocks, axis=None)
        self._event_shape = event_shape
        if math.prod(y.shape[1:]) != len(self.blocks):
            raise ValueError(
                f"`y` must have {len(self.blocks)} values a row, one for each block or pixel, got "
                f"shape {list(y.shape)}"
            )
        self.y = y.reshape(len(y), -1)
        found = self._channel(np.zeros(self.blocks.shape))
        if found.batch_shape != [len(self.blocks)] or found.event_shape.rank != 0:
            raise ValueError(
                "the channel's distribution must have scalar events and batch shape "
                f"[{len(self.blocks)}] for x of {self.blocks.size} pixels, got "
                f"{found.batch_shape} and event shape {found.event_shape}"
            )
        if (
            isinstance(found, tfd.Bernoulli)
            and not np.isin(self.y[~np.isnan(self.y)], [0, 1]).all()
        ):
            raise ValueError(
                "`y` of a Bernoulli channel must be 0, 1 or NaN; other values are in it"
            )

    def _channel(self, x: np.ndarray) -> tfd.Distribution:
        found = self.channel(tf.constant(x, tf.float32))
        if not isinstance(found, tfd.Distribution):
            raise ValueError(
                f"the channel must return a `tfd.Distribution`, got {type(found).__name__}"
            )
        return found

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """From [B, ...event] to [B, G, P]."""
        return tf.gather(tf.reshape(x, [-1, self.blocks.size]), self.blocks, axis=1)

    def _join(self, x: tf.Tensor) -> tf.Tensor:
        """From [B, G, P] to [B, ...event]."""
        flat = tf.gather(tf.reshape(x, [-1, self.blocks.size]), self._order, axis=1)
        return tf.reshape(flat, [-1, *self._event_shape])


class BinaryBlocks(_Blocks):
    """Any p(y|x) of pixels of 0 or 1, in blocks whose states are enumerated."""

    def __init__(self, y: np.ndarray, channel: Channel, event_shape: tuple[int, ...]) -> None:
        super().__init__(y, channel, event_shape)
        size = self.blocks.shape[1]
        if size > MAX_BLOCK:
            raise ValueError(
                f"blocks of binary pixels must have at most {MAX_BLOCK} for an exact posterior, "
                f"got {size}"
            )
        self._states = np.array(list(np.ndindex(*[2] * size)), np.float32)  # [C, P]

    def condition(self, likelihood: tfd.Distribution, y: tf.Tensor) -> Conditional:
        """See `Evidence`: p(y|z) = sum{ p(y|c) p(c|z) : states c } in each block."""
        logits = self._split(per_pixel(likelihood).logits_parameter())  # [B, G, P]
        log_state = tf.einsum("bgp,cp->bgc", logits, self._states)
        log_state -= tf.reduce_sum(tf.nn.softplus(logits), axis=-1, keepdims=True)
        shape = [len(self._states), *self.blocks.shape]
        x = np.broadcast_to(self._states[:, np.newaxis], shape)  # [C, G, P]
        missing = tf.math.is_nan(y)[..., tf.newaxis]
        known = tf.where(missing, 0.0, y[..., tf.newaxis])  # [B, G, 1]
        log_channel = tf.transpose(
            self._channel(x[:, np.newaxis]).log_prob(known[..., 0]), [1, 2, 0]
        )
        log_joint = log_state + tf.where(missing, 0.0, log_channel)  # [B, G, C]
        probs = tf.nn.softmax(log_joint)
        mean = tf.matmul(probs, self._states)

        def sample(seed: tf.Tensor) -> tf.Tensor:
            cumulative = tf.cumsum(probs, axis=-1)
            # Below the whole sum, so that no state of probability 0 is drawn.
            u = tf.random.stateless_uniform(tf.shape(known), seed) * cumulative[..., -1:]
            state = tf.reduce_sum(tf.cast(u >= cumulative, tf.int32), axis=-1)
            return self._join(tf.gather(self._states, state))

        return Conditional(
            tf.reduce_sum(tf.reduce_logsumexp(log_joint, axis=-1), axis=-1),
            self._join(mean),
            self._join(mean * (1.0 - mean)),
            sample,
        )


class GaussianBlocks(_Blocks):
    """y = a^T x + b + s e, e ~ N(0, 1), in each block of Gaussian pixels."""

    def __init__(self, y: np.ndarray, channel: Channel, event_shape: tuple[int, ...]) -> None:
        super().__init__(y, channel, event_shape)
        zero, size = np.zeros(self.blocks.shape), self.blocks.shape[1]
        self._bias, self._stddev = self._moments(zero)
        units = [zero + np.eye(size)[i] for i in range(size)]
        self._weights = np.stack([self._moments(x)[0] - self._bias for x in units], axis=-1)
        for x in np.random.default_rng(0).normal(size=[3, *zero.shape]):
            mean, stddev = self._moments(x)
            linear = np.sum(self._weights * x, axis=-1) + self._bias
            if not (np.allclose(mean, linear, atol=1e-4) and np.allclose(stddev, self._stddev)):
                raise ValueError(
                    "the channel of Gaussian pixels must be Gaussian around a linear function of "
                    "x, with the same variance everywhere, for an exact posterior"
                )

    def _moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean and standard deviation [G] of y given `x` [G, P]."""
        found = self._channel(x)
        if isinstance(found, tfd.Deterministic):
            return found.loc.numpy(), np.zeros(len(x), np.float32)
        if not isinstance(found, tfd.Normal):
            raise ValueError(
                "the channel of Gaussian pixels must be `tfd.Normal` or `tfd.Deterministic` for "
                f"an exact posterior, got {found.name}"
            )
        return found.mean().numpy(), found.stddev().numpy()

    def condition(self, likelihood: tfd.Distribution, y: tf.Tensor) -> Conditional:
        """See `Evidence`: the rules of Gaussian conditioning in each block."""
        pixel, missing = per_pixel(likelihood), tf.math.is_nan(y)  # [B, G]
        mean, stddev = self._split(pixel.mean()), self._split(pixel.stddev())
        weights, variance = self._weights, stddev**2
        scale = tf.sqrt(tf.reduce_sum(weights**2 * variance, axis=-1) + self._stddev**2)
        expected = tf.reduce_sum(weights * mean, axis=-1) + self._bias
        gain = weights * variance / (scale**2)[..., tf.newaxis]  # of E[x|y] in y
        gain = tf.where(missing[..., tf.newaxis], 0.0, gain)
        known = tf.where(missing, 0.0, y)

        def given_y(x: tf.Tensor, y_of_x: tf.Tensor) -> tf.Tensor:
            return self._join(x + gain * (known - y_of_x)[..., tf.newaxis])

        def sample(seed: tf.Tensor) -> tf.Tensor:
            # A draw of (x, y) given z is moved to the y that was seen: no covariance is factorised.
            seeds = tfp.random.split_seed(seed, n=2)
            x = mean + stddev * tf.random.stateless_normal(tf.shape(mean), seeds[0])
            noise = self._stddev * tf.random.stateless_normal(tf.shape(y), seeds[1])
            return given_y(x, tf.reduce_sum(weights * x, axis=-1) + self._bias + noise)

        log_prob = tfd.Normal(expected, scale).log_prob(known)
        return Conditional(
            tf.reduce_sum(tf.where(missing, 0.0, log_prob), axis=-1),
            given_y(mean, expected),
            self._join(tf.maximum(variance * (1.0 - weights * gain), 0.0)),
            sample,
        )
