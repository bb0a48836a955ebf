"""Pictures of the latent space: where q(z|x) puts the data, and which dimensions it uses."""

from typing import Any

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from tfp_aevb.figures.style import BLUE, GREY, LABEL_COLOURS, LABEL_MARKERS, new_figure, styled

#: A latent dimension with a mean KL below this many nats is called inactive.
INACTIVE_BELOW = 0.01


def principal_axes(loc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance of `loc`, by SVD of the centred values.

    Args:
      loc: [N, J] with J >= 2.

    Returns:
      Orthonormal directions [2, J], the largest entry of each positive so that pictures do not
      flip, and the fraction of the variance along each, [2].
    """
    _, singular, directions = np.linalg.svd(loc - loc.mean(axis=0), full_matrices=len(loc) < 2)
    variances = np.zeros(max(2, len(singular)))
    variances[: len(singular)] = singular**2
    directions = directions[:2]
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[[0, 1], largest])[:, np.newaxis]
    return directions, variances[:2] / max(variances.sum(), np.finfo(float).tiny)


def _checked_values(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"`{name}` must be a non-empty array [N, J], got {values.shape}")
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"`{name}` must hold finite real numbers, got NaN, inf or another type")
    return values.astype(np.float64)


def _checked_labels(labels: np.ndarray, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"`labels` must have shape ({count},) to match `loc`, got {labels.shape}")
    if labels.dtype.kind not in "biuU":
        raise ValueError(f"`labels` must be integers or strings, got dtype {labels.dtype}")
    return labels


def _ellipses(axis: Any, points: np.ndarray, stddev: np.ndarray, colours: np.ndarray) -> None:
    """Draws one standard deviation around each point; stddev [N, 2, J] maps noise to the plane."""
    variances, vectors = np.linalg.eigh(stddev @ np.swapaxes(stddev, 1, 2))
    diameters = 2.0 * np.sqrt(np.maximum(variances, 0.0))
    angles = np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))
    ellipses = EllipseCollection(
        *(diameters[:, 1], diameters[:, 0], angles),
        units="xy",
        offsets=points,
        offset_transform=axis.transData,
        facecolors=colours,
        alpha=0.12,
        zorder=1,
    )
    axis.add_collection(ellipses)
    spread = np.linalg.norm(stddev, axis=2)
    axis.update_datalim(np.concatenate([points - spread, points + spread]))


@styled
def encodings_figure(
    loc: np.ndarray,
    labels: np.ndarray | None = None,
    stddev: np.ndarray | None = None,
    *,
    title: str = "encodings of the data",
) -> Figure:
    """Scatters the means of q(z|x), one colour and marker per class.

    With J = 2 the axes are the two latents; with J > 2 the first two principal components of
    `loc`; with J = 1 the latent, one strip per class (the spread inside a strip has no meaning).

    Args:
      loc: Means of q(z|x), [N, J].
      labels: Class names as integers or strings, [N], or `None` for one colour.
      stddev: Standard deviations of q(z|x), [N, J], > 0; drawn as one standard deviation around
        each mean (a few hundred points stay legible). `None` draws the means only.
      title: Title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: If an argument has the wrong shape, type or range.
    """
    loc = _checked_values(loc, "loc")
    named = labels is not None
    labels = np.zeros(len(loc), int) if labels is None else _checked_labels(labels, len(loc))
    if stddev is not None:
        stddev = _checked_values(stddev, "stddev")
        if stddev.shape != loc.shape or stddev.min() <= 0:
            raise ValueError(
                f"`stddev` must be positive with the shape {loc.shape} of `loc`, "
                f"got shape {stddev.shape} and minimum {stddev.min():g}"
            )
    names, classes = np.unique(labels, return_inverse=True)
    colours = np.array([LABEL_COLOURS[index % len(LABEL_COLOURS)] for index in classes])
    strips = loc.shape[1] == 1
    height = float(np.clip(1.2 + 0.45 * len(names), 2.4, 9.0)) if strips else 5.8
    figure, axes = new_figure(size=(7.4 if named else 6.6, height), title=title)
    axis = axes[0, 0]
    if strips:
        heights = classes + np.random.default_rng(0).uniform(-0.3, 0.3, len(loc))
        points = np.stack([loc[:, 0], heights], axis=1)
        if stddev is not None:
            left, right = (loc - stddev)[:, 0], (loc + stddev)[:, 0]
            axis.hlines(heights, left, right, colors=colours, alpha=0.25, lw=0.8)
        axis.set(yticks=[], xlabel="latent $z_0$")
        if named:
            axis.set(yticks=np.arange(len(names)), yticklabels=names.astype(str), ylabel="class")
    else:
        directions, fractions = np.eye(2), np.ones(2)
        axis.set(xlabel="latent $z_0$", ylabel="latent $z_1$")
        if loc.shape[1] > 2:
            directions, fractions = principal_axes(loc)
            of = f"component of the {loc.shape[1]} latent means"
            axis.set_xlabel(f"first principal {of} ({fractions[0]:.0%} of variance)")
            axis.set_ylabel(f"second principal {of} ({fractions[1]:.0%} of variance)")
        points = (loc - (loc.mean(axis=0) if loc.shape[1] > 2 else 0.0)) @ directions.T
        if stddev is not None:
            _ellipses(axis, points, directions * stddev[:, np.newaxis, :], colours)
        axis.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(9000.0 / len(loc), 8.0, 30.0))
    for index, name in enumerate(names):
        chosen = points[classes == index]
        colour = LABEL_COLOURS[index % len(LABEL_COLOURS)]
        # The marker shifts after each round of colours, so that 100 classes stay distinct.
        marker = LABEL_MARKERS[(index + index // len(LABEL_COLOURS)) % len(LABEL_MARKERS)]
        axis.scatter(
            *chosen.T, s=size, c=colour, marker=marker, alpha=0.8, linewidths=0, label=str(name)
        )
    if named and not strips:
        figure.legend(
            loc="outside right center",
            title="class",
            handletextpad=0.1,
            markerscale=(45.0 / size) ** 0.5,
            ncols=1 + (len(names) - 1) // 20,
        )
    return figure


@styled
def kl_per_dimension_figure(
    kl: np.ndarray, *, title: str = "KL divergence per latent dimension"
) -> Figure:
    """Draws the mean KL(q(z_j|x) || p(z_j)) of each latent dimension, largest first.

    Dimensions below 0.01 nats are marked inactive: their posterior is almost the prior.

    Args:
      kl: Mean over the data of the KL of each dimension in nats, [J].
      title: Title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: If `kl` is not a non-empty 1-D array of finite numbers.
    """
    kl = np.asarray(kl, np.float64)
    if kl.ndim != 1 or not kl.size or not np.isfinite(kl).all():
        raise ValueError(f"`kl` must be a non-empty finite array [J], got shape {kl.shape}")
    order = np.argsort(-kl, kind="stable")
    active = int(np.sum(kl >= INACTIVE_BELOW))
    ranks = np.arange(1, len(kl) + 1)
    width = float(np.clip(0.3 * len(kl) + 1.2, 4.8, 9.0))
    figure, axes = new_figure(size=(width, 3.8), title=title)
    axis = axes[0, 0]
    bars = axis.bar(ranks, kl[order], color=BLUE, label=f"active: {active} of {len(kl)}")
    handles: list[Any] = [bars]
    if active < len(kl):
        label = f"inactive (below {INACTIVE_BELOW} nats): {len(kl) - active} of {len(kl)}"
        span = axis.axvspan(active + 0.5, len(kl) + 0.5, color=GREY, alpha=0.25, lw=0, label=label)
        handles.append(span)
    axis.set_xlim(0.4, len(kl) + 0.6)
    axis.set_ylabel("KL (nats)")
    axis.grid(axis="x", visible=False)
    if len(kl) <= 30:
        axis.set_xticks(ranks, order.astype(str))
        axis.set_xlabel("latent dimension, largest KL first")
    else:
        axis.set_xlabel("rank of the latent dimension, largest KL first")
    total = f"total {kl.sum():.2f} nats"
    figure.legend(handles=handles, loc="outside lower center", ncols=2, title=total)
    return figure
