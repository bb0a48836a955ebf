"""Recognition models q(z|x): layers from datapoints to a distribution over the latents."""

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import DiagonalGaussian, FullCovarianceGaussian
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.networks import LOG_VARIANCE_RANGE, PACKAGE, bounded_log_variance
from tfp_aevb.layers.sizes import as_size


@tf_keras.saving.register_keras_serializable(PACKAGE)
class DiagonalGaussianPosterior(NetworkDistribution):
    """q(z|x) = N(z; mu(x), diag(sigma^2(x))), with a log-variance head (Eq. 9).

    log sigma^2 is kept within [-14, 14].

    Args:
        latent_dim: J, the dimension of z.
        hidden_units, activation, init_stddev: see `MLP`.
    """

    def __init__(self, latent_dim: int, hidden_units: Sequence[int] = (500,), **kwargs) -> None:
        latent_dim = as_size("latent_dim", latent_dim)
        super().__init__(self.params_size(latent_dim), hidden_units, **kwargs)
        self.latent_dim = latent_dim

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Returns the number of parameters, 2 J."""
        return 2 * latent_dim

    @staticmethod
    def new(params: tf.Tensor) -> tfd.Distribution:
        """Returns N(mu, diag(sigma^2)) for `params` [..., 2 J] = [mu, log sigma^2]."""
        loc, log_variance = tf.split(params, 2, axis=-1)
        scale = tf.exp(0.5 * bounded_log_variance(log_variance))
        return DiagonalGaussian(loc=loc, scale_diag=scale)

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.new(params)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "latent_dim": self.latent_dim}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class FullCovarianceGaussianPosterior(NetworkDistribution):
    """q(z|x) = N(z; mu(x), C(x) C(x)^T) with C lower triangular.

    The paper's footnote 2 calls the diagonal covariance a simplifying choice; this is the family
    without it. The diagonal of C is exp(half a log-variance kept within [-14, 14]); the entries
    below it are clipped to the largest standard deviation, exp(7).

    Args:
        latent_dim: J, the dimension of z.
        hidden_units, activation, init_stddev: see `MLP`.
    """

    def __init__(self, latent_dim: int, hidden_units: Sequence[int] = (500,), **kwargs) -> None:
        latent_dim = as_size("latent_dim", latent_dim)
        super().__init__(self.params_size(latent_dim), hidden_units, **kwargs)
        self.latent_dim = latent_dim

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Returns the number of parameters, 2 J + J (J - 1) / 2."""
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    @staticmethod
    def new(params: tf.Tensor, latent_dim: int) -> tfd.Distribution:
        """Returns N(mu, C C^T) for `params` [..., 2 J + J (J - 1) / 2].

        The parameters are [mu, log-variances of the diagonal, entries below it], the last in the
        row order of `numpy.tril_indices(J, -1)`.
        """
        sizes = [latent_dim, latent_dim, params.shape[-1] - 2 * latent_dim]
        loc, log_variance, below = tf.split(params, sizes, axis=-1)
        largest = math.exp(0.5 * LOG_VARIANCE_RANGE[1])
        below = tf.clip_by_value(below, -largest, largest)
        diagonal = tf.exp(0.5 * bounded_log_variance(log_variance))
        rows = []
        for i in range(latent_dim):
            start = i * (i - 1) // 2
            parts = [below[..., start : start + i], diagonal[..., i : i + 1]]
            parts.append(tf.zeros_like(diagonal[..., i + 1 :]))
            rows.append(tf.concat(parts, axis=-1))
        scale_tril = tf.stack(rows, axis=-2)  # [..., J, J]
        return FullCovarianceGaussian(loc=loc, scale_tril=scale_tril)

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.new(params, self.latent_dim)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "latent_dim": self.latent_dim}
