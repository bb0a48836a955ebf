"""An objective by which q descends an f-divergence from p(z|x), and p ascends log p(x)."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.objectives.draws import draw, exactly, through
from tfp_aevb.objectives.importance_weighted import Draws, check_several, weighted_bound
from tfp_aevb.objectives.sgvb import Bound, LogLikelihood, check_reparameterized

# Those of `tfp.vi` that are 0 at u = 1 and take no parameter. As functions of normalised weights,
# whose mean is 1, all terms c (u - 1) are 0: `chi_square` is `pearson`. `log1p_abs` is one too, but
# grows as 1/u: one draw with no weight decides its value, which overflows at log u = -89. These
# grow no faster than log u at 0, and u is at most K.
DIVERGENCES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "arithmetic_geometric": partial(tfp.vi.arithmetic_geometric, self_normalized=True),
    "jeffreys": tfp.vi.jeffreys,
    "jensen_shannon": partial(tfp.vi.jensen_shannon, self_normalized=True),
    "kl_forward": partial(tfp.vi.kl_forward, self_normalized=True),
    "kl_reverse": partial(tfp.vi.kl_reverse, self_normalized=True),
    "pearson": tfp.vi.pearson,
    "squared_hellinger": tfp.vi.squared_hellinger,
    "total_variation": tfp.vi.total_variation,
    "triangular": tfp.vi.triangular,
}


@exactly
def f_divergence(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 2,
    seed: int | tf.Tensor | None = None,
    divergence: str = "kl_forward",
) -> Bound:
    """Estimates L_K, q's gradient that of minus an f-divergence D[p(z|x), q(z|x)] = E_q[f(u)].

    u = p(z|x) / q(z|x) needs p(x), which the K draws estimate: u[k] = K v[k] with their normalised
    weights v. p's parameters ascend L_K; q's descend 1/K sum{ f(u[k]) }, reparameterised, p's held.
    Where q is p(z|x) each draw's gradient is 0. As u[k] <= K the divergence is estimated too low,
    but in the limit of many draws: with few, q is pulled less to what it misses, and may run away
    (an IAF with K = 2 was seen to; with K = 10 it trained).

    Args:
        posterior: q(z|x), batch shape [B].
        prior: p(z), batch shape [] or [B].
        log_likelihood: z [K, B, J] -> log p(x|z) [K, B].
        num_samples: K.
        seed: a whole number, [2] int32, or None for fresh draws at each call.
        divergence: f, one of `DIVERGENCES`; see `tfp.vi`. `kl_forward` is KL(p || q), `kl_reverse`
            KL(q || p), `jensen_shannon` twice the usual one.

    Returns:
        The bound L_K, each part [B] in nats.

    Raises:
        ValueError: if the divergence is unknown, K is 1, where u is 1 whatever q is, or q is not
            reparameterised.
    """
    if divergence not in DIVERGENCES:
        raise ValueError(
            f"`divergence` must be one of {', '.join(DIVERGENCES)}, which are 0 where normalised p "
            f"and q are the same, got {divergence!r}"
        )
    check_several("f_divergence", num_samples)
    check_reparameterized(posterior)
    z, log_q = draw(posterior, num_samples, seed)
    # At stopped draws only p's parameters have a gradient; XLA computes the values once.
    fixed = through(posterior, z, tf.stop_gradient)
    held = Draws(fixed, log_likelihood(fixed), prior.log_prob(fixed), tf.stop_gradient(log_q))
    bound = weighted_bound(held)
    # Without that gradient, what is left is along the draws: q's alone.
    log_weights = log_likelihood(z) + prior.log_prob(z) - log_q
    log_weights -= held.log_weights - tf.stop_gradient(held.log_weights)
    descended = tf.reduce_mean(DIVERGENCES[divergence](log_ratios(log_weights)), axis=0)
    return bound._replace(elbo=bound.elbo - (descended - tf.stop_gradient(descended)))


def log_ratios(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns log u [K, B], u = K v[k] with the normalised weights v of log weights [K, B]."""
    count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    return tf.nn.log_softmax(log_weights, axis=0) + tf.math.log(count)
