"""Graph functions that AutoGraph leaves alone, and what to do where XLA cannot compile one."""

import contextlib
import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras


def graph_function(function: Callable, **kwargs: Any) -> Any:
    """Returns `tf.function(function, **kwargs)` without a conversion of the package's own code.

    That code asks nothing of AutoGraph, and converting it took half of the time until the first
    step. AutoGraph does not convert builtins, here `operator.call`, nor what they call; and unlike
    behind `autograph=False`, Keras goes on converting the `call` of layers that users write.

    Raises:
        NotImplementedError: with `jit_compile`, when it is called: if XLA cannot compile it.
    """
    unconverted = functools.partial(operator.call, function)
    traced = tf.function(functools.update_wrapper(unconverted, function), **kwargs)
    if not kwargs.get("jit_compile"):
        return traced

    def compiled(*args: Any, **kwargs: Any) -> Any:
        with xla_failures_named():
            return traced(*args, **kwargs)

    return compiled


@contextlib.contextmanager
def xla_failures_named() -> Iterator[None]:
    """Says in a line which operations XLA cannot compile, and what to do.

    Raises:
        NotImplementedError: in place of TensorFlow's error about a program of XLA's.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        failure = xla_failure(error.message)
        if not failure:
            raise
        raise NotImplementedError(
            f"XLA cannot compile {failure}; compile the model with `compile(jit_compile=False)`, "
            "on the command line with --noxla"
        ) from None


def xla_failure(message: str) -> str:
    """Returns what XLA could not compile, by TensorFlow's message; empty if it is of none."""
    unsupported = re.findall(r"(\w+) \(No registered '\w+' OpKernel for XLA", message)
    if unsupported:
        return " and ".join(dict.fromkeys(unsupported)) + ", which the model uses"
    if "XLA" in message or "compile-time constant" in message:
        return "the model (" + " ".join(message.split("\n")[0].split())[:200] + ")"
    return ""


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
