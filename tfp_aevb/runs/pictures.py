"""The pictures of a run."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfp_aevb import figures
from tfp_aevb.data.dataset import Dataset
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.images import as_images, white_value
from tfp_aevb.runs.interpolations import gaussian_prior
from tfp_aevb.runs.tensorboard import mean_kl_per_dimension
from tfp_aevb.runs.workdir import Workdir
from tfp_aevb.utils.seeds import as_seed

NUM_ENCODED = 5000
NUM_RECONSTRUCTED = 20
NUM_SAMPLES = 100
MANIFOLD_SIDE = 20


def make_figures(
    model: AEVB, dataset: Dataset, run: Workdir, followed: str, seed: int
) -> dict[str, Figure]:
    """Returns the run's learning curves, and pictures of its model on the test set, by name.

    Of two latents with a diagonal Gaussian prior one is the manifold, at the prior's quantiles.

    Args:
        model: the trained model.
        dataset: the run's data.
        run: whose `metrics.csv` is read.
        followed: the split that was followed while training.
        seed: of the samples, and of dynamic binarisation.
    """
    history = figures.read_metrics(run.metrics)
    drawn = {"learning_curves": figures.learning_curves_figure(history, held_out=followed)}
    x = as_seen(dataset.test, dataset, NUM_ENCODED, seed)
    loc = posterior_moments(model.encode(x))[0].numpy()
    labels = None if dataset.test.labels is None else dataset.test.labels[: len(x)]
    drawn["encodings"] = figures.encodings_figure(loc, labels)
    kl = mean_kl_per_dimension(model, x)
    if kl is not None:
        drawn["kl_per_dimension"] = figures.kl_per_dimension_figure(kl)
    if dataset.image_shape:
        drawn |= _image_figures(model, dataset.image_shape, x[:NUM_RECONSTRUCTED], seed)
    return drawn


def draw_figures(
    model: AEVB,
    dataset: Dataset,
    run: Workdir,
    followed: str,
    *,
    seed: int,
    file_format: str = "png",
    dpi: int,
) -> list[Path]:
    """Writes the pictures of `make_figures` into the run's `figures/`.

    Args:
        model: the trained model.
        dataset: the run's data.
        run: where `metrics.csv` is read and the pictures are written.
        followed: the split that was followed while training.
        seed: of the samples, and of dynamic binarisation.
        file_format: png, pdf or svg.
        dpi: dots per inch, for png.

    Returns:
        The paths of the pictures.
    """
    run.figures.mkdir(exist_ok=True)
    paths = []
    for name, figure in make_figures(model, dataset, run, followed, seed).items():
        paths.append(run.figures / f"{name}.{file_format}")
        run.check_present()
        figures.save_figure(figure, paths[-1], dpi=dpi)
    return paths


def _image_figures(model: AEVB, shape: tuple[int, ...], x: np.ndarray, seed: int) -> dict:
    white = white_value(model, x)

    def images(values: np.ndarray | tf.Tensor) -> np.ndarray:
        return as_images(values, shape, white)

    z = model.prior_distribution().sample(NUM_SAMPLES, seed=as_seed(seed))
    drawn = {
        "reconstructions": figures.reconstructions_figure(images(x), images(model.reconstruct(x))),
        "samples": figures.samples_figure(images(model.decode(z).mean())),
    }
    moments = gaussian_prior(model)
    if model.latent_dim == 2 and moments:
        means = images(model.decode(figures.manifold_grid(MANIFOLD_SIDE, *moments)).mean())
        drawn["manifold"] = figures.manifold_figure(means, MANIFOLD_SIDE, moments=moments)
    return drawn
