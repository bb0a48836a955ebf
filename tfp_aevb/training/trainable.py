"""What the training loop needs from a model; `FusedModel` and its subclasses have it."""

from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfp_aevb.data.observations import Observations


class Trainable(Protocol):
    """A model that the compiled loop trains and evaluates.

    Attributes:
        seed: of every random draw.
        num_data: N, if it is stated.
        updates_per_batch: how many updates in a row a minibatch of an array is used for.
        averages: Keras metrics, the sums of `loss` and of the terms of the bound.
        retries: restores after a bound that was not finite.
        distribute_strategy: of the devices.
        jit_compile: whether XLA compiles the loop.
        run_eagerly: whether the loop runs step by step in Python.
    """

    seed: int
    num_data: float | None
    updates_per_batch: int
    averages: Sequence[Any]
    retries: tf.Variable
    distribute_strategy: Any
    jit_compile: Any
    run_eagerly: Any

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]:
        """The parameters."""

    @property
    def known_num_data(self) -> float | None:
        """N: as given, or else as the data last given to `fit` tell it."""

    @property
    def needs_num_data(self) -> bool:
        """Whether the loss depends on N."""

    @property
    def cell_rows(self) -> int:
        """How many rows evaluation computes at once."""

    @property
    def allows_missing(self) -> bool:
        """Whether the model marginalises elements that are NaN."""

    def stated_num_data(self, x: Observations) -> float | None:
        """Returns N as given to the model for training on `x`; `None` if the data tell it."""

    def check_observations(self, x: Observations) -> None:
        """Raises a `ValueError` unless `x` may be given to this model."""

    def losses_and_gradients(self, batch: Any) -> tuple[tf.Tensor, Any, list[tf.Tensor]]:
        """Returns the loss and the bound of a `Minibatch`, and the gradients of the loss."""

    def training_loss(self, batch: Any) -> tuple[tf.Tensor, Any]:
        """Returns the loss and the bound of a `Minibatch`."""

    def sum_of_losses(self, loss: tf.Tensor, batch: Any) -> tf.Tensor:
        """Returns the sum over a minibatch of the losses of its datapoints."""

    def loss_of_evaluation(self, loss: tf.Tensor, bound: Any, batch: Any) -> tf.Tensor:
        """Returns what evaluation would have for `loss` of a training minibatch."""

    def apply_gradients(self, gradients: list[tf.Tensor]) -> None:
        """Updates the parameters."""
