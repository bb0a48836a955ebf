"""Training data that are read as they are needed: of any size, or without an end."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any


class StreamEndedError(ValueError):
    """A `Stream` ended before the training did."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """Training data read anew from wherever training goes on: more than memory holds, or endless.

    A resumed run reads on from where it stopped, and each of several workers reads its own share.
    What the next second of training needs is read in a thread of its own meanwhile.

    Attributes:
        read: `read(start, worker, num_workers)` gives the examples of one worker's share from its
            number `start` on, as arrays [B, ...event] of any lengths B: an iterable such as a
            generator or a `tf.data.Dataset`. The shares together are the data, and the same
            arguments should give the same examples. With one worker it is called with
            `(start, 0, 1)`. Where a run is resumed with another number of workers, the shares
            should be the one worker's examples dealt in turn, or some may come twice.
        num_data: N, the number of different datapoints; `None` for an endless stream, where the
            number of datapoints used so far takes its place at each step.
        scale: divisor; 255 turns `uint8` pixels into [0, 1].
        dynamic_binarization: replace each scaled pixel by a Bernoulli draw, afresh at each use.

    Raises:
        ValueError: if `num_data` is not positive.
    """

    read: Callable[[int, int, int], Iterable[Any]]
    num_data: int | None = None
    scale: float = 1.0
    dynamic_binarization: bool = False

    def __post_init__(self) -> None:
        if self.num_data is not None and self.num_data < 1:
            raise ValueError(f"`num_data` must be positive, got {self.num_data}")
