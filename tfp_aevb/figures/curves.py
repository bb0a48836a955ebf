"""Learning curves, and the tolerant reader of the metrics.csv file they are drawn from."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfp_aevb.figures.style import BLUE, VERMILLION, robust_limits, styled

_QUANTITIES = {
    "elbo": "lower bound per datapoint (nats)",
    "reconstruction": "reconstruction (nats)",
    "kl": "KL (nats)",
}
_SPLITS = {"train": (BLUE, "-"), "validation": (VERMILLION, "--")}
# Rows up to which each value gets its own marker; above, markers would hide the line.
_MARKED_VALUES = 30


def read_metrics(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a metrics.csv file, also while a run is still writing to it.

    A last line without its line end is taken to be half written and is ignored; empty cells are
    NaN.

    Args:
      path: CSV file with a header line and a `step` column.

    Returns:
      One float64 array [rows] per column.

    Raises:
      ValueError: If the file is missing, has no complete row, no `step` column, or a cell that is
        not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"metrics file not found: {str(path)!r}; give the metrics.csv of a run")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    header, *rows = list(csv.reader(lines)) or [[]]
    rows = [row for row in rows if row]
    if header and "step" not in header:
        raise ValueError(f"metrics file {str(path)!r} has no `step` column in its first line")
    if not rows:
        raise ValueError(f"metrics file {str(path)!r} has no complete row yet")
    table = np.empty((len(rows), len(header)))
    for index, row in enumerate(rows):
        try:
            values = [float(cell) if cell.strip() else np.nan for cell in row]
            table[index] = np.array(values).reshape(len(header))
        except ValueError:
            raise ValueError(
                f"metrics file {str(path)!r}, row {index + 1}: expected {len(header)} numbers, "
                f"got {','.join(row)[:80]!r}"
            ) from None
    return dict(zip(header, table.T.copy(), strict=True))


def _checked_history(history: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(values, np.float64) for name, values in history.items()}
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"`history` must map names to 1-D arrays of one length, got {shapes}")
    return arrays


def _horizontal(history: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """The x values and their label: training samples evaluated, else steps."""
    for name, label in (
        ("samples_seen", "# training samples evaluated"),
        ("step", "training step"),
    ):
        if name in history and np.isfinite(history[name]).any():
            return history[name], label
    raise ValueError("`history` needs a `samples_seen` or `step` column with at least one value")


def _lines(
    history: dict[str, np.ndarray], samples: np.ndarray, quantity: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The drawable points of one quantity, per split that has any."""
    lines = {}
    for split in _SPLITS:
        values = history.get(f"{split}_{quantity}", np.full(samples.shape, np.nan))
        kept = np.isfinite(values) & np.isfinite(samples)
        if kept.any():
            lines[split] = samples[kept], values[kept]
    return lines


@styled
def learning_curves_figure(
    history: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    held_out: str = "validation",
) -> Figure:
    """Draws the lower bound and its two terms, L = reconstruction - KL, during training.

    The x axis is the number of training samples evaluated (the step if that is missing), on a log
    scale when it spans more than two decades, as in paper Figure 2. Very bad values, as in the
    first steps, may lie outside the y axes (see `robust_limits`); a note says how many.

    Args:
      history: 1-D arrays of one length by column name, as from `read_metrics`: `samples_seen` or
        `step`, and any of `train_elbo`, `train_reconstruction`, `train_kl`, `validation_elbo`,
        `validation_reconstruction`, `validation_kl` (nats per datapoint; NaN where unknown).
      title: Title of the figure, or `None`.
      held_out: What the data of the `validation_` columns are called.

    Returns:
      The figure; a term without values has no panel.

    Raises:
      ValueError: If the arrays differ in length, or no x values or no bound at all are there.
    """
    arrays = _checked_history(history)
    samples, label = _horizontal(arrays)
    positive = samples[samples > 0]
    log = positive.size > 0 and bool(positive.max() > 100 * positive.min())
    if log:
        samples = np.where(samples > 0, samples, np.nan)
    quantities = {name: _lines(arrays, samples, name) for name in _QUANTITIES}
    if not quantities["elbo"]:
        raise ValueError("`history` needs a finite value in `train_elbo` or `validation_elbo`")
    terms = [name for name in ("reconstruction", "kl") if quantities[name]]
    figure = Figure(figsize=(9.0 if terms else 5.0, 4.6), layout="constrained")
    if title:
        figure.suptitle(title)
    # The two terms differ too much in size to share one y axis.
    mosaic: Any = [["elbo", term] for term in terms] or [["elbo"]]
    panels: dict[str, Any] = figure.subplot_mosaic(mosaic, sharex=True)
    names = {"train": "train", "validation": held_out}
    cut = 0
    for name, axis in panels.items():
        for split, (x, y) in quantities[name].items():
            colour, line = _SPLITS[split]
            marker = "o" if len(x) <= _MARKED_VALUES else None
            axis.plot(x, y, line, color=colour, label=names[split], marker=marker)
        curves = [values for _, values in quantities[name].values()]
        low, high, outside = robust_limits(curves, "high" if name == "kl" else "low")
        cut += outside
        axis.set_ylim(low, high)
        axis.set_ylabel(_QUANTITIES[name])
        axis.set_xscale("log" if log else "linear")
    for name in ("elbo", *terms[-1:]):
        panels[name].set_xlabel(label)
    panels["elbo"].legend(loc="lower right")
    if cut:
        values = "1 value" if cut == 1 else f"{cut} values"
        note = f"Not shown: {values} far from the median, outside the y axes."
        figure.supxlabel(note, fontsize=8.5, color="#555555")
    return figure
