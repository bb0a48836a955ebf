"""q(theta) over the latents that all datapoints share."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.model_parts import UnknownSupportError, support_bijector
from tfp_aevb.structured.flat import Leaves
from tfp_aevb.structured.parts import Joint

PRIOR_DRAWS = 1000
START_SHARE = 0.1  # of the prior's spread


class GlobalPosterior:
    """q(theta): Gaussian and independent in each element, moved into the prior's support.

    It starts at the prior's median with a tenth of its spread, both in the unconstrained space.

    Args:
        joint: the model.

    Raises:
        ValueError: if a latent is discrete, does not say where it is, or may be in other places
            where another global latent has another value.
    """

    def __init__(self, joint: Joint) -> None:
        self.parts = joint.shared
        self._joint = joint
        draws = joint.sample([PRIOR_DRAWS], tf.constant([0, 2]))
        one, other = (
            joint.conditionals({leaf: value[i : i + 1] for leaf, value in draws.items()})
            for i in (0, 1)
        )
        self._distributions = {}
        for leaf in self.parts.leaves:
            bijector = self._bijector(leaf, one[leaf], other[leaf], draws[leaf][:1])
            low, middle, high = np.quantile(
                bijector.inverse(draws[leaf]), [0.25, 0.5, 0.75], axis=0
            )
            name = str(joint.name_of(leaf))
            loc = tf.Variable(middle, dtype=tf.float32, name=f"{name}_loc")
            scale = tfp.util.TransformedVariable(
                np.float32(START_SHARE * (high - low)), tfp.bijectors.Exp(), name=f"{name}_scale"
            )
            normal = tfd.Independent(tfd.Normal(loc, scale), middle.ndim)
            self._distributions[leaf] = tfd.TransformedDistribution(normal, bijector, name=name)

    def _bijector(
        self, leaf: int, part: tfd.Distribution, other: tfd.Distribution, value: tf.Tensor
    ) -> tfb.Bijector:
        """Returns the way to the latent's support, which must be that of its `other` prior too."""
        name = self._joint.name_of(leaf)
        try:
            bijector, also = (_without_batch(p) for p in (part, other))
        except UnknownSupportError:
            raise ValueError(
                f"global latent {name!r} is discrete or does not say where it is, and gets no "
                "q(theta); use a `tfd` distribution of real numbers"
            ) from None
        u = bijector.inverse(value)
        if (tf.abs(bijector.forward(u) - also.forward(u)).numpy() > 1e-4).any():
            raise ValueError(
                f"where global latent {name!r} may be depends on another latent; write it as a "
                "function of one whose support is fixed"
            )
        return bijector

    @property
    def distributions(self) -> dict[int, tfd.Distribution]:
        """The q of each leaf."""
        return dict(self._distributions)

    @property
    def variables(self) -> list[tf.Variable]:
        """The means and log standard deviations of q(theta)."""
        return [v for q in self._distributions.values() for v in q.distribution.trainable_variables]

    def sample(self, sample_shape: Any, seed: tf.Tensor) -> Leaves:
        """Draws theta ~ q(theta): leaves [*sample_shape, *event]."""
        shape = tf.convert_to_tensor(sample_shape)
        seeds = tf.unstack(tfp.random.split_seed(seed, n=len(self._distributions)))
        drawn = zip(self._distributions.items(), seeds, strict=True)
        return {leaf: q.sample(shape, seed=leaf_seed) for (leaf, q), leaf_seed in drawn}

    def kl(self, num_samples: Any, seed: tf.Tensor) -> tf.Tensor:
        """Estimates KL(q(theta) || p(theta)) by so many draws, scalar, nats."""
        theta = self.sample([num_samples], seed)
        log_q = tf.add_n([q.log_prob(theta[leaf]) for leaf, q in self._distributions.items()])
        return tf.reduce_mean(log_q - self._joint.log_prob(theta, self.parts.leaves))


def _without_batch(part: tfd.Distribution) -> tfb.Bijector:
    """Returns `support_bijector` of a `part` of batch shape [] or [1], its parameters without."""
    bijector = support_bijector(part)
    ndims = bijector.inverse_event_shape(part.event_shape).rank
    has_batch = bijector.experimental_batch_shape(x_event_ndims=ndims).rank
    return support_bijector(part[0]) if has_batch else bijector
