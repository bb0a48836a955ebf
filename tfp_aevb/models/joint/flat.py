"""Joint distributions whose nested joints' parts stand in their place: one list of tensors."""

import itertools
import warnings
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

AUTO_BATCHED = (
    tfd.JointDistributionCoroutineAutoBatched,
    tfd.JointDistributionNamedAutoBatched,
    tfd.JointDistributionSequentialAutoBatched,
)
Name = str | int
Places = dict[Name, Any]  # name -> a leaf's place in the list, or a nested joint's `Places`
Leaves = dict[int, tf.Tensor]  # place -> value


class FlatJoint:
    """Any `tfd.JointDistribution*` as a list of leaves, in the order in which they are drawn.

    Attributes:
        places: of the leaves, by the names of their parts, in the user's order.
        joint: the distribution over the list.
        event_shapes, dtypes: of the leaves.

    Raises:
        ValueError: if a part is a joint that does not fit, or has several tensors otherwise.
    """

    def __init__(self, joint: tfd.JointDistribution) -> None:
        self.places = _places(joint)
        self._is_auto_batched = isinstance(joint, AUTO_BATCHED)
        form: dict[str, Any] = {"sample_dtype": [0] * len(list(leaves_of(self.places)))}
        kind = tfd.JointDistributionCoroutine
        if self._is_auto_batched:
            kind = tfd.JointDistributionCoroutineAutoBatched
            form |= {
                "batch_ndims": joint.batch_ndims,
                "use_vectorized_map": joint.use_vectorized_map,
            }
        self.joint = kind(lambda: _leaves(joint, itertools.count()), **form)
        self.event_shapes = list(self.joint.event_shape)
        self.dtypes = list(self.joint.dtype)

    def conditionals(self, values: Leaves) -> list[tfd.Distribution]:
        """Returns each leaf's distribution given the `values` [*batch, *event] of those before.

        Zeros stand for what has no value: drawing it is slow inside an AutoBatched joint.
        """
        place, value = next(iter(values.items()))
        rank = value.shape.rank - self.event_shapes[place].rank
        batch = tf.shape(value)[:rank]
        everything = [
            values[i] if i in values else tf.zeros(tf.concat([batch, shape], axis=0), dtype)
            for i, (shape, dtype) in enumerate(zip(self.event_shapes, self.dtypes, strict=True))
        ]
        found, _ = self.joint.sample_distributions(seed=tf.zeros([2], tf.int32), value=everything)
        if not self._is_auto_batched:
            return list(found)
        # There, what is left of a part's batch shape belongs to its event.
        return [tfd.Independent(part, part.batch_shape.rank - rank) for part in found]

    def sample(self, sample_shape: Any, seed: tf.Tensor, known: Leaves | None = None) -> Leaves:
        """Draws all leaves, given the `known` [*sample_shape, ..., *event] if any."""
        places = range(len(self.dtypes))
        if known and self._is_auto_batched:
            # In turn: `tf.vectorized_map` would give every row the same noise.
            values = dict(known)
            for i, leaf_seed in enumerate(tfp.random.split_seed(seed, n=len(places))):
                if i not in values:
                    values[i] = self.conditionals(values)[i].sample(seed=leaf_seed)
            return values
        given = {"value": [known.get(i) for i in places]} if known else {}
        with warnings.catch_warnings():
            # Of an AutoBatched joint's slow draws, which nothing here makes while training.
            warnings.filterwarnings("ignore", "Saw Tensor seed")
            drawn = self.joint.sample(tf.convert_to_tensor(sample_shape), seed=seed, **given)
        return dict(enumerate(drawn))


def leaves_of(places: Places) -> Iterator[int]:
    """Yields the leaves' places in the order of their names."""
    for place in places.values():
        if isinstance(place, dict):
            yield from leaves_of(place)
        else:
            yield place


def _leaves(
    joint: tfd.JointDistribution, count: Iterator[int], *, is_root: bool = True
) -> Generator[Any, tf.Tensor, tuple[Any, Places]]:
    """Yields the distributions of a joint's leaves; returns their values, structured, and places.

    It is what `tfd.JointDistributionCoroutine` takes as a model.
    """
    model = joint._model_coroutine()
    values: list[Any] = []
    places: list[Any] = []
    place: Any
    part = next(model)
    while True:
        is_root_part = is_root and isinstance(part, tfd.JointDistribution.Root)
        part = _distribution(part)
        if isinstance(part, tfd.JointDistribution):
            if isinstance(part, AUTO_BATCHED) and not isinstance(joint, AUTO_BATCHED):
                raise ValueError(
                    f"an AutoBatched joint is part of one that is not, {joint.name}; make both "
                    "AutoBatched, or neither"
                )
            value, place = yield from _leaves(part, count, is_root=is_root_part)
        elif tf.nest.is_nested(part.dtype):
            raise ValueError(
                f"a part of the joint, {part.name}, has several tensors and is no "
                "`tfd.JointDistribution`; write it as one"
            )
        else:
            value = yield (tfd.JointDistribution.Root(part) if is_root_part else part)
            place = next(count)
        values.append(value)
        places.append(place)
        try:
            part = model.send(value)
        except StopIteration:
            break
    named = _by_name(joint._model_unflatten(places))
    if isinstance(parts := getattr(joint, "model", None), Mapping):
        # A named joint's own order is that of its dependencies; the user's is the clearer.
        named = {name: named[name] for name in parts}
    return joint._model_unflatten(values), named


def _places(joint: tfd.JointDistribution) -> Places:
    """Returns the places of a joint's leaves, found by one draw."""
    leaves = _leaves(joint, itertools.count())
    part = next(leaves)
    try:
        while True:
            part = leaves.send(_distribution(part).sample(seed=tf.zeros([2], tf.int32)))
    except StopIteration as end:
        return end.value[1]


def _distribution(part: Any) -> tfd.Distribution:
    return part.distribution if isinstance(part, tfd.JointDistribution.Root) else part


def _by_name(structure: Any) -> Places:
    """Returns a joint's structure by its parts' names, or their numbers where it has none."""
    if isinstance(structure, Mapping):
        return dict(structure)
    if hasattr(structure, "_fields"):
        return dict(zip(structure._fields, structure, strict=True))
    return dict(enumerate(structure))
