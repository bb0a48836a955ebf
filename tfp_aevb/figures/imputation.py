"""The picture of restored datapoints: what was seen, what the model makes of it, and how sure."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tfp_aevb.figures.grids import _checked_images, _figure_size, image_grid
from tfp_aevb.figures.style import SKY_BLUE, new_figure, styled


@styled
def imputation_figure(
    observed: np.ndarray,
    mean: np.ndarray,
    stddev: np.ndarray,
    draws: np.ndarray,
    originals: np.ndarray | None = None,
    title: str = "restored datapoints",
) -> Figure:
    """Draws rows of images: the originals if known, what was observed, mean, uncertainty, draws.

    Args:
      observed: [N, H, W] or [N, H, W, 3], in [0, 1]; NaN, drawn in blue, for missing pixels.
      mean: The same shape, E[x|y], in [0, 1].
      stddev: The same shape, of each pixel given y, >= 0; white is the largest.
      draws: [S, N, H, W] or [S, N, H, W, 3], of p(x|y), in [0, 1].
      originals: The same shape as `observed`, in [0, 1], or `None`.
      title: Title of the figure.

    Returns:
      The figure, a column for each datapoint.

    Raises:
      ValueError: If an argument has the wrong shape or range.
    """
    mean = _checked_images(mean, "mean")
    stddev, draws = np.asarray(stddev, np.float32), np.asarray(draws)
    largest = float(stddev.max(initial=0.0)) or 1.0
    rows = {} if originals is None else {"original": _rgb(_checked_images(originals, "originals"))}
    rows["observed"] = _observed_in_colour(np.asarray(observed))
    rows["mean"] = _rgb(mean)
    rows[f"std. deviation\n(white: {largest:.2g})"] = _rgb(
        _checked_images(stddev / largest, "stddev")
    )
    if draws.ndim < 4 or draws.shape[1:] != mean.shape or not len(draws):
        raise ValueError(f"`draws` must be [S, ...] of means {mean.shape}, got {draws.shape}")
    for i, images in enumerate(draws):
        rows[f"draw {i + 1}"] = _rgb(_checked_images(images, "draws"))
    count, height = mean.shape[:2]
    for name, images in rows.items():
        if images.shape[:3] != mean.shape[:3]:
            raise ValueError(
                f"the {name.split(maxsplit=1)[0]} images must have the shape of the means, "
                f"{mean.shape}, got {images.shape[:3]}"
            )
    figure_width, figure_height = _figure_size(len(rows), count, mean)
    size = (figure_width + 1.2, figure_height)
    figure, [[axis]] = new_figure(size=size, title=title)
    axis.imshow(image_grid(np.concatenate(list(rows.values())), count), vmin=0, vmax=1)
    centres = np.arange(len(rows)) * (height + 1) + (height - 1) / 2
    axis.set_yticks(centres, list(rows))
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure


def _observed_in_colour(observed: np.ndarray) -> np.ndarray:
    """Returns RGB images [N, H, W, 3], missing pixels in blue."""
    missing = np.isnan(observed)
    known = _checked_images(np.where(missing, 0.0, observed), "observed")
    return np.where(_rgb(missing), np.array(to_rgb(SKY_BLUE), np.float32), _rgb(known))


def _rgb(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else np.repeat(images[..., np.newaxis], 3, axis=-1)
