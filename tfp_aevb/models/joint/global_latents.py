"""q(theta) over the latents that all datapoints share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions import kinds
from tfp_aevb.distributions.kinds import bare
from tfp_aevb.models.joint.flat import Leaves
from tfp_aevb.models.joint.leaves import Joint
from tfp_aevb.models.part_checks import is_real, support_bijector

PRIOR_DRAWS = 1000
START_SHARE = 0.1  # of the prior's spread
# Of summaries: points of quadrature, and draws where that is of no use.
NODES = 64
SUMMARY_DRAWS = 10_000


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
            if not (np.isfinite([low, middle, high]).all() and (high > low).all()):
                raise ValueError(
                    f"the prior of global latent {name!r} has draws at the ends of its support, or "
                    "where TFP's bijector does not reach; use a less extreme prior, or another kind"
                )
            loc = tf.Variable(middle, dtype=tf.float32, name=f"{name}_loc")
            scale = tfp.util.TransformedVariable(
                np.float32(START_SHARE * (high - low)), tfp.bijectors.Exp(), name=f"{name}_scale"
            )
            normal = tfd.Independent(tfd.Normal(loc, scale), middle.ndim)
            self._distributions[leaf] = GlobalFactor(normal, bijector, name=name)

    def _bijector(
        self, leaf: int, part: tfd.Distribution, other: tfd.Distribution, value: tf.Tensor
    ) -> tfb.Bijector:
        """Returns the way to the latent's support, which must be that of its `other` prior too."""
        name = self._joint.name_of(leaf)
        try:
            if is_real(part):
                return tfb.Identity()
            bijector, also = (_without_batch(p) for p in (part, other))
        except NotImplementedError:
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

    def summaries(self, quantiles: Sequence[float]) -> dict[int, "GlobalSummary"]:
        """Returns the mean, standard deviation and quantiles of each leaf."""
        for value in quantiles:
            if not 0.0 < value < 1.0:
                raise ValueError(f"`quantiles` must be probabilities between 0 and 1, got {value}")
        return {leaf: _summary(q, quantiles) for leaf, q in self._distributions.items()}

    def kl(self, num_samples: Any, seed: tf.Tensor) -> tf.Tensor:
        """Estimates KL(q(theta) || p(theta)) by so many draws, scalar, nats."""
        theta = self.sample([num_samples], seed)
        log_q = tf.add_n([q.log_prob(theta[leaf]) for leaf, q in self._distributions.items()])
        return tf.reduce_mean(log_q - self._joint.log_prob(theta, self.parts.leaves))


class GlobalFactor(tfd.TransformedDistribution):
    """q of one global latent: a Gaussian in each element, moved by a bijector to where it may be.

    Moments and quantiles are those of the latent itself, each element by itself. Where the bijector
    moves each element alone they are quadrature's, else those of 10,000 draws with a fixed seed.
    """

    def _mean(self) -> tf.Tensor:
        return self._moments()[0]

    def _variance(self) -> tf.Tensor:
        return self._moments()[1]

    def _stddev(self) -> tf.Tensor:
        return tf.sqrt(self._moments()[1])

    def _quantile(self, value: tf.Tensor) -> tf.Tensor:
        """Returns [..., *event] for probabilities [..., *event], or what broadcasts to it."""
        value = tf.convert_to_tensor(value, tf.float32)
        normal = self.distribution.distribution
        if self._moves_elements:
            ends = (self.bijector.forward(normal.quantile(p)) for p in (0.4, 0.6))
            rises = tf.less_equal(*ends)
            return self.bijector.forward(normal.quantile(tf.where(rises, value, 1.0 - value)))
        # [S, *event], and each element's place among them
        draws = tf.sort(self._draws(), axis=0)
        value = tf.broadcast_to(
            value, tf.broadcast_dynamic_shape(tf.shape(value), self.event_shape_tensor())
        )
        place = tf.cast(tf.round(value * (SUMMARY_DRAWS - 1.0)), tf.int32)
        flat = tf.reshape(draws, [SUMMARY_DRAWS, -1])
        places = tf.reshape(place, [-1, flat.shape[1]])
        found = tf.gather(tf.transpose(flat), tf.transpose(places), batch_dims=1)
        return tf.reshape(tf.transpose(found), tf.shape(value))

    @property
    def _moves_elements(self) -> bool:
        return self.bijector.forward_min_event_ndims == 0

    def _draws(self) -> tf.Tensor:
        return self.sample(SUMMARY_DRAWS, seed=tf.constant([0, 1]))

    def _moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        if not self._moves_elements:
            return tf.nn.moments(self._draws(), axes=[0])
        normal = self.distribution.distribution
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        shape = [NODES] + [1] * self.event_shape.rank
        points = tf.reshape(tf.constant(nodes, tf.float32), shape)
        shares = tf.reshape(tf.constant(weights / weights.sum(), tf.float32), shape)
        values = self.bijector.forward(normal.loc + normal.scale * points)
        mean = tf.reduce_sum(shares * values, axis=0)
        return mean, tf.reduce_sum(shares * (values - mean) ** 2, axis=0)


class GlobalSummary(NamedTuple):
    """What q(theta) says of one global latent, in its own space: NumPy arrays.

    Attributes:
        mean: [*event].
        stddev: [*event].
        quantiles: probability -> [*event], of each element by itself.
    """

    mean: np.ndarray
    stddev: np.ndarray
    quantiles: dict[float, np.ndarray]


def _summary(q: tfd.Distribution, quantiles: Sequence[float]) -> GlobalSummary:
    found = {p: q.quantile(tf.fill(q.event_shape, np.float32(p))).numpy() for p in quantiles}
    return GlobalSummary(q.mean().numpy(), q.stddev().numpy(), found)


def _without_batch(part: tfd.Distribution) -> tfb.Bijector:
    """Returns `support_bijector` of a `part` of batch shape [] or [1], its parameters without."""
    inner = bare(part)
    bijector = support_bijector(inner)
    shape = bijector.inverse_event_shape(inner.event_shape)
    if bijector.forward(tf.zeros(shape, inner.dtype)).shape != inner.event_shape:
        inner = inner[0]
    while isinstance(inner, kinds.Sample):
        # What moves one of the draws moves all: TFP's own bijector of them has no batch shape.
        inner = bare(inner.distribution)
    return support_bijector(inner)
