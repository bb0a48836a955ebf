"""What the distribution layers have in common: an MLP whose output parameterises a distribution."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.networks import MLP, RowsLayer, check_rows
from tfp_aevb.utils.keras_versions import refuse_other_keras

_called = threading.local()  # the layer that this thread has called


class DistributionLayer(tfp.layers.DistributionLambda):
    """A `DistributionLambda` that is saved by its constructor's arguments, without lambdas.

    Used as a tensor by Keras, the distribution stands for its mean; where TFP has no formula for
    that, as for flows, for one draw with a fixed seed. Threads may call it at the same time.
    """

    _has_tracked = False

    def __init__(self, make_distribution_fn: Callable[..., tfd.Distribution], **kwargs) -> None:
        super().__init__(make_distribution_fn, convert_to_tensor_fn=_stand_in, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> tfd.Distribution:
        """Returns the distribution; TFP keeps what goes on in the layer, for one thread only."""
        outer, _called.layer = getattr(_called, "layer", None), self
        try:
            return super(tfp.layers.DistributionLambda, self).__call__(*args, **kwargs)[0]
        finally:
            _called.layer = outer

    _most_recently_built_distribution_vars: Any

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the distribution, and inside Keras' own call what stands for it as a tensor."""
        is_called = getattr(_called, "layer", None) is self
        distribution, value = super(tfp.layers.DistributionLambda, self).call(*args, **kwargs)
        if not self._has_tracked:
            # Once, and not at each call as in TFP; they are among the weights in `.keras` files.
            self._most_recently_built_distribution_vars = distribution.variables
            self._has_tracked = True
        return (distribution, value) if is_called else distribution

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


def _stand_in(distribution: tfd.Distribution) -> tf.Tensor:
    try:
        return distribution.mean()
    except NotImplementedError:
        return distribution.sample(seed=tf.zeros([2], tf.int32))


def _output_shape(network: tf_keras.layers.Layer, input_shape: Any) -> tf.TensorShape:
    """Returns what shape a built network's outputs have for inputs of `input_shape`."""
    try:
        return tf.TensorShape(network.compute_output_shape(input_shape))
    except (NotImplementedError, TypeError):
        # A functional model asks each layer by itself: operations and attention do not know.
        known = tf_keras.layers.Layer.compute_output_shape(network, input_shape)
        return tf.TensorShape(known)


class NetworkDistribution(DistributionLayer):
    """A TFP distribution layer with an MLP of its own: `layer(inputs)` is a distribution.

    Subclasses give `params_size` and `new`. With `hidden_units=()` only the linear head is left,
    for use on top of any other tf_keras network. The network may run in mixed precision; the
    distribution is always built in float32.

    Args:
        params_size: number of parameters the distribution takes from the network.
        hidden_units: see `MLP`.
        activation, init_stddev: see `MLP`; of the layer's own networks, whatever `network` has.
        network: in place of the MLP: a tf_keras layer or model from the inputs to [B, params_size],
            or a function from `params_size` to one. `hidden_units` have no part in it.

    Attributes:
        latent_support: of a posterior, where z is: `real`, `unit`, `positive` or `simplex`.
    """

    latent_support = "real"

    def __init__(
        self,
        params_size: int,
        hidden_units: Sequence[int] = (500,),
        activation: str = "tanh",
        init_stddev: float | None = 0.1,
        *,
        network: Any = None,
        **kwargs,
    ) -> None:
        super().__init__(self.distribution, **kwargs)
        self._autocast = False  # the network casts its inputs, if it is to: they may need float32
        self._params_size = params_size
        self._has_own_network = network is None
        self._network_options = {"activation": activation, "init_stddev": init_stddev}
        if network is None:
            options = {**self._network_options, "dtype": self._dtype_policy}
            network = MLP(params_size, hidden_units, name="network", **options)
        refuse_other_keras("`network`", network)
        if callable(network) and not isinstance(network, tf_keras.layers.Layer):
            network = network(params_size)
            refuse_other_keras("`network`", network)
        if not isinstance(network, tf_keras.layers.Layer):
            raise ValueError(
                "`network` must be a tf_keras layer or model, or a function that returns one, got "
                f"{type(network).__name__}"
            )
        self.network = network

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> tfd.Distribution:
        """Returns the distribution given `inputs` [B, ...event]."""
        self.check_inputs(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def check_inputs(self, inputs: Any) -> None:
        """Raises a `ValueError` unless `inputs` are [B, ...event] as the network takes them."""
        checked = [self.network, *getattr(self.network, "layers", ())][:2]
        network = next((part for part in checked if isinstance(part, RowsLayer)), None)
        if network is not None:
            network.check_inputs(inputs)
        else:
            check_rows(self.name, inputs)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the network's variables for inputs of shape [B, ...event]."""
        if not self.network.built:
            self.network.build(input_shape)
        if not self._has_own_network:
            shape = _output_shape(self.network, input_shape)
            if shape.rank != 2 or shape[-1] != self._params_size:
                raise ValueError(
                    f"`network` must return [B, {self._params_size}], the parameters of "
                    f"{type(self).__name__}, got {shape}"
                )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, *args, **kwargs):
        """Returns the distribution given `inputs` [B, ...event]."""
        return super().call(tf.cast(self.network(inputs), tf.float32), *args, **kwargs)

    @property
    def own_parameters(self) -> list[tf.Variable]:
        """The variables of the layer that are not its network's."""
        return []

    @property
    def parameters(self) -> list[tf.Variable]:
        """All variables of the layer, in the order that `apply` takes."""
        return [*self.network.network_weights, *self.own_parameters]

    def apply(self, parameters: Sequence[tf.Tensor], inputs: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution given `inputs`, with `parameters` in place of the variables."""
        split = len(parameters) - len(self.own_parameters)
        outputs = tf.cast(self.network.apply(parameters[:split], inputs), tf.float32)
        return self.distribution(outputs, *parameters[split:])

    @abstractmethod
    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for the network's outputs `params` [B, params_size] (see `new`).

        `own_parameters` take the place of the layer's, if given.
        """

    def get_config(self) -> dict:
        """Returns the constructor's arguments shared by all network distributions."""
        config = {**super().get_config(), **self._network_options}
        if not self._has_own_network:
            return {**config, "network": tf_keras.saving.serialize_keras_object(self.network)}
        return {**config, "hidden_units": list(self.network.hidden_units)}

    @classmethod
    def from_config(cls, config: dict) -> "NetworkDistribution":
        """Creates the layer from `get_config`'s arguments."""
        if config.get("network") is not None:
            network = tf_keras.saving.deserialize_keras_object(config["network"])
            config = {**config, "network": network}
        return cls(**config)
