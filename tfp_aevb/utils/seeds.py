"""Stateless random streams: every draw is a function of (seed, purpose, step)."""

import contextlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled


def stream_key(seed: int, purpose: str) -> int:
    """Returns the int32 key of a stream of random numbers for one purpose."""
    words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, *purpose.encode()]
    return int(np.random.SeedSequence(words).generate_state(1)[0] >> 1)


def numpy_generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Returns the NumPy generator of a stream, for instance of one epoch's order."""
    return np.random.Generator(np.random.Philox(key=[stream_key(seed, purpose), index]))


class StepSeeds(NamedTuple):
    """The [2] int32 stateless seeds of one step: for binarisation, and for the latents."""

    binarization: tf.Tensor
    noise: tf.Tensor


def step_seeds(seed: int, purpose: str, step: tf.Tensor, retries: tf.Tensor | int = 0) -> StepSeeds:
    """Returns the seeds of one step of training or of one batch of evaluation.

    Another number of `retries` gives other draws, for a run restored after a non-finite bound.
    """
    step = tf.cast(step, tf.int32)
    keys = [stream_key(seed, f"{purpose}/{use}") for use in StepSeeds._fields]
    return StepSeeds(*(tf.stack([tf.constant(key, tf.int32) + retries, step]) for key in keys))


def as_seed(seed: int | tf.Tensor | None) -> tf.Tensor:
    """Returns a [2] int32 stateless seed for a public function's `seed` argument.

    An int always gives the same seed; `None` gives a fresh one at each call, also at each call of a
    `tf.function` that this is traced in. There it follows `tf.random.set_seed`, without XLA.

    Raises:
        ValueError: if it is neither `None`, an int, nor two of them; or `None` where TensorFlow is
            to be deterministic and `tf.random.set_seed` was not called.
    """
    if seed is None:
        return _fresh_seed()
    if isinstance(seed, int | np.integer):
        return tf.constant([stream_key(int(seed), "call"), 0], tf.int32)
    with contextlib.suppress(TypeError, ValueError):
        found = tf.convert_to_tensor(seed)
        if found.dtype.is_integer and found.shape.is_compatible_with([2]):
            return tf.cast(found, tf.int32)
    raise ValueError(
        f"`seed` must be a whole number, two of them as [2] int32, or None, got {seed!r:.80}"
    )


def _fresh_seed() -> tf.Tensor:
    if tf.executing_eagerly() and not is_op_determinism_enabled():
        return tf.constant(np.random.SeedSequence().generate_state(2) >> 1, tf.int32)
    try:
        # An operation with a state of its own: a number of NumPy's would be a constant.
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    except RuntimeError as error:
        raise ValueError(
            "a fresh seed is random, which TensorFlow's determinism allows after "
            "`tf.random.set_seed` alone; call that, or give a `seed`"
        ) from error
