"""What happened to a datapoint before it was seen: p(y|x), block of pixels by block of pixels."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd


@dataclasses.dataclass(frozen=True)
class Channel:
    """p(y|x), independent over pixels or over blocks of pixels.

    Attributes:
        distribution: a callable. Without blocks, from x [..., D] to a distribution with batch shape
            [..., D]: that of each pixel's y, for instance `lambda x: tfd.Normal(x, 0.1)`. With
            blocks, from x [..., G, P] to one with batch shape [..., G], of each block's y.
        blocks: [G, P] numbers of the (flattened) pixels of each block; each pixel is in one.
    """

    distribution: Callable[[tf.Tensor], tfd.Distribution]
    blocks: np.ndarray | None = None

    def __call__(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(y|x) with batch shape [..., G] for the pixels of blocks `x` [..., G, P]."""
        return self.distribution(x[..., 0] if self.blocks is None else x)

    def pixels(self, num_pixels: int) -> np.ndarray:
        """Returns the numbers of the pixels of each block, [G, P].

        Raises:
            ValueError: if not each of the pixels is in one block.
        """
        if self.blocks is None:
            return np.arange(num_pixels)[:, np.newaxis]
        blocks = np.asarray(self.blocks)
        if blocks.ndim != 2 or not np.array_equal(np.sort(blocks, axis=None), range(num_pixels)):
            raise ValueError(
                f"`blocks` must be [G, P] and hold each of the model's {num_pixels} pixels once, "
                f"got shape {blocks.shape}"
            )
        return blocks


def gaussian_noise(stddev: float) -> Channel:
    """Returns p(y|x) = N(y; x, stddev^2) for each pixel."""
    _check_stddev(stddev)
    return Channel(lambda x: tfd.Normal(x, tf.fill(tf.shape(x), tf.cast(stddev, x.dtype))))


def bit_flips(rate: float) -> Channel:
    """Returns the channel that turns each pixel of 0 or 1 into the other one at a known rate."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"`rate` must be a probability, got {rate}")
    return Channel(lambda x: tfd.Bernoulli(probs=rate + (1.0 - 2.0 * rate) * x))


def block_means(image_shape: Sequence[int], stddev: float = 0.0, side: int = 2) -> Channel:
    """Returns the channel that leaves the mean of each square block of pixels, with Gaussian noise.

    Args:
        image_shape: (H, W), or (H, W, C), whose colours are averaged each by itself.
        stddev: of the noise; 0 for none.
        side: of a block, in pixels; divides H and W.

    Returns:
        The channel. Its y has shape [N, H / side, W / side], or [..., C] more.
    """
    _check_stddev(stddev)
    height, width = image_shape[:2] if len(image_shape) in (2, 3) else (0, 0)
    if side < 1 or not height or not width or height % side or width % side:
        raise ValueError(
            f"block means need an `image_shape` (H, W) of multiples of {side}, got "
            f"{tuple(image_shape)}"
        )
    numbers = np.arange(math.prod(image_shape)).reshape(
        height // side, side, width // side, side, -1
    )
    blocks = numbers.transpose(0, 2, 4, 1, 3).reshape(-1, side * side)

    def mean_of_block(x: tf.Tensor) -> tfd.Distribution:
        mean = tf.reduce_mean(x, axis=-1)
        return (
            tfd.Normal(mean, tf.fill(tf.shape(mean), stddev)) if stddev else tfd.Deterministic(mean)
        )

    return Channel(mean_of_block, blocks)


def _check_stddev(stddev: float) -> None:
    if not 0.0 <= stddev < math.inf:
        raise ValueError(f"`stddev` must be at least 0 and finite, got {stddev}")
