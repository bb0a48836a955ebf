"""Whole numbers that a user gives."""

import numbers
from typing import Any

import tensorflow as tf


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises a `ValueError` unless `value` is a whole number, at least `least`.

    A tensor whose value is not known yet passes.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    if known is None and tf.is_tensor(value):
        return
    if getattr(known, "shape", None) == ():  # a NumPy scalar, or an array of one
        known = known.item()
    is_whole = isinstance(known, numbers.Integral) and not isinstance(known, bool)
    if not is_whole or known < least:
        raise ValueError(f"`{name}` must be a whole number, at least {least}, got {known!r}")
