"""Normalising flows as TFP bijectors, their networks MLPs with explicit weights.

A flow is a chain of steps z[t] = f[t](z[t-1]; h), the order of the latents reversed between two.
Every step's network takes (part of) z and the context h, of which there may be none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_aevb.layers.networks import MLP, bounded
from tfp_aevb.layers.sizes import as_size

KINDS = ("iaf", "realnvp", "spline")
# Each step scales by exp(-2) to exp(2), and shifts by at most 10,000.
_LOG_SCALE = 2.0
_SHIFT = 1e4
# Splines: bins over [-8, 8], the identity outside. With the networks' outputs within [-1, 1] no
# derivative is below 0.01, and the inverse is good in float32.
_BINS = 8
_HALF_RANGE = 8.0
_SPLINE_RAW = 1.0


def flow_networks(
    kind: str, latent_dim: int, context_size: int, num_steps: int, **network: Any
) -> list[MLP]:
    """Returns the networks of a flow's steps, their variables made.

    Args:
        kind: `iaf`, `realnvp` or `spline`; see `flow_bijector`.
        latent_dim: J, at least 2.
        context_size: width of h; 0 for none.
        num_steps: how many.
        **network: arguments of each `MLP`.

    Raises:
        ValueError: if an argument is out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    latent_dim, num_steps = as_size("latent_dim", latent_dim), as_size("num_steps", num_steps)
    if latent_dim < 2:
        raise ValueError(f"a flow needs a `latent_dim` of 2 or more, got {latent_dim}")
    kept = latent_dim if kind == "iaf" else latent_dim // 2
    changed = latent_dim if kind == "iaf" else latent_dim - kept
    networks = []
    for i in range(num_steps):
        size = changed * (3 * _BINS - 1 if kind == "spline" else 2)
        networks.append(MLP(size, name=f"step_{i}", **network))
        networks[-1].build((None, kept + context_size))
    return networks


def flow_bijector(
    kind: str,
    networks: Sequence[MLP],
    latent_dim: int,
    context: tf.Tensor | None = None,
    weights: Sequence[tf.Tensor] | None = None,
) -> tfb.Bijector:
    """Returns the flow from z[0] to z[T].

    - `iaf`: inverse autoregressive (Kingma et al., 2016): one network evaluation a step forwards;
      backwards J, one after the other, but for draws, which TFP's bijectors remember.
    - `realnvp`: affine couplings (Dinh et al., 2017).
    - `spline`: couplings by monotone rational-quadratic splines (Durkan et al., 2019).

    Args:
        kind: one of these.
        networks: those of `flow_networks`.
        latent_dim: J.
        context: h [B, C], or none.
        weights: of all the networks in order, in place of their variables.
    """
    reverse = list(range(latent_dim))[::-1]
    bijectors: list[tfb.Bijector] = []
    for network in networks:
        count = len(network.network_weights)
        own = network.network_weights if weights is None else weights[:count]
        weights = None if weights is None else weights[count:]
        step = _STEPS[kind](network, own, latent_dim, context)
        bijectors += [tfb.Permute(reverse), step] if bijectors else [step]
    return tfb.Chain(bijectors[::-1])  # a chain applies its last first


def _autoregressive(
    network: MLP, weights: Sequence[tf.Tensor], latent_dim: int, context: tf.Tensor | None
) -> tfb.Bijector:
    masks = _masks([kernel.shape for kernel in weights[::2]], latent_dim)
    masked = list(weights)
    for i, mask in enumerate(masks):
        masked[2 * i] = tf.cast(weights[2 * i], tf.float32) * mask

    def shift_and_log_scale(z: tf.Tensor) -> list[tf.Tensor]:
        return _affine(_evaluate(network, masked, z, context))

    return tfb.Invert(tfb.MaskedAutoregressiveFlow(shift_and_log_scale))


def _masks(shapes: Sequence[tf.TensorShape], latent_dim: int) -> list[np.ndarray]:
    """Masks of a network's kernels under which output j depends on z[<j] and h (Germain, 2015).

    The outputs are [shift, log scale], J each; the inputs [z, h].
    """
    rows = shapes[0][0]
    degrees = np.zeros(rows, np.int64)  # h has degree 0: all may depend on it
    degrees[:latent_dim] = np.arange(1, latent_dim + 1)
    masks = []
    for i, (_, columns) in enumerate(shapes):
        if i == len(shapes) - 1:
            columns_degrees = np.tile(np.arange(latent_dim), 2)
        else:
            columns_degrees = np.arange(columns) % latent_dim
        masks.append((degrees[:, None] <= columns_degrees).astype(np.float32))
        degrees = columns_degrees
    return masks


def _coupling(
    network: MLP, weights: Sequence[tf.Tensor], latent_dim: int, context: tf.Tensor | None
) -> tfb.Bijector:
    def shift_and_log_scale(z: tf.Tensor, depth: int) -> list[tf.Tensor]:
        del depth
        return _affine(_evaluate(network, weights, z, context))

    return tfb.RealNVP(latent_dim // 2, shift_and_log_scale_fn=shift_and_log_scale)


def _spline_coupling(
    network: MLP, weights: Sequence[tf.Tensor], latent_dim: int, context: tf.Tensor | None
) -> tfb.Bijector:
    def spline(z: tf.Tensor, depth: int) -> tfb.Bijector:
        raw = _SPLINE_RAW * tf.tanh(_evaluate(network, weights, z, context) / _SPLINE_RAW)
        shape = tf.concat([tf.shape(raw)[:-1], [depth, 3 * _BINS - 1]], axis=0)
        widths, heights, slopes = tf.split(
            tf.reshape(raw, shape), [_BINS, _BINS, _BINS - 1], axis=-1
        )
        # Slopes of 1 where the network's outputs are 0: the identity.
        return tfb.RationalQuadraticSpline(
            bin_widths=2.0 * _HALF_RANGE * tf.nn.softmax(widths),
            bin_heights=2.0 * _HALF_RANGE * tf.nn.softmax(heights),
            knot_slopes=tf.exp(slopes),
            range_min=-_HALF_RANGE,
        )

    return tfb.RealNVP(latent_dim // 2, bijector_fn=spline)


_STEPS: dict[str, Callable[..., tfb.Bijector]] = {
    "iaf": _autoregressive,
    "realnvp": _coupling,
    "spline": _spline_coupling,
}


def _affine(outputs: tf.Tensor) -> list[tf.Tensor]:
    shift, raw = tf.split(outputs, 2, axis=-1)
    return [bounded(shift, -_SHIFT, _SHIFT), _LOG_SCALE * tf.tanh(raw / _LOG_SCALE)]


def _evaluate(
    network: MLP, weights: Sequence[tf.Tensor], z: tf.Tensor, context: tf.Tensor | None
) -> tf.Tensor:
    """Applies a network to z [..., J'] and h [B, C], broadcast against each other, in float32."""
    static = z.shape[:-1]
    # Behind a spline inside a loop the width of z is not known, but that of the network's inputs.
    width = weights[0].shape[0] - (0 if context is None else context.shape[-1])
    z = tf.ensure_shape(z, static.concatenate(width))
    if context is not None:
        static = tf.broadcast_static_shape(static, context.shape[:-1])
        shape = tf.broadcast_dynamic_shape(tf.shape(z)[:-1], tf.shape(context)[:-1])
        z, context = (
            tf.broadcast_to(part, tf.concat([shape, [part.shape[-1]]], axis=0))
            for part in (z, context)
        )
        z = tf.concat([z, context], axis=-1)
    flat = tf.reshape(z, [-1, z.shape[-1]])
    outputs = tf.cast(network.apply(weights, flat), tf.float32)
    shape = tf.concat([tf.shape(z)[:-1], [network.output_size]], axis=0)
    outputs = tf.reshape(outputs, shape)
    return tf.ensure_shape(outputs, static.concatenate(network.output_size))


class Softmax(tfb.Bijector):
    """The softmax of J - 1 real numbers and a 0, onto the simplex of J positive numbers.

    Densities are over the first J - 1 of them, as `tfd.Dirichlet`'s is; that of
    `tfb.SoftmaxCentered` is over the surface, 1/2 log J nats less.
    """

    def __init__(self, name: str = "softmax") -> None:
        super().__init__(forward_min_event_ndims=1, parameters={"name": name}, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict:
        return {}

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(_with_zero(x))

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        log_y = tf.math.log(y)
        return log_y[..., :-1] - log_y[..., -1:]

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.log_softmax(_with_zero(x)), axis=-1)

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _longer(shape, 1)

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _longer(shape, -1)

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[:-1], shape[-1:] + 1], axis=0)

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape[:-1], shape[-1:] - 1], axis=0)


def _with_zero(x: tf.Tensor) -> tf.Tensor:
    return tf.concat([x, tf.zeros_like(x[..., :1])], axis=-1)


def _longer(shape: tf.TensorShape, by: int) -> tf.TensorShape:
    return shape[:-1].concatenate(None if shape[-1] is None else shape[-1] + by)
