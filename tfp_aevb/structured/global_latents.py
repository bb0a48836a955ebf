"""q(theta) over the latents that all datapoints share."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.structured.flat import Leaves
from tfp_aevb.structured.parts import Joint

PRIOR_DRAWS = 1000
START_SHARE = 0.1  # of the prior's spread


class GlobalPosterior:
    """q(theta): Gaussian and independent in each element, moved into the prior's support.

    It starts at the prior's median with a tenth of its spread, both in the unconstrained space.

    Args:
        joint: the model.
    """

    def __init__(self, joint: Joint) -> None:
        self.parts = joint.shared
        self._joint = joint
        draws = joint.sample([PRIOR_DRAWS], tf.constant([0, 2]))
        one = joint.conditionals({leaf: value[:1] for leaf, value in draws.items()})
        self._distributions = {}
        for leaf in self.parts.leaves:
            bijector = one[leaf].experimental_default_event_space_bijector()
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

    @property
    def distributions(self) -> dict[int, tfd.Distribution]:
        """The q of each leaf."""
        return dict(self._distributions)

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
