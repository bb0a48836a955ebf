"""Graph functions that AutoGraph leaves alone."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def graph_function(function: Callable, **kwargs: Any) -> tf.types.experimental.PolymorphicFunction:
    """Returns `tf.function(function, **kwargs)` without a conversion of the package's own code.

    That code asks nothing of AutoGraph, and converting it took half of the time until the first
    step. AutoGraph does not convert builtins, here `operator.call`, nor what they call; and unlike
    behind `autograph=False`, Keras goes on converting the `call` of layers that users write.
    """
    unconverted = functools.partial(operator.call, function)
    return tf.function(functools.update_wrapper(unconverted, function), **kwargs)
