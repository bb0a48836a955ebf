"""A table of what a user gives: each row tries one argument, which is used or refused in a line.

    fit = Table("fit", AEVB.fit, fitted)
    fit.differs("batch_size", "5, or 20", {"batch_size": 5}, {"batch_size": 20})
    fit.agrees("y", "`x` itself", {"y": X})
    fit.refuses("batch_size", "0", {"batch_size": 0}, "`batch_size` must be")

`fitted` takes the arguments that a row gives and returns what came of them, numbers or texts in
any nest. A row that gives nothing else compares with what comes of no arguments at all.
"""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

ERRORS = (ValueError, TypeError, NotImplementedError, FileNotFoundError)
Given = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class Row(NamedTuple):
    """One row.

    Attributes:
        function: what it is given to.
        argument: its name.
        given: what is given, in words.
        outcome: `used`, `agrees` (used, with the same result as another way), `warned` or `refused`.
        line: how the line begins by which it is refused; or what it agrees with.
        try_it: returns what came of it: for `used` and `agrees` of two ways.
    """

    function: str
    argument: str
    given: str
    outcome: str
    line: str
    try_it: Callable[[], Any]


class Table:
    """The rows of one function or class.

    Args:
        function: its name, as users know it.
        target: it, for its parameters.
        call: tries what a row gives.
    """

    everything: list["Table"] = []

    def __init__(self, function: str, target: Any, call: Callable[..., Any]) -> None:
        self.function, self.target, self.call = function, target, call
        self.rows: list[Row] = []
        self.also: set[str] = set()
        self.without: set[str] = set()
        self._nothing: dict[str, Any] = {}
        self._known: dict[int, Any] = {}
        Table.everything.append(self)

    def differs(self, argument: str, given: str, first: Given, second: Given | None = None) -> None:
        """Adds a row of an argument whose value changes the result."""
        self._add(argument, given, "used", "", lambda: self._pair(first, second))

    def agrees(
        self,
        argument: str,
        given: str,
        first: Given,
        second: Given | None = None,
        *,
        like: str = "an array",
    ) -> None:
        """Adds a row of what gives the same result as another way."""
        self._add(argument, given, "agrees", like, lambda: self._pair(first, second))

    def refuses(self, argument: str, given: str, what: Given, line: str) -> None:
        """Adds a row of what is refused by a line that begins so."""
        assert line
        self._add(argument, given, "refused", line, lambda: self._of(what))

    def warns(self, argument: str, given: str, what: Given, line: str) -> None:
        """Adds a row of what is used with a warning that begins so."""
        self._add(argument, given, "warned", line, lambda: self._warned(what))

    def has(self, *arguments: str) -> None:
        """Names further arguments that the function takes, beyond those of its signature."""
        self.also |= set(arguments)

    def missing(self) -> set[str]:
        """Returns the parameters that are in no row."""
        known = {row.argument for row in self.rows} | self.without
        return (parameters(self.target) | self.also) - known

    def _add(self, argument: str, given: str, outcome: str, line: str, *rest: Any) -> None:
        self.rows.append(Row(self.function, argument, given, outcome, line, *rest))

    def _of(self, given: Given) -> Any:
        return self.call(**(given() if callable(given) else given))

    def _warned(self, given: Given) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._of(given)
        return [str(warning.message) for warning in caught]

    def _pair(self, first: Given, second: Given | None) -> tuple[Any, Any]:
        second = self._nothing if second is None else second
        if callable(second):
            return self._of(first), self._of(second)
        if id(second) not in self._known:  # rows compare with the same one
            self._known[id(second)] = self._of(second)
        return self._of(first), self._known[id(second)]


def all_rows() -> Iterator[Row]:
    """Yields the rows of all tables, in order."""
    for table in Table.everything:
        yield from table.rows


def parameters(target: Any) -> set[str]:
    """Returns the names of a function's parameters, of a class those of its constructor.

    Where a constructor hands on keywords, those of the classes above it in this package too.
    """
    if not inspect.isclass(target):
        found = inspect.signature(target).parameters.values()
        return {p.name for p in found if p.name != "self" and p.kind != p.VAR_POSITIONAL}
    names: set[str] = set(getattr(target, "_fields", ()))
    for base in target.__mro__:
        if "__init__" not in vars(base) or not base.__module__.startswith("tfp_aevb."):
            if base.__module__.startswith("tfp_aevb."):
                continue
            break
        own = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in own if p.name not in _FILLED and p.kind not in _VARIABLE}
        if not any(p.kind == p.VAR_KEYWORD for p in own):
            break
    return names


# Arguments of a base class that the classes of this package fill in themselves.
_FILLED = ("self", "params_size", "make_distribution_fn")
_VARIABLE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def alike(first: Any, second: Any) -> bool:
    """Whether two results are the same, up to rounding."""
    a, b = (tf.nest.flatten(value) for value in (first, second))
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Any, b: Any) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        return bool(np.array_equal(x, y))
    return x.shape == y.shape and np.allclose(x, y, rtol=1e-5, atol=1e-6, equal_nan=True)


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Runs functions as Python, which is quicker than to compile so little."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def fresh(make: Callable[[], tf_keras.Model], known: dict[str, Any], key: str) -> tf_keras.Model:
    """Returns a model as `make` makes it, made once: its variables are set back."""
    if key not in known:
        model = make()
        optimizer = model.optimizer.variables if model.optimizer else []
        variables = [*model.variables, *optimizer]
        known[key] = model, variables, [v.numpy() for v in variables]
    model, variables, start = known[key]
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    return model
