"""Pictures of how a model uses its latents: KL and activity of each dimension."""

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.figures.style import BLUE, GREY, VERMILLION, new_figure, styled

_LABELLED_DIMENSIONS = 30
_SMALLEST_VARIANCE = 1e-6  # where the axis ends; an encoder without weights has exactly 0


@styled
def latent_use_figure(
    variances: np.ndarray,
    active: np.ndarray,
    kl: np.ndarray | None = None,
    *,
    threshold: float,
    title: str = "use of the latent dimensions",
) -> Figure:
    """Draws the KL of each latent and the variance of its posterior mean, active units marked.

    Both panels have the same order, the largest variance first.

    Args:
      variances: Variance over the data of the mean of q(z_j|x), [J], at least 0.
      active: Whether each latent is active, [J].
      kl: Mean KL(q(z_j|x) || p(z_j)) in nats, [J]; `None` leaves its panel out.
      threshold: The variance above which a latent is active, drawn as a line.
      title: Title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: If the arrays differ in shape or hold values that are not finite.
    """
    variances, active = np.asarray(variances, np.float64), np.asarray(active, bool)
    if variances.ndim != 1 or not variances.size or not np.isfinite(variances).all():
        raise ValueError(f"`variances` must be a non-empty finite array [J], got {variances.shape}")
    panels = {"variance of the posterior mean": variances}
    if kl is not None:
        panels = {"KL (nats)": np.asarray(kl, np.float64), **panels}
    for name, values in (("active", active), *panels.items()):
        if values.shape != variances.shape or not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite with shape {variances.shape}: {values.shape}")
    count = len(variances)
    order = np.argsort(-variances, kind="stable")
    ranks = np.arange(1, count + 1)
    width = float(np.clip(0.3 * count + 1.6, 5.0, 9.0))
    size = (width, 0.8 + 2.6 * len(panels))
    figure, axes = new_figure(len(panels), size=size, title=title)
    groups = ((active[order], BLUE, "active"), (~active[order], GREY, "inactive"))
    for axis, (name, values) in zip(axes[:, 0], panels.items(), strict=True):
        for chosen, colour, label in groups:
            x, y = ranks[chosen], values[order][chosen]
            if values is variances:  # points: on a log axis a bar would have no foot
                marker = "o" if label == "active" else "X"
                text = f"{label}: {chosen.sum()} of {count}"
                shown = np.maximum(y, _SMALLEST_VARIANCE)
                axis.plot(x, shown, marker, color=colour, label=text, ms=7, clip_on=False)
            else:
                hatch = None if label == "active" else "//"  # not by colour alone
                axis.bar(x, y, color=colour, hatch=hatch, edgecolor="white")
        axis.set_ylabel(name)
        axis.set_xlim(0.4, count + 0.6)
        axis.grid(axis="x", visible=False)
        if count <= _LABELLED_DIMENSIONS:
            axis.set_xticks(ranks, order.astype(str))
    last = axes[-1, 0]
    last.set_yscale("log")
    last.set_ylim(_SMALLEST_VARIANCE, max(3.0 * variances.max(), 1.0))
    last.axhline(threshold, color=VERMILLION, ls="--", lw=1.2, label=f"active above {threshold:g}")
    rank = "rank of the latent" if count > _LABELLED_DIMENSIONS else "latent dimension"
    last.set_xlabel(f"{rank}, largest variance first")
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
