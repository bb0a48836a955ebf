"""Several stochastic layers: z1 next to the data, each level's prior given by the level above it.

All levels lie end to end in one z [J] = [z1, z2, ...], J the sum of `latent_dims`. The model is
p(z[K]) p(z[K-1]|z[K]) ... p(z1) p(x|z1) and the posterior q(z1|x) q(z2|z1) ... (Burda et al.,
2015). The likelihood sees z1 alone: its network is an `MLP` with `num_inputs=latent_dims[0]`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import RowNoise, normal_rows
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.networks import MLP, PACKAGE, bounded_log_variance
from tfp_aevb.layers.posteriors import DiagonalGaussianPosterior
from tfp_aevb.layers.priors import Prior
from tfp_aevb.layers.sizes import as_sizes

Step = Callable[[tf.Tensor], tf.Tensor]


class GaussianChain(RowNoise, tfd.Distribution):
    """Levels of diagonal Gaussians, each with its parameters from the one before it.

    Args:
        first: [..., 2 J'] mean and log-variance of the level that comes first.
        steps: networks from one level [n, J'] to the parameters [n, 2 J''] of the next.
        dims: of the levels, in the order in which they are drawn.
        upwards: whether that is their order in z; else it is the reverse.
    """

    def __init__(
        self, first: tf.Tensor, steps: Sequence[Step], dims: Sequence[int], upwards: bool
    ) -> None:
        self._first, self._steps, self._dims, self._upwards = first, steps, dims, upwards
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={},
            name="GaussianChain",
        )

    def _batch_shape(self) -> tf.TensorShape:
        return self._first.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.shape(self._first)[:-1]

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(self._dims)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([sum(self._dims)])

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> tf.Tensor:
        del kwargs
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        noise = normal_rows(
            sample_shape,
            self.batch_shape_tensor(),
            self.event_shape_tensor(),
            tfp.random.sanitize_seed(seed),
        )
        levels: list[tf.Tensor] = []
        for eps in tf.split(noise, self._dims, axis=-1):
            loc, log_variance = self._moments(levels)
            levels.append(loc + tf.exp(0.5 * log_variance) * eps)
        return self._concat(levels)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        dims = self._dims if self._upwards else self._dims[::-1]
        levels = tf.split(z, dims, axis=-1)
        levels = levels if self._upwards else levels[::-1]
        total = 0.0
        for i, level in enumerate(levels):
            loc, log_variance = self._moments(levels[:i])
            density = tfd.MultivariateNormalDiag(loc, tf.exp(0.5 * log_variance))
            total += density.log_prob(level)
        return total

    def _moments(self, levels: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean and log-variance of the level that comes after `levels`."""
        params = self._first
        if levels:
            flat = tf.reshape(levels[-1], [-1, levels[-1].shape[-1]])
            params = tf.cast(self._steps[len(levels) - 1](flat), tf.float32)
            shape = tf.concat([tf.shape(levels[-1])[:-1], tf.shape(params)[-1:]], axis=0)
            params = tf.reshape(params, shape)
        loc, log_variance = tf.split(params, 2, axis=-1)
        return loc, bounded_log_variance(log_variance)

    def _concat(self, levels: list[tf.Tensor]) -> tf.Tensor:
        return tf.concat(levels if self._upwards else levels[::-1], axis=-1)


def _steps(
    dims: Sequence[int], hidden_units: Sequence[int], options: dict[str, Any]
) -> list[tf_keras.layers.Layer]:
    """Returns built networks from each level to the parameters of the next."""
    networks = []
    for i, (below, above) in enumerate(itertools.pairwise(dims)):
        networks.append(MLP(2 * above, hidden_units, name=f"step_{i}", **options))
        networks[-1].build([None, below])
    return networks


def _check_dims(latent_dims: Sequence[int]) -> tuple[int, ...]:
    dims = as_sizes("latent_dims", latent_dims)
    if not dims:
        raise ValueError("`latent_dims` must have at least one number, got none")
    return dims


@tf_keras.saving.register_keras_serializable(PACKAGE)
class HierarchicalPrior(Prior):
    """p(z) = p(z[K]) p(z[K-1]|z[K]) ...: N(0, I) at the top, diagonal Gaussians below it.

    Args:
        latent_dims: of z1, z2, ...: z1 is next to the data.
        hidden_units, activation, init_stddev: of the networks between levels, see `MLP`.
    """

    def __init__(
        self,
        latent_dims: Sequence[int],
        hidden_units: Sequence[int] = (100, 100),
        activation: str = "tanh",
        init_stddev: float | None = 0.1,
        **kwargs,
    ) -> None:
        self._dims = _check_dims(latent_dims)
        self._options = {"activation": activation, "init_stddev": init_stddev}
        self._hidden_units = as_sizes("hidden_units", hidden_units)
        super().__init__(sum(self._dims), **kwargs)

    def build(self, input_shape: Any) -> None:
        """Creates the networks between levels."""
        options = {**self._options, "dtype": self._dtype_policy}
        self.steps = _steps(self._dims[::-1], self._hidden_units, options)
        super().build(input_shape)

    def distribution(self) -> tfd.Distribution:
        """Returns p(z)."""
        dims = self._dims[::-1]
        return GaussianChain(tf.zeros([2 * dims[0]]), self.steps, dims, upwards=False)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        config = super().get_config()
        del config["latent_dim"]
        return {
            **config,
            "latent_dims": list(self._dims),
            "hidden_units": list(self._hidden_units),
            **self._options,
        }


@tf_keras.saving.register_keras_serializable(PACKAGE)
class HierarchicalPosterior(NetworkDistribution):
    """q(z|x) = q(z1|x) q(z2|z1) ...: diagonal Gaussians all the way up.

    Args:
        latent_dims: of z1, z2, ...
        hidden_units, network: from x to z1, see `NetworkDistribution`.
        upper_hidden_units: of the networks from level to level.
        activation, init_stddev: of all these MLPs, see `MLP`.
    """

    def __init__(
        self,
        latent_dims: Sequence[int],
        hidden_units: Sequence[int] = (200, 200),
        upper_hidden_units: Sequence[int] = (100, 100),
        **kwargs,
    ) -> None:
        dims = _check_dims(latent_dims)
        size = DiagonalGaussianPosterior.params_size(dims[0])
        super().__init__(size, hidden_units, **kwargs)
        self._dims = dims
        self._upper_hidden_units = as_sizes("upper_hidden_units", upper_hidden_units)
        options = {**self._network_options, "dtype": self._dtype_policy}
        self.steps = _steps(dims, self._upper_hidden_units, options)

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x) for `params` [B, 2 J1] = [mu, log sigma^2] of z1."""
        del own_parameters  # the networks between levels are applied with their own variables
        return GaussianChain(params, self.steps, self._dims, upwards=True)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "latent_dims": list(self._dims),
            "upper_hidden_units": list(self._upper_hidden_units),
        }
