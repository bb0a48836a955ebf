"""Objects of another Keras than tf_keras, refused: TensorFlow Probability works with no other.

`tf.keras` is Keras 3.
"""

import gc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_OTHERS = ("keras.", "tensorflow.python.keras.")


def is_other_keras(thing: Any) -> bool:
    """Whether an object, or a class, is of another Keras: 3, or what TensorFlow had inside."""
    kinds = thing.__mro__ if isinstance(thing, type) else type(thing).__mro__
    return any(f"{kind.__module__}.".startswith(_OTHERS) for kind in kinds)


def refuse_other_keras(name: str, thing: Any) -> None:
    """Raises a `ValueError` if `thing`, given as `name`, is of another Keras."""
    if is_other_keras(thing):
        raise ValueError(
            f"{name} ({kind_of(thing)}) is of Keras 3, `tf.keras`, which TensorFlow Probability "
            "does not work with; make it with `tf_keras`"
        )


def refuse_variables_of_other_keras(variables: Sequence[tf.Variable]) -> None:
    """Raises a `ValueError` if a layer of Keras 3, called by a function, has one of `variables`.

    Its training mode and its penalties would be left out in silence.
    """
    owners = gc.get_referrers(*variables) if variables else []
    for owner in owners + [o for d in owners if type(d) is dict for o in gc.get_referrers(d)]:
        refuse_other_keras("a layer that the model calls", owner)


def kind_of(thing: Any) -> str:
    """Returns the name of an object's class, or of a class."""
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__
