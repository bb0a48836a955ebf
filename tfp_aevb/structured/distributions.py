"""The densities of a joint model, as distributions over one vector each."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.structured.parts import Joint, Parts, Values, by_name


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
    """p(z) of all latents, batch shape [] and event shape [J]."""

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        super().__init__(joint.latent.size, None, "LatentPrior")

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        return self._joint.latent.concat(self._joint.sample(n, tfp.random.sanitize_seed(seed)))

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        flat_z = tf.reshape(z, [-1, self._size])
        known = self._joint.latent.split(flat_z)
        log_prob = _total(self._joint.distributions(known), known)
        return tf.reshape(log_prob, tf.shape(z)[:-1])


class ObservedParts(_Vector):
    """p(x|z) of several observed parts, batch shape [n] and event shape [D].

    The mean is that of each part given z alone; where a part depends on another observed one, it is
    taken at zero there, and draws are the better summary.
    """

    def __init__(self, joint: Joint, z: tf.Tensor) -> None:
        self._joint = joint
        self._latents = joint.latent.split(z)
        super().__init__(joint.observed.size, z, "ObservedParts")

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        rows = tf.shape(self._rows)[0]
        known = {
            name: tf.repeat(value[tf.newaxis], n, axis=0) for name, value in self._latents.items()
        }
        known = {name: tf.reshape(v, [n * rows, *v.shape[2:]]) for name, v in known.items()}
        drawn = self._joint.sample([n * rows], tfp.random.sanitize_seed(seed), known)
        return tf.reshape(self._joint.observed.concat(drawn), [n, rows, self._size])

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        values = self._joint.observed.split(x)
        distributions = self._joint.distributions({**self._latents, **values})
        counted = {name: v for name, v in values.items() if name not in self._joint.given}
        return _total(distributions, counted)

    def _mean(self) -> tf.Tensor:
        distributions = self._joint.distributions(self._latents)
        rows = tf.shape(self._rows)[:1]
        means = {}
        for name in self._joint.observed.names:
            mean = distributions[name].mean()
            shape = tf.concat([rows, distributions[name].event_shape], axis=0)
            means[name] = tf.broadcast_to(tf.cast(mean, tf.float32), shape)
        return self._joint.observed.concat(means)


class JointPosterior(_Vector):
    """q(z|x) over all latents, batch shape [B] and event shape [J].

    Args:
        posterior: a joint distribution over the latents, by the same names as in the model.
        parts: of the latents.
        rows: any tensor [B, ...].
    """

    def __init__(self, posterior: tfd.JointDistribution, parts: Parts, rows: tf.Tensor) -> None:
        self._posterior = posterior
        self._parts = parts
        self._is_sequential = 0 in by_name(posterior.dtype)
        kinds = tf.nest.flatten(posterior.reparameterization_type)
        reparameterized = all(kind is tfd.FULLY_REPARAMETERIZED for kind in kinds)
        kind = tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED
        super().__init__(parts.size, rows, "JointPosterior", kind)

    def _sample_n(self, n: Any, seed: Any) -> tf.Tensor:
        drawn = by_name(self._posterior.sample(n, seed=tfp.random.sanitize_seed(seed)))
        if self._is_sequential:
            drawn = dict(zip(self._parts.names, drawn.values(), strict=True))
        return self._parts.concat(drawn)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        values = self._parts.split(z)
        if self._is_sequential:
            return self._posterior.log_prob(list(values.values()))
        return self._posterior.log_prob(**{str(name): value for name, value in values.items()})


def log_probs(distributions: dict, values: Values) -> Values:
    """Returns the log density [n] nats of each part at `values` [n, *event].

    Raises:
        ValueError: if a part has dimensions that are not part of its event.
    """
    found = {name: distributions[name].log_prob(value) for name, value in values.items()}
    for name, log_prob in found.items():
        if log_prob.shape.rank != 1:
            raise ValueError(
                f"part {name!r} of the joint has loose dimensions, batch shape "
                f"{distributions[name].batch_shape}; make them its event with `tfd.Independent` or "
                "`tfd.Sample`, or use an AutoBatched joint distribution"
            )
    return found


def _total(distributions: dict, values: Values) -> tf.Tensor:
    return tf.add_n(list(log_probs(distributions, values).values()))
