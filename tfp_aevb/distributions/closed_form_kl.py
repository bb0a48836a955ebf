"""KL divergences in closed form that TFP does not register: products of scalars, and Gaussians.

Importing this module registers them with `tfd.kl_divergence` as what it does for any pair that has
no registration of its own: TFP's, and those of other libraries, come first.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions import kinds

_LowRank = tfd.MultivariateNormalDiagPlusLowRankCovariance
_DIAGONAL = (
    tf.linalg.LinearOperatorDiag,
    tf.linalg.LinearOperatorIdentity,
    tf.linalg.LinearOperatorScaledIdentity,
)


@tfd.RegisterKL(tfd.Distribution, tfd.Distribution)
def closed_form_kl(q: tfd.Distribution, p: tfd.Distribution, name: str | None = None) -> tf.Tensor:
    """Returns KL(q || p) of the batch shape, nats, where it is known in closed form.

    It is for products of scalar distributions, however they are written (`tfd.Independent`,
    `tfd.Sample`, diagonal Gaussians), whose factors have one, and for Gaussians of any two kinds.

    Raises:
        NotImplementedError: for any other pair.
    """
    with tf.name_scope(name or "closed_form_kl"):
        for kind_of_q, kind_of_p, scalar_kl in _SCALARS:
            if isinstance(q, kind_of_q) and isinstance(p, kind_of_p):
                return scalar_kl(q, p)
        kl = kl_of_factors(q, p)
        if kl is not None:
            return tf.reduce_sum(kl, axis=range(-q.event_shape.rank, 0))
        first, second = _gaussian(q), _gaussian(p)
        if first is None or second is None or q.event_shape != p.event_shape:
            raise NotImplementedError(f"there is no closed form of KL({q.name} || {p.name})")
        return _gaussian_kl(first, second)


def kl_of_factors(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor | None:
    """Returns KL(q || p) of each scalar that both are products over: [*batch, *event] nats.

    `None` unless both are such products, of one event shape, whose factors have a closed form.
    """
    factors = _factors(q), _factors(p)
    is_scalar = q.event_shape.rank == 0
    if factors[0] is None or factors[1] is None or is_scalar or q.event_shape != p.event_shape:
        return None
    try:
        kl = tfd.kl_divergence(*factors)
    except NotImplementedError:
        return None
    batch = tf.broadcast_dynamic_shape(q.batch_shape_tensor(), p.batch_shape_tensor())
    # Equal factors may have one parameter between them.
    return tf.broadcast_to(kl, tf.concat([batch, q.event_shape], axis=0))


def _factors(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns the scalars that a distribution is a product of, if it is one.

    Their batch shape broadcasts to [*batch, *event].
    """
    inner = kinds.bare(distribution)
    if isinstance(inner, kinds.Independent | kinds.BatchBroadcast):
        return _factors(inner.distribution)
    if isinstance(inner, kinds.Sample):
        found, ndims = _factors(inner.distribution), inner.distribution.event_shape.rank
        repeated = [tf.newaxis] * (inner.event_shape.rank - ndims)
        return found if found is None else found[(..., *repeated, *[slice(None)] * ndims)]
    if isinstance(inner, tfd.MultivariateNormalLinearOperator):
        return tfd.Normal(inner.mean(), inner.stddev()) if _is_diagonal(inner) else None
    if isinstance(inner, kinds.TransformedDistribution):
        base = _factors(inner.distribution)
        if isinstance(base, tfd.Normal):
            if inner.bijector == tfb.Exp():
                return tfd.LogNormal(base.loc, base.scale)
            is_sigmoid = isinstance(inner.bijector, tfb.Sigmoid)
            if is_sigmoid and inner.bijector.parameters.get("low") is None:
                return tfd.LogitNormal(base.loc, base.scale)
    return inner if inner.event_shape.rank == 0 else None


def _is_diagonal(gaussian: tfd.MultivariateNormalLinearOperator) -> bool:
    return isinstance(gaussian.scale, _DIAGONAL)


def _gaussian(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns a Gaussian over vectors as one of TFP's two kinds, and `None` for all else."""
    inner = kinds.bare(distribution)
    if isinstance(inner, kinds.Independent) and inner.event_shape == inner.distribution.event_shape:
        return _gaussian(inner.distribution)
    if isinstance(inner, tfd.GaussianProcess):
        inner = inner.get_marginal_distribution()
    if isinstance(inner, tfd.MultivariateNormalLinearOperator | _LowRank):
        return inner
    factors = _factors(inner)
    if not isinstance(factors, tfd.Normal) or inner.event_shape.rank != 1:
        return None
    shape = tf.broadcast_dynamic_shape(
        factors.batch_shape_tensor(), tf.constant(inner.event_shape.as_list())
    )
    loc, scale = (tf.broadcast_to(value, shape) for value in (factors.loc, factors.scale))
    return tfd.MultivariateNormalDiag(loc, scale)


def _gaussian_kl(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor:
    """Returns 1/2 ( tr(S^-1 C) + (m - n)^T S^-1 (m - n) - J + log|S| - log|C| ).

    q is N(m, C) and p is N(n, S).
    """
    if not isinstance(q, _LowRank) and not isinstance(p, _LowRank):
        return tfd.kl_divergence(q, p)
    apart = (q.mean() - p.mean())[..., tf.newaxis]
    if not isinstance(p, _LowRank) and _is_diagonal(p):
        per_latent = (q.variance() + apart[..., 0] ** 2) / p.variance() - 1.0
        quadratic = tf.reduce_sum(per_latent, axis=-1)
    else:
        trace = tf.add_n([_whitened_square(p, factor) for factor in _covariance_factors(q)])
        size = tf.cast(tf.shape(apart)[-2], apart.dtype)
        quadratic = trace - size + _whitened_square(p, apart)
    return 0.5 * (quadratic + _log_determinant(p) - _log_determinant(q))


def _covariance_factors(gaussian: tfd.Distribution) -> list[tf.Tensor]:
    """Returns matrices F [..., J, K], the sum of whose F F^T is the covariance."""
    if not isinstance(gaussian, _LowRank):
        return [gaussian.scale.to_dense()]
    return [tf.linalg.diag(tf.sqrt(gaussian.cov_diag_factor)), gaussian.cov_perturb_factor]


def _whitened_square(p: tfd.Distribution, columns: tf.Tensor) -> tf.Tensor:
    """Returns the sum of f^T S^-1 f over the columns f of `columns` [..., J, K]."""
    if isinstance(p, _LowRank):
        terms = columns * p.cov_operator.solve(columns)
    else:
        terms = p.scale.solve(columns) ** 2
    return tf.reduce_sum(terms, axis=[-2, -1])


def _log_determinant(gaussian: tfd.Distribution) -> tf.Tensor:
    """Returns the logarithm of the covariance's determinant."""
    if isinstance(gaussian, _LowRank):
        return gaussian.cov_operator.log_abs_determinant()
    return 2.0 * gaussian.scale.log_abs_determinant()


def _normal_laplace(q: tfd.Normal, p: tfd.Laplace) -> tf.Tensor:
    """E|z - m| of a Gaussian is the mean of a folded one."""
    apart = (q.loc - p.loc) / q.scale
    spread = math.sqrt(2.0 / math.pi) * tf.exp(-0.5 * apart**2)
    spread += apart * tf.math.erf(apart / math.sqrt(2.0))
    return tf.math.log(2.0 * p.scale) + q.scale * spread / p.scale - q.entropy()


def _laplace_normal(q: tfd.Laplace, p: tfd.Normal) -> tf.Tensor:
    squares = (2.0 * q.scale**2 + (q.loc - p.loc) ** 2) / p.scale**2
    return 0.5 * (squares + math.log(2.0 * math.pi)) + tf.math.log(p.scale) - q.entropy()


def _log_normal_gamma(q: tfd.LogNormal, p: tfd.Gamma) -> tf.Tensor:
    shape, rate = p.concentration, p.concentration / p.mean()
    log_prob = shape * tf.math.log(rate) - tf.math.lgamma(shape) - rate * q.mean()
    return -(log_prob + (shape - 1.0) * q.loc) - q.entropy()


def _beta_uniform(q: tfd.Beta, p: tfd.Uniform) -> tf.Tensor:
    is_inside = (p.low <= 0.0) & (p.high >= 1.0)
    kl = tf.math.log(p.high - p.low) - q.entropy()
    return tf.where(is_inside, kl, tf.constant(math.inf, kl.dtype))


def _inverse_gamma(q: tfd.InverseGamma, p: tfd.InverseGamma) -> tf.Tensor:
    """1 / z are gammas, and a divergence does not depend on how z is written."""
    return tfd.kl_divergence(*(tfd.Gamma(d.concentration, d.scale) for d in (q, p)))


_SCALARS: tuple[tuple[Any, Any, Callable], ...] = (
    (tfd.Normal, tfd.Laplace, _normal_laplace),
    (tfd.Laplace, tfd.Normal, _laplace_normal),
    (tfd.LogNormal, tfd.Gamma, _log_normal_gamma),
    (tfd.Beta, tfd.Uniform, _beta_uniform),
    (tfd.InverseGamma, tfd.InverseGamma, _inverse_gamma),
)
