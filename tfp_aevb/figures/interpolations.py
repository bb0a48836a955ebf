"""Paths between two points of latent space, and what the decoder makes of them."""

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.figures.grids import _checked_images, _figure_size, image_grid
from tfp_aevb.figures.style import new_figure, styled


def linear_path(start: np.ndarray, end: np.ndarray, num: int) -> np.ndarray:
    """Returns `num` equally spaced points from `start` to `end`, both included: [num, J]."""
    t = _fractions(num)
    return (1.0 - t) * start + t * end


def spherical_path(start: np.ndarray, end: np.ndarray, num: int) -> np.ndarray:
    """Returns `num` points from `start` to `end` at equal angles, both included: [num, J].

    sin((1-t) w) / sin(w) start + sin(t w) / sin(w) end, w the angle between the two: between
    points of one length all have it, as draws from N(0, I) in many dimensions nearly do. A straight
    path comes nearer to 0 than such draws. It is taken where w has no arc: along one line.

    Args:
      start: [J], relative to the prior's mean, in its standard deviations.
      end: [J], the same.
      num: Points, at least 2.
    """
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    cosine = float(np.dot(start, end) / lengths) if lengths else 1.0
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < 1e-6:
        return linear_path(start, end, num)
    t = _fractions(num)
    return (np.sin((1.0 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)


@styled
def interpolations_figure(
    starts: np.ndarray,
    paths: np.ndarray,
    ends: np.ndarray,
    title: str = "interpolations between encodings",
) -> Figure:
    """Draws a row for each pair of images: the first, decoder means along the path, the second.

    Args:
      starts: Data, [N, H, W] or [N, H, W, 3], in [0, 1].
      paths: Decoder means, [N, num, H, W] or [N, num, H, W, 3], in [0, 1].
      ends: Data, in the shape of `starts`.
      title: Title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: If an argument has the wrong shape or range.
    """
    starts, ends = _checked_images(starts, "starts"), _checked_images(ends, "ends")
    paths = np.asarray(paths)
    expected = starts.shape[:1] + paths.shape[1:2] + starts.shape[1:]
    if ends.shape != starts.shape or paths.shape != expected:
        raise ValueError(
            f"`starts`, `paths` and `ends` must have shapes [N, H, W], [N, num, H, W] and "
            f"[N, H, W], got {starts.shape}, {paths.shape} and {ends.shape}"
        )
    num, width = paths.shape[1], starts.shape[2]
    columns = num + 2
    rows = np.concatenate([starts[:, None], paths, ends[:, None]], axis=1)
    means = _checked_images(rows.reshape(-1, *starts.shape[1:]), "paths")
    figure, [[axis]] = new_figure(size=_figure_size(len(starts), columns, starts), title=title)
    axis.imshow(image_grid(means, columns), vmin=0, vmax=1)
    centres = (width - 1) / 2 + (width + 1) * np.array([0.0, (columns - 1) / 2, columns - 1.0])
    axis.set(yticks=[])
    axis.set_xticks(centres, ["data", "decoded from the path between", "data"])
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure


def _fractions(num: int) -> np.ndarray:
    if num < 2:
        raise ValueError(f"`num` must be at least 2, got {num}")
    return np.linspace(0.0, 1.0, num)[:, np.newaxis]
