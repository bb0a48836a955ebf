"""How a step calls the model's Keras layers: in which mode, with which noise, and what they add.

Keras does this in `Layer.__call__` of the outermost layer, here there are several: encoder, decoder
and whatever a function calls. What tf_keras keeps to itself is used in this file alone.
"""

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tf_keras.src.backend import RandomGenerator
from tf_keras.src.engine.base_layer_utils import call_context

from tfp_aevb.distributions.noise import device_seed
from tfp_aevb.layers.base import DistributionLayer
from tfp_aevb.utils.seeds import stream_key


class _StepGenerator(RandomGenerator):
    """Stands in for the generators of random layers; each draw has a seed of its own.

    Args:
        seed: [2] int32, the step's.
    """

    def __init__(self, seed: tf.Tensor) -> None:
        super().__init__(seed=0, rng_type=self.RNG_STATELESS)
        self._step_seed = seed
        # Far from 0, where other numbers that are folded into the step's seed are, as of devices.
        self._draws = itertools.count(stream_key(0, "layers"))

    def make_seed_for_stateless_op(self) -> tf.Tensor:
        seed = device_seed(None, self._step_seed)
        return tf.random.experimental.stateless_fold_in(seed, next(self._draws))


@contextlib.contextmanager
def layer_calls(model: tf_keras.Model, training: bool, seed: tf.Tensor) -> Iterator[None]:
    """Inside, the model's Keras layers are called with this `training`, as Keras' own `fit` does.

    Draws of `Dropout`, `GaussianNoise` and their kin are a function of `seed` [2] int32, the place
    of the draw among the step's, and the device. `model.losses` are those of these calls.
    """
    generator = _StepGenerator(seed)
    random_layers = [
        (layer, layer._random_generator)
        for layer in model._flatten_layers()
        if isinstance(getattr(layer, "_random_generator", None), RandomGenerator)
    ]
    model._clear_losses()
    # Past `setattr`, by which Keras would keep the generator as a part of the layer.
    for layer, _ in random_layers:
        vars(layer)["_random_generator"] = generator
    try:
        is_graph = not tf.executing_eagerly()
        with call_context().enter(model, None, is_graph, {"training": training}):
            yield
    finally:
        for layer, own in random_layers:
            vars(layer)["_random_generator"] = own
        model._clear_losses()


def added_losses(model: tf_keras.Model) -> list[tf.Tensor]:
    """Returns what the layers' regularisers and `add_loss` ask for: float32 scalars."""
    return [tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in model.losses]


@contextlib.contextmanager
def recorded_layers() -> Iterator[list[tf_keras.layers.Layer]]:
    """Gives a list of the Keras layers that are called inside, outer ones before inner ones."""
    context = call_context()
    enter = context.enter
    layers: list[tf_keras.layers.Layer] = []

    def recording(layer: tf_keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        layers.append(layer)
        return enter(layer, *args, **kwargs)

    context.enter = recording
    try:
        yield layers
    finally:
        context.enter = enter


def layers_that_draw(layers: Iterable[tf_keras.layers.Layer]) -> list[tf_keras.layers.Layer]:
    """Returns those of `layers` that draw noise of their own, or have a penalty."""
    return [
        layer
        for layer in layers
        if isinstance(getattr(layer, "_random_generator", None), RandomGenerator)
        or layer.activity_regularizer is not None
    ]


def one_thread_at_a_time(model: tf_keras.Model) -> contextlib.AbstractContextManager:
    """Returns a lock, if the model has distribution layers of TFP's own, which keep what goes on.

    Those of this package do not.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, tfp.layers.DistributionLambda) and not isinstance(
            layer, DistributionLayer
        ):
            return threading.RLock()
    return contextlib.nullcontext()


def can_wait() -> bool:
    """Whether a thread may wait for another; those of a strategy's devices wait by themselves."""
    context = tf.distribute.get_replica_context()
    return context is None or context.num_replicas_in_sync == 1


def without_parts(
    layers: list[tf_keras.layers.Layer],
    model: tf_keras.Model,
    others: Sequence[tf_keras.layers.Layer] = (),
) -> list[tf_keras.layers.Layer]:
    """Returns those of `layers` that belong neither to the model or `others` nor to one before."""
    seen = {id(layer) for known in (model, *others) for layer in known._flatten_layers()}
    own = []
    for layer in layers:
        if id(layer) not in seen:
            own.append(layer)
            seen |= {id(part) for part in layer._flatten_layers()}
    return own
