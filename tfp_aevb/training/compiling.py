"""What `compile` of a model takes, and what goes into its files."""

from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.training.averages import WeightAverages
from tfp_aevb.training.keras_objects import (
    KerasFiles,
    as_optimizer,
    check_optimizer_is_free,
    check_precision,
    check_strategy,
)
from tfp_aevb.utils.variables import distinct, identity


class Compiled(WeightAverages, KerasFiles):
    """A Keras model with `compile` of its own: the loss and the metrics are the model's."""

    # Steps in a block at most; `None`: as many as take about a second.
    _largest_block: int | None = None

    @property
    def suits_xla(self) -> bool:
        """Whether XLA is of use to this model."""
        return True

    def _dedup_weights(self, weights: list[tf.Variable]) -> list[tf.Variable]:
        # tf_keras's own goes by Python objects, and would train a variable once for each.
        return distinct(weights)

    def compile(
        self,
        optimizer: Any = "adam",
        *,
        jit_compile: bool | str | None = None,
        steps_per_execution: int | None = None,
        ema_momentum: float = 0.0,
        **kwargs,
    ) -> None:
        """Configures training.

        Args:
            optimizer: a tf_keras optimizer or its name.
            jit_compile: compile the training loop with XLA; by default yes, wherever XLA suits the
                model, but for `run_eagerly`; `"auto"` says so too. The same seed draws other random
                numbers with XLA than without. Evaluation, imputation and all else that compiles
                what it computes with the model follow it.
            steps_per_execution: updates, or batches to evaluate, run by one call of the compiled
                loop; by default as many as take about a second, or in `fit` one if a callback asks
                to be called at each update. Results do not depend on it.
            ema_momentum: of an exponential moving average of the weights, which `evaluate` and
                validation use; see `adopt_averages`. 0: none.
            **kwargs: `run_eagerly`, for debugging. Losses and metrics are the model's own.

        Raises:
            ValueError: if the optimizer is none of tf_keras's present ones, or belongs to another
                model; if a layer computes in float16, or a variable is of 16 bits; or if an
                argument is not known.
        """
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        unknown = set(kwargs) - {"run_eagerly"}
        if unknown:
            raise ValueError(
                f"`compile` does not take {', '.join(sorted(unknown))}: "
                "the loss is minus the bound, the metrics are its terms"
            )
        if jit_compile not in (None, "auto", True, False):
            raise ValueError(f"`jit_compile` must be True, False or 'auto', got {jit_compile!r}")
        if steps_per_execution is not None and steps_per_execution < 1:
            raise ValueError(f"`steps_per_execution` must be positive, got {steps_per_execution}")
        optimizer = as_optimizer(optimizer)
        check_precision(self)
        check_strategy(self)
        check_optimizer_is_free(optimizer, self.trainable_variables)
        if jit_compile in (None, "auto"):
            jit_compile = self.suits_xla and not kwargs.get("run_eagerly")
        self._largest_block = steps_per_execution
        self._compile_arguments = {
            "jit_compile": jit_compile,
            "steps_per_execution": steps_per_execution,
            "ema_momentum": ema_momentum,
            **kwargs,
        }
        super().compile(
            optimizer,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution or 1,
            **kwargs,
        )
        self.optimizer.build(self.trainable_variables)
        self._start_averages(ema_momentum)
        self._compiled_for = tuple(map(identity, self.trainable_variables))

    def check_still_compiled(self) -> None:
        """Raises a `ValueError` if parts were frozen or unfrozen since, in vain."""
        if self._is_compiled and self._compiled_for != tuple(
            map(identity, self.trainable_variables)
        ):
            raise ValueError("`trainable` of a part was changed since `compile`; compile again")

    def get_compile_config(self) -> dict | None:
        """Returns `compile`'s arguments, for a `.keras` file; `None` before `compile`."""
        if not self._is_compiled:
            return None
        optimizer = tf_keras.saving.serialize_keras_object(self.optimizer)
        return {"optimizer": optimizer, **self._compile_arguments}

    def compile_from_config(self, config: dict) -> None:
        """Compiles as `get_compile_config` describes."""
        optimizer = tf_keras.saving.deserialize_keras_object(config["optimizer"])
        if not isinstance(optimizer, tf_keras.optimizers.Optimizer):
            raise ValueError(f"the optimizer of the config is none but {optimizer!r:.80}")
        self.compile(**{**config, "optimizer": optimizer})
