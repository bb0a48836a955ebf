"""The parts of a joint distribution: which are latent, and how they lie in one vector."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

AUTO_BATCHED = (
    tfd.JointDistributionCoroutineAutoBatched,
    tfd.JointDistributionNamedAutoBatched,
    tfd.JointDistributionSequentialAutoBatched,
)
Name = str | int
Values = dict[Name, tf.Tensor]


class Parts:
    """Named tensors laid end to end in one vector.

    Args:
        event_shapes: of the parts, in order.
        dtypes: of the parts; the vector itself is float32.
    """

    def __init__(
        self, event_shapes: dict[Name, tf.TensorShape], dtypes: dict[Name, tf.DType]
    ) -> None:
        self.names = list(event_shapes)
        self._shapes = event_shapes
        self._dtypes = dtypes
        self._sizes = [shape.num_elements() for shape in event_shapes.values()]
        self.size = sum(self._sizes)

    def concat(self, values: Values) -> tf.Tensor:
        """Lays parts [..., *event] end to end: [..., size] float32."""
        flat = []
        for name, size in zip(self.names, self._sizes, strict=True):
            value = tf.cast(values[name], tf.float32)
            rank = self._shapes[name].rank
            batch_shape = tf.shape(value)[: value.shape.rank - rank]
            flat.append(tf.reshape(value, tf.concat([batch_shape, [size]], axis=0)))
        return tf.concat(flat, axis=-1)

    def split(self, vector: tf.Tensor) -> Values:
        """Returns the parts [..., *event] of `vector` [..., size], in their own dtypes."""
        values = {}
        for name, flat in zip(
            self.names, tf.split(vector, self._sizes, axis=-1) if self.names else [], strict=True
        ):
            shape = tf.concat([tf.shape(flat)[:-1], self._shapes[name].as_list()], axis=0)
            static = flat.shape[:-1].concatenate(self._shapes[name])
            values[name] = tf.cast(
                tf.ensure_shape(tf.reshape(flat, shape), static), self._dtypes[name]
            )
        return values


class Joint:
    """A joint distribution over latent and observed parts.

    Args:
        joint: any `tfd.JointDistribution*`.
        observed: names of the observed parts (places, in a sequential one); the others are latent.
        given: those of the observed whose density does not count: the model is conditional on them.

    Raises:
        ValueError: if a name is not a part's, nothing is left as latent or observed, or a latent is
            discrete.
    """

    def __init__(
        self, joint: tfd.JointDistribution, observed: Sequence[Name], given: Sequence[Name]
    ) -> None:
        self._joint = joint
        shapes, dtypes = by_name(joint.event_shape), by_name(joint.dtype)
        if isinstance(model := getattr(joint, "model", None), Mapping):
            # A named joint's own order is that of its dependencies; the user's is the clearer.
            shapes = {name: shapes[name] for name in model}
        for name in (*observed, *given):
            if name not in shapes:
                raise ValueError(f"the joint has no part {name!r}; its parts are {list(shapes)}")
        self._is_sequential = 0 in shapes
        self.given = frozenset(given)
        seen = {*observed, *given}
        self.latent = _parts(shapes, dtypes, [name for name in shapes if name not in seen])
        self.observed = _parts(shapes, dtypes, [name for name in shapes if name in seen])
        if not self.latent.names or not {*observed} - self.given:
            raise ValueError(f"a model needs a latent and an observed part, got {list(shapes)}")
        for name in self.latent.names:
            if not dtypes[name].is_floating:
                raise ValueError(
                    f"latent {name!r} is discrete ({dtypes[name].name}) and has no reparameterised "
                    "draws; sum it out, for instance with `tfd.MixtureSameFamily`"
                )

    def distributions(self, known: Values) -> dict[Name, tfd.Distribution]:
        """Returns each part's distribution given the `known` values [n, *event] of those before.

        All latents must be known. In place of observed parts that are not stand zeros: drawing
        them inside an AutoBatched joint is slow, and their distributions do not need it.
        """
        rows = tf.shape(known[self.latent.names[0]])[:1]
        absent = self.observed.split(tf.zeros(tf.concat([rows, [self.observed.size]], axis=0)))
        found, _ = self._joint.sample_distributions(
            seed=tf.zeros([2], tf.int32), **self._arguments({**absent, **known})
        )
        if not isinstance(self._joint, AUTO_BATCHED):
            return by_name(found)
        # There, what is left of a part's batch shape belongs to its event.
        return {
            name: tfd.Independent(part, part.batch_shape.rank - 1)
            for name, part in by_name(found).items()
        }

    def sample(
        self, sample_shape: Any, seed: tf.Tensor, known: Values | None = None
    ) -> dict[Name, tf.Tensor]:
        """Draws all parts, given the `known` values [n, *event] if any, for sample shape [n]."""
        if known and isinstance(self._joint, AUTO_BATCHED):
            sample_shape = ()  # the known values have it already
        with warnings.catch_warnings():
            # Of an AutoBatched joint's slow draws, which nothing here makes while training.
            warnings.filterwarnings("ignore", "Saw Tensor seed")
            drawn = self._joint.sample(sample_shape, seed=seed, **self._arguments(known or {}))
        return by_name(drawn)

    def _arguments(self, known: Values) -> dict[str, Any]:
        """Returns `known` as the joint's methods take it: by name, or as a list."""
        if not self._is_sequential:
            return {str(name): value for name, value in known.items()}
        total = len(self.latent.names) + len(self.observed.names)
        return {"value": [known.get(i) for i in range(total)]} if known else {}


def by_name(structure: Any) -> dict[Name, Any]:
    """Returns a joint distribution's structure by its parts' names, or places where it has none."""
    if isinstance(structure, Mapping):
        return dict(structure)
    if hasattr(structure, "_fields"):
        return dict(zip(structure._fields, structure, strict=True))
    return dict(enumerate(structure))


def _parts(
    shapes: dict[Name, tf.TensorShape], dtypes: dict[Name, tf.DType], names: Sequence[Name]
) -> Parts:
    return Parts({n: shapes[n] for n in names}, {n: dtypes[n] for n in names})
