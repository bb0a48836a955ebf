"""What Keras' model is called with data for: `fit`, `evaluate`, `predict`, and one batch each."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfp_aevb.data.batch_parts import batch_parts
from tfp_aevb.data.host_arrays import as_datapoints, as_float32
from tfp_aevb.data.observations import Observations, as_observations, is_array, split_off
from tfp_aevb.data.stream import Stream
from tfp_aevb.training.arguments import (
    check_batch_size,
    check_batches,
    check_evaluate,
    check_fit,
    check_overrides,
)
from tfp_aevb.training.arranging import arranged_pair, arranged_parts, refuse_names
from tfp_aevb.training.batches import OneBatch
from tfp_aevb.training.cells import ArrayCells
from tfp_aevb.training.compiling import Compiled
from tfp_aevb.training.keras_objects import check_callbacks
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

ONLY_ZEROS = "weights must not all be 0: no datapoint counted"


class KerasCalls(Compiled):
    """What is called with data."""

    _train_batches: Batches | OneBatch | None = None
    _eval_batches: Batches | None = None

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
        if class_weight is not None:
            raise ValueError("`class_weight` has no classes here; give `sample_weight` [N]")
        check_readers(x, **kwargs)
        x, y = arranged_pair(self, x, y)
        check_overrides(self)
        check_monitors(self, bool(validation_split) or validation_data is not None, **kwargs)
        check_callbacks(kwargs.get("callbacks"))
        self.check_still_compiled()
        check_fit(
            is_array=is_array(x),
            in_batches=not (is_array(x) or isinstance(x, Stream)),
            batch_size=batch_size,
            shuffle=shuffle,
            steps_per_epoch=steps_per_epoch,
            has_validation=validation_data is not None,
            validation_split=validation_split,
            validation_batch_size=validation_batch_size,
            others=kwargs,
        )
        x = given_data(self, x, y, sample_weight)
        if validation_split:
            rows = as_observations(x, self.allows_missing)
            x, validation_data = split_off(rows, validation_split)
        if validation_data is not None:
            validation_data = given_data(self, *arranged_parts(self, validation_data))
            in_batches = not is_array(validation_data)
            check_batch_size(validation_batch_size, in_batches, "validation_batch_size")
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
            if getattr(self, "_eval_data_handler", None) is not None:
                # Keras keeps it after an error, and the next `fit` would validate on those data.
                del self._eval_data_handler

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
        check_overrides(self)
        x, y = arranged_pair(self, x, y)
        check_evaluate(batch_size, not is_array(x), kwargs.get("steps"))
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

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: None = None,
        reset_metrics: bool = True,
        return_dict: bool = False,
    ) -> Any:
        """Makes one update on a minibatch; arguments and result as those of `tf_keras.Model`.

        Data, `y` and weights are as in `fit`; the weights are taken as they are, and should have
        the mean 1. Where the loss depends on N the model needs `num_data`, or a `fit` before.

        Raises:
            ValueError: if the data do not fit the model, or N is needed and not known.
            NonFiniteBoundError: if the bound becomes NaN or infinite.
        """
        if class_weight is not None:
            raise ValueError("`class_weight` has no classes here; give `sample_weight` [B]")
        batch = self._batch(x, y, sample_weight)
        if self.needs_num_data and not self.known_num_data:
            raise ValueError("a batch does not tell N, which the loss needs; give `num_data`")
        num_devices = self.distribute_strategy.num_replicas_in_sync
        self._train_batches = OneBatch(batch, self.known_num_data, num_devices)
        if not self.optimizer.iterations.numpy():
            self.restart_averages()  # the weights may have been set since `compile`
        try:
            self._run_batch(self.make_train_function(), reset_metrics)
        finally:
            self._train_batches = None
        return self._found(return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        reset_metrics: bool = True,
        return_dict: bool = False,
    ) -> Any:
        """Averages the bound over a batch; arguments and result as those of `tf_keras.Model`.

        The draws are those that `evaluate` has for the same rows.
        """
        batch = self._batch(x, y, sample_weight)
        num_devices = self.distribute_strategy.num_replicas_in_sync
        outer = self._eval_batches
        self._eval_batches = ArrayCells(
            batch, len(batch), self.known_num_data, num_devices, self.cell_rows
        )
        self._test_counter.assign(0)
        try:
            with self._averaged_weights():
                self._run_batch(self.make_test_function(), reset_metrics)
        finally:
            self._eval_batches = outer
        return self._found(return_dict)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Collects `predict_step`'s results; arguments and result as `tf_keras.Model.predict`.

        Args:
            x: as in `fit`, but no `Stream`; it draws nothing, so that pixels to be binarised
                dynamically are refused, and so are weights.
            batch_size: for arrays.
            **kwargs: `verbose`, `steps`, `callbacks`, ...
        """
        check_callbacks(kwargs.get("callbacks"))
        check_readers(x, **kwargs)
        x = self.arrange(x)
        in_batches = not is_array(x)
        check_evaluate(batch_size, in_batches, kwargs.get("steps"))
        x = _checked_batches(x) if in_batches else self._values(x)
        # Keras' own loop over several steps needs AutoGraph, which fails there under Python 3.13.
        with self._own_blocks(single=True), xla_failures_named():
            return super().predict(x, batch_size=batch_size, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns `predict_step`'s results for one batch, an array in any form."""
        with self._own_blocks(single=True):
            return super().predict_on_batch(self._values(self.arrange(x)))

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

    def arrange(self, x: Any) -> Any:
        """Returns data as the model's datapoints; here as they are.

        A model of several observed parts takes them by name: see `JointAEVB`.

        Raises:
            ValueError: if `x` is a dict, or has batches that are.
        """
        refuse_names(x)
        return x

    def _datapoints(self, x: Any) -> tf.Tensor:
        """Returns datapoints [B, ...event] of any form as float32."""
        return as_datapoints(self.arrange(x), self.allows_missing)

    def _values(self, x: Any) -> tf.Tensor:
        if isinstance(x, Observations):
            if x.dynamic_binarization or x.weights is not None:
                raise ValueError(
                    "`predict` draws nothing and averages nothing: give pixels that are binarised "
                    "(static, threshold), without weights, or use "
                    "`tfp_aevb.evaluation.codes.encode_all`"
                )
            x = as_float32(x.x) / np.float32(x.scale)
        return self._datapoints(x)

    def _batch(self, x: Any, y: Any, sample_weight: Any) -> Observations:
        self._assert_compile_was_called()
        check_overrides(self)
        x, y = arranged_pair(self, x, y)
        if not is_array(x):
            raise ValueError(f"a batch must be an array [B, ...event], got a {type(x).__name__}")
        batch = as_observations(given_data(self, x, y, sample_weight), self.allows_missing)
        self.check_observations(batch)
        return batch

    def _run_batch(self, function: Any, reset_metrics: bool) -> None:
        if reset_metrics:
            self.reset_metrics()
        with self.distribute_strategy.scope(), self._own_blocks(single=True):
            function(None)

    def _found(self, return_dict: bool) -> Any:
        found = {metric.name: float(metric.result()) for metric in self.averages}
        return found if return_dict else list(found.values())


def _checked_batches(x: Any) -> Any:
    """Returns batches to predict on, whose first is x or (x, x).

    Raises:
        ValueError: if they are no batches, or have a target or weights.
    """
    check_batches(x)
    if isinstance(x, tf.data.Dataset):
        if not isinstance(x.element_spec, tuple | dict):
            return x
        first = next(iter(x), None)
    elif isinstance(x, tf_keras.utils.Sequence):
        first = x[0]
    elif hasattr(x, "__next__"):
        first = next(x, None)
        x = itertools.chain([] if first is None else [first], x)
    else:
        return x
    if first is not None and batch_parts(first)[1] is not None:
        raise ValueError("`predict` averages nothing: give batches without weights")
    return x
