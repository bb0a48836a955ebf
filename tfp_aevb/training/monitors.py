"""Callbacks given to `fit`: whether what they follow is there, and which way they take for better.

Keras guesses: with `mode="auto"` its callbacks take the lowest value of anything but an accuracy
for the best one, the lowest bound too, and an unknown quantity is a warning after each epoch.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tf_keras

KERAS = tf_keras.callbacks
# What `fit` reports, and which of its values are better. Neither way is better for the KL term.
BETTER = {"loss": "min", "elbo": "max", "reconstruction": "max", "kl": ""}
# Quantities of users' own callbacks whose names tell it.
_RISING = re.compile(r"elbo|bound|evidence|log_?p|log_?prob|likelihood")
_FALLING = re.compile(r"loss|err|neg|nll|minus|gap")


def flat_callbacks(callbacks: Any) -> Iterator[Any]:
    """Yields the callbacks in a list, a list of lists or a `CallbackList`; or the one given."""
    if isinstance(callbacks, KERAS.CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, list | tuple):
        for callback in callbacks:
            yield from flat_callbacks(callback)
    elif callbacks is not None:
        yield callbacks


def better(monitor: str) -> str:
    """Returns `max` or `min`, whichever values of a quantity are better; empty if it is open."""
    name = monitor.removeprefix("val_")
    if name in BETTER:
        return BETTER[name]
    if _FALLING.search(name):
        return "min"
    return "max" if _RISING.search(name) else ""


def check_monitors(
    model: Any,
    validates: bool,
    *,
    callbacks: Any = None,
    initial_epoch: int = 0,
    epochs: int = 1,
    validation_freq: Any = 1,
    **others: Any,
) -> None:
    """Checks that each callback follows a quantity there is, towards better values.

    Args:
        model: whose `averages` are reported.
        validates: whether there are data to validate on.
        callbacks: as given to `fit`.
        initial_epoch: as given to `fit`.
        epochs: as given to `fit`.
        validation_freq: as given to `fit`.
        **others: what else is given to it.

    Raises:
        ValueError: if one follows what is not reported, or takes worse values for better ones.
    """
    del others
    given = list(flat_callbacks(callbacks))
    names = [metric.name for metric in model.averages]
    seen = (model._should_eval(epoch, validation_freq) for epoch in range(initial_epoch, epochs))
    if validates and any(seen):
        names += [f"val_{name}" for name in names]
    if any(map(_reports_rate, given)):
        names.append("lr")
    others_report = any(map(_may_report, given))
    for callback in given:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str) or not _follows(callback):
            continue
        shown = f'{type(callback).__name__}(monitor="{monitor}")'
        if _is_of_keras(callback) and monitor not in names and not others_report:
            why = ""
            if monitor.startswith("val_") and "val_loss" not in names:
                why = " without `validation_data`"
            raise ValueError(
                f"{shown} would do nothing: `fit` reports no {monitor}{why}; it reports "
                f"{', '.join(names)}"
            )
        wanted, way = better(monitor), _way(callback)
        if wanted and way and way != wanted:
            kept = "lowest" if way == "min" else "highest"
            raise ValueError(f'{shown} would take the {kept} for the best; give mode="{wanted}"')


def ask_for_each_update(callbacks: Any) -> bool:
    """Whether one of the callbacks given to `fit` is to be called at each update."""
    return any(map(_asks_for_each_update, flat_callbacks(callbacks)))


def _asks_for_each_update(callback: Any) -> bool:
    if isinstance(callback, KERAS.ProgbarLogger | KERAS.TerminateOnNaN | KERAS.BaseLogger):
        return False  # `fit` itself ends at a bound that is NaN
    if isinstance(callback, KERAS.TensorBoard) and callback.update_freq != "epoch":
        return True
    asks = getattr(callback, "_implements_train_batch_hooks", None)
    is_ours = type(callback).__module__.startswith("tfp_aevb.")
    return bool(asks and asks()) and not is_ours


def _is_of_keras(callback: Any) -> bool:
    return isinstance(
        callback, KERAS.EarlyStopping | KERAS.ModelCheckpoint | KERAS.ReduceLROnPlateau
    )


def _follows(callback: Any) -> bool:
    """Whether it looks at what it monitors."""
    return not isinstance(callback, KERAS.ModelCheckpoint) or callback.save_best_only


def _way(callback: Any) -> str:
    """Returns which values a callback takes for better: `max`, `min`, or empty if it hides it.

    What `mode="auto"` was taken for is in `monitor_op`.
    """
    mode = getattr(callback, "mode", None)
    if isinstance(callback, KERAS.ReduceLROnPlateau) and mode in ("min", "max"):
        return mode  # it reads its mode again when training begins
    compare = getattr(callback, "monitor_op", None)
    if callable(compare):
        try:
            above, below = (bool(compare(np.float64(a), np.float64(0.0))) for a in (1e30, -1e30))
        except Exception:  # a function of another kind
            return ""
        if above != below:
            return "max" if above else "min"
    return mode if mode in ("min", "max") else ""


def _reports_rate(callback: Any) -> bool:
    return isinstance(callback, KERAS.ReduceLROnPlateau | KERAS.LearningRateScheduler)


def _may_report(callback: Any) -> bool:
    """Whether code of a user's may add to what is reported at an epoch's end."""
    hooks = (getattr(callback, name, None) for name in ("on_epoch_end", "on_test_end"))
    packages = ((getattr(hook, "__module__", None) or "").split(".")[0] for hook in hooks if hook)
    return any(package not in ("tf_keras", "tfp_aevb") for package in packages)
