"""A Keras model whose `fit` and `evaluate` run many batches inside one compiled loop."""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.data.stream import Stream
from tfp_aevb.objectives import Bound, minibatch_bound, negative_log_parameter_prior
from tfp_aevb.training.averages import WeightAverages
from tfp_aevb.training.batches import MAX_BLOCK
from tfp_aevb.training.devices import mean_over_devices
from tfp_aevb.training.layer_calls import added_losses, layer_calls
from tfp_aevb.training.loops import BAD_PARAMETERS, Minibatch, block_function
from tfp_aevb.training.non_finite import bad_parameters, unsound_terms
from tfp_aevb.training.observations import Observations, as_observations, is_array, split_off
from tfp_aevb.training.sources import Batches, evaluation_source, training_source
from tfp_aevb.training.streams import StreamBatches

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


class FusedModel(WeightAverages, tf_keras.Model):
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
        super().__init__(**kwargs)
        if parameter_prior not in (None, "normal"):
            raise ValueError(f"`parameter_prior` must be None or 'normal', got {parameter_prior!r}")
        if num_data is not None and num_data < 1:
            raise ValueError(f"`num_data` must be positive, got {num_data}")
        self.parameter_prior = parameter_prior
        self.num_data = num_data
        self.seed = seed
        # Restores after a non-finite bound: each gives the rest of the run other noise.
        self.retries = tf.Variable(0, trainable=False, dtype=tf.int32, name="retries")
        # Sums of nats over datapoints in float64: exact averages over any number of batches.
        self.averages = [tf_keras.metrics.Mean(name, dtype="float64") for name in METRICS]

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

    def compile(
        self,
        optimizer: Any = "adam",
        *,
        jit_compile: bool | None = None,
        steps_per_execution: int | None = None,
        ema_momentum: float = 0.0,
        **kwargs,
    ) -> None:
        """Configures training.

        Args:
            optimizer: a tf_keras optimizer or its name.
            jit_compile: compile the training loop with XLA; by default yes, wherever XLA suits the
                model, but for `run_eagerly`. The same seed draws other random numbers with XLA than
                without.
            steps_per_execution: updates, or batches to evaluate, run by one call of the compiled
                loop; by default as many as take about a second. Results do not depend on it.
            ema_momentum: of an exponential moving average of the weights, which `evaluate` and
                validation use; see `adopt_averages`. 0: none.
            **kwargs: `run_eagerly`, for debugging. Losses and metrics are the model's own.
        """
        unknown = set(kwargs) - {"run_eagerly"}
        if unknown:
            raise ValueError(
                f"`compile` does not take {', '.join(sorted(unknown))}: "
                "the loss is minus the bound, the metrics are its terms"
            )
        if jit_compile is None:
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

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
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
                generator of batches `x` or `(x, anything)`.
            y: ignored; `fit(x, x)` is `fit(x)`.
            batch_size: M, for arrays and streams (default 100).
            validation_split: fraction of `x`, from its end, to validate on.
            validation_data: to validate on after each epoch; like `x` but no `Stream`, or a tuple
                that starts so.
            validation_batch_size: for arrays.
            shuffle: permute an array's rows anew in each epoch, as a function of (seed, epoch).
            steps_per_epoch: updates in an epoch; by default as many as the data give.
            **kwargs: `epochs`, `callbacks`, `verbose`, `initial_epoch`, `validation_steps`, ...

        Raises:
            ValueError: if the data do not fit the model.
            NonFiniteBoundError: if the bound becomes NaN or infinite.
        """
        del y
        if validation_split:
            if not is_array(x):
                raise ValueError("`validation_split` needs an array; give `validation_data`")
            rows = as_observations(x, self.allows_missing)
            x, validation_data = split_off(rows, validation_split)
        if isinstance(validation_data, tuple):
            validation_data = validation_data[0]
        train = training_source(self, x, batch_size or 100, shuffle)
        self._fitted_num_data = train.num_data
        steps_per_epoch = steps_per_epoch or train.steps
        if steps_per_epoch is None and isinstance(x, Stream):
            raise ValueError("a stream that does not tell its N needs `steps_per_epoch`")
        uncounted = steps_per_epoch is None and train.has_unknown_length
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
                return super().fit(
                    train.x,
                    validation_data=validation_data,
                    steps_per_epoch=steps_per_epoch,
                    **kwargs,
                )
        finally:
            if isinstance(train.batches, StreamBatches):
                train.batches.close()
            self._train_batches, self._eval_batches = None, outer_eval_batches

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, **kwargs
    ) -> Any:
        """Averages the bound over datapoints; arguments and result as `tf_keras.Model.evaluate`.

        The draws depend on the model's seed and the batch's position alone: evaluating twice gives
        the same numbers.
        """
        del y
        if kwargs.get("_use_cached_eval_dataset"):
            with self._own_blocks(), self._averaged_weights():
                return super().evaluate(x, **kwargs)
        outer_eval_batches = self._eval_batches
        source = evaluation_source(self, x, batch_size)
        self._eval_batches = source.batches
        try:
            uncounted = kwargs.get("steps") is None and source.has_unknown_length
            with self._own_blocks(single=uncounted), self._averaged_weights():
                return super().evaluate(source.x, **kwargs)
        finally:
            self._eval_batches = outer_eval_batches

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Collects `predict_step`'s results; arguments and result as `tf_keras.Model.predict`."""
        # Keras' own loop over several steps needs AutoGraph, which fails there under Python 3.13.
        with self._own_blocks(single=True):
            return super().predict(*args, **kwargs)

    _train_batches: Batches | None = None
    _eval_batches: Batches | None = None
    # Steps in a block at most; `None`: as many as take about a second.
    _largest_block: int | None = None
    _fitted_num_data: int | None = None
    # How many updates in a row an array's minibatch is used for.
    updates_per_batch = 1

    @property
    def suits_xla(self) -> bool:
        """Whether XLA is of use to this model."""
        return True

    @property
    def known_num_data(self) -> int | None:
        """N: as given, or else as the data last given to `fit` tell it."""
        return self.num_data or self._fitted_num_data

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
            self.train_function: Callable = self._make_function(train=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable:
        """Returns the function that Keras calls for each block of evaluation batches."""
        if getattr(self, "test_function", None) is None or force:
            self.test_function: Callable = self._make_function(train=False)
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
                finite_steps = int(run_block(block))
                if finite_steps == BAD_PARAMETERS:
                    names = ", ".join(bad_parameters(self)[:3])
                    raise NonFiniteBoundError(first_step + num_steps, parameter=True, found=names)
                if finite_steps < num_steps:
                    found = unsound_terms(self, block, finite_steps)
                    raise self._non_finite(train, first_step + finite_steps, found)
                done += num_steps
                if train:
                    self._fitted_num_data = int(block.num_data[num_steps - 1])
                else:
                    counter.assign_add(num_steps)
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

        As in Keras, what layers' regularisers and `add_loss` ask for is added as it is, once, to
        the loss of a datapoint.
        """
        loss = -minibatch_bound(values, 1.0, batch.weights, batch.size)
        for added in added_losses(self):
            loss += added / batch.num_devices
        if self.parameter_prior:
            penalty = negative_log_parameter_prior(self.penalised_variables)
            loss += penalty / (batch.num_data * batch.num_devices)
        return loss

    def losses_and_gradients(self, batch: Minibatch) -> tuple[tf.Tensor, Bound, list[tf.Tensor]]:
        """Returns `training_loss` and its gradients with respect to the trainable variables."""
        variables = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with layer_calls(self, True, batch.seed):
                loss, bound = self.training_loss(batch)
        return loss, bound, tape.gradient(loss, variables)

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
