"""A Keras model whose `fit` and `evaluate` run many batches inside one compiled loop."""

import contextlib
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.data.batch_parts import split_parts
from tfp_aevb.data.observations import Observations, as_observations, is_array, split_off
from tfp_aevb.data.stream import Stream
from tfp_aevb.objectives import Bound, minibatch_bound, negative_log_parameter_prior
from tfp_aevb.training.batches import MAX_BLOCK
from tfp_aevb.training.cells import CELL
from tfp_aevb.training.compiling import Compiled
from tfp_aevb.training.devices import mean_over_devices
from tfp_aevb.training.keras_objects import Mean, check_callbacks
from tfp_aevb.training.layer_calls import added_losses, layer_calls
from tfp_aevb.training.loops import BAD_PARAMETERS, Minibatch, block_function
from tfp_aevb.training.monitors import ask_for_each_update, check_monitors
from tfp_aevb.training.sources import (
    Batches,
    check_readers,
    evaluation_source,
    given_data,
    training_source,
)
from tfp_aevb.training.streams import IteratorBatches, StreamBatches
from tfp_aevb.utils.graphs import xla_failures_named

# A compiled block of steps returns to Python about once a second, so that signals, progress and
# checkpoints are served in time.
SECONDS_PER_BLOCK = 1.0
ONLY_ZEROS = "weights must not all be 0: no datapoint counted"
METRICS = ("loss", "elbo", "reconstruction", "kl")


class NonFiniteBoundError(FloatingPointError):
    """A bound became NaN or infinite, or a parameter.

    Args:
        step: the number of updates before it; the next one met it, if it was met in training.
        evaluation: `validation` or `evaluation`, if it was met in one.
        parameter: whether a parameter was found so, which the bound need not show.
    """

    def __init__(self, step: int, evaluation: str = "", *, parameter: bool = False) -> None:
        which = "a parameter" if parameter else f"the {evaluation} bound".replace("  ", " ")
        super().__init__(
            f"{which} became NaN or infinite at step {step if evaluation else step + 1}; lower "
            "the learning rate, or check the data and the model's scales"
        )
        self.step = step


class _Holder:
    """Keeps a variable from Keras, which would put it into checkpoints."""

    def __init__(self, variable: tf.Variable) -> None:
        self.variable = variable


class FusedModel(Compiled):
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
        num_data: int | None = None,
        seed: int = 0,
        **kwargs,
    ) -> None:
        # In float32 whatever the global policy: it would round what `model(x)` is given.
        super().__init__(dtype="float32", **kwargs)
        if parameter_prior not in (None, "normal"):
            raise ValueError(f"`parameter_prior` must be None or 'normal', got {parameter_prior!r}")
        if num_data is not None and num_data < 1:
            raise ValueError(f"`num_data` must be positive, got {num_data}")
        self._num_data_holder = _Holder(tf.Variable(math.nan, trainable=False, name="num_data"))
        self.parameter_prior = parameter_prior
        self.num_data = num_data
        self.seed = seed
        # Restores after a non-finite bound: each gives the rest of the run other noise.
        self.retries = tf.Variable(0, trainable=False, dtype=tf.int32, name="retries")
        # Sums of nats over datapoints in float64: exact averages over any number of batches.
        self.averages = [Mean(name, dtype="float64") for name in METRICS]

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

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
        sample_weight: Any = None,
        class_weight: None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        validation_batch_size: int | None = None,
        shuffle: bool = True,
        steps_per_epoch: int | None = None,
        **kwargs,
    ) -> tf_keras.callbacks.History:
        """Trains the model (Algorithm 1); arguments and result are those of `tf_keras.Model.fit`.

        Args:
            x: array [N, ...event], `Observations`, a `Stream`, or a `tf.data.Dataset` or
                generator of batches `x`, `(x, x)` or, with weights, `(x, x, w)` or `(x, None, w)`.
            y: nothing, or `x` itself: `fit(x, x)` is `fit(x)`.
            batch_size: M, for arrays and streams (default 100).
            sample_weight: [N], how often each row of an array counts: N of Equation 8 is their sum,
                and the loss of a minibatch 1/M sum{ w[i] / mean(w) L(x[i]) }, unbiased for the
                weighted mean. Batches' own weights are not divided by a mean, which is not known:
                their mean should be 1, and `num_data` their sum. All metrics are weighted means.
            class_weight: refused: there are no classes.
            validation_split: fraction of `x`, from its end, to validate on.
            validation_data: to validate on after each epoch; like `x` but no `Stream`, or a tuple
                `(x, x)`, `(x, x, w)` or `(x, None, w)` of arrays.
            validation_batch_size: for arrays.
            shuffle: permute an array's rows anew in each epoch, as a function of (seed, epoch), or
                the batches of a Keras `Sequence`.
            steps_per_epoch: updates in an epoch; by default as many as the data give.
            **kwargs: `epochs`, `callbacks`, `verbose`, `initial_epoch`, `validation_steps`, ...

        The history has `elbo`, the bound, `reconstruction` and `kl`, its terms, and `loss`, minus
        the bound with what penalises it; with `val_` before them those of the validation data. A
        name means the same of both, whatever weight training gives the KL term.

        Raises:
            ValueError: if the data do not fit the model, or a callback follows what is not
                reported or takes worse values of it for better ones.
            NonFiniteBoundError: if the bound becomes NaN or infinite.
        """
        check_readers(x, **kwargs)
        check_monitors(self, bool(validation_split) or validation_data is not None, **kwargs)
        check_callbacks(kwargs.get("callbacks"))
        self.check_still_compiled()
        if class_weight is not None:
            raise ValueError("`class_weight` has no classes here; give `sample_weight` [N]")
        x = given_data(self, x, y, sample_weight)
        if validation_split:
            if validation_data is not None:
                raise ValueError(
                    "`validation_split` and `validation_data` exclude each other; give one of them"
                )
            if not is_array(x):
                raise ValueError("`validation_split` needs an array; give `validation_data`")
            rows = as_observations(x, self.allows_missing)
            x, validation_data = split_off(rows, validation_split)
        validation_data = given_data(self, *split_parts(validation_data))
        train = training_source(self, x, batch_size or 100, shuffle)
        self._fitted_num_data = train.num_data
        steps_per_epoch = steps_per_epoch or train.steps
        if steps_per_epoch is None and isinstance(x, Stream):
            raise ValueError("a stream that does not tell its N needs `steps_per_epoch`")
        uncounted = steps_per_epoch is None and train.has_unknown_length
        uncounted |= self._largest_block is None and ask_for_each_update(kwargs.get("callbacks"))
        outer_eval_batches = self._eval_batches
        if validation_data is not None:
            held_out = evaluation_source(self, validation_data, validation_batch_size)
            self._eval_batches, validation_data = held_out.batches, held_out.x
            if kwargs.get("validation_steps") is None:
                uncounted |= held_out.has_unknown_length
        self._train_batches = train.batches
        if self._is_compiled and not self.optimizer.iterations.numpy():
            self.restart_averages()  # the weights may have been set since `compile`
        try:
            with self._own_blocks(single=True) if uncounted else contextlib.nullcontext():
                history = super().fit(
                    train.x,
                    validation_data=validation_data,
                    steps_per_epoch=steps_per_epoch,
                    shuffle=shuffle,
                    **kwargs,
                )
            if isinstance(train.batches, IteratorBatches) and train.batches.only_zeros:
                raise ValueError(ONLY_ZEROS)
            return history
        finally:
            if isinstance(train.batches, StreamBatches):
                train.batches.close()
            self._train_batches, self._eval_batches = None, outer_eval_batches

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
        sample_weight: Any = None,
        **kwargs,
    ) -> Any:
        """Averages the bound over datapoints; arguments and result as `tf_keras.Model.evaluate`.

        Data, `y` and weights are as in `fit`: with weights w, sum{ w[i] L(x[i]) } / sum{ w[i] }.
        The draws depend on the model's seed and the batch's position alone: evaluating twice gives
        the same numbers.
        """
        check_callbacks(kwargs.get("callbacks"))
        if kwargs.get("_use_cached_eval_dataset"):
            with self._own_blocks(), self._averaged_weights():
                return self._evaluated(x, **kwargs)
        check_readers(x, **kwargs)
        x = given_data(self, x, y, sample_weight)
        outer_eval_batches = self._eval_batches
        source = evaluation_source(self, x, batch_size)
        self._eval_batches = source.batches
        try:
            uncounted = kwargs.get("steps") is None and source.has_unknown_length
            with self._own_blocks(single=uncounted), self._averaged_weights():
                return self._evaluated(source.x, **kwargs)
        finally:
            self._eval_batches = outer_eval_batches

    def _evaluated(self, x: Any, **kwargs) -> Any:
        result = super().evaluate(x, **kwargs)
        if not self.averages[0].count.numpy():
            raise ValueError(ONLY_ZEROS)
        return result

    def stated_num_data(self, x: Observations) -> float | None:
        """Returns N as given to the model for training on `x`; `None` if the data tell it."""
        del x
        return self.num_data

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Collects `predict_step`'s results; arguments and result as `tf_keras.Model.predict`."""
        check_callbacks(kwargs.get("callbacks"))
        check_readers(args[0] if args else kwargs.get("x"), **kwargs)
        # Keras' own loop over several steps needs AutoGraph, which fails there under Python 3.13.
        with self._own_blocks(single=True), xla_failures_named():
            return super().predict(*args, **kwargs)

    _train_batches: Batches | None = None
    _eval_batches: Batches | None = None
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

    @contextlib.contextmanager
    def _own_blocks(self, *, single: bool = False) -> Iterator[None]:
        """Restores the blocks' size afterwards.

        Args:
            single: steps one by one; Keras has to meet the end of a stream it cannot count.
        """
        if self._steps_per_execution is None:  # not compiled: Keras will say so
            yield
            return
        before = self._largest_block, int(self._steps_per_execution.numpy())
        if single:
            self._largest_block = 1
            self._steps_per_execution.assign(1)
        try:
            yield
        finally:
            self._largest_block = before[0]
            self._steps_per_execution.assign(before[1])

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
        run_block = block_function(self, "train" if train else "evaluate")

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
                    raise NonFiniteBoundError(first_step + num_steps, parameter=True)
                if finite_steps < num_steps:
                    raise self._non_finite(train, first_step + finite_steps)
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

    def _non_finite(self, train: bool, step: int) -> NonFiniteBoundError:
        if train:
            return NonFiniteBoundError(step)
        what = "evaluation" if self._train_batches is None else "validation"
        return NonFiniteBoundError(int(self.optimizer.iterations.numpy()), what)

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
