"""Recognition models q(z|x) beyond the Gaussian: flows, and latents that are not over R^J."""

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.bijectors import OpenSigmoid
from tfp_aevb.distributions.noise import (
    DiagonalGaussian,
    LowRankGaussian,
    RowFlow,
    TransformedGaussian,
)
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.flows import Softmax, flow_bijector, flow_networks
from tfp_aevb.layers.networks import MLP, PACKAGE, bounded, bounded_log_variance
from tfp_aevb.layers.sizes import as_size

# Of entries of a low-rank factor, in units of the diagonal's standard deviations: the matrices to
# factorise stay well conditioned in float32.
LARGEST_FACTOR = 30.0
# Of a flow's base, and of the Gaussian under bounded latents.
LARGEST_LOC = 1e4
BOUNDED_LOC = 8.0
BOUNDED_LOG_VARIANCE = (-14.0, 2.0 * math.log(2.0))
CONSTRAINTS = {"unit": OpenSigmoid, "positive": tfb.Exp, "simplex": Softmax}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class LowRankGaussianPosterior(NetworkDistribution):
    """q(z|x) = N(z; mu(x), S (I + V V^T) S) with S = diag(sigma(x)) and V(x) [J, R].

    Between the diagonal (R = 0) and the full covariance (R = J). log sigma^2 is kept within
    [-14, 14] and V within [-30, 30].

    Args:
        latent_dim: J, the dimension of z.
        rank: R.
        hidden_units, activation, init_stddev: see `MLP`.
    """

    def __init__(
        self, latent_dim: int, rank: int = 2, hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        latent_dim, rank = as_size("latent_dim", latent_dim), as_size("rank", rank)
        if rank > latent_dim:
            raise ValueError(f"`rank` must be 1 to `latent_dim` ({latent_dim}), got {rank}")
        super().__init__(self.params_size(latent_dim, rank), hidden_units, **kwargs)
        self.latent_dim = latent_dim
        self.rank = rank

    @staticmethod
    def params_size(latent_dim: int, rank: int) -> int:
        """Returns the number of parameters, (2 + R) J."""
        return (2 + rank) * latent_dim

    @staticmethod
    def new(params: tf.Tensor, latent_dim: int, rank: int) -> tfd.Distribution:
        """Returns the Gaussian for `params` [..., (2 + R) J] = [mu, log sigma^2, V by rows]."""
        sizes = [latent_dim, latent_dim, rank * latent_dim]
        loc, log_variance, factor = tf.split(params, sizes, axis=-1)
        factor = bounded(factor, -LARGEST_FACTOR, LARGEST_FACTOR)
        shape = tf.concat([tf.shape(params)[:-1], [latent_dim, rank]], axis=0)
        factor = tf.ensure_shape(tf.reshape(factor, shape), [*params.shape[:-1], latent_dim, rank])
        stddev = tf.exp(0.5 * bounded_log_variance(log_variance))
        return LowRankGaussian(loc, stddev**2, stddev[..., tf.newaxis] * factor)

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.new(params, self.latent_dim, self.rank)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "latent_dim": self.latent_dim, "rank": self.rank}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class FlowPosterior(NetworkDistribution):
    """q(z|x): a normalising flow of a diagonal Gaussian, both given by the encoder.

    The encoder's network outputs mu, log sigma^2 and a context h, passed through tanh, which the
    network of each step takes beside z. Use `sgvb_a` or another objective that samples the KL. Mean
    and standard deviation have no formula: see `tfp_aevb.models.aevb.posterior_moments`.

    Args:
        latent_dim: J, the dimension of z, at least 2.
        kind: `iaf`, `realnvp` or `spline`; see `tfp_aevb.layers.flows.flow_bijector`.
        num_steps: of the flow.
        flow_units: widths of the hidden layers of each step's network.
        context_size: C, of h.
        hidden_units, network: of the encoder, see `NetworkDistribution`.
        activation, init_stddev: of the encoder's MLP and of the steps' networks, see `MLP`.
    """

    def __init__(
        self,
        latent_dim: int,
        kind: str = "iaf",
        num_steps: int = 2,
        hidden_units: Sequence[int] = (500,),
        *,
        flow_units: Sequence[int] = (64,),
        context_size: int = 16,
        **kwargs,
    ) -> None:
        latent_dim = as_size("latent_dim", latent_dim)
        context_size = as_size("context_size", context_size)
        super().__init__(2 * latent_dim + context_size, hidden_units, **kwargs)
        self.steps = flow_networks(
            kind,
            latent_dim,
            context_size,
            num_steps,
            hidden_units=flow_units,
            dtype=self._dtype_policy,
            **self._network_options,
        )
        self.latent_dim = latent_dim
        self.kind = kind
        self.context_size = context_size

    @staticmethod
    def new(
        params: tf.Tensor,
        latent_dim: int,
        kind: str,
        steps: Sequence[MLP],
        weights: Sequence[tf.Tensor] | None = None,
    ) -> tfd.Distribution:
        """Returns the flow for `params` [..., 2 J + C] = [mu, log sigma^2, h before the tanh].

        `weights` take the place of the variables of `steps`, in order.
        """
        base, context = tf.split(params, [2 * latent_dim, params.shape[-1] - 2 * latent_dim], -1)
        loc, log_variance = tf.split(base, 2, axis=-1)
        gaussian = DiagonalGaussian(
            bounded(loc, -LARGEST_LOC, LARGEST_LOC),
            tf.exp(0.5 * bounded_log_variance(log_variance)),
        )
        bijector = flow_bijector(kind, steps, latent_dim, tf.tanh(context), weights)
        return RowFlow(gaussian, bijector, name=kind)

    @property
    def own_parameters(self) -> list[tf.Variable]:
        """The weights of the steps' networks, in order."""
        return [weight for step in self.steps for weight in step.network_weights]

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        return self.new(params, self.latent_dim, self.kind, self.steps, own_parameters or None)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "kind": self.kind,
            "num_steps": len(self.steps),
            "flow_units": list(self.steps[0].hidden_units),
            "context_size": self.context_size,
        }


@tf_keras.saving.register_keras_serializable(PACKAGE)
class ConstrainedPosterior(NetworkDistribution):
    """q(z|x): a diagonal Gaussian, transformed onto a set that is not R^J.

    In float32 the ends of a bounded set are a few standard deviations away: mu is kept within
    [-8, 8] and sigma below 2.

    Args:
        latent_dim: J, the dimension of z.
        support: `unit`, each z in (0, 1), a logistic normal; `positive`, log-normal; `simplex`,
            J positive numbers whose sum is 1, the softmax of J - 1 normals and a 0.
        hidden_units, activation, init_stddev: see `MLP`.
    """

    def __init__(
        self, latent_dim: int, support: str, hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        if support not in CONSTRAINTS:
            raise ValueError(f"`support` must be one of {', '.join(CONSTRAINTS)}, got {support!r}")
        latent_dim = as_size("latent_dim", latent_dim)
        size = self.params_size(latent_dim, support)
        if size < 1:
            raise ValueError(f"a simplex needs a `latent_dim` of 2 or more, got {latent_dim}")
        super().__init__(size, hidden_units, **kwargs)
        self.latent_dim = latent_dim
        self.latent_support = support

    @staticmethod
    def params_size(latent_dim: int, support: str) -> int:
        """Returns the number of parameters, 2 J, or 2 (J - 1) for a simplex."""
        return 2 * (latent_dim - (support == "simplex"))

    @staticmethod
    def new(params: tf.Tensor, support: str) -> tfd.Distribution:
        """Returns the distribution for `params` = [mu, log sigma^2] of the Gaussian."""
        loc, log_variance = tf.split(params, 2, axis=-1)
        gaussian = DiagonalGaussian(
            bounded(loc, -BOUNDED_LOC, BOUNDED_LOC),
            tf.exp(0.5 * bounded(log_variance, *BOUNDED_LOG_VARIANCE)),
        )
        return TransformedGaussian(gaussian, CONSTRAINTS[support](), name=f"{support}_gaussian")

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """See `new`."""
        del own_parameters  # there are none
        return self.new(params, self.latent_support)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "support": self.latent_support,
        }
