"""How far the bound is below log p(x), and how much of that is the encoder's."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.kinds import bare
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.models.free_posterior import LogJoint
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.utils.graphs import graph_function
from tfp_aevb.utils.seeds import as_seed

# Adam's largest step, in standard deviations of q(z|x); it falls to 0 along half a cosine.
LARGEST_STEP = 0.1
CHUNK = 10


class InferenceGaps(NamedTuple):
    """The parts of log p(x) - bound (Cremer et al., 2018), each [B] in nats.

    Attributes:
        elbo: the bound with the encoder's q(z|x).
        refined_elbo: the bound with the best q(z) of its family that refinement found.
        log_prob: log p(x) by importance sampling from that q(z), on average a little too low.
    """

    elbo: np.ndarray
    refined_elbo: np.ndarray
    log_prob: np.ndarray

    @property
    def amortisation(self) -> np.ndarray:
        """What the encoder loses against a q of its family for each datapoint."""
        return self.refined_elbo - self.elbo

    @property
    def approximation(self) -> np.ndarray:
        """What the family loses against the true posterior; never negative."""
        return self.log_prob - self.refined_elbo


def inference_gaps(
    model: AEVB,
    x: tf.Tensor,
    *,
    num_steps: int = 300,
    num_samples: int = 1000,
    seed: int | tf.Tensor | None = None,
) -> InferenceGaps:
    """Splits log p(x) - bound into the encoder's share and the family's.

    Each datapoint's q(z|x) is refined by `refine_posterior`. Both bounds are then estimated from
    the same, fresh draws, so that their difference has little noise, and log p(x) from the refined
    q's weights. What refinement has not found counts as approximation: the amortisation gap is a
    lower estimate, with the defaults by 0.002 nats a dimension.

    Args:
        model: the model.
        x: [B, ...event].
        num_steps: of the refinement.
        num_samples: draws of z for each datapoint, rounded up to a multiple of 10.
        seed: int or [2] int32; by default a fresh one.

    Raises:
        NotImplementedError: if the decoder's parameters are random, q(z|x) is not reparameterised,
            or z has bounds; the message says which.
        ValueError: if a number is less than 1, or `x` does not fit the model.
    """
    for name, value in (("num_steps", num_steps), ("num_samples", num_samples)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    if isinstance(model, FullVB):
        raise NotImplementedError("the decoder's parameters are random: there is no one p(x|z)")
    x = tf.cast(model.arrange(x), tf.float32)
    posterior = bare(model.encode(x))
    fit_seed, draw_seed = tf.unstack(tfp.random.split_seed(as_seed(seed), n=2))
    refined = refine_posterior(
        lambda z: model.log_joint(x, z), posterior, num_steps=num_steps, seed=fit_seed
    )
    chunks = -(-num_samples // CHUNK)

    def add_chunk(
        i: tf.Tensor, elbo: tf.Tensor, refined_elbo: tf.Tensor, log_total: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        z = posterior.sample(CHUNK, seed=tf.random.experimental.stateless_fold_in(draw_seed, i))
        log_q = posterior.log_prob(z)  # [CHUNK, B]
        moved = refined.bijector.forward(z)
        log_refined = log_q - refined.bijector.forward_log_det_jacobian(z, event_ndims=1)
        values = tf.cast(model.log_joint(x, z) - log_q, tf.float64)
        log_weights = tf.cast(model.log_joint(x, moved) - log_refined, tf.float64)
        return (
            i + 1,
            elbo + tf.reduce_sum(values, axis=0),
            refined_elbo + tf.reduce_sum(log_weights, axis=0),
            tfp.math.log_add_exp(log_total, tf.reduce_logsumexp(log_weights, axis=0)),
        )

    def estimate() -> tuple[tf.Tensor, ...]:
        zeros = tf.zeros(tf.shape(x)[:1], tf.float64)
        return tf.while_loop(
            lambda i, *_: i < chunks,
            add_chunk,
            [tf.constant(0), zeros, zeros, zeros - math.inf],
            parallel_iterations=1,  # more would hold several chunks in memory at once
        )[1:]

    # A graph, whose memory is free at once; its concrete function, for each call makes a new one.
    elbo, refined_elbo, log_total = graph_function(estimate).get_concrete_function()()
    count = chunks * CHUNK
    return InferenceGaps(
        elbo.numpy() / count, refined_elbo.numpy() / count, log_total.numpy() - math.log(count)
    )


def refine_posterior(
    log_joint: LogJoint,
    posterior: tfd.Distribution,
    *,
    num_steps: int = 300,
    num_samples: int = 10,
    seed: tf.Tensor,
) -> tfd.TransformedDistribution:
    """Ascends each datapoint's bound from the encoder's answer, in the encoder's family.

    z = m + S (a + T S^-1 (z' - m)) with z' ~ q(z|x), m and S its mean and scale, and a and T each
    datapoint's own, from 0 and I. T is diagonal, or lower triangular where q(z|x) is a Gaussian
    with full covariance: every Gaussian of the encoder's family can be reached. Of other families
    it is what shifts and scales reach. Unlike `fit_free_posterior`, which starts at N(0, I), it
    can lose to the encoder only by the noise of its last steps.

    Args:
        log_joint: z [L, B, J] -> log p(x, z) [L, B] in nats, for the datapoints x.
        posterior: q(z|x), batch shape [B].
        num_steps: of Adam.
        num_samples: L, draws of z for each step.
        seed: [2] int32.

    Returns:
        q(z), batch shape [B]: `posterior` under an affine bijector.

    Raises:
        NotImplementedError: if q(z|x) is not reparameterised, or z is not over all of R^J.
    """
    if posterior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise NotImplementedError(f"{posterior.name} is not reparameterised")
    if not isinstance(posterior.experimental_default_event_space_bijector(), tfb.Identity):
        raise NotImplementedError(f"{posterior.name} is not over all of R^J")
    mean, stddev = posterior_moments(posterior)
    shift = tf.Variable(tf.zeros_like(mean))
    if isinstance(posterior, tfd.MultivariateNormalTriL):
        scale: tfb.Bijector = tfb.ScaleMatvecTriL(posterior.scale.to_dense())
        start = tf.eye(mean.shape[-1], batch_shape=mean.shape[:1])
        shape = tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)
        matrix: tfb.Bijector = tfb.ScaleMatvecTriL(tfp.util.TransformedVariable(start, shape))
    else:
        scale = tfb.ScaleMatvecDiag(stddev)
        start = tf.ones_like(mean)
        matrix = tfb.ScaleMatvecDiag(tfp.util.TransformedVariable(start, tfb.Exp()))
    whiten = [tfb.Invert(scale), tfb.Shift(-mean)]
    affine = tfb.Chain([tfb.Shift(mean), scale, tfb.Shift(shift), matrix, *whiten])
    refined = tfd.TransformedDistribution(posterior, affine)
    variables = [shift, *matrix.trainable_variables]
    schedule = tf_keras.optimizers.schedules.CosineDecay(LARGEST_STEP, num_steps)
    optimizer = tf_keras.optimizers.Adam(schedule, beta_2=0.99)
    optimizer.build(variables)  # inside the function its variables would be made too late

    def fit() -> tf.Tensor:
        return tfp.vi.fit_surrogate_posterior(
            log_joint,
            refined,
            optimizer,
            num_steps,
            sample_size=num_samples,
            trainable_variables=variables,
            seed=seed,
        )

    graph_function(fit).get_concrete_function()()
    return refined
