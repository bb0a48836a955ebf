"""Noise by row of the global minibatch: the same on one device and on many; fast inside XLA.

Each device of a `tf.distribute` strategy works on some rows of the minibatch. Inside `batch_rows`
it draws the noise of the whole minibatch, cheap beside the networks, and keeps its own rows.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

import tfp_aevb.distributions.closed_form_kl  # noqa: F401  of a low-rank Gaussian, among others
from tfp_aevb.utils.graphs import graph_function


class _Rows(NamedTuple):
    device: tf.Tensor
    start: tf.Tensor
    total: int


_local = threading.local()  # a MirroredStrategy runs its devices in threads


def compiled(function: Callable, jit_compile: bool = True) -> Callable:
    """Returns `function` as a `tf.function`; with XLA its draws are Threefry's, not Philox's.

    XLA's Threefry is twice as fast on a CPU for normals and nine times for uniforms; outside XLA
    TensorFlow has none.
    """

    def traced(*args: Any, **kwargs: Any) -> Any:
        before, _local.algorithm = _algorithm(), "threefry" if jit_compile else "auto_select"
        try:
            return function(*args, **kwargs)
        finally:
            _local.algorithm = before

    return graph_function(traced, jit_compile=jit_compile)


def _algorithm() -> str:
    return getattr(_local, "algorithm", "auto_select")


@contextlib.contextmanager
def batch_rows(device: tf.Tensor, start: tf.Tensor, total: int) -> Iterator[None]:
    """Draws made inside are those of rows `start` and on of a minibatch of `total` rows."""
    _local.rows = _Rows(device, start, total)
    try:
        yield
    finally:
        _local.rows = None


@contextlib.contextmanager
def equal_rows() -> Iterator[None]:
    """Noise by row that is drawn inside is the same for each row."""
    _local.equal = True
    try:
        yield
    finally:
        _local.equal = False


def _current_rows() -> _Rows | None:
    return getattr(_local, "rows", None)


def noise_is_by_row() -> bool:
    """Whether draws made here are those of some rows of a minibatch: inside `batch_rows`."""
    return _current_rows() is not None


def _kept(rows: _Rows, count: tf.Tensor) -> tf.Tensor:
    """The rows of this device; what is behind the last is padding, whose noise is not used."""
    return tf.minimum(rows.start + tf.range(count), rows.total - 1)


def uniform_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns uniform draws in the shape of `x` [B, ...], one stream for the global minibatch."""
    rows = _current_rows()
    if rows is None:
        return tf.random.stateless_uniform(tf.shape(x), seed, alg=_algorithm())
    shape = tf.concat([[rows.total], tf.shape(x)[1:]], axis=0)
    everything = tf.random.stateless_uniform(shape, seed, alg=_algorithm())
    return tf.gather(everything, _kept(rows, tf.shape(x)[0]))


def own_rows(draw: Callable[[int | tf.Tensor], Any], count: tf.Tensor) -> Any:
    """Returns `draw(count)`, tensors [B, ...] that are not made of noise by row.

    Inside `batch_rows` all of the minibatch is drawn, and this device's rows are kept.
    """
    rows = _current_rows()
    if rows is None:
        return draw(count)
    kept = _kept(rows, count)
    return tf.nest.map_structure(lambda value: tf.gather(value, kept), draw(rows.total))


def shared_normal(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """Returns N(0, 1) draws, the same on every device."""
    return tf.random.stateless_normal(shape, seed, alg=_algorithm())


def normal_rows(
    sample_shape: tf.Tensor, batch_shape: tf.Tensor, event_shape: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns N(0, 1) draws [*sample_shape, *batch_shape, *event_shape], event rank 1.

    Inside `batch_rows`, where the batch is some rows of the minibatch, they are those rows' draws;
    a distribution without a batch, as a prior, draws the same on every device.
    """
    batch_shape = tf.convert_to_tensor(batch_shape, tf.int32)
    rows = _current_rows() if batch_shape.shape[0] != 0 else None
    if getattr(_local, "equal", False):
        ones = tf.ones_like(batch_shape)
        noise = shared_normal(tf.concat([sample_shape, ones, event_shape], axis=0), seed)
        return tf.broadcast_to(noise, tf.concat([sample_shape, batch_shape, event_shape], axis=0))
    batch = batch_shape if rows is None else [rows.total]
    shape = tf.concat([sample_shape, batch, event_shape], axis=0)
    noise = shared_normal(shape, seed)
    if rows is None:
        return noise
    return tf.gather(noise, _kept(rows, batch_shape[0]), axis=-2)


def device_seed(distribution: tfd.Distribution | None, seed: tf.Tensor) -> tf.Tensor:
    """Returns the seed for drawing from `distribution`, or for other noise, on this device.

    A `RowNoise` keeps its rows of one common stream. Anything else takes a stream of its
    own on each device: correct, but not equal for other numbers of devices.
    """
    rows = _current_rows()
    inner = getattr(distribution, "tensor_distribution", distribution)
    if rows is None or isinstance(inner, RowNoise):
        return seed
    return tf.random.experimental.stateless_fold_in(seed, rows.device)


class RowNoise:
    """Draws z = g(eps, x) with eps ~ N(0, I) by row of the minibatch: a mix-in (Eq. 4)."""

    bijector: Any

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> tf.Tensor:
        del kwargs
        seed = tfp.random.sanitize_seed(seed)
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        batch_shape = self.batch_shape_tensor()  # type: ignore[attr-defined]
        event_shape = self.event_shape_tensor()  # type: ignore[attr-defined]
        return self.bijector.forward(normal_rows(sample_shape, batch_shape, event_shape, seed))

    def _sample_and_log_prob(self, sample_shape: Any, seed: Any, **kwargs: Any) -> tuple:
        z = self._call_sample_n(sample_shape, seed, **kwargs)
        return z, self._log_prob(z)  # type: ignore[attr-defined]


class DiagonalGaussian(RowNoise, tfd.MultivariateNormalDiag):
    """N(mu, diag(sigma^2)) with `RowNoise`."""


class FullCovarianceGaussian(RowNoise, tfd.MultivariateNormalTriL):
    """N(mu, C C^T) with `RowNoise`."""


class LowRankGaussian(RowNoise, tfd.MultivariateNormalDiagPlusLowRankCovariance):
    """N(mu, D + U U^T), D diagonal and U [..., J, R], with `RowNoise`."""

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> tf.Tensor:
        del kwargs
        factor = self.cov_perturb_factor
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        sizes = [factor.shape[-2], factor.shape[-1]]
        noise = normal_rows(
            sample_shape, self.batch_shape_tensor(), [sum(sizes)], tfp.random.sanitize_seed(seed)
        )
        own, shared = tf.split(noise, sizes, axis=-1)
        return self.loc + tf.sqrt(self.cov_diag_factor) * own + tf.linalg.matvec(factor, shared)


class TransformedGaussian(tfd.TransformedDistribution, RowNoise):
    """A bijector of a `DiagonalGaussian`, whose noise is therefore by row."""


class Flow(tfd.TransformedDistribution):
    """A distribution transformed by a flow, over all of R^J."""

    def _default_event_space_bijector(self) -> tfp.bijectors.Bijector:
        return tfp.bijectors.Identity()

    def _log_prob(self, z: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        batch_shape = self.batch_shape
        if z.shape.rank <= batch_shape.rank or (
            batch_shape.rank and z.shape[-2] == 1 and batch_shape[-1] != 1
        ):
            # An autoregressive inverse keeps the shape it is given. Draws, whose inverse is in the
            # bijectors' cache, come as they are.
            shape = tf.concat([self.batch_shape_tensor(), self.event_shape_tensor()], axis=0)
            z = tf.broadcast_to(z, tf.broadcast_dynamic_shape(tf.shape(z), shape))
        return super()._log_prob(z, **kwargs)


class RowFlow(Flow, RowNoise):
    """A flow of a `DiagonalGaussian`, whose noise is therefore by row."""
