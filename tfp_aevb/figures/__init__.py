"""Figures of the paper and of a training run: NumPy arrays in, matplotlib figures out."""

from tfp_aevb.figures.comparison import bounds_figure
from tfp_aevb.figures.curves import learning_curves_figure, read_metrics
from tfp_aevb.figures.diagnostics import latent_use_figure
from tfp_aevb.figures.grids import (
    image_grid,
    manifold_figure,
    manifold_grid,
    reconstructions_figure,
    sample_panels_figure,
    samples_figure,
)
from tfp_aevb.figures.imputation import imputation_figure
from tfp_aevb.figures.interpolations import (
    interpolations_figure,
    linear_path,
    spherical_path,
)
from tfp_aevb.figures.latents import encodings_figure, kl_per_dimension_figure
from tfp_aevb.figures.regularisation import LatentSpace, latent_spaces_figure
from tfp_aevb.figures.style import new_figure, save_figure

__all__ = [
    "LatentSpace",
    "bounds_figure",
    "encodings_figure",
    "image_grid",
    "imputation_figure",
    "interpolations_figure",
    "kl_per_dimension_figure",
    "latent_spaces_figure",
    "latent_use_figure",
    "learning_curves_figure",
    "linear_path",
    "manifold_figure",
    "manifold_grid",
    "new_figure",
    "read_metrics",
    "reconstructions_figure",
    "sample_panels_figure",
    "samples_figure",
    "save_figure",
    "spherical_path",
]
