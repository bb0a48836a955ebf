"""Graph functions that AutoGraph leaves alone."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras


def graph_function(function: Callable, **kwargs: Any) -> tf.types.experimental.PolymorphicFunction:
    """Returns `tf.function(function, **kwargs)` without a conversion of the package's own code.

    That code asks nothing of AutoGraph, and converting it took half of the time until the first
    step. AutoGraph does not convert builtins, here `operator.call`, nor what they call; and unlike
    behind `autograph=False`, Keras goes on converting the `call` of layers that users write.
    """
    unconverted = functools.partial(operator.call, function)
    return tf.function(functools.update_wrapper(unconverted, function), **kwargs)


def in_graph(function: Callable[[], Any]) -> Any:
    """Returns `function()`, computed in a graph also in eager mode.

    Loops of small operations are many times as fast there. And eager distributions are in reference
    cycles, which keep each step's memory until Python's garbage collector happens to run; a graph
    frees it at once.
    """
    if tf.executing_eagerly():
        return graph_function(function).get_concrete_function()()
    return function()


def call_part(part: Callable, *args: Any) -> Any:
    """Returns `part(*args)`; in a graph AutoGraph converts what a user wrote.

    Keras sees to its layers.
    """
    if isinstance(part, tf_keras.layers.Layer) or tf.executing_eagerly():
        return part(*args)
    return _converted_call()(part, *args)


@functools.cache
def _converted_call() -> Callable:
    return tf.autograph.to_graph(_call)


def _call(part: Callable, *args: Any) -> Any:
    return part(*args)
