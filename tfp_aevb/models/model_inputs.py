"""What a model's methods are given, x and z, as the tensors they work on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.observations import Observations


def with_event_shape(x: tf.Tensor, event_shape: Sequence[int]) -> tf.Tensor:
    """Returns `x` [B, ...event].

    Raises:
        ValueError: if it has another shape.
    """
    if not x.shape[1:].is_compatible_with(event_shape):
        raise ValueError(
            f"`x` must have shape [B, {', '.join(map(str, event_shape))}], got {x.shape}"
        )
    return x if x.shape.rank is not None else tf.ensure_shape(x, [None, *event_shape])


def as_latents(z: Any, latent_dim: int, least_rank: int = 2) -> tf.Tensor:
    """Returns `z` [..., B, J] as float32; without known dimensions it is [B, J].

    Raises:
        ValueError: if it has another J, or fewer dimensions than `least_rank`.
    """
    z = tf.cast(z, tf.float32)
    rank = z.shape.rank
    if rank is None:
        return tf.ensure_shape(z, [None, latent_dim])
    if rank < least_rank or not z.shape[-1:].is_compatible_with([latent_dim]):
        advice = "; give one point as `z[tf.newaxis]`" if rank == 1 else ""
        raise ValueError(f"`z` must have shape [..., B, {latent_dim}], got {z.shape}{advice}")
    return z


def check_draws(z: tf.Tensor, x: tf.Tensor) -> None:
    """Raises a `ValueError` unless `z` [L, B, J] has L draws for each row of `x` [B, ...event]."""
    if not z.shape.is_compatible_with([None, x.shape[0], z.shape[-1]]):
        raise ValueError(
            f"`z` must have shape [L, B, {z.shape[-1]}] for `x` [B, ...event], got {z.shape} for "
            f"{x.shape}; give one draw of each as `z[tf.newaxis]`"
        )


def check_data(
    x: Observations, event_shape: Sequence[int], decoder: Any, allows_missing: bool
) -> None:
    """Raises a `ValueError` unless `x` has the event shape and the support of p(x|z)."""
    if x.event_shape != tuple(event_shape):
        raise ValueError(
            f"the model's datapoints have shape {list(event_shape)}, "
            f"got {list(x.event_shape)}; reshape the data to [N, ...event]"
        )
    if x.allow_missing and not allows_missing and np.isnan(x.x).any():
        raise ValueError(
            f"`x` has NaN values, which {type(decoder).__name__} does not marginalise; "
            "remove or impute them, or give the likelihood `allow_missing=True`"
        )
    x.check_support(getattr(decoder, "support", "real"))
    if hasattr(decoder, "check_values"):
        decoder.check_values(x.x)


def unfolded(flat: tfd.Distribution, z: tf.Tensor) -> tfd.Distribution:
    """Returns `flat`, p(x|z) of batch shape [L * B], as that of `z` [..., L, B, J]."""
    batch = z.shape[:-1] if z.shape[:-1].is_fully_defined() else tf.shape(z)[:-1]
    return Unfolded(getattr(flat, "tensor_distribution", flat), batch)


class Unfolded(tfd.BatchReshape):
    """A distribution of batch shape [L * B] as one of [L, B]; its density broadcasts x [B, ...]."""

    def _log_prob(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        shape = tf.concat([self.batch_shape_tensor(), self.event_shape_tensor()], axis=0)
        x = tf.broadcast_to(x, tf.broadcast_dynamic_shape(tf.shape(x), shape))
        return super()._log_prob(x, **kwargs)

    def _sample_control_dependencies(self, x: tf.Tensor) -> list:
        return []  # TFP's refuses what is broadcast
