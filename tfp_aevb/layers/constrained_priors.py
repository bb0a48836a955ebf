"""Priors p(z) over latents that are not in all of R^J, without parameters."""

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.poisson import LARGE, half_deviance, log_factorial_excess
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.layers.priors import Prior
from tfp_aevb.layers.sizes import as_size


@tf_keras.saving.register_keras_serializable(PACKAGE)
class UniformPrior(Prior):
    """p(z): uniform on (0, 1)^J."""

    latent_support = "unit"

    def distribution(self) -> tfd.Distribution:
        """Returns the distribution."""
        return tfd.Independent(
            tfd.Uniform(tf.zeros([self.latent_dim]), tf.ones([self.latent_dim])), 1
        )


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ExponentialPrior(Prior):
    """p(z): independent exponentials of mean 1."""

    latent_support = "positive"

    def distribution(self) -> tfd.Distribution:
        """Returns the distribution."""
        return tfd.Independent(tfd.Exponential(tf.ones([self.latent_dim])), 1)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class LogNormalPrior(Prior):
    """p(z): each log z is N(0, 1)."""

    latent_support = "positive"

    def distribution(self) -> tfd.Distribution:
        """Returns the distribution."""
        return tfd.Independent(
            tfd.LogNormal(tf.zeros([self.latent_dim]), tf.ones([self.latent_dim])), 1
        )


class ConcentratedDirichlet(tfd.Dirichlet):
    """A Dirichlet of concentrations from 16, its density in Loader's saddle-point form (2000).

    The usual one cancels log-gammas: in float32 it is nats off from concentrations of 1e4 on, and
    so is what a z whose sum is 1 but for rounding does to it. Here z is divided by its sum.
    """

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        c = tf.convert_to_tensor(self.concentration)
        total = tf.reduce_sum(c, axis=-1)
        share = z / tf.reduce_sum(z, axis=-1, keepdims=True)
        mean = total[..., tf.newaxis] * share
        parts = tf.math.log(c / share) - log_factorial_excess(c)
        parts -= half_deviance(c, c - mean, mean, tf.math.log(mean))
        return tf.reduce_sum(parts, axis=-1) + log_factorial_excess(total) - tf.math.log(total)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class DirichletPrior(Prior):
    """p(z): a Dirichlet on the simplex of J positive numbers whose sum is 1.

    Args:
        latent_dim: J, at least 2.
        concentration: of each; 1 is uniform.
    """

    latent_support = "simplex"

    def __init__(self, latent_dim: int, concentration: float = 1.0, **kwargs) -> None:
        if as_size("latent_dim", latent_dim) < 2:
            raise ValueError(f"a simplex needs a `latent_dim` of 2 or more, got {latent_dim}")
        if not concentration > 0.0:
            raise ValueError(f"`concentration` must be positive, got {concentration}")
        super().__init__(latent_dim, **kwargs)
        self.concentration = concentration

    def distribution(self) -> tfd.Distribution:
        """Returns the distribution."""
        kind = tfd.Dirichlet if self.concentration < LARGE else ConcentratedDirichlet
        return kind(tf.fill([self.latent_dim], float(self.concentration)))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "concentration": self.concentration}
