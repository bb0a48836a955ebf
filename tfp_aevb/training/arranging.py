"""Data by the names of their parts: models turn them into rows before anything else sees them."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfp_aevb.data.batch_parts import split_parts


def arranged_pair(model: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Returns data and the target, which are arranged alike: see `KerasCalls.arrange`."""
    rows = model.arrange(x)
    return rows, rows if y is x else model.arrange(y)


def arranged_parts(model: Any, data: Any) -> tuple[Any, Any, Any]:
    """Returns x, y and the weights of `x`, `(x,)`, `(x, y)` or `(x, y, weights)`, arranged.

    Raises:
        ValueError: if a tuple has more parts or none.
    """
    if isinstance(data, tuple):
        data = next(iter(model.arrange(iter([data]))))  # as a batch
    x, y, weights = split_parts(data)
    return *arranged_pair(model, x, y), weights


def refuse_names(x: Any) -> None:
    """Raises a `ValueError` if `x` is a dict, or a `tf.data.Dataset` of such.

    It is for models of one array of datapoints.
    """
    given, advice = x, "`x[{!r}]`"
    if isinstance(x, tf.data.Dataset):
        given, advice = x.element_spec, "`ds.map(lambda d: d[{!r}])`"
        given = given[0] if isinstance(given, tuple) and given else given
    if isinstance(given, Mapping):
        first = advice.format(next(iter(given), "x"))
        raise ValueError(
            f"`x` is a dict of {list(given)}, and this model has one array of datapoints; give "
            f"that, for instance {first}"
        )
