"""The look shared by all figures, and the atomic `save_figure`.

Figures are made with the object-oriented API (`matplotlib.figure.Figure`), so no window, backend
or global pyplot state is involved: drawing works the same in a script, a notebook and a server.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.utils.files import write_atomically, writing

_P = ParamSpec("_P")

# Okabe & Ito (2008), legible with the common forms of colour blindness; without their yellow,
# which is too pale for small marks on white.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, WINE, OLIVE = "#999999", "#882255", "#8A8A1F"

#: Ten colours for class labels: seven of Okabe & Ito, grey, wine red and olive.
LABEL_COLOURS = (
    *(BLUE, ORANGE, GREEN, VERMILLION, PURPLE),
    *(SKY_BLUE, BLACK, OLIVE, GREY, WINE),
)
#: One marker per class as well, so that a label never rests on colour alone.
LABEL_MARKERS = ("o", "s", "^", "v", "D", "P", "X", ">", "<", "p")

#: File formats of `save_figure`, with the metadata removed that would differ between two runs.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}

STYLE: dict[str, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "figure.titlesize": 12.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "image.cmap": "gray",
    "pdf.fonttype": 42,
    "svg.hashsalt": "tfp_aevb",
}


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Decorates a drawing function to run under matplotlib's defaults plus `STYLE`.

    The caller's own rcParams neither change the figure nor are changed by it.
    """

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float],
    title: str | None = None,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """Makes a figure with a grid of axes, laid out so that labels never overlap.

    Args:
      rows: Number of rows of axes.
      columns: Number of columns of axes.
      size: Width and height in inches.
      title: Title over the whole figure, or `None`.
      sharey: Whether all axes share one y axis.

    Returns:
      The figure and its axes as an object array [rows, columns].
    """
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def robust_limits(
    curves: list[np.ndarray], outliers: Literal["low", "high"] = "low"
) -> tuple[float, float, int]:
    """Axis limits that a few very bad values (the first steps of training) cannot stretch.

    With outliers on the low side, the limits hold all values down to the median of all curves
    minus twenty times the distance from that median to the maximum, and the last finite value of
    each curve wherever it is. For outliers on the high side the same rule is mirrored.

    Args:
      curves: 1-D arrays; NaN and infinite values are ignored. At least one finite value overall.
      outliers: The side on which values may be cut off.

    Returns:
      Lower limit, upper limit (both with a 5% margin), and the number of values outside.
    """
    if outliers == "high":
        low, high, cut = robust_limits([-curve for curve in curves])
        return -high, -low, cut
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [values for values in finite if values.size]
    values = np.concatenate(finite)
    median, high = float(np.median(values)), float(values.max())
    low = float(values[values >= median - 20.0 * (high - median)].min())
    low = min([low, *(float(curve[-1]) for curve in finite)])
    margin = 0.05 * (high - low) or max(0.05 * abs(high), 0.01)
    return low - margin, high + margin, int(np.sum(values < low - margin))


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> Path:
    """Writes a figure so that `path` holds either its old content or the whole new picture.

    The same figure gives the same bytes each time: dates and version strings are left out.
    Its folder is created, but none above: a run's folder that has vanished is not made again.

    Args:
      figure: The figure to draw.
      path: Target file; its suffix (.png, .pdf or .svg) selects the format.
      dpi: Pixels per inch, > 0 (for PDF and SVG: of the images inside).

    Returns:
      The path written.

    Raises:
      ValueError: If the suffix or `dpi` is not one of those above.
      WriteError: If it cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in _METADATA:
        raise ValueError(f"`path` must end in .png, .pdf or .svg, got {str(path)!r}")
    if not 0 < dpi < float("inf"):
        raise ValueError(f"`dpi` must be a positive number of pixels per inch, got {dpi}")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    metadata = dict(_METADATA[suffix])
    with matplotlib.style.context(["default", STYLE]):
        write_atomically(
            path, lambda file: figure.savefig(file, format=suffix, dpi=dpi, metadata=metadata)
        )
    return path
