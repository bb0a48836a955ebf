"""A Keras model whose `fit` and `evaluate` run many batches inside one compiled loop."""

import math
import numbers
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.data.observations import Observations
from tfp_aevb.objectives import Bound, minibatch_bound, negative_log_parameter_prior
from tfp_aevb.training.batches import MAX_BLOCK
from tfp_aevb.training.cells import CELL
from tfp_aevb.training.devices import mean_over_devices
from tfp_aevb.training.keras_calls import KerasCalls
from tfp_aevb.training.keras_objects import Mean
from tfp_aevb.training.layer_calls import added_losses, layer_calls
from tfp_aevb.training.loops import BAD_PARAMETERS, Minibatch, block_function
from tfp_aevb.training.non_finite import bad_parameters, unsound_terms
from tfp_aevb.utils.graphs import xla_failures_named

# A compiled block of steps returns to Python about once a second, so that signals, progress and
# checkpoints are served in time.
SECONDS_PER_BLOCK = 1.0
METRICS = ("loss", "elbo", "reconstruction", "kl")


class NonFiniteBoundError(FloatingPointError):
    """A bound became NaN or infinite, or a parameter.

    Args:
        step: the number of updates before it; the next one met it, if it was met in training.
        evaluation: `validation` or `evaluation`, if it was met in one.
        parameter: whether a parameter was found so, which the bound need not show.
        found: what is known of the reason; see `unsound_terms`.
    """

    def __init__(
        self, step: int, evaluation: str = "", *, parameter: bool = False, found: str = ""
    ) -> None:
        which = "a parameter" if parameter else f"the {evaluation} bound".replace("  ", " ")
        advice = "lower the learning rate, or check the data and the model's scales"
        if "an end of where z may be" in found:
            advice = "keep q away from it, as by bounds on what its network gives, or " + advice
        super().__init__(
            f"{which} became NaN or infinite at step {step if evaluation else step + 1}; "
            f"{f'{found}: ' if found else ''}{advice}"
        )
        self.step = step


class _Holder:
    """Keeps a variable from Keras, which would put it into checkpoints."""

    def __init__(self, variable: tf.Variable) -> None:
        self.variable = variable


class FusedModel(KerasCalls):
    """Keras training with one compiled loop over batches: the package's only training path.

    Each call of the compiled function runs a block of updates: it gathers a minibatch, scales and
    binarises it, takes the gradient and updates the parameters, and adds to the epoch's exact sums.
    All randomness is a function of (seed, step), so that results do not depend on how the steps
    fall into blocks, and a resumed run continues exactly.

    Args:
        parameter_prior: `None` for maximum likelihood, `"normal"` for MAP with N(0, I) on every
            parameter, which adds ||w||^2 / (2 N) to the loss.
        num_data: N; by default the number of datapoints last given to `fit`, or, while training on
            a stream without an end, the number of datapoints used so far.
        seed: of every random draw while training and evaluating.
    """

    def __init__(
        self,
        *,
        parameter_prior: str | None = None,
        num_data: float | None = None,
        seed: int = 0,
        **kwargs,
    ) -> None:
        # In float32 whatever the global policy: it would round what `model(x)` is given.
        super().__init__(dtype="float32", **kwargs)
        if parameter_prior not in (None, "normal"):
            raise ValueError(f"`parameter_prior` must be None or 'normal', got {parameter_prior!r}")
        if num_data is not None:
            is_number = isinstance(num_data, numbers.Real) and not isinstance(num_data, bool)
            if not is_number or not 0 < num_data < math.inf:
                raise ValueError(f"`num_data` must be a positive number, got {num_data!r}")
        if not isinstance(seed, numbers.Integral):
            raise ValueError(f"`seed` must be a whole number, got {seed!r}")
        self._num_data_holder: _Holder = _Holder(
            tf.Variable(math.nan, trainable=False, name="num_data")
        )
        self.parameter_prior: str | None = parameter_prior
        self.num_data: float | None = num_data
        self.seed: int = seed
        # Restores after a non-finite bound: each gives the rest of the run other noise.
        self.retries: tf.Variable = tf.Variable(0, trainable=False, dtype=tf.int32, name="retries")
        # Sums of nats over datapoints in float64: exact averages over any number of batches.
        self.averages: list[tf_keras.metrics.Mean] = [
            Mean(name, dtype="float64") for name in METRICS
        ]

    @abstractmethod
    def bound(self, x: tf.Tensor, seed: tf.Tensor) -> Bound:
        """Returns the bound at `x` [B, ...event] as trained and reported, each part [B] nats."""

    def check_observations(self, x: Observations) -> None:
        """Raises a `ValueError` unless `x` may be given to this model."""

    @property
    def allows_missing(self) -> bool:
        """Whether the model marginalises elements that are NaN."""
        return False

    @property
    def penalised_variables(self) -> list[tf.Variable]:
        """The parameters that `parameter_prior` is a prior of."""
        return self.trainable_variables

    def stated_num_data(self, x: Observations) -> float | None:
        """Returns N as given to the model for training on `x`; `None` if the data tell it."""
        del x
        return self.num_data

    # Attributes that compiled loops read when they are made, and not later.
    _traced: tuple[str, ...] = ("parameter_prior", "seed")
    _fitted_num_data: float | None = None
    # How many updates in a row an array's minibatch is used for.
    updates_per_batch = 1

    @property
    def uses_xla(self) -> bool:
        """Whether XLA compiles what is computed with this model: as `compile` was told.

        Without a call of `compile`, wherever XLA suits the model.
        """
        return bool(self.jit_compile) if self._is_compiled else self.suits_xla

    @property
    def cell_rows(self) -> int:
        """Rows that evaluation computes at once."""
        return CELL

    @property
    def known_num_data(self) -> float | None:
        """N: as given, or else as the data last given to `fit` tell it."""
        return self.num_data or self._fitted_num_data

    def _num_data_at_call(self) -> tf.Tensor | float | None:
        """Returns `known_num_data`; in a graph as a tensor, which has its value at each call."""
        if self.known_num_data is None or tf.executing_eagerly():
            return self.known_num_data
        return tf.convert_to_tensor(self._num_data_holder.variable)

    train_function: Any
    test_function: Any

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("num_data", "_fitted_num_data"):
            self._num_data_holder.variable.assign(self.known_num_data or math.nan)
        if name in self._traced:  # the compiled loops have the value before
            self.train_function = self.test_function = None

    @property
    def needs_num_data(self) -> bool:
        """Whether the loss depends on N."""
        return self.parameter_prior is not None

    def make_train_function(self, force: bool = False) -> Callable:
        """Returns the function that Keras calls for each block of updates."""
        if getattr(self, "train_function", None) is None or force:
            self.train_function = self._make_function(train=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable:
        """Returns the function that Keras calls for each block of evaluation batches."""
        if getattr(self, "test_function", None) is None or force:
            self.test_function = self._make_function(train=False)
        return self.test_function

    def _make_function(self, train: bool) -> Callable:
        purpose = "train" if train else "evaluate"
        run_block = block_function(self, purpose)

        def keras_function(iterator: Any) -> dict[str, tf.Tensor]:
            source = self._train_batches if train else self._eval_batches
            assert source is not None  # `fit` and `evaluate` set it
            counter = self.optimizer.iterations if train else self._test_counter
            todo = int(self._steps_per_execution.numpy())
            padded_steps = self._largest_block or MAX_BLOCK
            started, done = time.perf_counter(), 0
            while done < todo:
                first_step = int(counter.numpy())
                try:
                    block = source.next_block(iterator, first_step, todo - done, padded_steps)
                except (StopIteration, tf.errors.OutOfRangeError):
                    if not done:
                        raise
                    break
                num_steps = int(block.num_steps)
                with xla_failures_named():
                    finite_steps = int(run_block(block._replace(num_batches=0)))
                if finite_steps == BAD_PARAMETERS:
                    names = ", ".join(bad_parameters(self)[:3])
                    raise NonFiniteBoundError(first_step + num_steps, parameter=True, found=names)
                if finite_steps < num_steps:
                    found = unsound_terms(
                        self, "train" if train else "evaluate", block, finite_steps
                    )
                    raise self._non_finite(train, first_step + finite_steps, found)
                if train:
                    self._train_counter.assign_add(num_steps)  # by which Keras' callbacks count
                    done += num_steps
                    self._fitted_num_data = float(block.num_data[num_steps - 1])
                else:
                    done += block.num_batches
                    counter.assign_add(block.num_batches)
            if self._largest_block is None:
                self._adapt_block(done, time.perf_counter() - started)
            return {metric.name: metric.result() for metric in self.averages}

        return keras_function

    def _non_finite(self, train: bool, step: int, found: str) -> NonFiniteBoundError:
        if train:
            return NonFiniteBoundError(step, found=found)
        what = "evaluation" if self._train_batches is None else "validation"
        return NonFiniteBoundError(int(self.optimizer.iterations.numpy()), what, found=found)

    def training_loss(self, batch: Minibatch) -> tuple[tf.Tensor, Bound]:
        """Returns the scalar that training differentiates, and the bound it reports.

        Minus Equation 8's bound of the full data, plus minus the log of the parameters' prior if
        there is one, divided by N: nats per datapoint. On one of several devices it is that
        device's share of the sum.
        """
        bound = self.bound(batch.x, batch.seed)
        return self.minibatch_loss(bound.elbo, batch), bound

    def minibatch_loss(self, values: tf.Tensor, batch: Minibatch) -> tf.Tensor:
        """Returns minus the mean of `values` [B] nats, penalised by the parameters' prior.

        It is the mean over the minibatch's M datapoints of each one's weight times its value.
        As in Keras, what layers' regularisers and `add_loss` ask for is added as it is, once, to
        the loss of a datapoint.
        """
        values = tf.cast(values, batch.weights.dtype)
        loss = -minibatch_bound(values, 1.0, batch.weights, batch.size)
        for added in added_losses(self):
            loss += tf.cast(added / batch.num_devices, loss.dtype)
        if self.parameter_prior:
            penalty = negative_log_parameter_prior(self.penalised_variables)
            loss += tf.cast(penalty / (batch.num_data * batch.num_devices), loss.dtype)
        return loss

    def losses_and_gradients(self, batch: Minibatch) -> tuple[tf.Tensor, Bound, list[tf.Tensor]]:
        """Returns the loss to report, the bound, and the gradients of `training_loss`.

        The gradients are those with respect to the trainable variables.
        """
        variables = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with layer_calls(self, True, batch.seed):
                loss, bound = self.training_loss(batch)
                reported = loss
                if batch.total_weight is not None:
                    total = self.sum_of_losses(loss, batch)
                    reported = tf.math.divide_no_nan(total, batch.total_weight)
        return reported, bound, tape.gradient(loss, variables)

    def sum_of_losses(self, loss: tf.Tensor, batch: Minibatch) -> tf.Tensor:
        """Returns the sum over a minibatch of its datapoints' losses, each as often as it counts.

        `training_loss`, the mean, divides the weighted sum by M, and has penalties once.
        """
        penalty = self.minibatch_loss(tf.zeros_like(batch.weights), batch)
        return batch.size * (loss - penalty) + batch.total_weight * penalty

    def loss_of_evaluation(self, loss: tf.Tensor, bound: Bound, batch: Minibatch) -> tf.Tensor:
        """Returns what evaluation would have for `loss` of a training minibatch, to be reported."""
        del bound, batch
        return loss

    def apply_gradients(self, gradients: list[tf.Tensor]) -> None:
        """Updates the trainable variables by the loss' gradients, summed over devices."""
        pairs = zip(gradients, self.trainable_variables, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
        self._update_averages()

    def _adapt_block(self, num_steps: int, seconds: float) -> None:
        wanted = SECONDS_PER_BLOCK * num_steps / seconds
        wanted = mean_over_devices(self.distribute_strategy, wanted)  # blocks of one length in all
        block = min(max(int(wanted), 1), 8 * num_steps, MAX_BLOCK)
        self._steps_per_execution.assign(block)
