"""One variable is one variable, whatever wraps it: tf_keras's casts, a strategy's copies."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf


def whole(variable: Any) -> tf.Variable:
    """Returns the variable itself, for what stands for it.

    That is the variable inside tf_keras's `AutoCastVariable`, which mixed precision reads it by,
    and a strategy's variable for its copy on one device.
    """
    inner = getattr(variable, "_variable", variable)
    if isinstance(inner, tf.distribute.DistributedValues):
        return inner
    container = getattr(inner.handle, "_distributed_container", lambda: None)()
    return inner if container is None else container


def identity(variable: Any) -> int:
    """Returns what tells the variable from others: the same for all that stands for it."""
    inner = whole(variable)
    return id(inner if isinstance(inner, tf.distribute.DistributedValues) else inner.handle)


def distinct(variables: Iterable[Any]) -> list[Any]:
    """Returns the first of `variables` that stands for each variable, in their order."""
    found: dict[int, Any] = {}
    for variable in variables:
        found.setdefault(identity(variable), variable)
    return list(found.values())


def without(variables: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """Returns those of `variables` that are none of `others`."""
    known = {identity(v) for v in others}
    return [v for v in variables if identity(v) not in known]
