"""Convolutional networks for images, in place of the distribution layers' MLP."""

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from tfp_aevb.layers.networks import MLP, PACKAGE, RowsLayer, weight_initializers
from tfp_aevb.layers.sizes import as_size, as_sizes


class _ConvNetwork(RowsLayer):
    """What both directions share.

    Args:
        output_size: width of the linear output.
        image_shape: (H, W) or (H, W, C); images may come and go flattened.
        filters: of each convolution, 3x3 with a stride of 2, from the image's side on.
        hidden_units: of the MLP between convolutions and latents.
        activation: Keras name of the activation of all but the last layer.
        init_stddev: see `MLP`.
    """

    def __init__(
        self,
        output_size: int,
        image_shape: Sequence[int],
        filters: Sequence[int] = (32, 64),
        hidden_units: Sequence[int] = (),
        activation: str = "relu",
        init_stddev: float | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        shape = as_sizes("image_shape", image_shape)
        if len(shape) not in (2, 3):
            raise ValueError(f"`image_shape` must be (H, W) or (H, W, C), got {list(shape)}")
        self.filters = as_sizes("filters", filters)
        if not self.filters:
            raise ValueError("`filters` must have at least one number, got none")
        self.output_size = as_size("output_size", output_size)
        self.image_shape = shape
        self.hidden_units = as_sizes("hidden_units", hidden_units)
        self.activation = activation
        self.init_stddev = init_stddev
        height, width, self._channels = (*shape, 1)[:3]
        step = 2 ** len(self.filters)
        self._image = (height, width, self._channels)
        # What is left of the image behind the last convolution, its size rounded up at each.
        self._small = (-(-height // step), -(-width // step), self.filters[-1])

    def _mlp(self, output_size: int) -> MLP:
        return MLP(
            output_size,
            self.hidden_units,
            self.activation,
            self.init_stddev,
            name="mlp",
            dtype=self._dtype_policy,
        )

    def _options(self, activation: str | None) -> dict:
        kernel, bias = weight_initializers(self.init_stddev)
        return {
            "kernel_size": 3,
            "strides": 2,
            "padding": "same",
            "activation": activation,
            "kernel_initializer": kernel,
            "bias_initializer": bias,
            "dtype": self._dtype_policy,
        }

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "image_shape": list(self.image_shape),
            "filters": list(self.filters),
            "hidden_units": list(self.hidden_units),
            "activation": self.activation,
            "init_stddev": self.init_stddev,
        }


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ConvEncoder(_ConvNetwork):
    """Convolutions that halve the image, then an MLP: images [B, ...] -> [B, output_size].

    Arguments are `output_size`, `image_shape`, `filters`, `hidden_units`, `activation` and
    `init_stddev`.
    """

    @property
    def row_size(self) -> int | None:
        """How many elements an image has."""
        return math.prod(self._image)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the layers for images [B, H, W, C], or the same flattened."""
        if tf.TensorShape(input_shape)[1:].num_elements() != math.prod(self._image):
            raise ValueError(
                f"images have shape {list(self.image_shape)}, the inputs {list(input_shape)}"
            )
        self._layers = [
            tf_keras.layers.Conv2D(count, **self._options(self.activation))
            for count in self.filters
        ]
        channels = [self._channels, *self.filters]
        for layer, count in zip(self._layers, channels, strict=False):
            layer.build((None, None, None, count))
        self._head = self._mlp(self.output_size)
        self._head.build((None, math.prod(self._small)))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the network."""
        hidden = tf.reshape(inputs, [-1, *self._image])
        for layer in self._layers:
            hidden = layer(hidden)
        return self._head(tf.reshape(hidden, [-1, math.prod(self._small)]))


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ConvDecoder(_ConvNetwork):
    """An MLP, then transposed convolutions that double the image: z [B, J] -> [B, output_size].

    The output holds one image for each parameter of a pixel, one after the other. Arguments are
    those of `ConvEncoder`; the convolutions go through `filters` from behind.

    Raises:
        ValueError: if `output_size` is no multiple of the image's size.
    """

    def __init__(self, output_size: int, image_shape: Sequence[int], *args, **kwargs) -> None:
        super().__init__(output_size, image_shape, *args, **kwargs)
        if self.output_size % math.prod(self._image):
            raise ValueError(
                f"`output_size` must be a multiple of the image's {math.prod(self._image)} values, "
                f"got {self.output_size}"
            )
        self._heads = self.output_size // math.prod(self._image)

    @property
    def row_size(self) -> int | None:
        """How many elements a row must have, once the variables are made."""
        return self._head.row_size if self.built else None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the layers for z [B, J], and a bias for each output."""
        self._head = self._mlp(math.prod(self._small))
        self._head.build(input_shape)
        counts = self.filters[::-1]
        self._layers = [
            tf_keras.layers.Conv2DTranspose(count, **self._options(self.activation))
            for count in counts[1:]
        ]
        last = {**self._options(None), "use_bias": False}
        self._layers.append(tf_keras.layers.Conv2DTranspose(self._channels * self._heads, **last))
        for layer, count in zip(self._layers, counts, strict=True):
            layer.build((None, None, None, count))
        _, bias = weight_initializers(self.init_stddev)
        #: Of each output: what data means can start.
        self.output_bias = self.add_weight("output_bias", [self.output_size], initializer=bias)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the network."""
        hidden = self._head.activate(self._head(inputs))
        hidden = tf.reshape(hidden, [-1, *self._small])
        for layer in self._layers:
            hidden = layer(hidden)
        height, width, _ = self._image
        images = tf.reshape(
            hidden[:, :height, :width], [-1, height, width, self._heads, self._channels]
        )
        images = tf.transpose(images, [0, 3, 1, 2, 4])
        return tf.reshape(images, [-1, self.output_size]) + tf.cast(self.output_bias, hidden.dtype)
