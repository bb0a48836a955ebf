"""A user's own Python function as a stream of training data."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tfp_aevb.data import arrays, splits
from tfp_aevb.data.stream import Stream

# The stream's first examples; training begins behind them.
NUM_HELD_OUT = 1000
_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def is_function_name(name: str) -> bool:
    """Whether `name` is "module:function" (and not "set:1.0.0")."""
    return _NAME.fullmatch(name) is not None


def load_function_stream(name: str, allow_missing: bool = False) -> splits.RawData:
    """Opens the stream that a Python function gives.

    Args:
        name: "module:function", the module importable from the current folder. The function is
            called as `Stream.read` is, `function(start, worker, num_workers)`, and yields arrays
            [B, ...event]: integers from 0 to 255 or floats. The shares are the one worker's stream
            dealt in turn: its example i is number i // W of worker i mod W's.
        allow_missing: accept NaN, for what is missing.

    Returns:
        The stream. Its first 1,000 examples are the validation split, the next 1,000 the test
        split; training begins behind them. `train` has the 1,000 examples that follow.

    Raises:
        ValueError: there is no such function, or it does not give examples; when its `Stream` is
            read by several workers, if their shares do not begin with what is held out.
    """
    where = f"dataset {name!r}"
    function = _function(name)

    def compact(chunk: Any) -> np.ndarray:
        return arrays.compact_array(np.asarray(chunk), where, allow_missing)

    examples = _first_examples(map(compact, function(0, 0, 1)), 3 * NUM_HELD_OUT, where)
    x = examples.reshape(len(examples), -1)
    names = ("validation", "test", "train")
    held = {
        split: splits.Split(x[i * NUM_HELD_OUT : (i + 1) * NUM_HELD_OUT], None)
        for i, split in enumerate(names)
    }

    def check_share(worker: int, num_workers: int) -> None:
        # Elsewhere in the stream they would be trained on.
        held_out = {example.tobytes() for example in examples[: 2 * NUM_HELD_OUT]}
        count = 2 * NUM_HELD_OUT // num_workers
        share = _first_examples(map(compact, function(0, worker, num_workers)), count, where)
        if not held_out.issuperset(example.tobytes() for example in share):
            raise ValueError(
                f"{where} gives worker {worker} of {num_workers} a share whose first {count} "
                f"examples are not among the stream's first {2 * NUM_HELD_OUT}, which are held "
                "out; deal the stream's examples in turn, example i to worker i mod num_workers"
            )

    def read(start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
        if num_workers > 1:
            check_share(worker, num_workers)
        skipped = -(-2 * NUM_HELD_OUT // num_workers)
        for chunk in function(start + skipped, worker, num_workers):
            array = compact(chunk)
            if array.shape[1:] != examples.shape[1:] or array.dtype != examples.dtype:
                raise ValueError(
                    f"{where} changed from {examples.dtype} {examples.shape[1:]} to "
                    f"{array.dtype} {array.shape[1:]}; all its examples must be alike"
                )
            yield array.reshape(len(array), -1)

    return splits.RawData(
        held,
        arrays.image_shape_of(examples.shape[1:]),
        f"Python function {name}",
        f"the stream's first {NUM_HELD_OUT} examples for validation, the next for test",
        Stream(read),
    )


def _function(name: str) -> Callable[[int, int, int], Iterable[Any]]:
    match = _NAME.fullmatch(name)
    assert match is not None  # the caller asked `is_function_name`
    if os.getcwd() not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(match[1]), match[2])
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"`dataset` is {name!r}, and there is no such function ({arrays.one_line(error)}); "
            "expected module:function, the module importable from the current folder"
        ) from error
    if not callable(function):
        raise ValueError(f"`dataset` is {name!r}, which is no function but {function!r:.80}")
    return function


def _first_examples(chunks: Iterable[np.ndarray], count: int, where: str) -> np.ndarray:
    parts: list[np.ndarray] = []
    for chunk in chunks:
        parts.append(chunk)
        if sum(map(len, parts)) >= count:
            return np.concatenate(parts)[:count]
    raise ValueError(f"{where} ended within its first {count} examples; expected a longer stream")
