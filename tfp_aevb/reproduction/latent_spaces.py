"""Measures of a fitted model's latent space on a data set, and what a picture shows of it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.evaluation import regularity
from tfp_aevb.figures import LatentSpace, linear_path
from tfp_aevb.reproduction.settings import SEED
from tfp_aevb.runs.data import as_seen

PATH_POINTS = 20
NUM_PAIRS, NUM_DRAWS = 500, 2000  # at most; a test set may not have so many images
SHOWN_CODES, SHOWN_PAIRS, SHOWN_PATH_POINTS, SHOWN_DRAWS = 2000, 5, 10, 25
PRIOR, FITTED = "N(0, I)", "Gaussian fitted to the training codes"

# What draws are from, what is measured, and a number or values [N] to be averaged.
Number = tuple[str, str, Any]


class Fitted(NamedTuple):
    """A fitted model, arrays in and arrays out.

    Attributes:
        encode: x [N, D] -> codes [N, J].
        decode: codes [N, J] -> means [N, D].
        has_prior: whether N(0, I) is a distribution of its latents.
        head: what its rows of the table begin with.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]
    has_prior: bool
    head: dict[str, Any]


class Images(NamedTuple):
    """Grey images [N, D] in [0, 1], and how the test set is used.

    Attributes:
        train: PCA and the Gaussians of the codes are fitted to them.
        test: reconstructed; paths run between pairs of them.
        pairs: indices of the paths' ends, [2, P], all different.
        held_out: the part of `test` that draws are compared with.
        others: as many test images, in the place of draws for reference.
    """

    train: np.ndarray
    test: np.ndarray
    pairs: np.ndarray
    held_out: np.ndarray
    others: np.ndarray


def load_images(data: Dataset) -> Images:
    """Returns the images of a data set as models see them."""
    train, test = (as_seen(s, data, len(s.x), SEED) for s in (data.train, data.test))
    rng = np.random.default_rng([SEED, 0])
    pairs = rng.permutation(len(test))[: 2 * min(NUM_PAIRS, len(test) // 2)].reshape(2, -1)
    count = min(NUM_DRAWS, len(test) // 2)
    return Images(train, test, pairs, test[:count], test[count : 2 * count])


def measure_model(
    name: str, model: Fitted, images: Images, image_shape: tuple[int, ...]
) -> tuple[list[Number], LatentSpace]:
    """Returns the numbers of a model, and what the picture shows of it."""
    codes = model.encode(images.test)
    error = regularity.root_mean_square_error(images.test, model.decode(codes))
    starts, ends = codes[images.pairs][:, :, np.newaxis]  # each [P, 1, J]
    latents = linear_path(starts, ends, PATH_POINTS)
    path = regularity.continuity(_decoded(model, latents))
    found: list[Number] = [
        ("", "test RMSE", error),
        ("", "path length / distance of its ends", path.stretch),
        ("", "largest step / mean step of a path", path.jump),
    ]
    gaussian = regularity.fit_gaussian(model.encode(images.train))
    count, dimension = len(images.held_out), codes.shape[1]
    latent_draws = {FITTED: gaussian.draw(count, np.random.default_rng([SEED, 2]))}
    if model.has_prior:
        latent_draws[PRIOR] = np.random.default_rng([SEED, 1]).normal(size=[count, dimension])
    draws = {source: model.decode(z) for source, z in latent_draws.items()}
    captions = {PRIOR: "no prior"}
    for source in sorted(draws):
        numbers = list(completeness(source, draws[source], images.held_out))
        captions[source] = caption(numbers)
        found += numbers

    def shown(means: np.ndarray) -> np.ndarray:
        return np.clip(means, 0.0, 1.0).reshape(-1, *image_shape)

    few = linear_path(starts[:SHOWN_PAIRS], ends[:SHOWN_PAIRS], SHOWN_PATH_POINTS)
    of_paths = shown(_decoded(model, few)).reshape(*few.shape[:2], *image_shape)
    space = LatentSpace(
        f"{name}\ntest RMSE {error:.3f}",
        codes[:SHOWN_CODES],
        of_paths,
        f"length / distance {path.stretch.mean():.2f},  largest / mean step {path.jump.mean():.2f}",
        shown(draws[PRIOR][:SHOWN_DRAWS]) if PRIOR in draws else None,
        captions[PRIOR],
        shown(draws[FITTED][:SHOWN_DRAWS]),
        captions[FITTED],
    )
    return found, space


def _decoded(model: Fitted, paths: np.ndarray) -> np.ndarray:
    """Returns the decodings [P, num, D] of latent paths [P, num, J]."""
    means = model.decode(paths.reshape(-1, paths.shape[2]))
    return means.reshape(*paths.shape[:2], -1)


def completeness(source: str, draws: np.ndarray, held_out: np.ndarray) -> Iterator[Number]:
    """Yields the distances [N] of draws to held-out images, and of these to the draws."""
    yield source, "draw to nearest test image", regularity.nearest_distances(draws, held_out)
    yield source, "test image to nearest draw", regularity.nearest_distances(held_out, draws)


def caption(numbers: list[Number]) -> str:
    """Returns the mean distances of `completeness` in words."""
    to_data, to_draws = (values.mean() for _, _, values in numbers)
    return f"draw to image {to_data:.3f}, image to draw {to_draws:.3f}"
