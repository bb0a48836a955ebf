"""Latent spaces of several models side by side: where codes lie, what lies between and around."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.figures.grids import _checked_images, image_grid
from tfp_aevb.figures.latents import _checked_labels, _checked_values
from tfp_aevb.figures.style import BLACK, LABEL_COLOURS, LABEL_MARKERS, new_figure, styled

_ROW_INCHES = 2.5
_SCATTER_INCHES = 2.9
_TITLE_SIZE = 9.5
_HEADERS = (
    "codes of test images",
    "decoded straight paths between codes, data at both ends",
    "decoded draws: N(0, I)",
    "decoded draws: Gaussian fitted to codes",
)


class LatentSpace(NamedTuple):
    """What is drawn of one model; images are [N, H, W] or [N, H, W, 3], in [0, 1].

    Attributes:
        name: of the model.
        codes: of the labelled images, [N, J], J >= 2; the two of largest variance are drawn.
        paths: decodings between the codes of each pair of images, [P, num, H, W] (or RGB).
        paths_caption: what was measured of such paths.
        prior_draws: decodings of draws from N(0, I); `None` for a model without a prior.
        prior_caption: what was measured of such draws.
        fitted_draws: decodings of draws from a Gaussian fitted to the codes.
        fitted_caption: what was measured of such draws.
    """

    name: str
    codes: np.ndarray
    paths: np.ndarray
    paths_caption: str
    prior_draws: np.ndarray | None
    prior_caption: str
    fitted_draws: np.ndarray
    fitted_caption: str


@styled
def latent_spaces_figure(
    models: Sequence[LatentSpace],
    starts: np.ndarray,
    ends: np.ndarray,
    labels: np.ndarray | None = None,
    title: str = "latent spaces",
) -> Figure:
    """Draws a row for each model: codes, interpolations, draws from the prior and from a fit.

    A dashed circle of radius 2 among the codes is where 86% of the draws from N(0, I) of two
    dimensions fall.

    Args:
      models: One row each, at least one.
      starts: Data that the paths begin at, [P, H, W] or [P, H, W, 3], in [0, 1].
      ends: Data that the paths end at, in the shape of `starts`.
      labels: Classes of the codes, integers or strings [N], or `None` for one colour.
      title: Title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: If there is no model, or an argument has the wrong shape, type or range.
    """
    if not models:
        raise ValueError("`models` must have at least one entry")
    starts, ends = _checked_images(starts, "starts"), _checked_images(ends, "ends")
    grids = [_path_grid(model.paths, starts, ends) for model in models]
    height, width = grids[0].shape[:2]
    draw_grids = [_draw_grid(model.fitted_draws, len(starts)) for model in models]
    cell = _ROW_INCHES - 0.4
    widths = [_SCATTER_INCHES, cell * width / height]
    widths += 2 * [max(cell * draw_grids[0].shape[1] / draw_grids[0].shape[0], 2.9)]
    size = (sum(widths) + 0.6, _ROW_INCHES * len(models) + 1.2)
    figure, axes = new_figure(len(models), 4, size=size, title=title)
    axes[0, 0].get_gridspec().set_width_ratios(widths)
    for row, (model, grid, fitted) in enumerate(zip(models, grids, draw_grids, strict=True)):
        _scatter(axes[row, 0], model, labels)
        prior = model.prior_draws
        prior_grid = None if prior is None else _draw_grid(prior, len(starts))
        captions = (model.name, model.paths_caption, model.prior_caption, model.fitted_caption)
        for column, caption in enumerate(captions):
            weight = "bold" if column == 0 else "normal"
            axes[row, column].set_title(caption, fontsize=_TITLE_SIZE, fontweight=weight)
        for axis, image in zip(axes[row, 1:], (grid, prior_grid, fitted), strict=True):
            axis.set_axis_off()
            if image is not None:
                axis.imshow(image, vmin=0, vmax=1)
    for axis, header in zip(axes[0], _HEADERS, strict=True):
        axis.annotate(
            header,
            (0.5, 1.0),
            xytext=(0.0, 38.0),  # over the title
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            style="italic",
        )
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=len(names),
        handletextpad=0.2,
        markerscale=2.4,
    )
    return figure


def _scatter(axis, model: LatentSpace, labels: np.ndarray | None) -> None:
    codes = _checked_values(model.codes, "codes")
    if codes.shape[1] < 2:
        raise ValueError(f"`codes` must have at least 2 dimensions, got shape {codes.shape}")
    labels = np.zeros(len(codes), int) if labels is None else _checked_labels(labels, len(codes))
    shown = np.sort(np.argsort(-codes.var(axis=0), kind="stable")[:2])
    points = codes[:, shown]
    names, classes = np.unique(labels, return_inverse=True)
    for index, name in enumerate(names):
        axis.scatter(
            *points[classes == index].T,
            s=7.0,
            c=LABEL_COLOURS[index % len(LABEL_COLOURS)],
            marker=LABEL_MARKERS[(index + index // len(LABEL_COLOURS)) % len(LABEL_MARKERS)],
            alpha=0.7,
            linewidths=0,
            label=str(name) if len(names) > 1 else "test images",
        )
    if model.prior_draws is not None:
        angle = np.linspace(0.0, 2.0 * np.pi, 200)
        circle = 2.0 * np.cos(angle), 2.0 * np.sin(angle)
        axis.plot(*circle, color=BLACK, ls="--", lw=1.2, label="2 deviations of N(0, I)")
    axis.set(xlabel=f"$z_{{{shown[0]}}}$", ylabel=f"$z_{{{shown[1]}}}$")
    axis.set_aspect("equal", adjustable="datalim")


def _path_grid(paths: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns a picture with a row for each pair: data, the path, data."""
    paths = np.asarray(paths)
    expected = starts.shape[:1] + paths.shape[1:2] + starts.shape[1:]
    if ends.shape != starts.shape or paths.shape != expected:
        raise ValueError(
            "`paths`, `starts` and `ends` must have shapes [P, num, H, W], [P, H, W] and "
            f"[P, H, W], got {paths.shape}, {starts.shape} and {ends.shape}"
        )
    rows = np.concatenate([starts[:, None], paths, ends[:, None]], axis=1)
    return image_grid(rows.reshape(-1, *starts.shape[1:]), paths.shape[1] + 2)


def _draw_grid(images: np.ndarray, rows: int) -> np.ndarray:
    """Returns a picture with `rows` rows of images."""
    return image_grid(images, -(-len(images) // rows))
