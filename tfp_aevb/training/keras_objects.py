"""What of Keras a model takes, and refuses in one line: optimizers, callbacks, files."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfp_aevb.utils.keras_versions import kind_of, refuse_other_keras
from tfp_aevb.utils.variables import whole

HALF = (tf.float16, tf.bfloat16)


def as_optimizer(optimizer: Any) -> tf_keras.optimizers.Optimizer:
    """Returns a tf_keras optimizer, given by itself, its name, or its config.

    Raises:
        ValueError: if it is another thing.
    """
    refuse_other_keras("`optimizer`", optimizer)
    if isinstance(optimizer, str | dict):
        try:
            optimizer = tf_keras.optimizers.get(optimizer)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"`optimizer` {optimizer!r:.80} is none that tf_keras knows; give a name such as "
                "'adam', or `tf_keras.optimizers.Adam()`"
            ) from error
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        raise ValueError(
            f"`optimizer` is `tf_keras.optimizers.legacy.{kind_of(optimizer)}`, which does not run "
            f"in a compiled loop; use `tf_keras.optimizers.{kind_of(optimizer)}`"
        )
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        raise ValueError(
            "`optimizer` scales the loss, which only float16 needs and is not supported; give the "
            "optimizer inside it, and the layers 'mixed_bfloat16'"
        )
    if not isinstance(optimizer, tf_keras.optimizers.Optimizer):
        raise ValueError(
            "`optimizer` must be a name such as 'adam', or an object such as "
            f"`tf_keras.optimizers.Adam()`, got {kind_of(optimizer)}"
        )
    return optimizer


def check_optimizer_is_free(
    optimizer: tf_keras.optimizers.Optimizer, variables: Iterable[tf.Variable]
) -> None:
    """Raises a `ValueError` if the optimizer has slots already, and for other variables."""
    known = getattr(optimizer, "_index_dict", {})
    if known and any(optimizer._var_key(variable) not in known for variable in variables):
        raise ValueError(
            "`optimizer` was built for other variables, of another model or of one with parts "
            "frozen; make a new one for each"
        )


def check_precision(model: tf_keras.Model) -> None:
    """Raises a `ValueError` if the model's layers compute, or its variables are, in 16 bits.

    Gradients in float16 underflow without a scaled loss, and updates of a bfloat16 variable are
    rounded away.
    """
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16":
            raise ValueError(
                f"layer {layer.name!r} computes in float16, where gradients underflow without a "
                "scaled loss, which is not supported; use 'mixed_bfloat16'"
            )
    for variable in model.trainable_variables:
        if whole(variable).dtype in HALF:
            raise ValueError(
                f"variable {variable.name!r} is of {whole(variable).dtype.name}, which rounds most "
                "updates away; use 'mixed_bfloat16', which keeps variables in float32"
            )


def check_strategy(model: tf_keras.Model) -> None:
    """Raises a `ValueError` if a variable was made outside of the strategy that is to train it."""
    inside = tf.distribute.has_strategy()
    strategy = tf.distribute.get_strategy() if inside else model.distribute_strategy
    for variable in model.variables:
        if not strategy.extended.variable_created_in_scope(whole(variable)):
            raise ValueError(
                f"variable {variable.name!r} was made outside of {type(strategy).__name__}; make "
                "all layers, the model and its optimizer inside `strategy.scope()`"
            )


def check_callbacks(callbacks: Any) -> None:
    """Raises a `ValueError` if one of `callbacks` is none of tf_keras, or would fail to save."""
    if callbacks is None or isinstance(callbacks, tf_keras.callbacks.CallbackList):
        return
    for callback in tf.nest.flatten(callbacks):
        refuse_other_keras("a callback", callback)
        if not isinstance(callback, tf_keras.callbacks.Callback):
            raise ValueError(
                "`callbacks` must be objects of `tf_keras.callbacks`, such as "
                f"`tf_keras.callbacks.EarlyStopping(...)`, got {kind_of(callback)}"
            )
        is_saved = isinstance(callback, tf_keras.callbacks.ModelCheckpoint)
        if is_saved and not callback.save_weights_only:
            check_path(callback.filepath, "ModelCheckpoint")


def check_path(path: Any, what: str) -> None:
    """Raises a `ValueError` unless a whole model can be written to `path`, by `what`."""
    if not str(os.fspath(path)).endswith(".keras"):
        raise ValueError(
            f"{what} to {os.fspath(path)!r}: a model is written whole to a `.keras` file, its "
            "weights to any (`save_weights`, `save_weights_only=True`), and to a folder that "
            "serves by `tfp_aevb.export_saved_model(model, folder)`"
        )


class Mean(tf_keras.metrics.Mean):
    """Keras' own, whose state can be read from a file under a strategy too."""

    def load_own_variables(self, store: Any) -> None:
        """Sets the sums: a variable of a strategy takes arrays alone."""
        super().load_own_variables({key: np.asarray(store[key]) for key in store.keys()})  # noqa: SIM118


class KerasFiles(tf_keras.Model):
    """What Keras writes of a model: a mix-in that refuses what cannot hold distributions."""

    # `BackupAndRestore` deletes it from the object, and `fit` asks for it again.
    _training_state = None

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Writes the model to a `.keras` file; arguments as `tf_keras.Model.save`.

        Raises:
            ValueError: if it is to be another format, which has no place for distributions.
        """
        check_path(filepath, "save")
        if "tf" in args or kwargs.get("save_format") not in (None, "keras"):
            raise ValueError("`save_format` must be 'keras', or left out")
        super().save(filepath, *args, **kwargs)

    def export(self, filepath: Any) -> None:
        """Raises a `ValueError`: `tfp_aevb.export_saved_model` writes what serves."""
        raise ValueError(_FOLDER)

    def load_own_variables(self, store: Any) -> None:
        """Sets the variables that are no layer's, from a `.keras` or `.weights.h5` file.

        Files of mixed precision that earlier versions wrote hold the layers' variables here again,
        before `retries`, and averages of these behind the others.
        """
        trained, others = len(self._trainable_weights), len(self._non_trainable_weights)
        values = [store[str(i)] for i in range(len(store.keys()))]
        if len(values) > trained + others:
            start = next((i for i, v in enumerate(values) if v.dtype == "int32"), None)
            if start is not None:
                kept = values[:trained] + values[start : start + others]
                store = {str(i): value for i, value in enumerate(kept)}
        super().load_own_variables(store)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict:
        if save_type == "savedmodel":
            raise ValueError(_FOLDER)
        return super()._trackable_children(save_type, **kwargs)


_FOLDER = (
    "Keras' own SavedModels hold no distributions; write one with "
    "`tfp_aevb.export_saved_model(model, folder)`, or `model.save('model.keras')`"
)
