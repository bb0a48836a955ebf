"""The parts of a joint distribution: which are latent, and how they lie in one vector."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.models.joint.flat import FlatJoint, Leaves, Name, Places, leaves_of

Values = dict[Name, Any]  # name -> tensor, or a nested joint's `Values`


class Parts:
    """Some parts of a joint distribution, laid end to end in one vector.

    Args:
        joint: the distribution.
        names: of the parts, in order.
    """

    def __init__(self, joint: FlatJoint, names: Iterable[Name]) -> None:
        self.places: Places = {name: joint.places[name] for name in names}
        self.leaves = list(leaves_of(self.places))
        self._shapes = [joint.event_shapes[leaf] for leaf in self.leaves]
        self._dtypes = [joint.dtypes[leaf] for leaf in self.leaves]
        self._sizes = [shape.num_elements() for shape in self._shapes]
        self.size = sum(self._sizes)

    @property
    def names(self) -> list[Name]:
        """The parts' names, in order."""
        return list(self.places)

    def event_shape_of(self, leaf: int) -> tf.TensorShape:
        """Returns the event shape of one of the leaves."""
        return self._shapes[self.leaves.index(leaf)]

    def fits(self, leaf: int, shape: Any) -> bool:
        """Whether an array of this shape may be [N, *event]; for one number a row also [N]."""
        shape, event = tf.TensorShape(shape), self.event_shape_of(leaf)
        if shape.rank == 0:
            return False
        is_number = event.num_elements() == 1 and shape.rank in (1, 2)
        return shape[1:].is_compatible_with(event) or (is_number and shape[1:] in ([], [1]))

    def concat(self, values: Leaves) -> tf.Tensor:
        """Lays leaves [..., *event] end to end: [..., size] float32."""
        flat = []
        for leaf, shape, size in zip(self.leaves, self._shapes, self._sizes, strict=True):
            value = tf.cast(values[leaf], tf.float32)
            batch_shape = tf.shape(value)[: value.shape.rank - shape.rank]
            flat.append(tf.reshape(value, tf.concat([batch_shape, [size]], axis=0)))
        return tf.concat(flat, axis=-1)

    def split(self, vector: tf.Tensor, *, cast: bool = True) -> Leaves:
        """Returns the leaves [..., *event] of `vector` [..., size], in their own dtypes.

        Unless they are to stay as they are: as integers they cannot be NaN.
        """
        values = {}
        pieces = tf.split(vector, self._sizes, axis=-1) if self.leaves else []
        for leaf, flat, event, dtype in zip(
            self.leaves, pieces, self._shapes, self._dtypes, strict=True
        ):
            shape = tf.concat([tf.shape(flat)[:-1], event.as_list()], axis=0)
            static = flat.shape[:-1].concatenate(event)
            value = tf.ensure_shape(tf.reshape(flat, shape), static)
            values[leaf] = tf.cast(value, dtype) if cast else value
        return values

    def named(self, values: Leaves) -> Values:
        """Returns the leaves' values by the names of their parts, nested as these are."""
        return _map(self.places, values)

    def rows(self, values: Values, count: Any) -> Leaves:
        """Returns leaves [count, *event] of `values` by name, each [*event] or [count, *event].

        Raises:
            ValueError: if the names or the shapes are others.
        """
        found = _unmap(self.places, values)
        for leaf, event, dtype in zip(self.leaves, self._shapes, self._dtypes, strict=True):
            value = tf.cast(tf.convert_to_tensor(found[leaf]), dtype)
            each = tf.TensorShape([tf.get_static_value(count)]).concatenate(event)
            if not any(value.shape.as_list() == s.as_list() for s in (event, each)):
                raise ValueError(
                    f"`given` must hold values of shape {event}, or {each} for one a sample, got "
                    f"{value.shape}"
                )
            found[leaf] = tf.broadcast_to(value, tf.concat([[count], event.as_list()], axis=0))
        return found

    def columns(self) -> dict[Name, slice]:
        """Returns which elements of the vector are each part's."""
        found, start = {}, 0
        sizes = dict(zip(self.leaves, self._sizes, strict=True))
        for name, place in self.places.items():
            stop = start + sum(sizes[leaf] for leaf in leaves_of({name: place}))
            found[name] = slice(start, stop)
            start = stop
        return found


class Joint(FlatJoint):
    """A joint distribution over latent and observed parts.

    Args:
        joint: any `tfd.JointDistribution*`.
        observed: names of the observed parts (places, in a sequential one), in the order in which
            they lie in a row of the data; the others are latent.
        given: those of the observed whose density does not count: the model is conditional on them.
            One that is not in `observed` has the place in a row that the joint gives it.
        partly_observed: latents that are known for some datapoints; last in a row.
        global_latents: latents that all datapoints share.

    Attributes:
        local: the latents of one datapoint.
        shared: those of all.
        latent: both, in this order.
        observed: the observed parts.
        data: these, and then the partly observed latents.
        given: those of the observed whose density does not count.
        counted: the observed leaves whose density counts.
        discrete: names of the latents that are integers, or have some.
        has_conditional_prior: whether latents depend on given parts.
        marginalised: names of the observed parts whose elements may be NaN.

    Raises:
        ValueError: if a name is not a part's or stands where it cannot, or nothing is left as
            latent or observed.
    """

    def __init__(
        self,
        joint: tfd.JointDistribution,
        observed: Sequence[Name],
        given: Sequence[Name] = (),
        partly_observed: Sequence[Name] = (),
        global_latents: Sequence[Name] = (),
    ) -> None:
        super().__init__(joint, [1])
        names = list(self.places)
        for name in (*observed, *given, *partly_observed, *global_latents):
            if name not in names:
                raise ValueError(f"the joint has no part {name!r}; its parts are {names}")
            if max(part.count(name) for part in (observed, given, partly_observed)) > 1:
                raise ValueError(f"part {name!r} is named twice in one list; name it once")
        stated = iter(observed)
        seen = [
            next(stated) if name in observed else name
            for name in names
            if name in {*observed, *given}
        ]
        latent = [name for name in names if name not in seen]
        local = [name for name in latent if name not in global_latents]
        for role, chosen, choices in (
            ("partly_observed", partly_observed, local),
            ("global_latents", global_latents, latent),
        ):
            for name in chosen:
                if name not in choices:
                    raise ValueError(f"`{role}` must be of the latents {choices}, got {name!r}")
        if not local or not {*observed} - {*given}:
            raise ValueError(f"a model needs a latent and an observed part, got {names}")
        self.local = Parts(self, local)
        self.shared = Parts(self, [name for name in latent if name in global_latents])
        self.latent = Parts(self, [*local, *self.shared.names])
        self.observed = Parts(self, seen)
        self.partly_observed = Parts(self, partly_observed)
        self.data = Parts(self, [*seen, *self.partly_observed.names])
        self.given = Parts(self, [name for name in seen if name in given])
        self.counted = Parts(self, [name for name in seen if name not in given]).leaves
        self.discrete = [n for n in latent if not self._is_floating(n)]
        self.has_conditional_prior = False  # until a look at the densities says so
        self.marginalised: list[Name] = []

    @property
    def may_be_missing(self) -> list[Name]:
        """The parts of the data that may have NaN."""
        return [*self.partly_observed.names, *self.marginalised]

    def _is_floating(self, name: Name) -> bool:
        return all(self.dtypes[leaf].is_floating for leaf in leaves_of({name: self.places[name]}))

    def name_of(self, leaf: int) -> Name:
        """Returns the name of the part that a leaf belongs to."""
        return next(n for n, place in self.places.items() if leaf in leaves_of({n: place}))

    def log_prob(self, values: Leaves, leaves: Iterable[int]) -> tf.Tensor:
        """Returns the summed log density [n] nats of `leaves` at `values` [n, *event] of all."""
        return tf.add_n(list(self.log_probs(values, leaves).values()))

    def log_probs(self, values: Leaves, leaves: Iterable[int]) -> Leaves:
        """Returns the log density [n] nats of each of `leaves` at `values` [n, *event] of all.

        Raises:
            ValueError: if a part has dimensions that are not part of its event.
        """
        conditionals = self.conditionals(values)
        found = {leaf: conditionals[leaf].log_prob(values[leaf]) for leaf in leaves}
        for leaf, log_prob in found.items():
            if log_prob.shape.rank != 1:
                raise ValueError(
                    f"part {self.name_of(leaf)!r} of the joint has loose dimensions, batch shape "
                    f"{conditionals[leaf].batch_shape}; make them its event with `tfd.Independent` "
                    "or `tfd.Sample`, or use an AutoBatched joint distribution"
                )
        return found


def matching(theirs: Places, ours: Places) -> dict[int, int]:
    """Returns our leaf for each of theirs, by name; parts without names are taken in order.

    Raises:
        ValueError: if the names differ.
    """
    if 0 in theirs and len(theirs) == len(ours):
        theirs = dict(zip(ours, theirs.values(), strict=True))
    if theirs.keys() != ours.keys():
        raise ValueError(
            f"the encoder's joint has the parts {list(theirs)}, the latents are {list(ours)}; "
            "they must be the same"
        )
    found: dict[int, int] = {}
    for name, our_place in ours.items():
        their_place = theirs[name]
        if isinstance(our_place, dict) != isinstance(their_place, dict):
            raise ValueError(f"latent {name!r} is a joint in the encoder or in the model alone")
        if isinstance(our_place, dict):
            found |= matching(their_place, our_place)
        else:
            found[their_place] = our_place
    return found


def _map(places: Places, values: Leaves) -> Values:
    return {
        name: _map(place, values) if isinstance(place, dict) else values[place]
        for name, place in places.items()
    }


def _unmap(places: Places, values: Values) -> Leaves:
    if not isinstance(values, dict) or values.keys() != places.keys():
        got = list(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"`given` must be a dict of the parts {list(places)}, got {got}")
    found: Leaves = {}
    for name, place in places.items():
        if isinstance(place, dict):
            found |= _unmap(place, values[name])
        else:
            found[place] = values[name]
    return found


def tiled(values: Leaves, count: Any) -> Leaves:
    """Returns leaves [count * n, *event] of leaves [n, *event]."""
    return {leaf: tf.tile(v, [count] + [1] * (v.shape.rank - 1)) for leaf, v in values.items()}
