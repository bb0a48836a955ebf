"""The networks under the distribution layers: multi-layer perceptrons (paper, Appendix C)."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfp_aevb.layers.sizes import as_size, as_sizes

PACKAGE = "tfp_aevb"

# log sigma^2 is kept in this range: 9.1e-4 <= sigma <= 1097. Inside it the heads are the paper's
# equation 12 to the letter; outside it no input can overflow a float32 density.
LOG_VARIANCE_RANGE = (-14.0, 14.0)


def bounded_log_variance(raw: tf.Tensor) -> tf.Tensor:
    """Clips a head for the logarithm of a variance or a rate to `LOG_VARIANCE_RANGE`: `bounded`."""
    return bounded(raw, *LOG_VARIANCE_RANGE)


def bounded(raw: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Clips a head to [low, high]; same shape.

    The gradient passes through as if nothing were clipped: with the clip's own, zero, a latent
    whose variance once left the range would be lost for the rest of the training. Where it is
    clipped, a gradient that overflowed is taken for zero.
    """

    @tf.custom_gradient
    def clipped(raw: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        inside = tf.clip_by_value(raw, low, high)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            usable = tf.equal(raw, inside) | tf.math.is_finite(upstream)
            return tf.where(usable, upstream, tf.zeros_like(upstream))

        return inside, gradient

    return clipped(tf.convert_to_tensor(raw))


def weight_initializers(
    init_stddev: float | None,
) -> tuple[tf_keras.initializers.Initializer, tf_keras.initializers.Initializer]:
    """Returns the initialisers of a layer's kernel and bias; see `MLP`."""
    if init_stddev is None:
        return tf_keras.initializers.GlorotUniform(), tf_keras.initializers.Zeros()
    normal = tf_keras.initializers.RandomNormal
    return normal(stddev=init_stddev), normal(stddev=init_stddev)


def check_rows(name: str, inputs: Any, size: int | None = None) -> None:
    """Raises a `ValueError` unless `inputs` of the layer `name` are [B, ...event].

    Of shapes that are not known, and of inputs in several parts, nothing is said.

    Args:
        name: of the layer.
        inputs: as given.
        size: how many elements an event must have; by default any.
    """
    shape = getattr(inputs, "shape", None)
    if shape is None or tf.TensorShape(shape).rank is None:
        return
    shape = tf.TensorShape(shape)
    if shape.rank < 2:
        raise ValueError(
            f"layer {name!r} takes rows [B, ...event], got shape {shape}; give one datapoint as "
            "`x[tf.newaxis]`, and numbers one a row as `x[:, tf.newaxis]`"
        )
    if size is not None and shape[1:].num_elements() not in (None, size):
        raise ValueError(
            f"layer {name!r} takes rows of {size} elements, got shape {shape}; they must be the "
            "same in number as those it was built for"
        )


class RowsLayer(tf_keras.layers.Layer):
    """A layer of inputs [B, ...event], which refuses others before it makes a variable."""

    @property
    def row_size(self) -> int | None:
        """How many elements a row must have; `None` while any number will do."""
        return None

    def check_inputs(self, inputs: Any) -> None:
        """Raises a `ValueError` unless `inputs` are rows [B, ...event] of `row_size` elements."""
        if isinstance(inputs, list | tuple | dict):
            kind = type(inputs).__name__
            raise ValueError(f"layer {self.name!r} takes one array [B, ...event], got a {kind}")
        check_rows(self.name, inputs, self.row_size)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Applies the layer to `inputs` [B, ...event]."""
        self.check_inputs(inputs)
        return super().__call__(inputs, *args, **kwargs)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class MLP(RowsLayer):
    """A multi-layer perceptron with linear outputs (Appendix C).

    `h = activation(W[1] x + b[1])`, ..., `y = W[n] h + b[n]`. The network is a function of an
    explicit list of weights (`apply`), so that a posterior over the weights can be drawn from and
    pushed through it (Appendix F); `call` applies its own variables.

    Args:
        output_size: width of the linear output.
        hidden_units: widths of the hidden layers; may be empty, which leaves a linear map.
        activation: Keras name of the hidden layers' activation.
        init_stddev: every weight and bias starts as N(0, init_stddev^2). The paper's "N(0, 0.01)"
            is 0.1 when read as a variance and 0.01 when read as a standard deviation.
            `None` means Glorot-uniform weights and zero biases.
        num_inputs: use only the first so many inputs; all by default.
    """

    def __init__(
        self,
        output_size: int,
        hidden_units: Sequence[int] = (500,),
        activation: str = "tanh",
        init_stddev: float | None = 0.1,
        num_inputs: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_inputs = None if num_inputs is None else as_size("num_inputs", num_inputs)
        self.hidden_units = as_sizes("hidden_units", hidden_units)
        self.output_size = as_size("output_size", output_size)
        self.activation = activation
        self._activation_fn = tf_keras.activations.get(activation)
        self.init_stddev = init_stddev

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the variables for inputs of shape [B, ...event]."""
        shape = tf.TensorShape(input_shape)
        event_size = shape[1:].num_elements() if shape.rank and shape.rank > 1 else None
        if event_size is None:
            raise ValueError(
                f"an MLP needs inputs [B, ...event] of a known event shape, got {shape}"
            )
        self._row_size = event_size
        if self.num_inputs is not None and self.num_inputs > event_size:
            raise ValueError(
                f"`num_inputs` must be from 1 to the {event_size} there are, got {self.num_inputs}"
            )
        widths = (self.num_inputs or event_size, *self.hidden_units, self.output_size)
        self.network_weights = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            kernel_init, bias_init = weight_initializers(self.init_stddev)
            self.network_weights += [
                self.add_weight(f"kernel_{i}", [fan_in, fan_out], initializer=kernel_init),
                self.add_weight(f"bias_{i}", [fan_out], initializer=bias_init),
            ]
        super().build(input_shape)

    @property
    def output_bias(self) -> tf.Variable:
        """The bias of the output."""
        return self.network_weights[-1]

    @property
    def row_size(self) -> int | None:
        """How many elements a row must have, once the variables are made."""
        return getattr(self, "_row_size", None)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the network: [B, ...event] -> [B, output_size]."""
        return self.apply(self.network_weights, inputs)

    def apply(self, weights: Sequence[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        """Applies the network with the given weights.

        Args:
            weights: `[kernel, bias, kernel, bias, ...]`; kernels [in, out] and biases [out], or
                [B, in, out] and [B, out] for weights of their own for each datapoint.
            inputs: [B, ...event].

        Returns:
            Tensor [B, output_size] in the layer's compute dtype.
        """
        hidden = tf.cast(inputs, self.compute_dtype)
        if hidden.shape.rank != 2:
            hidden = tf.reshape(hidden, [-1, hidden.shape[1:].num_elements()])
        if self.num_inputs is not None:
            hidden = hidden[:, : self.num_inputs]
        last = len(weights) - 2
        for i in range(0, len(weights), 2):
            kernel = tf.cast(weights[i], self.compute_dtype)
            bias = tf.cast(weights[i + 1], self.compute_dtype)
            if kernel.shape.rank == 3:
                hidden = tf.einsum("bi,bio->bo", hidden, kernel) + bias
            else:
                hidden = tf.matmul(hidden, kernel) + bias
            if i < last:
                hidden = self.activate(hidden)
        return hidden

    def activate(self, hidden: tf.Tensor) -> tf.Tensor:
        """Applies the hidden layers' activation."""
        return self._activation_fn(hidden)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "hidden_units": list(self.hidden_units),
            "activation": self.activation,
            "init_stddev": self.init_stddev,
            "num_inputs": self.num_inputs,
        }
