"""Priors p(z) learned with the model: a flow of N(0, I), and the VampPrior."""

from collections.abc import Callable, Sequence

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import Flow
from tfp_aevb.layers.flows import flow_bijector, flow_networks
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.layers.priors import Prior
from tfp_aevb.layers.sizes import as_size, as_sizes

# Of pseudo-inputs, besides codes:K; see `Likelihood`.
SUPPORTS = ("real", "binary", "unit", "open_unit", "levels", "counts")


@tf_keras.saving.register_keras_serializable(PACKAGE)
class FlowPrior(Prior):
    """p(z): a normalising flow of N(0, I), everything learned.

    No closed-form KL to a flow exists: use SGVB estimator A.

    Args:
        latent_dim: J, the dimension of z, at least 2.
        kind: `realnvp` or `spline`, whose density and draws both take one pass; `iaf` has a
            density of J passes. See `tfp_aevb.layers.flows.flow_bijector`.
        num_steps: of the flow.
        flow_units: widths of the hidden layers of each step's network.
        activation, init_stddev: see `MLP`.
    """

    def __init__(
        self,
        latent_dim: int,
        kind: str = "realnvp",
        num_steps: int = 4,
        *,
        flow_units: Sequence[int] = (64,),
        activation: str = "tanh",
        init_stddev: float | None = 0.1,
        **kwargs,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.kind = kind
        self.steps = flow_networks(
            kind,
            latent_dim,
            0,
            num_steps,
            hidden_units=flow_units,
            activation=activation,
            init_stddev=init_stddev,
            dtype=self._dtype_policy,
        )

    def distribution(self) -> tfd.Distribution:
        """Returns the flow."""
        zeros = tf.zeros([self.latent_dim])
        base = tfd.MultivariateNormalDiag(zeros, tf.ones_like(zeros))
        return Flow(base, flow_bijector(self.kind, self.steps, self.latent_dim), name="flow_prior")

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        network = self.steps[0]
        return {
            **super().get_config(),
            "kind": self.kind,
            "num_steps": len(self.steps),
            "flow_units": list(network.hidden_units),
            "activation": network.activation,
            "init_stddev": network.init_stddev,
        }


@tf_keras.saving.register_keras_serializable(PACKAGE)
class VampPrior(Prior):
    """p(z) = 1/K sum{ q(z|u[k]) : k=1...K } with learned datapoints u (Tomczak & Welling, 2018).

    The mixture is of the encoder's own posteriors: `AEVB` asks for it by `given(encoder)`, and the
    layer holds the pseudo-inputs u alone. They are kept to the data's range; `counts` may be any
    positive numbers. No closed-form KL exists: use SGVB estimator A.

    Args:
        latent_dim: J, the dimension of z.
        event_shape: of a datapoint, for instance 784 or (28, 28).
        num_components: K.
        support: of the likelihood, see `Likelihood`.
    """

    latent_support = None

    def __init__(
        self,
        latent_dim: int,
        event_shape: int | Sequence[int],
        num_components: int = 10,
        support: str = "real",
        **kwargs,
    ) -> None:
        num_components = as_size("num_components", num_components)
        self._inputs_to_build = (num_components, *as_sizes("event_shape", event_shape))
        if support not in SUPPORTS and not support.startswith("codes:"):
            raise ValueError(
                f"`support` must be one of {', '.join(SUPPORTS)} or codes:K, got {support!r}"
            )
        super().__init__(latent_dim, **kwargs)
        self.num_components = num_components
        self.event_shape = self._inputs_to_build[1:]
        self.data_support = support

    def __call__(self, inputs: tf.Tensor | None = None, *args, **kwargs) -> tfd.Distribution:
        """Raises a `ValueError`: the encoder is needed, see `given`."""
        raise ValueError("a VampPrior is made of the encoder: call `given(encoder)`, as AEVB does")

    def build(self, input_shape) -> None:
        """Creates the pseudo-inputs."""
        normal = tf_keras.initializers.RandomNormal(stddev=1.0)
        self.raw_inputs = self._add_parameter("raw_inputs", list(self._inputs_to_build), normal)
        super().build(input_shape)

    def pseudo_inputs(self) -> tf.Tensor:
        """Returns u [K, ...event]."""
        raw = tf.identity(self.raw_inputs)
        if self.data_support == "real":
            return raw
        if self.data_support == "counts":
            return tf.nn.softplus(raw)
        if self.data_support.startswith("codes:"):
            return (float(self.data_support.removeprefix("codes:")) - 1.0) * tf.sigmoid(raw)
        return tf.sigmoid(raw)

    def given(self, encoder: Callable[[tf.Tensor], tfd.Distribution]) -> tfd.Distribution:
        """Returns the mixture of `encoder`'s posteriors, event shape [J]."""
        posteriors = encoder(self.pseudo_inputs())
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.zeros([self.num_components])),
            getattr(posteriors, "tensor_distribution", posteriors),
        )

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "event_shape": list(self.event_shape),
            "num_components": self.num_components,
            "support": self.data_support,
        }
