"""The densities of a joint model, as distributions over one vector each."""

import contextlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import noise_is_by_row
from tfp_aevb.models.joint.flat import FlatJoint, Leaves, leaves_of
from tfp_aevb.models.joint.global_latents import GlobalPosterior
from tfp_aevb.models.joint.leaves import Joint, matching, tiled
from tfp_aevb.models.joint.unconstrained_latents import Supports
from tfp_aevb.utils.graphs import graph_function

# Draws that are made one after the other, without a loop of TensorFlow's.
MOST_UNROLLED = 16


class _Vector(tfd.Distribution):
    """A distribution over a vector [size]; subclasses draw and weigh it."""

    def __init__(
        self,
        size: int,
        batch_shape: Any,
        name: str,
        reparameterization_type: tfd.ReparameterizationType = tfd.FULLY_REPARAMETERIZED,
    ) -> None:
        self._size = size
        self._rows = batch_shape
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={},
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._size])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._size])

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([]) if self._rows is None else self._rows.shape[:1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32) if self._rows is None else tf.shape(self._rows)[:1]


class LatentPrior(_Vector):
    """p(z) of all latents, batch shape [] and event shape [J]; p(z|u) has batch shape [B].

    Where some of z are global latents theta, draws have theta from q(theta) and the rest from
    p(z|theta), and the density is that of p(z|theta).

    Args:
        joint: the model.
        theta: q(theta).
        supports: where the latents are.
        given: values u of the given parts, leaves [B, *event]; without them draws have u from the
            joint.
    """

    def __init__(
        self,
        joint: Joint,
        theta: GlobalPosterior | None,
        supports: Supports,
        given: Leaves | None = None,
    ) -> None:
        self._joint = joint
        self._supports = supports
        self._theta = theta
        self._given = given or {}
        rows = next(iter(self._given.values()), None)
        super().__init__(joint.latent.size, rows, "LatentPrior")

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        seeds = tfp.random.split_seed(tfp.random.sanitize_seed(seed), n=2)
        batch = self.batch_shape_tensor()
        rows = n * tf.reduce_prod(batch)
        known = tiled(self._given, n)
        if self._theta:
            known |= self._theta.sample([rows], seeds[0])
        z = self._joint.latent.concat(self._joint.sample([rows], seeds[1], known))
        return tf.reshape(z, tf.concat([[n], batch, [self._size]], axis=0))

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        if self._joint.has_conditional_prior and not self._given:
            raise NotImplementedError(
                "the latents depend on given parts u, and p(z) without u has no known density; "
                "use `prior_given(x)`, p(z|u)"
            )
        latents = self._joint.latent.split(tf.reshape(z, [-1, self._size]))
        if self._given:
            batch = tf.reduce_prod(self.batch_shape_tensor())
            latents |= tiled(self._given, tf.size(z) // (self._size * batch))
        log_prob = self._joint.log_prob(latents, self._joint.local.leaves)
        return tf.reshape(log_prob, tf.shape(z)[:-1])

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return self._supports.bijector(self._given)


class ObservedParts(_Vector):
    """p(x|z) of several observed parts, batch shape [n] and event shape [D].

    The mean is that of each part given z, and u where given; where a part depends on another
    observed one, it is taken at zero there, and draws are the better summary. Partly observed
    latents are as in z.

    Args:
        joint: the model.
        z: [n, J].
        given: values of the given parts, leaves [n, *event], which draws and the mean then hold;
            without them these are drawn and averaged as the others are.
    """

    def __init__(self, joint: Joint, z: tf.Tensor, given: Leaves | None = None) -> None:
        self._joint = joint
        self._latents = joint.latent.split(z)
        self._known = {**self._latents, **(given or {})}
        super().__init__(joint.data.size, z, "ObservedParts")

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        rows = tf.shape(self._rows)[0]
        known = tiled(self._known, n)
        drawn = self._joint.sample([n * rows], tfp.random.sanitize_seed(seed), known)
        return tf.reshape(self._joint.data.concat(drawn), [n, rows, self._size])

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        values = {**self._joint.data.split(x), **self._latents}
        return self._joint.log_prob(values, self._joint.counted)

    def _mean(self) -> tf.Tensor:
        conditionals = self._joint.conditionals(self._known)
        means = dict(self._known)
        for leaf in self._joint.observed.leaves:
            if leaf in self._known:
                continue
            part = conditionals[leaf]
            shape = tf.concat([tf.shape(self._rows)[:1], part.event_shape], axis=0)
            means[leaf] = tf.broadcast_to(tf.cast(part.mean(), tf.float32), shape)
        return self._joint.data.concat(means)


class Known(NamedTuple):
    """A partly observed latent: for which datapoints it is known [B], and its values there."""

    mask: tf.Tensor
    value: tf.Tensor

    def put_into(self, drawn: tf.Tensor) -> tf.Tensor:
        """Returns `drawn` [..., B, *event] with the known values in their place."""
        mask = tf.reshape(self.mask, [-1, *[1] * (self.value.shape.rank - 1)])
        return tf.where(mask, tf.cast(self.value, drawn.dtype), drawn)


def known_latents(joint: Joint, x: tf.Tensor) -> dict[int, Known]:
    """Returns what `x` [B, D] says of the partly observed latents, NaN where one is not known."""
    if not joint.partly_observed.leaves:
        return {}
    data, found = joint.data.split(x, cast=False), {}
    for name, place in joint.partly_observed.places.items():
        leaves = list(leaves_of({name: place}))
        gaps = [tf.math.is_nan(data[leaf]) for leaf in leaves]
        whole = [~tf.reduce_any(gap, axis=range(1, gap.shape.rank)) for gap in gaps]
        mask = tf.reduce_all(tf.stack(whole), axis=0)
        for leaf, gap in zip(leaves, gaps, strict=True):
            # Without NaN, which a gradient would find behind the choice that draws make of it.
            found[leaf] = Known(mask, tf.where(gap, tf.zeros_like(data[leaf]), data[leaf]))
    return found


class JointPosterior(_Vector):
    """q(z|x) over the local latents, batch shape [B] and event shape [J].

    Latents that are known have no density here: draws hold their values, later parts of q are drawn
    given these, and the density is that of the others.

    Args:
        posterior: a joint distribution over the latents, by the same names as in the model.
        joint: the model.
        rows: any tensor [B, ...].
        known: the latents that are known for some datapoints, by leaf.
        layout: how the functions of q see L draws of latents [B, *event]: see `find_layout`.
    """

    def __init__(
        self,
        posterior: tfd.JointDistribution,
        joint: Joint,
        rows: tf.Tensor,
        known: dict[int, Known],
        layout: str = "together",
    ) -> None:
        self._posterior = FlatJoint(posterior)
        self._parts = joint.local
        self._known = known
        self._layout = layout
        # Our leaf for each of q's, in the order in which q draws them.
        leaves = matching(self._posterior.places, self._parts.places)
        self._leaves = [leaves[place] for place in range(len(leaves))]
        kinds = self._posterior.reparameterization_types
        reparameterized = all(kind is tfd.FULLY_REPARAMETERIZED for kind in kinds)
        kind = tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED
        super().__init__(self._parts.size, rows, "JointPosterior", kind)

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed)
        count = tf.get_static_value(n)
        if self._layout == "together":
            return self._draw([n], seed)
        if count == 1:
            return self._draw((), seed)[tf.newaxis]
        if self._layout == "folded" and not noise_is_by_row():
            return self._draw([n], seed)

        def draw(i: tf.Tensor | int) -> tf.Tensor:
            return self._draw((), tf.random.experimental.stateless_fold_in(seed, i))

        if count is not None and count <= MOST_UNROLLED:
            return tf.stack([draw(i) for i in range(count)])
        shape = tf.TensorSpec([self._rows.shape[0], self._size])
        return tf.map_fn(draw, tf.range(n), fn_output_signature=shape)

    def _draw(self, sample_shape: Any, seed: tf.Tensor) -> tf.Tensor:
        """Draws z [*sample_shape, B, J]."""
        fold = self._layout == "folded" and sample_shape != ()
        drawn = self._posterior.sample(sample_shape, seed, fold=fold)
        for place, leaf in enumerate(self._leaves):
            if leaf in self._known:
                before = {earlier: drawn[earlier] for earlier in range(place)}
                value = self._known[leaf].put_into(drawn[place])
                known = {**before, place: value}
                drawn = self._posterior.sample(sample_shape, seed, known, fold=fold)
        return self._parts.concat({leaf: drawn[i] for i, leaf in enumerate(self._leaves)})

    def factors(self) -> dict[int, tfd.Distribution]:
        """Returns q's part of each latent leaf, at one draw of those before it."""
        parts = self._posterior.conditionals(self._posterior.sample((), tf.constant([0, 1])))
        return {leaf: parts[place] for place, leaf in enumerate(self._leaves)}

    def find_layout(self) -> str:
        """Returns how q's functions may see L draws of latents [B, *event], L of them at a time.

        - `together`: as [L, B, *event]. Networks that look at the last axis alone take that, and
          functions that add what they know of x [B, ...].
        - `folded`: as [L * B, *event]. Any network of latents alone takes that.
        - `apart`: each draw by itself, one after the other. Whatever takes one draw takes that.

        The first that gives a draw the density it has by itself.
        """
        for self._layout in ("together", "folded"):
            # Whatever the functions of users, or their networks, raise.
            with contextlib.suppress(Exception):
                together, apart = graph_function(self._both_ways)()
                alike = np.allclose(together, apart, 1e-4, 1e-3)
                if together.shape == apart.shape and alike:
                    return self._layout
        return "apart"

    def _both_ways(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the log density of three draws, at once and of each by itself: [3, B] each."""
        z = self._draw([3], tf.constant([0, 2]))
        return self._weigh(z), tf.stack([self._weigh(draw) for draw in tf.unstack(z)])

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        if z.shape.rank == 2 or self._layout == "together":
            return self._weigh(z)
        draws = tf.reshape(z, tf.concat([[-1], tf.shape(z)[-2:]], axis=0))
        draws = tf.ensure_shape(draws, [z.shape[:-2].num_elements(), *z.shape[-2:]])
        count = draws.shape[0]
        if count == 1:
            log_prob = self._weigh(draws[0])
        elif self._layout == "folded":
            log_prob = self._weigh(draws)
        elif count is not None and count <= MOST_UNROLLED:
            log_prob = tf.stack([self._weigh(draw) for draw in tf.unstack(draws)])
        else:
            shape = tf.TensorSpec(z.shape[-2:-1], z.dtype)
            log_prob = tf.map_fn(self._weigh, draws, fn_output_signature=shape)
        return tf.reshape(log_prob, tf.shape(z)[:-1])

    def _weigh(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the log density [..., B] nats of `z` [..., B, J]."""
        values = self._parts.split(z)
        drawn = {
            place: tf.cast(values[leaf], dtype)
            for place, (leaf, dtype) in enumerate(
                zip(self._leaves, self._posterior.dtypes, strict=True)
            )
        }
        fold = self._layout == "folded" and z.shape.rank > 2
        terms = self._posterior.log_prob_parts(drawn, fold=fold)
        return tf.add_n(
            [
                tf.where(self._known[leaf].mask, tf.zeros_like(term), term)
                if leaf in self._known
                else term
                for leaf, term in zip(self._leaves, terms, strict=True)
            ]
        )


class AsFloats(_Vector):
    """q(z|x) over integers, as float32: batch shape [B] and event shape [J]."""

    def __init__(self, integers: tfd.Distribution, rows: tf.Tensor) -> None:
        self._integers = integers
        kind = tfd.NOT_REPARAMETERIZED
        super().__init__(integers.event_shape[0], rows, integers.name, kind)

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        return tf.cast(self._integers.sample(n, seed=seed), tf.float32)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self._integers.log_prob(tf.cast(z, self._integers.dtype))


class WithGlobals(_Vector):
    """q(z|x) q(theta), batch shape [B] and event shape [J]; its density is that of z alone.

    Each datapoint and draw has a theta of its own.
    """

    def __init__(self, local: tfd.Distribution, theta: GlobalPosterior, rows: tf.Tensor) -> None:
        self.local = local
        self._theta = theta
        self._local_size = local.event_shape[0]
        size = self._local_size + theta.parts.size
        super().__init__(size, rows, "WithGlobals", local.reparameterization_type)

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        seeds = tfp.random.split_seed(tfp.random.sanitize_seed(seed), n=2)
        z = self.local.sample(n, seed=seeds[0])
        theta = self._theta.sample([n, tf.shape(self._rows)[0]], seeds[1])
        return tf.concat([z, self._theta.parts.concat(theta)], axis=-1)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self.local.log_prob(z[..., : self._local_size])
