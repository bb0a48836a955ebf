"""Ways to damage whole datapoints, to see them restored."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfp_aevb.imputation.channels import Channel, bit_flips, block_means, gaussian_noise
from tfp_aevb.utils.seeds import numpy_generator

#: The default strength of each task, see `damage`; super-resolution has none.
TASKS: dict[str, float | None] = {
    "missing_lower_half": 0.5,
    "missing_random": 0.5,
    "noise": 0.3,
    "super_resolution": None,
}
SIDE = 2


class Damaged(NamedTuple):
    """What a task leaves of N datapoints.

    Attributes:
        y: [N, ...], what is seen, NaN where nothing is; the argument of `impute`.
        channel: p(y|x), None where pixels are missing.
        held_out: [N, ...event] bool, the elements of x that are not seen as they are.
    """

    y: np.ndarray
    channel: Channel | None
    held_out: np.ndarray


def task_channel(
    task: str, image_shape: Sequence[int], *, binary: bool, rate: float | None = None
) -> Channel | None:
    """Returns p(y|x) of a task of `damage`, None where pixels are missing.

    Raises:
        ValueError: if the task is unknown, or does not suit its rate or the datapoints.
    """
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {', '.join(TASKS)}, got {task!r}")
    if task == "super_resolution":
        if rate is not None:
            raise ValueError(f"super_resolution has no `rate` (its blocks are 2x2), got {rate}")
        return block_means(image_shape, side=SIDE)
    rate = _strength(task, rate)
    if not 0.0 < rate < math.inf or (rate > 1.0 and (binary or task != "noise")):
        raise ValueError(f"the `rate` of {task} must be above 0 and at most 1, got {rate}")
    if task == "noise":
        return bit_flips(rate) if binary else gaussian_noise(rate)
    if task == "missing_lower_half" and len(image_shape) not in (2, 3):
        raise ValueError("missing_lower_half needs images; these datapoints have no rows")
    return None


def damage(
    x: np.ndarray,
    task: str,
    image_shape: Sequence[int],
    *,
    binary: bool,
    rate: float | None = None,
    seed: int = 0,
) -> Damaged:
    """Damages datapoints.

    Args:
        x: [N, ...event] whole datapoints.
        task: `missing_lower_half`: the share `rate` of the rows of pixels, from below, is missing;
            `missing_random`: each pixel, with probability `rate`; `noise`: pixels of 0 or 1 turn
            into the other with probability `rate`, others get Gaussian noise of standard deviation
            `rate`; `super_resolution`: only means of blocks of 2x2 pixels are seen.
        image_shape: (H, W) or (H, W, C); () if the datapoints are no images.
        binary: whether pixels are 0 or 1.
        rate: by default that of `TASKS`.
        seed: of what is random.

    Returns:
        What is left.

    Raises:
        ValueError: see `task_channel`.
    """
    channel = task_channel(task, image_shape, binary=binary, rate=rate)
    rate = _strength(task, rate)
    x = np.asarray(x, np.float32)
    random = numpy_generator(seed, f"damage/{task}")
    if channel is not None and channel.blocks is not None:
        y = x.reshape(len(x), -1)[:, channel.blocks].mean(axis=-1)
        return Damaged(y, channel, np.ones(x.shape, bool))
    if task == "noise":
        if binary:
            noisy = np.where(random.random(x.shape) < rate, 1.0 - x, x)
        else:
            noisy = x + rate * random.normal(size=x.shape)
        return Damaged(noisy.astype(np.float32), channel, np.ones(x.shape, bool))
    if task == "missing_random":
        missing = random.random(x.shape) < rate
    else:
        height = image_shape[0]
        below = np.arange(height) >= round(height * (1.0 - rate))
        rows = np.repeat(below, x[0].size // height)
        missing = np.broadcast_to(rows.reshape(x.shape[1:]), x.shape)
    return Damaged(np.where(missing, np.float32(np.nan), x), None, missing)


def spread(y: np.ndarray, channel: Channel | None, event_shape: Sequence[int]) -> np.ndarray:
    """Returns what is seen of each element of x: [N, ...event], each block's `y` in all of it."""
    y = np.reshape(y, [len(y), -1])
    if channel is not None and channel.blocks is not None:
        y = y[:, np.repeat(np.arange(len(channel.blocks)), channel.blocks.shape[1])]
        y = y[:, np.argsort(channel.blocks, axis=None)]
    return np.reshape(y, [len(y), *event_shape])


def _strength(task: str, rate: float | None) -> float:
    return (TASKS[task] or 0.0) if rate is None else rate
