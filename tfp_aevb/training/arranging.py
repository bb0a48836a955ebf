"""Data by the names of their parts: models turn them into rows before Keras sees them."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from tfp_aevb.model import AEVB


def arranging(method: Callable) -> Callable:
    """Returns a method of Keras', `fit` or another that takes x first, with its data arranged.

    That is x, a target that is x or a dict too, and `validation_data`: see `AEVB.arrange`.
    """

    @functools.wraps(method)
    def arranged(self: "AEVB", x: Any = None, *args: Any, **kwargs: Any) -> Any:
        rows = self.arrange(x)

        def of_target(value: Any) -> Any:
            if x is not None and value is x:
                return rows
            return self.arrange(value) if isinstance(value, Mapping) else value

        args = tuple(of_target(value) for value in args)
        kwargs = {name: of_target(value) for name, value in kwargs.items()}
        held_out = kwargs.get("validation_data")
        if isinstance(held_out, tuple):  # (x, ...)
            kwargs["validation_data"] = tuple(
                self.arrange(part) if isinstance(part, Mapping | tuple) else part
                for part in held_out
            )
        elif held_out is not None:
            kwargs["validation_data"] = self.arrange(held_out)
        return method(self, rows, *args, **kwargs)

    return arranged


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
