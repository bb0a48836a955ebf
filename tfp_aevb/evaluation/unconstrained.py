"""Latents in (0, 1), positive or on the simplex, for samplers that move in all of R^K."""

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.flow_posteriors import CONSTRAINTS
from tfp_aevb.layers.priors import Prior
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.models.part_checks import support_bijector
from tfp_aevb.utils.seeds import as_seed


class Unconstrained:
    """z = b(u) with u in R^K; K is J, or J - 1 for a simplex, and b the identity for real latents.

    Where z is, the prior tells: a layer's `latent_support`, or TFP's default for a distribution.

    Args:
        model: p(z), p(x|z) and q(z|x).
        x: [B, ...event], needed where the model has p(z|u).

    Raises:
        UnknownSupportError: if a latent is discrete, or its distribution does not say where it is.
    """

    def __init__(self, model: AEVB, x: tf.Tensor | None = None) -> None:
        self._model = model
        self._bijector = _bijector(model, x)

    def forward(self, u: tf.Tensor) -> tf.Tensor:
        """Returns z [..., J] for `u` [..., K]."""
        # A copy: at a u that came from `inverse` the bijector would give back the z it remembers,
        # through which no gradient reaches u.
        return self._bijector.forward(tf.identity(u))

    def inverse(self, z: tf.Tensor) -> tf.Tensor:
        """Returns u [..., K] for `z` [..., J]."""
        return self._bijector.inverse(z)

    def log_joint(self, x: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns log p(x, u) = log p(x, z) + log |dz/du| [L, B] in nats for `u` [L, B, K]."""
        return self._model.log_joint(x, self.forward(u)) + self.log_jacobian(u)

    def log_jacobian(self, u: tf.Tensor) -> tf.Tensor:
        """Returns log |dz/du| for `u` [..., K]: [...], or a scalar 0."""
        return self._bijector.forward_log_det_jacobian(tf.identity(u), event_ndims=1)

    def log_posterior(self, posterior: tfd.Distribution, u: tf.Tensor) -> tf.Tensor:
        """Returns log q(u|x) [L, B] in nats for `u` [L, B, K]."""
        return posterior.log_prob(self.forward(u)) + self.log_jacobian(u)

    def draw(self, posterior: tfd.Distribution, count: int, seed: tf.Tensor) -> tf.Tensor:
        """Returns draws u [count, B, K] of q(u|x)."""
        return self.inverse(posterior.sample(count, seed=seed))

    def stddev(self, posterior: tfd.Distribution) -> tf.Tensor:
        """Returns the standard deviations of q(u|x) [B, K], of 1,000 draws where b is not I.

        They are scales of steps: 1 takes the place of what is 0 or not finite.
        """
        if isinstance(self._bijector, tfb.Identity):
            stddev = posterior_moments(posterior)[1]
        else:
            stddev = tf.math.reduce_std(self.draw(posterior, 1000, as_seed(0)), axis=0)
        return tf.where((stddev > 0.0) & tf.math.is_finite(stddev), stddev, tf.ones_like(stddev))


def _bijector(model: AEVB, x: tf.Tensor | None) -> tfb.Bijector:
    support = None
    if isinstance(model.prior, Prior):
        support = model.prior.latent_support
        if support is None and isinstance(model.encoder, NetworkDistribution):
            support = model.encoder.latent_support
    if support is not None:
        return CONSTRAINTS.get(support, tfb.Identity)()
    prior = model.prior_distribution() if x is None else model.prior_given(tf.cast(x, tf.float32))
    return support_bijector(prior)
