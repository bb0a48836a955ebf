"""Joint distributions whose nested joints' parts stand in their place: one list of tensors."""

import itertools
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.distributions.joint_distribution import (
    get_explicit_name_for_component,
)
from tensorflow_probability.python.internal.structural_tuple import structtuple

from tfp_aevb.distributions.kinds import bare

AUTO_BATCHED = (
    tfd.JointDistributionCoroutineAutoBatched,
    tfd.JointDistributionNamedAutoBatched,
    tfd.JointDistributionSequentialAutoBatched,
)
Name = str | int
Places = dict[Name, Any]  # name -> a leaf's place in the list, or a nested joint's `Places`
Leaves = dict[int, tf.Tensor]  # place -> value


class JointError(ValueError):
    """A joint distribution is none that this package takes."""


class FlatJoint:
    """Any `tfd.JointDistribution*` as a list of leaves, in the order in which they are drawn.

    The functions of a joint see values with the leading axes they are called with here: never one
    datapoint without a batch, as TFP calls them, but for those of AutoBatched joints.

    Args:
        joint: the distribution.
        sample_shape: of a first draw, by which the leaves' shapes and types become known: [1], or
            () for a joint that has a batch itself.

    Attributes:
        places: of the leaves, by the names of their parts, in the user's order.
        event_shapes, dtypes, reparameterization_types: of the leaves.

    Raises:
        ValueError: if a part is a joint that does not fit, or has several tensors otherwise, or if
            the functions of an AutoBatched joint fail at one datapoint.
    """

    places: Places
    event_shapes: list[tf.TensorShape]
    dtypes: list[tf.DType]

    def __init__(self, joint: tfd.JointDistribution, sample_shape: Sequence[int] = ()) -> None:
        self._root = joint
        self._is_auto_batched = isinstance(joint, AUTO_BATCHED)
        if not self._is_auto_batched:
            self._read(sample_shape)
            return
        try:
            self._read(())
            self._joint = tfd.JointDistributionCoroutineAutoBatched(
                lambda: _leaves(joint, itertools.count()),
                sample_dtype=[0] * len(self.dtypes),
                batch_ndims=joint.batch_ndims,
                use_vectorized_map=joint.use_vectorized_map,
            )
            self.event_shapes = list(self._joint.event_shape)
            if sample_shape:
                zeros = tf.zeros([*sample_shape, *self.event_shapes[0]], self.dtypes[0])
                self.conditionals({0: zeros})
        except JointError:
            raise
        except Exception as error:  # whatever the functions of users, or their networks, raise
            raise ValueError(
                f"a function of the AutoBatched joint fails at one datapoint, which has no batch: "
                f"{_reason(error)}; give a Keras network a batch there, `net(z[tf.newaxis])[0]`, "
                "or write the joint without AutoBatching, whose functions see batches"
            ) from error

    def _read(self, sample_shape: Sequence[int]) -> None:
        """Finds out what the leaves are by a first draw."""
        run = self._run(sample_shape, tf.zeros([2], tf.int32), {})
        self.places = run.places
        self.event_shapes = [part.event_shape for part in run.parts]
        self.dtypes = [part.dtype for part in run.parts]
        self.reparameterization_types = [part.reparameterization_type for part in run.parts]

    def conditionals(self, values: Leaves) -> list[tfd.Distribution]:
        """Returns each leaf's distribution given the `values` [*batch, *event] of those before.

        Zeros stand for what has no value: drawing it is slow inside an AutoBatched joint.
        """
        place, value = next(iter(values.items()))
        rank = value.shape.rank - self.event_shapes[place].rank
        batch = tf.shape(value)[:rank]
        everything = {
            i: values[i] if i in values else tf.zeros(tf.concat([batch, shape], axis=0), dtype)
            for i, (shape, dtype) in enumerate(zip(self.event_shapes, self.dtypes, strict=True))
        }
        if not self._is_auto_batched:
            return self._run((), None, everything).parts
        found, _ = self._joint.sample_distributions(
            seed=tf.zeros([2], tf.int32), value=list(everything.values())
        )
        # What is left there of a part's batch shape belongs to its event.
        return [tfd.Independent(part, part.batch_shape.rank - rank) for part in found]

    def log_prob_parts(self, values: Leaves, *, fold: bool = False) -> list[tf.Tensor]:
        """Returns each leaf's log density [*batch] nats at `values` [*batch, *event] of all.

        `fold`: see `sample`; the values are then [n, B, *event].
        """
        if self._is_auto_batched:
            return list(self._joint.log_prob_parts([values[i] for i in range(len(self.dtypes))]))
        run = self._run((), None, values, fold=fold)
        terms = []
        for i, part in enumerate(run.parts):
            if i in run.folded:
                terms.append(_unfolded(part.log_prob(_folded(values[i])), values[i]))
            else:
                terms.append(part.log_prob(values[i]))
        return terms

    def sample(
        self, sample_shape: Any, seed: Any, known: Leaves | None = None, *, fold: bool = False
    ) -> Leaves:
        """Draws all leaves, given the `known` [*sample_shape, ..., *event] if any.

        The draws are those of TFP's own joint distributions with this seed.

        Args:
            sample_shape: of the draws.
            seed: [2] int32.
            known: values of some leaves.
            fold: for a joint of batch shape [B] and a `sample_shape` [n]: whether its functions see
                the values [n * B, *event] of the leaves before, in place of [n, B, *event].
        """
        places = range(len(self.dtypes))
        if not self._is_auto_batched:
            return self._run(sample_shape, seed, known or {}, fold=fold).values
        if known:
            # In turn: `tf.vectorized_map` would give every row the same noise.
            values = dict(known)
            for i, leaf_seed in enumerate(tfp.random.split_seed(seed, n=len(places))):
                if i not in values:
                    values[i] = self.conditionals(values)[i].sample(seed=leaf_seed)
            return values
        with warnings.catch_warnings():
            # Of an AutoBatched joint's slow draws, which nothing here makes while training.
            warnings.filterwarnings("ignore", "Saw Tensor seed")
            drawn = self._joint.sample(tf.convert_to_tensor(sample_shape, tf.int32), seed=seed)
        return dict(enumerate(drawn))

    def _run(self, sample_shape: Any, seed: Any, known: Leaves, *, fold: bool = False) -> "_Run":
        """Goes through the leaves, whose values are known or drawn.

        `seed` may be None where all are known.
        """
        if seed is not None:
            seed = tfp.random.sanitize_seed(seed, salt="JointDistribution")
        parts: list[tfd.Distribution] = []
        values: Leaves = {}
        folded: set[int] = set()
        leaves = _leaves(self._root, itertools.count())
        part = next(leaves)
        try:
            while True:
                is_root = isinstance(part, tfd.JointDistribution.Root)
                part, place = _distribution(part), len(parts)
                if seed is not None:
                    leaf_seed, seed = tf.unstack(tfp.random.split_seed(seed))
                value = known.get(place)
                if fold and not is_root:
                    folded.add(place)
                if value is None:
                    # One without a batch depends on nothing: each draw has its own, as a root does.
                    is_root |= not part.batch_shape.rank
                    value = part.sample(sample_shape if is_root else (), seed=leaf_seed)
                    if place in folded:
                        value = tf.reshape(value, [*sample_shape, -1, *part.event_shape])
                values[place] = value
                parts.append(part)
                part = leaves.send(_folded(value) if fold else value)
        except StopIteration as end:
            return _Run(parts, values, end.value[1], folded)


class _Run(NamedTuple):
    """The leaves of a joint: distributions, values, places by name, which have n * B rows."""

    parts: list[tfd.Distribution]
    values: Leaves
    places: Places
    folded: set[int]


def _folded(value: tf.Tensor) -> tf.Tensor:
    """Returns [n * B, ...] of [n, B, ...]."""
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))


def _unfolded(log_prob: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Returns [n, B] of [n * B], n and B those of `value`."""
    return tf.reshape(log_prob, tf.shape(value)[:2])


def _reason(error: Exception) -> str:
    """Returns what an error says in one line, Keras' without where it happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception encountered")]
    return f"{(told or lines or [type(error).__name__])[0]:.200}".rstrip(".")


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
    names: list[Name] = []
    values: list[Any] = []
    places: list[Any] = []
    place: Any
    part = next(model)
    while True:
        is_root_part = is_root and isinstance(part, tfd.JointDistribution.Root)
        part = _distribution(part)
        name = get_explicit_name_for_component(bare(part)) or f"var{len(names)}"
        if name in names and _names_by_parts(joint):
            raise JointError(f"two parts of the joint are named {name!r}; give each its own name")
        names.append(name)
        if isinstance(part, tfd.JointDistribution):
            if isinstance(part, AUTO_BATCHED) and not isinstance(joint, AUTO_BATCHED):
                raise JointError(
                    f"an AutoBatched joint is part of one that is not, {joint.name}; make both "
                    "AutoBatched, or neither"
                )
            value, place = yield from _leaves(part, count, is_root=is_root_part)
        elif tf.nest.is_nested(part.dtype):
            raise JointError(
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
    named = _by_name(_structured(joint, names, places))
    if isinstance(parts := getattr(joint, "model", None), Mapping):
        # A named joint's own order is that of its dependencies; the user's is the clearer.
        named = {name: named[name] for name in parts}
    return _structured(joint, names, values), named


def _structured(joint: tfd.JointDistribution, names: list[Name], values: list[Any]) -> Any:
    """Returns the values of a joint's parts as TFP's samples have them."""
    if _names_by_parts(joint):  # where TFP would go through the joint without a batch
        return structtuple(names)(*values)
    return joint._model_unflatten(values)


def _names_by_parts(joint: tfd.JointDistribution) -> bool:
    """Whether a joint has its names from its parts: a coroutine without a structure of its own."""
    return getattr(joint, "_sample_dtype", joint) is None


def _distribution(part: Any) -> tfd.Distribution:
    return part.distribution if isinstance(part, tfd.JointDistribution.Root) else part


def _by_name(structure: Any) -> Places:
    """Returns a joint's structure by its parts' names, or their numbers where it has none."""
    if isinstance(structure, Mapping):
        return dict(structure)
    if hasattr(structure, "_fields"):
        return dict(zip(structure._fields, structure, strict=True))
    return dict(enumerate(structure))
