"""What a web page needs to decode latents by itself: the decoder's weights, and places to go to."""

import base64
from typing import Any

import numpy as np

from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.part_checks import UnknownSupportError, is_real
from tfp_aevb.runs.interpolations import gaussian_prior
from tfp_aevb.utils.seeds import as_seed

MAX_CODES = 1000
MAX_SLIDERS = 12
NUM_PRIOR_DRAWS = 200
# Their first D outputs give the mean, by a function that the page knows. Of Student's t it is loc.
MEANS = {
    layers.BernoulliLikelihood: "sigmoid",
    layers.ContinuousBernoulliLikelihood: "continuous_bernoulli",
    layers.StudentTLikelihood: "linear",
}


def explorer_record(
    model: AEVB,
    codes: np.ndarray,
    labels: np.ndarray | None,
    image_shape: tuple[int, ...],
    seed: int,
) -> dict[str, Any] | None:
    """Returns the decoder and some latents as JSON types; weights in half precision, base64.

    Args:
        model: whose decoder it is; of full variational Bayes, its parameters' means.
        codes: [N, J] posterior means of data, the first 1,000 are kept.
        labels: [N] of the data, or None.
        image_shape: (H, W) or (H, W, 3).
        seed: of the draws from the prior.

    Returns:
        The record, or `None` if the decoder is no Bernoulli, continuous Bernoulli, Gaussian or
        Student-t layer of the package on an MLP, or does not decode images, or if the prior is not
        over all of R^J. Latents range over its mean and some standard deviations.
    """
    decoder: Any = model.decoder
    is_gaussian = type(decoder) is layers.GaussianLikelihood
    mean = decoder.mean if is_gaussian else MEANS.get(type(decoder))
    if mean is None or not isinstance(decoder.network, layers.MLP) or not image_shape:
        return None
    draws = np.asarray(model.prior_distribution().sample(NUM_PRIOR_DRAWS, seed=as_seed(seed)))
    moments = _prior_moments(model, draws)
    if moments is None:
        return None
    centre, scale = moments
    num_pixels = int(np.prod(image_shape))
    weights = [variable.numpy() for variable in decoder.network.network_weights]
    # A Gaussian's outputs are [mean, log variance], those of Student's t begin with the mean.
    weights[-2:] = [weights[-2][:, :num_pixels], weights[-1][:num_pixels]]
    limit = max(3.0, np.ceil(np.quantile(np.abs((codes - centre) / scale), 0.995)))
    by_use = np.argsort(-codes.var(axis=0), kind="stable")
    return {
        "latent_dim": model.latent_dim,
        "image_shape": [*image_shape, 1][:3],
        "activation": decoder.network.activation,
        "mean": mean,
        "layers": [
            {"kernel": _halves(kernel), "bias": _halves(bias), "inputs": kernel.shape[0]}
            for kernel, bias in zip(weights[::2], weights[1::2], strict=True)
        ],
        "low": (centre - limit * scale).tolist(),
        "high": (centre + limit * scale).tolist(),
        "start": centre.tolist(),
        "codes": _rounded(codes[:MAX_CODES]),
        "labels": None if labels is None else labels[:MAX_CODES].tolist(),
        "prior_draws": _rounded(draws),
        "shown": sorted(by_use[:MAX_SLIDERS].tolist()),
    }


def _prior_moments(model: AEVB, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the prior's mean and standard deviations [J], those of draws if it is no Gaussian."""
    exact = gaussian_prior(model)
    try:
        over_all = exact is not None or is_real(model.prior_distribution())
    except UnknownSupportError:
        over_all = getattr(model.prior, "latent_support", None) == "real"
    return exact or ((draws.mean(axis=0), draws.std(axis=0)) if over_all else None)


def _halves(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f2").tobytes()).decode()


def _rounded(latents: np.ndarray) -> list[list[float]]:
    return np.round(latents.astype(np.float64), 3).tolist()
