"""Where each latent of a joint model may be, and the way there from all of R^K."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_aevb.layers.flows import Softmax
from tfp_aevb.models.joint.flat import Leaves
from tfp_aevb.models.joint.leaves import Joint, tiled
from tfp_aevb.models.part_checks import UnknownSupportError, is_real, support_bijector


class Supports:
    """Which latents of a joint are over all of R, and the bijectors of the others.

    Args:
        joint: the model.

    Attributes:
        constrained: leaf -> its unconstrained event shape.
        on_simplex: the leaves that have a Dirichlet's density.
        unknown: leaf -> why there is no bijector.
    """

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self.constrained: dict[int, tf.TensorShape] = {}
        self.on_simplex: set[int] = set()
        self.unknown: dict[int, str] = {}
        conditionals = joint.conditionals(joint.sample([1], tf.constant([0, 1])))
        for leaf in joint.latent.leaves:
            part = conditionals[leaf]
            try:
                if not is_real(part):
                    bijector = support_bijector(part)
                    self.constrained[leaf] = bijector.inverse_event_shape(part.event_shape)
                    if isinstance(bijector, Softmax):
                        self.on_simplex.add(leaf)
            except UnknownSupportError as error:
                self.unknown[leaf] = f"latent {joint.name_of(leaf)!r}: {error}"

    def bijector(self, given: Leaves) -> tfb.Bijector:
        """Returns z = b(u), u [..., K], for values [B, *event] of the given parts if any.

        Raises:
            UnknownSupportError: if a latent is discrete, or does not say where it is.
        """
        for reason in self.unknown.values():
            raise UnknownSupportError(reason)
        if not self.constrained:
            return tfb.Identity()
        return LatentBijector(self._joint, self.constrained, given)


class LatentBijector(tfb.Bijector):
    """z = b(u), latent by latent: where one may be is known from those that come before it.

    Args:
        joint: the model.
        constrained: see `Supports`.
        given: values of the given parts, [B, *event].
    """

    def __init__(self, joint: Joint, constrained: dict[int, tf.TensorShape], given: Leaves) -> None:
        self._joint, self._constrained, self._given = joint, constrained, given
        self._latent = joint.latent
        self._shapes = {leaf: joint.event_shapes[leaf] for leaf in self._latent.leaves}
        self._shapes |= constrained
        self._size = sum(shape.num_elements() for shape in self._shapes.values())
        super().__init__(forward_min_event_ndims=1, parameters={}, name="latents")

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict:
        return {}

    def _forward(self, u: tf.Tensor) -> tf.Tensor:
        return self._moved(u)[0]

    def _forward_log_det_jacobian(self, u: tf.Tensor) -> tf.Tensor:
        return self._moved(u)[1]

    def _inverse(self, z: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(z, [-1, self._latent.size])
        values = self._latent.split(rows)
        conditionals = self._joint.conditionals({**self._repeated(rows), **values})
        pieces = []
        for leaf in self._latent.leaves:
            piece = values[leaf]
            if leaf in self._constrained:
                piece = support_bijector(conditionals[leaf]).inverse(piece)
            pieces.append(tf.reshape(piece, [-1, self._shapes[leaf].num_elements()]))
        lead = tf.shape(z)[:-1]
        return tf.reshape(tf.concat(pieces, axis=-1), tf.concat([lead, [self._size]], axis=0))

    def _moved(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., J] and log |dz/du| [...]."""
        rows, lead = tf.reshape(u, [-1, self._size]), tf.shape(u)[:-1]
        sizes = [self._shapes[leaf].num_elements() for leaf in self._latent.leaves]
        pieces = dict(zip(self._latent.leaves, tf.split(rows, sizes, axis=-1), strict=True))
        values, log_jacobian = self._repeated(rows), tf.zeros(tf.shape(rows)[:1])
        for leaf in sorted(pieces):  # as they are drawn
            shape = self._shapes[leaf]
            piece = tf.reshape(pieces[leaf], [-1, *shape])
            if leaf in self._constrained:
                bijector = support_bijector(self._joint.conditionals(values)[leaf])
                log_jacobian += bijector.forward_log_det_jacobian(piece, event_ndims=shape.rank)
                piece = bijector.forward(piece)
            values[leaf] = piece
        z = self._latent.concat(values)
        shape = tf.concat([lead, [self._latent.size]], axis=0)
        return tf.reshape(z, shape), tf.reshape(log_jacobian, lead)

    def _repeated(self, rows: tf.Tensor) -> Leaves:
        """Returns leaves [rows, *event] to begin with: the given ones, or zeros for an x."""
        count = tf.shape(rows)[0]
        if self._given:
            return tiled(self._given, count // tf.shape(next(iter(self._given.values())))[0])
        leaf = self._joint.counted[0]
        shape = tf.concat([[count], self._joint.event_shapes[leaf]], axis=0)
        return {leaf: tf.zeros(shape, self._joint.dtypes[leaf])}

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape[:-1].concatenate(self._latent.size)

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape[:-1].concatenate(self._size)

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[:-1], [self._latent.size]], axis=0)

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[:-1], [self._size]], axis=0)
