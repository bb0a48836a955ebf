"""Priors p(z): layers without inputs, `prior()` is a distribution over the latents."""

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.base import DistributionLayer
from tfp_aevb.layers.networks import PACKAGE, bounded_log_variance
from tfp_aevb.layers.sizes import as_size


class Prior(DistributionLayer):
    """A distribution layer over z, with parameters of its own and no input.

    Args:
        latent_dim: J, the dimension of z.

    Attributes:
        latent_support: where z is: `real`, `unit` (0, 1), `positive`, `simplex`; None for wherever
            the posterior has it.
    """

    latent_support: str | None = "real"

    def __init__(self, latent_dim: int, **kwargs) -> None:
        latent_dim = as_size("latent_dim", latent_dim)
        super().__init__(lambda _: self.distribution(), **kwargs)
        self.latent_dim = latent_dim
        self.build(())

    def __call__(self, inputs: tf.Tensor | None = None, *args, **kwargs) -> tfd.Distribution:
        """Returns p(z); `inputs` are ignored, so that the layer may stand in a Keras graph."""
        return super().__call__(tf.zeros([]) if inputs is None else inputs, *args, **kwargs)

    def distribution(self) -> tfd.Distribution:
        """Returns p(z), batch shape [] and event shape [J]."""
        raise NotImplementedError("a prior defines `distribution`")

    def _add_parameter(self, name: str, shape: list[int], initializer: Any) -> tf.Variable:
        # In float32, and without autocast, which would round the parameter in mixed precision.
        options = {"initializer": initializer, "experimental_autocast": False}
        return self.add_weight(name, shape, tf.float32, **options)

    def get_config(self) -> dict:
        """Returns the constructor's arguments shared by all priors."""
        return {**super().get_config(), "latent_dim": self.latent_dim}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class StandardNormalPrior(Prior):
    """p(z) = N(z; 0, I), the paper's prior, without parameters."""

    def distribution(self) -> tfd.Distribution:
        """Returns N(0, I)."""
        return tfd.MultivariateNormalDiag(
            loc=tf.zeros([self.latent_dim]), scale_diag=tf.ones([self.latent_dim])
        )


@tf_keras.saving.register_keras_serializable(PACKAGE)
class DiagonalNormalPrior(Prior):
    """p(z) = N(z; mu, diag(sigma^2)), mu and log sigma^2 learned, starting at N(0, I)."""

    def build(self, input_shape) -> None:
        """Creates mu and log sigma^2."""
        self.loc = self._add_parameter("loc", [self.latent_dim], "zeros")
        self.log_variance = self._add_parameter("log_variance", [self.latent_dim], "zeros")
        super().build(input_shape)

    def distribution(self) -> tfd.Distribution:
        """Returns N(mu, diag(sigma^2))."""
        scale = tf.exp(0.5 * bounded_log_variance(self.log_variance))
        return tfd.MultivariateNormalDiag(loc=tf.identity(self.loc), scale_diag=scale)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class GaussianMixturePrior(Prior):
    """p(z) = sum{ pi[k] N(z; mu[k], diag(sigma[k]^2)) : k=1...K }, everything learned.

    The means start as draws from N(0, I), the variances at 1, the weights equal. No closed-form
    KL to a mixture exists: use SGVB estimator A.

    Args:
        latent_dim: J, the dimension of z.
        num_components: K.
    """

    def __init__(self, latent_dim: int, num_components: int = 10, **kwargs) -> None:
        num_components = as_size("num_components", num_components)
        self._num_components_to_build = num_components
        super().__init__(latent_dim, **kwargs)
        self.num_components = num_components

    def build(self, input_shape) -> None:
        """Creates the mixture's parameters."""
        shape = [self._num_components_to_build, self.latent_dim]
        normal = tf_keras.initializers.RandomNormal(stddev=1.0)
        self.logits = self._add_parameter("logits", shape[:1], "zeros")
        self.loc = self._add_parameter("loc", shape, normal)
        self.log_variance = self._add_parameter("log_variance", shape, "zeros")
        super().build(input_shape)

    def distribution(self) -> tfd.Distribution:
        """Returns the mixture."""
        scale = tf.exp(0.5 * bounded_log_variance(self.log_variance))
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.identity(self.logits)),
            tfd.MultivariateNormalDiag(loc=tf.identity(self.loc), scale_diag=scale),
        )

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_components": self.num_components}
