"""The loop over a block's minibatches: one XLA program on one device, one step each on many."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tfp_aevb.data.observations import read_values
from tfp_aevb.distributions.noise import batch_rows, compiled
from tfp_aevb.objectives import Bound
from tfp_aevb.training.batches import Block
from tfp_aevb.training.layer_calls import layer_calls
from tfp_aevb.training.trainable import Trainable
from tfp_aevb.utils.graphs import graph_function
from tfp_aevb.utils.seeds import step_seeds

# What a block's function returns if its bounds are finite and a parameter is not.
BAD_PARAMETERS = -1


class Minibatch(NamedTuple):
    """What a step works on: all of a minibatch, or one device's rows of it.

    Attributes:
        x: [B, ...event].
        weights: [B], how often each datapoint counts: 1, or its weight; 0 for padding. Of float64
            in evaluation.
        size: M, datapoints in the whole minibatch, scalar; 1 in evaluation, which wants sums.
        num_data: N of Equation 8, scalar.
        num_devices: that share the minibatch.
        seed: [2] int32.
        rows: [B] int32, which of an array's rows they are; `None` where the pixels are sent.
        step: updates before this one, scalar int64; `None` in evaluation.
        is_real: [B], 1 for a datapoint and 0 for padding, where datapoints have weights of their
            own; `None` where `weights` says it.
        total_weight: scalar, the sum of the whole minibatch's `weights` where it may be another
            number than M, else `None`.
    """

    x: tf.Tensor
    weights: tf.Tensor
    size: tf.Tensor
    num_data: tf.Tensor
    num_devices: int
    seed: tf.Tensor
    rows: tf.Tensor | None = None
    step: tf.Tensor | None = None
    is_real: tf.Tensor | None = None
    total_weight: tf.Tensor | None = None

    @property
    def count(self) -> tf.Tensor:
        """What the whole minibatch counts: the sum of its weights, or M."""
        return self.size if self.total_weight is None else self.total_weight

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the share of these rows in the weighted mean of `values` [B], scalar."""
        return tf.math.divide_no_nan(tf.reduce_sum(self.weights * values), self.count)


def block_function(model: Trainable, purpose: str) -> Callable[[Block], tf.Tensor]:
    """Returns the function that works through a block.

    Args:
        model: what to train or evaluate.
        purpose: `train` or `evaluate`.

    Returns:
        Block -> number of its steps that gave a finite bound; it stops behind the first other. Or
        `BAD_PARAMETERS`: an infinite weight need not reach the bound, where a unit is saturated.
    """
    strategy = model.distribute_strategy
    with strategy.scope():
        has_strategy = tf.distribute.has_strategy()
    one_device = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    if one_device or not has_strategy:
        eager = partial(_run_block, model, purpose)
        run = eager if model.run_eagerly else compiled(eager, model.jit_compile)
        # Optimizers of tf_keras work only inside a strategy's `run`.
        return partial(_run_by, strategy, run) if one_device else run

    # Under any other strategy the sum over devices and the update stay outside the XLA program.
    device_step = compiled(partial(_device_step, model, purpose), model.jit_compile)
    return graph_function(partial(_run_block_on_devices, model, purpose, device_step))


def _run_by(strategy: tf.distribute.Strategy, run: Callable, block: Block) -> tf.Tensor:
    return strategy.run(run, args=(block,))


def _minibatch(
    model: Trainable,
    block: Block,
    i: tf.Tensor,
    start: tf.Tensor | int,
    num_devices: int,
) -> Minibatch:
    """Reads the rows of minibatch `i` from `start` on, for one of `num_devices`, to train on."""
    step = block.first_step + i
    seeds = step_seeds(model.seed, "train", step, model.retries)
    rows = block.places // num_devices
    # Gathered: a slice's place would be a constant for XLA, and each step compile anew.
    values = tf.gather(block.values, i)
    if num_devices > 1:
        values = tf.gather(values, start - block.first_place + tf.range(rows))
    numbers = None if block.data is None else values
    if block.data is not None:
        values = tf.gather(block.data, values)
    binarization = seeds.binarization
    if model.updates_per_batch > 1:  # Monte Carlo EM: all see one x
        shared_by = step - step % model.updates_per_batch
        binarization = step_seeds(model.seed, "train", shared_by, model.retries).binarization
    x = read_values(values, block.scale, block.dynamic_binarization, binarization)
    size = tf.gather(block.sizes, i)
    places = start + tf.range(rows)
    weights = tf.cast(places < size, tf.float32)
    size = tf.cast(size, tf.float32)
    num_data = tf.gather(block.num_data, i)
    batch = Minibatch(x, weights, size, num_data, num_devices, seeds.noise, numbers, step)
    if block.weights is None:
        return batch
    own = tf.gather(block.weights, i)
    return batch._replace(
        weights=tf.gather(own, places), is_real=weights, total_weight=tf.reduce_sum(own)
    )


def _cell(
    model: Trainable, block: Block, i: tf.Tensor, device: tf.Tensor | int, num_devices: int
) -> Minibatch:
    """Reads one device's cell of minibatch `i`, to evaluate on."""
    seeds = step_seeds(
        model.seed, "evaluate", tf.gather(tf.gather(block.cells, i), device), model.retries
    )
    rows = block.places // num_devices
    places = device * rows + tf.range(rows)
    values = tf.gather(tf.gather(block.values, i), places)
    x = read_values(values, block.scale, block.dynamic_binarization, seeds.binarization)
    own = tf.gather(block.weights, i)
    return Minibatch(
        x,
        weights=tf.gather(own, places),
        size=tf.constant(1.0, tf.float64),
        num_data=tf.gather(block.num_data, i),
        num_devices=num_devices,
        seed=seeds.noise,
        total_weight=tf.reduce_sum(own),
    )


def _sums(loss: tf.Tensor, bound: Bound, batch: Minibatch) -> list[tf.Tensor]:
    """Sums over datapoints, each as often as it counts, of the loss and the bound's terms."""
    real = batch.weights > 0.0
    parts = [tf.cast(tf.where(real, part, 0.0), tf.float64) for part in bound]
    if batch.total_weight is not None:
        weights = tf.cast(batch.weights, tf.float64)
        parts = [weights * part for part in parts]
    return [loss, *map(tf.reduce_sum, parts)]


def read_minibatch(model: Trainable, purpose: str, block: Block, i: tf.Tensor | int) -> Minibatch:
    """Reads minibatch `i` of a block whole, as one device does, to `train` or `evaluate` on."""
    return (_minibatch if purpose == "train" else _cell)(model, block, i, 0, 1)


def _step(
    model: Trainable, purpose: str, batch: Minibatch
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns the sums of the minibatch and, when training, the gradients."""
    if purpose == "train":
        loss, bound, gradients = model.losses_and_gradients(batch)
        loss = model.loss_of_evaluation(loss, bound, batch)
        loss = tf.cast(loss, tf.float64) * tf.cast(batch.count, tf.float64)
    else:
        with layer_calls(model, False, batch.seed):
            (loss, bound), gradients = model.training_loss(batch), []
            loss = model.sum_of_losses(loss, batch)
    return _sums(loss, bound, batch), gradients


def _run_block(model: Trainable, purpose: str, block: Block) -> tf.Tensor:
    def step(i: tf.Tensor, finite: tf.Tensor, *totals: tf.Tensor) -> tuple[tf.Tensor, ...]:
        sums, gradients = _step(model, purpose, read_minibatch(model, purpose, block, i))
        if gradients:
            model.apply_gradients(gradients)
        finite = tf.math.is_finite(sums[0])
        return i + tf.cast(finite, tf.int32), finite, *map(tf.add, totals, sums)

    # Going on from the metrics' own totals makes the sums independent of the blocks' sizes.
    totals = [tf.identity(metric.total) for metric in model.averages]
    done, _, *totals = tf.while_loop(
        lambda i, finite, *_: finite & (i < block.num_steps),
        step,
        [tf.constant(0), tf.constant(True), *totals],
    )
    steps = tf.range(tf.shape(block.sizes)[0])
    if block.weights is None:
        count = tf.reduce_sum(tf.cast(tf.where(steps < done, block.sizes, 0), tf.float64))
    else:
        counts = tf.reduce_sum(tf.cast(block.weights, tf.float64), axis=1)
        count = tf.reduce_sum(tf.where(steps < done, counts, 0.0))
    for metric, total in zip(model.averages, totals, strict=True):
        metric.total.assign(total)
        metric.count.assign_add(count)
    return _with_parameters_checked(model, purpose, block, done)


def _with_parameters_checked(
    model: Trainable, purpose: str, block: Block, done: tf.Tensor
) -> tf.Tensor:
    """Returns `done`, or `BAD_PARAMETERS`."""
    if purpose != "train":
        return done
    sound = [tf.reduce_all(tf.math.is_finite(v)) for v in model.trainable_variables]
    is_bad = (done == block.num_steps) & ~tf.reduce_all(sound)
    return tf.where(is_bad, BAD_PARAMETERS, done)


def _device_step(
    model: Trainable, purpose: str, block: Block, i: tf.Tensor, device: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
    """Returns one device's sums, gradients and number of datapoints, each as often as it counts."""
    num_devices = model.distribute_strategy.num_replicas_in_sync
    if purpose != "train":
        batch = _cell(model, block, i, device, num_devices)
        return *_step(model, purpose, batch), tf.reduce_sum(batch.weights)
    start = device * (block.places // num_devices)
    with batch_rows(device, start, block.batch_size):
        batch = _minibatch(model, block, i, start, num_devices)
        weights = batch.weights if block.weights is None else tf.cast(batch.weights, tf.float64)
        return *_step(model, purpose, batch), tf.reduce_sum(weights)


def _summed_over_devices(tensors: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Returns each tensor's sum over devices, by one collective operation for all of a dtype.

    An operation for each tensor would cost a round trip among the workers for each.
    """
    sums: list[tf.Tensor | None] = [None] * len(tensors)
    present = [(k, tensor) for k, tensor in enumerate(tensors) if tensor is not None]
    for dtype in dict.fromkeys(tensor.dtype for _, tensor in present):
        alike = [(k, tensor) for k, tensor in present if tensor.dtype == dtype]
        flat = tf.concat([tf.reshape(tensor, [-1]) for _, tensor in alike], axis=0)
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
        parts = tf.split(total, [tf.size(tensor) for _, tensor in alike])
        for (k, tensor), part in zip(alike, parts, strict=True):
            sums[k] = tf.reshape(part, tf.shape(tensor))
    return sums


def _run_block_on_devices(
    model: Trainable, purpose: str, device_step: Callable, block: Block
) -> tf.Tensor:
    strategy = model.distribute_strategy

    def run_on_device(i: tf.Tensor) -> tf.Tensor:
        device = tf.convert_to_tensor(
            tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32
        )
        sums, gradients, count = device_step(block, i, device)
        is_bad = tf.cast(~tf.math.is_finite(sums[0]), tf.float32)
        num_bad, *gradients = _summed_over_devices([is_bad, *gradients])
        if gradients:
            model.apply_gradients(gradients)
        for metric, total in zip(model.averages, sums, strict=True):
            metric.total.assign_add(total)
            metric.count.assign_add(tf.cast(count, tf.float64))
        return num_bad

    def step(i: tf.Tensor, finite: tf.Tensor) -> tuple[tf.Tensor, ...]:
        del finite
        num_bad = strategy.experimental_local_results(strategy.run(run_on_device, args=(i,)))[0]
        finite = tf.equal(num_bad, 0.0)
        return i + tf.cast(finite, tf.int32), finite

    done, _ = tf.while_loop(
        lambda i, finite: finite & (i < block.num_steps), step, [tf.constant(0), tf.constant(True)]
    )
    return _with_parameters_checked(model, purpose, block, done)
