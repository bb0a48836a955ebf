"""The SGVB estimators of the lower bound: distributions in, one value in nats per datapoint out.

Shapes: B datapoints (the paper's M), L samples, J latent dimensions. `log_likelihood` is a callable
from z [L, B, J] to log p(x|z) [L, B]. Nothing here reduces over datapoints but `minibatch_bound`.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.closed_form_kl import closed_form_kl
from tfp_aevb.objectives.draws import draw, exactly, through
from tfp_aevb.objectives.sums import total
from tfp_aevb.utils.counts import check_count
from tfp_aevb.utils.seeds import as_seed

LogLikelihood = Callable[[tf.Tensor], tf.Tensor]


class Bound(NamedTuple):
    """The lower bound and its two terms, each [B] in nats: `elbo = reconstruction - kl`."""

    elbo: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor


@exactly
def sgvb_a(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates the bound with every term sampled: SGVB estimator A (Eq. 6).

    L_A(x) = 1/L sum{ log p(x, z[l]) - log q(z[l]|x) : l=1...L }, z[l] reparameterised (Eq. 4).

    Args:
        posterior: q(z|x), batch shape [B].
        prior: p(z), batch shape [] or [B].
        log_likelihood: z [L, B, J] -> log p(x|z) [L, B].
        num_samples: L.
        seed: a whole number, [2] int32, or None for fresh draws at each call.

    Returns:
        The bound, each part [B] in nats; `kl` is the sampled log q(z|x) - log p(z).

    Raises:
        ValueError: if q is not reparameterised, so that its gradient would be wrong.
    """
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    reconstructions = []

    def target_log_prob(z: tf.Tensor) -> tf.Tensor:  # [L, B, J] -> [L, B]
        reconstructions.append(log_likelihood(z))
        return reconstructions[-1] + prior.log_prob(z)

    loss = tfp.vi.monte_carlo_variational_loss(
        target_log_prob,
        posterior,
        sample_size=num_samples,
        gradient_estimator=tfp.vi.GradientEstimators.REPARAMETERIZATION,
        seed=as_seed(seed),
    )  # [B]
    reconstruction = tf.reduce_mean(reconstructions[-1], axis=0)
    return Bound(-loss, reconstruction, reconstruction + loss)


def sgvb_b(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates the bound with the KL term in closed form: SGVB estimator B (Eq. 7).

    For Gaussians this is Eq. 10.

    L_B(x) = -KL(q(z|x) || p(z)) + 1/L sum{ log p(x|z[l]) : l=1...L }.

    Arguments, result and errors are those of `sgvb_a`.

    Raises:
        NotImplementedError: if the pair has no closed-form KL; `sgvb_a` needs none.
    """
    check_count("num_samples", num_samples)
    check_reparameterized(posterior)
    kl = analytic_kl(posterior, prior)  # [B]
    z = posterior.sample(num_samples, seed=as_seed(seed))  # [L, B, J]
    reconstruction = tf.reduce_mean(log_likelihood(z), axis=0)
    return Bound(reconstruction - kl, reconstruction, kl)


@exactly
def score_function(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates the bound as `sgvb_a`, its q-gradient by the score function (Section 2.2).

    The paper calls this estimator's variance impractical; it is here so that it can be shown. Its
    value is that of `sgvb_a`; it also serves posteriors that are not reparameterised.
    """
    check_count("num_samples", num_samples)
    # As `tfp.vi` has it, but for q's density at its draws, of which it takes an inverse.
    z, _ = draw(posterior, num_samples, tfp.random.split_seed(as_seed(seed), n=2)[0])
    z = through(posterior, z, tf.stop_gradient)
    log_q = posterior.log_prob(z)  # [L, B]
    score = tf.exp(log_q - tf.stop_gradient(log_q))
    reconstruction = log_likelihood(z)
    terms = reconstruction + prior.log_prob(z) - posterior.log_prob(z)
    elbo = tf.reduce_mean(terms * score, axis=0)
    reconstruction = tf.reduce_mean(reconstruction, axis=0)
    return Bound(elbo, reconstruction, reconstruction - elbo)


def evidence_bound(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_likelihood: LogLikelihood,
    num_samples: int = 1,
    seed: int | tf.Tensor | None = None,
) -> Bound:
    """Estimates the evidence lower bound of any q and p, by the best estimator for them.

    That is `sgvb_b`, without a closed-form KL `sgvb_a`, and where q is not reparameterised
    `score_function`. Arguments and result are those of `sgvb_a`.
    """
    arguments = (posterior, prior, log_likelihood, num_samples, seed)
    if not _is_reparameterized(posterior):
        return score_function(*arguments)
    try:
        return sgvb_b(*arguments)
    except NotImplementedError:
        return sgvb_a(*arguments)


def analytic_kl(posterior: tfd.Distribution, prior: tfd.Distribution) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)) in closed form (Appendix B), [B] in nats.

    Raises:
        NotImplementedError: if neither TFP nor `closed_form_kl` has one for the pair.
    """
    for divergence in (tfd.kl_divergence, closed_form_kl):  # TFP's own may refuse what ours knows
        with contextlib.suppress(NotImplementedError):
            return divergence(posterior, prior)
    raise NotImplementedError(
        "objective 'sgvb_b' needs a closed-form KL divergence and there is none for "
        f"{_name(posterior)} || {_name(prior)}; use objective 'sgvb_a'"
    )


def minibatch_bound(
    elbo: tf.Tensor,
    num_data: tf.Tensor | float,
    weights: tf.Tensor | None = None,
    total_weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Estimates the bound of the full data set from a minibatch (Eq. 8).

    L_M = N/M sum{ L(x[i]) : i=1...M }.

    Args:
        elbo: [M], nats per datapoint.
        num_data: N.
        weights: [M], 1 for a datapoint and 0 for padding; all 1 by default.
        total_weight: the M of the formula where `elbo` is one device's share of the minibatch;
            the sum of `weights` by default.

    Returns:
        Scalar, nats.
    """
    if weights is None:
        weights = tf.ones_like(elbo)
    if total_weight is None:
        total_weight = tf.reduce_sum(weights)
    return num_data * tf.reduce_sum(weights * elbo) / total_weight


def negative_log_parameter_prior(parameters: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns -log p(theta) for the MAP prior N(0, I), without its constant (Section 5).

    1/2 sum{ w^2 }: divided by N, the weight decay of the per-datapoint loss. Scalar, nats.
    """
    return 0.5 * tf.add_n([total(tf.square(tf.cast(w, tf.float32))) for w in parameters])


def _name(distribution: tfd.Distribution) -> str:
    """The distribution's name, not that of the tensor a distribution layer makes it stand for."""
    return getattr(distribution, "tensor_distribution", distribution).name


def _is_reparameterized(posterior: tfd.Distribution) -> bool:
    parts = tf.nest.flatten(posterior.reparameterization_type)
    return all(part == tfd.FULLY_REPARAMETERIZED for part in parts)


def check_reparameterized(posterior: tfd.Distribution) -> None:
    """Raises a `ValueError` unless the draws of `posterior` are reparameterised."""
    if not _is_reparameterized(posterior):
        raise ValueError(
            f"{_name(posterior)} is not reparameterised, so the SGVB gradient would be wrong; "
            "use a reparameterised q(z|x) or objective 'score_function'"
        )
