"""Have chains converged: R-hat and effective sample sizes, as ArviZ and Stan define them.

Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021): Rank-normalization, folding, and localization:
an improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16(2).

All take draws [S, C, ...], S from each of C chains, NumPy arrays or tensors; compute in float64, in
eager mode, in graphs and with XLA; and return [...]. A result is NaN where a draw is NaN, and where
there are fewer than 4 draws of a chain. ArviZ takes chains first: `az.rhat(draws.swapaxes(0, 1))`.
Where the autocorrelations of a pair of lags sum to exactly 0, as they may for indicators, rounding
decides here and there whether the pair ends the sum.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp

MIN_DRAWS = 4


def r_hat(draws: tf.Tensor) -> tf.Tensor:
    """Returns how much wider all chains together are than each by itself; 1 when they agree.

    Rank-normalised split R-hat: each chain is cut into two halves. The larger of that of the draws
    and that of their distances from the median, which also sees chains whose means agree and whose
    widths do not. With hundreds of draws of each chain longer ones are worth while above 1.01; of
    20 independent draws of each of 5 chains 5% are above 1.06 by chance, and 0.7% above 1.1.

    Args:
        draws: [S, C, ...].

    Returns:
        [...] float64; NaN for one chain and where all draws are equal, infinite where each chain
        stays where it is.

    Raises:
        ValueError: if S and C are not known when the function is traced.
    """
    values = _chains_last(draws)
    if values.shape[-1] < MIN_DRAWS or values.shape[-2] < 2:
        return _nan(values)
    halves = _split(values)
    folded = tf.abs(halves - _quantile(halves, 0.5)[..., tf.newaxis, tf.newaxis])
    both = _rank_normalized(tf.stack([halves, folded]))
    bulk, tail = tf.unstack(_between_and_within(both))
    return _nan_where_nan(values, tf.where(tail > bulk, tail, bulk))  # the tail's may be NaN


def ess_bulk(draws: tf.Tensor) -> tf.Tensor:
    """Returns how many independent draws are worth as much for the middle of the distribution.

    The effective sample size of the rank-normalised draws of split chains; above 100 for each
    chain quantiles and `r_hat` are themselves well estimated.

    Args:
        draws: [S, C, ...].

    Returns:
        [...] float64; S * C where all draws are equal.

    Raises:
        ValueError: if S and C are not known when the function is traced.
    """
    values = _chains_last(draws)
    if values.shape[-1] < MIN_DRAWS:
        return _nan(values)
    return _nan_where_nan(values, _effective_sample_size(_rank_normalized(_split(values))))


def ess_tail(draws: tf.Tensor) -> tf.Tensor:
    """Returns how many independent draws are worth as much for the 5% and the 95% quantile.

    The smaller of the effective sample sizes of these two quantiles, of split chains.

    Args:
        draws: [S, C, ...].

    Returns:
        [...] float64; S * C where all draws are equal.

    Raises:
        ValueError: if S and C are not known when the function is traced.
    """
    values = _chains_last(draws)
    if values.shape[-1] < MIN_DRAWS:
        return _nan(values)
    values = tf.cast(values, tf.float64)
    levels = tf.stack([_quantile(values, probability) for probability in (0.05, 0.95)])
    below = tf.cast(values <= levels[..., tf.newaxis, tf.newaxis], tf.float64)
    sizes = tf.reduce_min(_effective_sample_size(_split(below)), axis=0)
    return _nan_where_nan(values, sizes)


def _chains_last(draws: tf.Tensor) -> tf.Tensor:
    """Returns [..., C, S] for [S, C, ...], in floats as the draws are."""
    draws = tf.convert_to_tensor(draws)
    if draws.shape.rank is None or draws.shape.rank < 2 or None in draws.shape[:2].as_list():
        raise ValueError(f"`draws` must be [S, C, ...] with known S and C, got {draws.shape}")
    if not draws.dtype.is_floating:
        draws = tf.cast(draws, tf.float64)
    return tf.transpose(draws, [*range(2, draws.shape.rank), 1, 0])


def _nan(values: tf.Tensor) -> tf.Tensor:
    return tf.fill(tf.shape(values)[:-2], tf.constant(math.nan, tf.float64))


def _nan_where_nan(values: tf.Tensor, result: tf.Tensor) -> tf.Tensor:
    has_nan = tf.reduce_any(tf.math.is_nan(values), axis=[-2, -1])
    return tf.where(has_nan, tf.constant(math.nan, tf.float64), result)


def _split(values: tf.Tensor) -> tf.Tensor:
    """Returns [..., 2 C, S // 2]: halves of chains, without the draw between them if S is odd."""
    half = values.shape[-1] // 2
    return tf.concat([values[..., :half], values[..., -half:]], axis=-2)


def _flat(values: tf.Tensor) -> tf.Tensor:
    """Returns [..., C * S]."""
    shape = tf.shape(values)[:-2]
    return tf.reshape(values, tf.concat([shape, [values.shape[-2] * values.shape[-1]]], axis=0))


def _quantile(values: tf.Tensor, probability: float) -> tf.Tensor:
    """Returns the quantile [...] of all draws (R's type 7), rounded as SciPy rounds it."""
    ordered = tf.sort(_flat(values), axis=-1)
    count = ordered.shape[-1]
    position = count * probability + (1.0 - probability)  # from 1
    below = min(int(position), count - 1)
    weight = position - below
    return (1.0 - weight) * ordered[..., below - 1] + weight * ordered[..., below]


def _rank_normalized(values: tf.Tensor) -> tf.Tensor:
    """Returns normal quantiles of the draws' ranks among all; equal draws share their mean rank."""
    flat = _flat(values)
    ordered = tf.sort(flat, axis=-1)
    smaller, not_larger = (tf.searchsorted(ordered, flat, side) for side in ("left", "right"))
    ranks = 0.5 * tf.cast(smaller + not_larger + 1, tf.float64)
    scores = tf.math.ndtri((ranks - 0.375) / (flat.shape[-1] + 0.25))
    return tf.reshape(scores, tf.shape(values))


def _between_and_within(values: tf.Tensor) -> tf.Tensor:
    """Returns R-hat [...] of chains [..., C, S] as they are."""
    num_draws = values.shape[-1]
    between = num_draws * _variance(tf.reduce_mean(values, axis=-1))
    within = tf.reduce_mean(_variance(values), axis=-1)
    return tf.sqrt((between / within + num_draws - 1.0) / num_draws)


def _variance(values: tf.Tensor) -> tf.Tensor:
    """Returns the unbiased variance over the last axis."""
    count = values.shape[-1]
    return tf.math.reduce_variance(values, axis=-1) * (count / (count - 1.0))


def _autocovariance(values: tf.Tensor) -> tf.Tensor:
    """Returns the biased autocovariances [..., C, S] at lags 0 to S - 1."""
    num_draws = values.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * num_draws))  # no lag meets the other end
    centered = values - tf.reduce_mean(values, axis=-1, keepdims=True)
    spectrum = tf.signal.rfft(centered, [length])
    covariance = tf.signal.irfft(spectrum * tf.math.conj(spectrum), [length])
    return covariance[..., :num_draws] / num_draws


def _effective_sample_size(values: tf.Tensor) -> tf.Tensor:
    """Returns the effective sample size [...] of chains [..., C, S] as they are.

    Geyer's initial monotone sequence: autocorrelations are summed in pairs of lags (2k, 2k + 1),
    up to the first pair whose sum is not positive, and no pair counts more than one before it.
    """
    num_chains, num_draws = values.shape[-2], values.shape[-1]
    total = num_chains * num_draws
    covariance = tf.reduce_mean(_autocovariance(values), axis=-2)  # [..., S]
    within = covariance[..., :1] * (num_draws / (num_draws - 1.0))
    variance = within * ((num_draws - 1.0) / num_draws)
    if num_chains > 1:
        variance += _variance(tf.reduce_mean(values, axis=-1))[..., tf.newaxis]
    correlation = 1.0 - (within - covariance) / variance
    correlation = tf.concat([tf.ones_like(within), correlation[..., 1:]], axis=-1)

    num_pairs = max((num_draws - 1) // 2, 1)  # lags below S - 1
    shape = tf.concat([tf.shape(correlation)[:-1], [num_pairs, 2]], axis=0)
    pairs = tf.reshape(correlation[..., : 2 * num_pairs], shape)
    sums, even = tf.reduce_sum(pairs, axis=-1), pairs[..., 0]  # [..., P]
    # A pair counts if it and all before it are positive; of the one after them its even lag does.
    positive = tf.cast(sums > 0.0, tf.float64)
    seen = tf.math.cumprod(positive, axis=-1, exclusive=True)
    counted = tf.concat([seen[..., 1:], tf.zeros_like(seen[..., :1])], axis=-1)
    even = tf.where((sums < 0.0) & (even < 0.0), tf.zeros_like(even), even)
    decreasing = tfp.math.scan_associative(tf.minimum, sums, axis=-1)
    time = -1.0 + tf.reduce_sum(2.0 * counted * decreasing + (seen - counted) * even, axis=-1)
    size = total / tf.maximum(time, 1.0 / math.log10(total))
    constant = tf.reduce_max(values, axis=[-2, -1]) - tf.reduce_min(values, axis=[-2, -1]) < 1e-15
    return tf.where(constant, tf.constant(float(total), tf.float64), size)
