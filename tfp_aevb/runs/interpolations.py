"""The picture of paths between encoded test images."""

from pathlib import Path

import numpy as np
from tensorflow_probability import distributions as tfd

from tfp_aevb import figures
from tfp_aevb.data.dataset import Dataset
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.images import as_images, white_value
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.utils.seeds import numpy_generator

NUM_POINTS = 10


def gaussian_prior(model: AEVB) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns mean and standard deviations [J] of a diagonal Gaussian prior, else `None`."""
    prior = model.prior_distribution()
    prior = getattr(prior, "tensor_distribution", prior)
    if not isinstance(prior, tfd.MultivariateNormalDiag):
        return None
    return prior.mean().numpy(), prior.stddev().numpy()


def latent_paths(model: AEVB, starts: np.ndarray, ends: np.ndarray, num: int) -> np.ndarray:
    """Returns paths between the means of q(z|x) of pairs of datapoints.

    Where the prior is a diagonal Gaussian they are spherical about its mean, in units of its
    standard deviations; elsewhere straight.

    Args:
        model: the model.
        starts: [N, ...event].
        ends: [N, ...event].
        num: points on each path, the ends included.

    Returns:
        [N, num, J] float32.
    """
    moments = gaussian_prior(model)
    centre, scale = moments or (0.0, 1.0)
    path = figures.spherical_path if moments else figures.linear_path
    pairs = [(posterior_moments(model.encode(x))[0].numpy() - centre) / scale
             for x in (starts, ends)]  # fmt: skip
    paths = np.stack([path(start, end, num) for start, end in zip(*pairs, strict=True)])
    return (centre + scale * paths).astype(np.float32)


def draw_interpolations(
    model: AEVB,
    dataset: Dataset,
    run: Workdir,
    *,
    pairs: int,
    seed: int,
    file_format: str = "png",
    dpi: int,
) -> Path:
    """Draws decoder means between pairs of random test images, into `figures/`.

    Args:
        model: the trained model.
        dataset: the run's data.
        run: where the picture is written.
        pairs: of different images.
        seed: of the choice of pairs, and of dynamic binarisation.
        file_format: png, pdf or svg.
        dpi: dots per inch, for png.

    Returns:
        The path of the picture.

    Raises:
        ValueError: if the data are not images, or too few.
    """
    shape, count = dataset.image_shape, len(dataset.test.x)
    if not shape:
        raise ValueError(
            f"{dataset.name} does not hold images: there are no interpolations to draw"
        )
    if 2 * pairs > count:
        raise ValueError(
            f"--interpolations={pairs} needs {2 * pairs} test images and {dataset.name} has "
            f"{count}; expected at most {count // 2}"
        )
    rows = numpy_generator(seed, "interpolations").permutation(count)[: 2 * pairs]
    x = as_seen(dataset.test.take(rows), dataset, 2 * pairs, seed)
    starts, ends = x[:pairs], x[pairs:]
    z = latent_paths(model, starts, ends, NUM_POINTS)
    means = model.decode(z.reshape(-1, model.latent_dim)).mean().numpy()
    white = white_value(model, x)
    first, path_means, last = (as_images(values, shape, white) for values in (starts, means, ends))
    figure = figures.interpolations_figure(
        first, path_means.reshape(pairs, NUM_POINTS, *shape), last
    )
    path = run.figures / f"interpolations.{file_format}"
    return figures.save_figure(figure, path, dpi=dpi)
