"""Pictures made of many small images: samples, reconstructions and the latent manifold."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.figures.style import new_figure, styled

_INCHES_PER_IMAGE = 0.5


def _checked_images(images: np.ndarray, name: str) -> np.ndarray:
    """Returns `images` as float32 [N, H, W] or [N, H, W, 3] after checking shape and range."""
    images = np.asarray(images)
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)) or not images.size:
        expected = "a non-empty array [N, H, W] or [N, H, W, 3]"
        raise ValueError(f"`{name}` must be {expected}, got {images.shape}")
    if images.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold real numbers, got dtype {images.dtype}")
    if not np.isfinite(images).all():
        raise ValueError(f"`{name}` must be finite, got NaN or infinite pixels")
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        raise ValueError(f"`{name}` must lie in [0, 1], got [{low:g}, {high:g}]: rescale it first")
    return images.astype(np.float32)


def image_grid(
    images: np.ndarray, columns: int | None = None, padding: int = 1, background: float = 1.0
) -> np.ndarray:
    """Places images row by row, from the top left, in one picture.

    Image k has its top left pixel at (k // columns) (H + padding), (k % columns) (W + padding).

    Args:
      images: [N, H, W] or [N, H, W, 3], in [0, 1].
      columns: Images per row; the smallest number with columns^2 >= N if `None`.
      padding: Pixels between neighbouring images (none at the outer border).
      background: Value in [0, 1] of the padding and of unused cells.

    Returns:
      The picture as float32, [H', W'] or [H', W', 3].

    Raises:
      ValueError: If an argument has the wrong shape or range.
    """
    images = _checked_images(images, "images")
    count, height, width = images.shape[:3]
    columns = int(np.ceil(np.sqrt(count))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1, got {columns}")
    if padding < 0:
        raise ValueError(f"`padding` must be at least 0 pixels, got {padding}")
    if not 0 <= background <= 1:
        raise ValueError(f"`background` must lie in [0, 1], got {background}")
    grid_height = -(-count // columns) * (height + padding) - padding
    grid_width = columns * (width + padding) - padding
    grid = np.full((grid_height, grid_width, *images.shape[3:]), background, np.float32)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + padding), (index % columns) * (width + padding)
        grid[top : top + height, left : left + width] = image
    return grid


def _figure_size(rows: int, columns: int, images: np.ndarray) -> tuple[float, float]:
    """Inches that give each image the same width, with room for a title."""
    height = _INCHES_PER_IMAGE * rows * images.shape[1] / images.shape[2]
    return max(_INCHES_PER_IMAGE * columns + 0.3, 3.0), height + 0.6


@styled
def samples_figure(
    means: np.ndarray, title: str = "samples from the model", *, columns: int | None = None
) -> Figure:
    """Draws decoder means of samples z ~ p(z) (Figure 5).

    Args:
      means: [N, H, W] or [N, H, W, 3], in [0, 1].
      title: Title of the figure.
      columns: Images per row; about sqrt(N) if `None`.

    Returns:
      The figure.
    """
    means = _checked_images(means, "means")
    grid = image_grid(means, columns)
    columns = (grid.shape[1] + 1) // (means.shape[2] + 1)
    rows = (grid.shape[0] + 1) // (means.shape[1] + 1)
    figure, axes = new_figure(size=_figure_size(rows, columns, means), title=title)
    axes[0, 0].imshow(grid, vmin=0, vmax=1)
    axes[0, 0].set_axis_off()
    return figure


@styled
def sample_panels_figure(panels: Mapping[str, np.ndarray]) -> Figure:
    """Draws grids of samples side by side, one for each model (Figure 5).

    Args:
      panels: For each title decoder means [N, H, W] or [N, H, W, 3], in [0, 1].

    Returns:
      The figure.

    Raises:
      ValueError: If there is no panel, or its images have the wrong shape or range.
    """
    if not panels:
        raise ValueError("`panels` must have at least one entry")
    grids = {title: image_grid(images) for title, images in panels.items()}
    figure, axes = new_figure(columns=len(grids), size=(3.2 * len(grids), 3.5))
    for axis, (title, grid) in zip(axes[0], grids.items(), strict=True):
        axis.imshow(grid, vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    return figure


@styled
def reconstructions_figure(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    title: str = "reconstructions",
    *,
    columns: int = 10,
) -> Figure:
    """Draws pairs of rows: data x above the decoder mean of z ~ q(z|x).

    Args:
      originals: [N, H, W] or [N, H, W, 3], in [0, 1].
      reconstructions: The same shape as `originals`, in [0, 1].
      title: Title of the figure.
      columns: Images per row at most.

    Returns:
      The figure.
    """
    originals = _checked_images(originals, "originals")
    reconstructions = _checked_images(reconstructions, "reconstructions")
    if originals.shape != reconstructions.shape:
        shapes = f"got {reconstructions.shape} and {originals.shape}"
        raise ValueError(f"`reconstructions` must have the shape of `originals`, {shapes}")
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1, got {columns}")
    count, height, width = originals.shape[:3]
    columns = min(columns, count)
    blocks = -(-count // columns)
    width_inches, height_inches = _figure_size(2 * blocks, columns, originals)
    size = (width_inches + 1.0, height_inches + 0.15 * blocks)
    figure, axes = new_figure(blocks, size=size, title=title)
    for block, axis in enumerate(axes[:, 0]):
        chosen = slice(block * columns, (block + 1) * columns)
        pair = np.concatenate([originals[chosen], reconstructions[chosen]])
        axis.imshow(image_grid(pair, len(pair) // 2), vmin=0, vmax=1)
        # A last block that is not full keeps the scale of the others.
        axis.set(xlim=(-0.5, columns * (width + 1) - 1.5), xticks=[])
        centres = [(height - 1) / 2, height + 1 + (height - 1) / 2]
        axis.set_yticks(centres, ["data", "reconstruction"])
        axis.tick_params(length=0)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return figure


def _quantiles(num: int) -> np.ndarray:
    if num < 1:
        raise ValueError(f"`num` must be at least 1, got {num}")
    return (np.arange(num) + 0.5) / num


def manifold_grid(
    num: int, centre: float | np.ndarray = 0.0, scale: float | np.ndarray = 1.0
) -> np.ndarray:
    """Latent points for the learned 2-D manifold (Figure 4).

    The centres (i + 0.5) / num of equal cells of the unit square go through the inverse CDF of the
    Gaussian (infinite at 0 and 1, which they avoid). Points are listed as `image_grid` places
    images: row by row from the top left; the first latent grows rightwards, the second upwards.

    Args:
      num: Points per axis, at least 1.
      centre: Mean of the Gaussian, of both latents or [2].
      scale: Its standard deviation, the same.

    Returns:
      float32 [num * num, 2].
    """
    values = [NormalDist().inv_cdf(quantile) for quantile in _quantiles(num)]
    first, second = np.meshgrid(values, values[::-1])
    points = np.stack([first.ravel(), second.ravel()], axis=-1)
    return (centre + scale * points).astype(np.float32)


@styled
def manifold_figure(
    images: np.ndarray,
    num: int,
    title: str = "learned data manifold",
    *,
    moments: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """Draws decoder means at the points of `manifold_grid` (Figure 4).

    Args:
      images: [num^2, H, W] or [num^2, H, W, 3], in [0, 1], in the order of `manifold_grid`.
      num: Points per axis.
      title: Title of the figure.
      moments: The prior's mean and standard deviations [2], as the grid's; N(0, I) if `None`.

    Returns:
      The figure; ticks are latent values (bottom, left) and the prior's quantiles (top, right).
    """
    images, quantiles = _checked_images(images, "images"), _quantiles(num)
    if len(images) != num * num:
        raise ValueError(f"`images` must hold num^2 = {num * num} images, got {len(images)}")
    height, width = images.shape[1:3]
    # Ticks at most every other cell when there are many, mirrored about the centre.
    half = np.arange(0, (num + 1) // 2, -(-num // 10))
    shown = np.union1d(half, num - 1 - half)
    centre, scale = moments or (np.zeros(2), np.ones(2))
    standard = np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles[shown]])
    values = [
        [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in centre[j] + scale[j] * standard]
        for j in range(2)
    ]
    labels = [f"{quantile:.3f}" for quantile in quantiles[shown]]
    width_inches, height_inches = _figure_size(num, num, images)
    size = (width_inches + 1.5, max(height_inches, 2.5) + 1.0)
    figure, [[axis]] = new_figure(size=size, title=title)
    axis.imshow(image_grid(images, num, padding=0), vmin=0, vmax=1)
    axis.grid(False)
    across = shown * width + (width - 1) / 2
    upwards = (num - 1 - shown) * height + (height - 1) / 2
    axis.set(xticks=across, xticklabels=values[0], xlabel="first latent $z_0$")
    axis.set(yticks=upwards, yticklabels=values[1], ylabel="second latent $z_1$")
    top, right = axis.secondary_xaxis("top"), axis.secondary_yaxis("right")
    top.set(xticks=across, xticklabels=labels, xlabel="quantile of $p(z_0)$")
    right.set(yticks=upwards, yticklabels=labels, ylabel="quantile of $p(z_1)$")
    return figure
