"""Methods side by side: the layout of paper Figures 2 and 3."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tfp_aevb.figures.style import (
    BLUE,
    GREEN,
    LABEL_COLOURS,
    VERMILLION,
    new_figure,
    robust_limits,
    styled,
)

#: Lines of one panel: (method, split) to (samples evaluated, bound).
Lines = Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]

# The paper draws AEVB red, wake-sleep green and MCEM blue.
_METHOD_COLOURS = {"AEVB": VERMILLION, "Wake-Sleep": GREEN, "MCEM": BLUE}
_SPLIT_LINES = {"train": "-", "test": "--", "validation": "-."}


def _checked_line(
    panel: str, key: tuple[str, str], line: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the finite points of a line."""
    where = f"`curves`[{panel!r}][{key!r}]"
    if key[1] not in _SPLIT_LINES:
        raise ValueError(f"{where}: the split must be one of {list(_SPLIT_LINES)}, got {key[1]!r}")
    samples, bound = (np.asarray(values, np.float64) for values in line)
    if samples.ndim != 1 or samples.shape != bound.shape:
        raise ValueError(
            f"{where} must be two 1-D arrays of one length, got {samples.shape} and {bound.shape}"
        )
    kept = np.isfinite(samples) & np.isfinite(bound)
    if not kept.any():
        raise ValueError(f"{where} has no finite point")
    if samples[kept].min() <= 0:
        raise ValueError(f"{where}: samples must be > 0 (log axis), got {samples[kept].min():g}")
    return samples[kept], bound[kept]


def _colours(methods: list[str]) -> dict[str, str]:
    """One colour per method: the paper's where it has one, else the next unused one."""
    spare = [colour for colour in LABEL_COLOURS if colour not in _METHOD_COLOURS.values()]
    others = [method for method in methods if method not in _METHOD_COLOURS]
    if len(others) > len(spare):
        raise ValueError(f"`curves` may name at most {len(spare)} other methods, got {len(others)}")
    return _METHOD_COLOURS | dict(zip(others, spare, strict=False))


@styled
def bounds_figure(
    curves: Mapping[str, Lines],
    *,
    title: str | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    ylabel: str = "lower bound per datapoint (nats)",
    xscale: str = "log",
) -> Figure:
    """Draws a row of panels, one per setting, with a line per method and split.

    Colour tells the method and line style the split (train solid, test dashed); the legend is
    shared. All panels have the same axes, so that they compare: the number of training samples
    evaluated, and the bound.

    Args:
      curves: For each panel title a mapping of (method, split) to 1-D arrays (samples, bound) of
        one length; split is "train", "test" or "validation". Non-finite points are left out.
      title: Title of the figure, or `None`.
      xlim: Limits of the x axis, or `None` to fit the data.
      ylim: Limits of the y axis, or `None` for `robust_limits` of all lines.
      xscale: "log" or "linear" (in millions), of the x axis; `xlim` is in samples.
      ylabel: Label of the y axis; "marginal log-likelihood (nats)" for paper Figure 3.

    Returns:
      The figure.

    Raises:
      ValueError: If `curves` or a panel is empty, or a line has wrong shapes or values.
    """
    if not curves or not all(curves.values()):
        raise ValueError("`curves` must have at least one panel with at least one line in each")
    panels = {
        panel: {key: _checked_line(panel, key, line) for key, line in lines.items()}
        for panel, lines in curves.items()
    }
    found = dict.fromkeys(key for lines in panels.values() for key in lines)
    methods = list(dict.fromkeys(method for method, _ in found))
    colours = _colours(methods)
    every = [line for lines in panels.values() for line in lines.values()]
    if xlim is None:
        samples = np.concatenate([line[0] for line in every])
        xlim = (samples.min() / 1.15, samples.max() * 1.15)
    if ylim is None:
        ylim = robust_limits([line[1] for line in every])[:2]

    size = (max(2.6 * len(panels) + 0.6, 1.9 * len(methods) + 0.4, 4.6), 3.8)
    unit = 1e6 if xscale == "linear" else 1.0
    figure, axes = new_figure(columns=len(panels), size=size, title=title, sharey=True)
    handles = {}
    for axis, (panel, lines) in zip(axes[0], panels.items(), strict=True):
        for (method, split), (samples, bound) in lines.items():
            (handles[method, split],) = axis.plot(
                samples / unit,
                bound,
                _SPLIT_LINES[split],
                color=colours[method],
                marker="o" if len(samples) == 1 else None,
            )
        axis.set_title(panel)
        axis.set_xlabel(
            "# training samples (millions)" if unit > 1.0 else "# training samples evaluated"
        )
        axis.set_xscale(xscale)
        axis.xaxis.set_minor_formatter(NullFormatter())  # on a short axis they would overlap
        axis.set_xlim(xlim[0] / unit, xlim[1] / unit)
        axis.set_ylim(ylim)
    axes[0, 0].set_ylabel(ylabel)
    # The legend fills column by column: one column per method.
    keys = sorted(found, key=lambda key: methods.index(key[0]))
    figure.legend(
        [handles[key] for key in keys],
        [f"{method} ({split})" for method, split in keys],
        loc="outside lower center",
        ncols=len(methods),
    )
    return figure
