"""What the distribution layers have in common: an MLP whose output parameterises a distribution."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.networks import MLP


class DistributionLayer(tfp.layers.DistributionLambda):
    """A `DistributionLambda` that is saved by its constructor's arguments, without lambdas.

    Used as a tensor by Keras, the distribution stands for its mean.
    """

    def __init__(self, make_distribution_fn: Callable[..., tfd.Distribution], **kwargs) -> None:
        super().__init__(make_distribution_fn, convert_to_tensor_fn=tfd.Distribution.mean, **kwargs)

    def get_config(self) -> dict:
        """Returns the constructor's arguments that all layers share."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self._dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "DistributionLayer":
        """Creates the layer from `get_config`'s arguments."""
        return cls(**config)

    def _check_variables(self, created_variables: list, accessed_variables: list) -> None:
        # Lambda layers warn of variables they do not own; these are the layer's own weights.
        del created_variables, accessed_variables


class NetworkDistribution(DistributionLayer):
    """A TFP distribution layer with an MLP of its own: `layer(inputs)` is a distribution.

    Subclasses give `params_size` and `new`. With `hidden_units=()` only the linear head is left,
    for use on top of any other tf_keras network. The network may run in mixed precision; the
    distribution is always built in float32.

    Args:
        params_size: number of parameters the head takes from the network.
        hidden_units, activation, init_stddev: see `MLP`.
    """

    def __init__(
        self,
        params_size: int,
        hidden_units: Sequence[int] = (500,),
        activation: str = "tanh",
        init_stddev: float | None = 0.1,
        **kwargs,
    ) -> None:
        super().__init__(self.distribution, **kwargs)
        self.network = MLP(
            params_size,
            hidden_units,
            activation,
            init_stddev,
            name="network",
            dtype=self._dtype_policy,
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the network's variables for inputs of shape [B, ...event]."""
        self.network.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, *args, **kwargs):
        """Returns the distribution given `inputs` [B, ...event]."""
        return super().call(tf.cast(self.network(inputs), tf.float32), *args, **kwargs)

    def apply(self, weights: Sequence[tf.Tensor], inputs: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution given `inputs`, with the network's weights replaced."""
        return self.distribution(tf.cast(self.network.apply(weights, inputs), tf.float32))

    @abstractmethod
    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for `params` [B, params_size] (this layer's `new`)."""

    def get_config(self) -> dict:
        """Returns the constructor's arguments shared by all network distributions."""
        return {
            **super().get_config(),
            "hidden_units": list(self.network.hidden_units),
            "activation": self.network.activation,
            "init_stddev": self.network.init_stddev,
        }
