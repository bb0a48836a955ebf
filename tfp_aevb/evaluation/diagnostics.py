"""What a model's latents do: which are used, at what rate, and whether q(z) is the prior."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.distributions.closed_form_kl import kl_of_factors
from tfp_aevb.distributions.noise import compiled
from tfp_aevb.evaluation.codes import padded_batches
from tfp_aevb.evaluation.mmd import TwoSampleTest, mmd_test
from tfp_aevb.evaluation.scores import BATCH, chunked_bound
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.utils.seeds import as_seed, numpy_generator, step_seeds

#: A latent is active if its posterior mean varies more than this over the data.
ACTIVE_ABOVE = 0.01


class LatentStatistics(NamedTuple):
    """How a model uses its latents on N datapoints.

    Attributes:
        variances: [J], the variance over the data of the means of q(z[j]|x).
        kl: [J] nats, the mean over the data of KL(q(z[j]|x) || p(z[j])); `None` where it is not
            defined.
        rate: [N] nats, KL(q(z|x) || p(z)) or its estimate: the bound's cost of z. In full
            variational Bayes with the parameters' share.
        distortion: [N] nats, minus E_q[log p(x|z)]; the bound is -(rate + distortion).
    """

    variances: np.ndarray
    kl: np.ndarray | None
    rate: np.ndarray
    distortion: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """[J] bool, the active units (Burda et al., 2016): variance above 0.01."""
        return self.variances > ACTIVE_ABOVE

    @property
    def elbo(self) -> np.ndarray:
        """[N] nats, the bound."""
        return -(self.rate + self.distortion)


def latent_statistics(
    model: AEVB, x: Observations, *, num_samples: int = 1, seed: int = 0
) -> LatentStatistics:
    """Measures which latents are used, and the two terms of the bound.

    The bound is that of `evaluate --estimator=elbo` with the same seed and number of samples.

    Args:
        model: the model.
        x: at least two datapoints.
        num_samples: L, samples of z for each datapoint.
        seed: of the samples and of dynamic binarisation.

    Raises:
        ValueError: if there are fewer than two datapoints, or they do not fit the model.
    """
    model.check_observations(x)
    if len(x) < 2:
        raise ValueError(f"`x` must have at least 2 datapoints to vary over, got {len(x)}")

    def statistics(values: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = step_seeds(seed, "score", step)
        batch = read_values(values, x.scale, x.dynamic_binarization, seeds.binarization)
        posterior = model.encode(batch)
        bound = chunked_bound(model, batch, seeds.noise, num_samples)
        found = {"rate": bound.kl, "distortion": -bound.reconstruction}
        found["loc"], _ = posterior_moments(posterior)
        kl = kl_per_dimension(posterior, model.prior_given(batch))
        return found if kl is None else {**found, "kl": kl}

    compiled_statistics = compiled(statistics, model.uses_xla)
    parts: dict[str, list[np.ndarray]] = {}
    for step, (rows, count) in enumerate(padded_batches(x.x, BATCH)):
        for name, value in compiled_statistics(rows, tf.constant(step)).items():
            parts.setdefault(name, []).append(value.numpy()[:count].astype(np.float64))
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    return LatentStatistics(
        arrays["loc"].var(axis=0, ddof=1),
        arrays["kl"].mean(axis=0) if "kl" in arrays else None,
        arrays["rate"],
        arrays["distortion"],
    )


def kl_per_dimension(posterior: tfd.Distribution, prior: tfd.Distribution) -> tf.Tensor | None:
    """Returns KL(q(z[j]|x) || p(z[j])) for each j: [B, J] nats, adding up to KL(q(z|x) || p(z)).

    `None` unless both are products over dimensions with a closed form: see `kl_of_factors`.
    """
    return kl_of_factors(posterior, prior)


def aggregate_posterior_test(
    model: AEVB, x: Observations, *, num_draws: int = 500, permutations: int = 500, seed: int = 0
) -> TwoSampleTest:
    """Compares the aggregate posterior q(z) = E[q(z|x)] with the prior, by `mmd_test`.

    One z is drawn for each of `num_draws` random datapoints (all, if there are fewer), and as
    many from p(z), or one from each of their p(z|u).

    Raises:
        ValueError: if there are fewer than two datapoints, or draws are not finite.
    """
    purpose = "diagnose/aggregate"
    chosen = random_rows(x, num_draws, purpose, seed)
    encoded = model.encode(chosen).sample(seed=step_seeds(seed, purpose, tf.constant(0)).noise)
    p = model.prior_given(chosen)
    prior = p.sample(() if p.batch_shape.rank else len(chosen), seed=as_seed(seed))
    rng = numpy_generator(seed, purpose, 1)
    return mmd_test(encoded.numpy(), prior.numpy(), permutations=permutations, rng=rng)


def random_rows(x: Observations, count: int, purpose: str, seed: int) -> tf.Tensor:
    """Returns `count` datapoints, or all if there are fewer, as the likelihood sees them."""
    rows = numpy_generator(seed, purpose).permutation(len(x))[:count]
    draw = step_seeds(seed, purpose, tf.constant(0)).binarization
    return read_values(x.x[rows], x.scale, x.dynamic_binarization, draw)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean over datapoints and its standard error, NaN for one datapoint."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
