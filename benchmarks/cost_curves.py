"""Time and memory of training against each size: `python -m benchmarks.cost_curves`.

Writes `cost_curves.csv` and a picture for each size into the output folder, beside the floor that
is counted from operations and bytes. See README.md.
"""

import argparse
import csv
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

from benchmarks import floor, runner
from benchmarks.runner import Program, Record

OURS = Program("tfp_aevb", "tfp_aevb", "ours")
MACHINE = Program("machine", "tfp_aevb", "limit_tensorflow")

# Setting -> its symbol in the paper, and the values taken while the others stay as they are.
AXES = {
    "hidden": ("hidden width", (125, 250, 500, 1000, 2000)),
    "latent_dim": ("Nz", (2, 5, 10, 20, 50, 100, 200)),
    "train_samples": ("L", (1, 2, 5, 10, 20)),
    "batch_size": ("M", (10, 25, 50, 100, 200, 500, 1000)),
    "num_data": ("N", (1000, 5000, 10_000, 50_000, 100_000, 200_000)),
}
HEADER = (
    "axis",
    "value",
    "update_seconds",
    "update_seconds_low",
    "update_seconds_high",
    "floor_seconds",
    "peak_bytes",
    "floor_bytes",
    "remarks",
)


def parse_axes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Reads `NAME` or `NAME=1,2,3` of each axis; all axes by default.

    Raises:
        ValueError: if an axis is not known, or a value is not a positive number.
    """
    axes = {}
    for text in texts or AXES:
        name, _, values = text.partition("=")
        if name not in AXES:
            raise ValueError(f"`axis` must be among {', '.join(AXES)}, got {name!r}")
        try:
            axes[name] = tuple(map(int, values.split(","))) if values else AXES[name][1]
        except ValueError:
            raise ValueError(f"values of `axis` must be whole numbers, got {text!r}") from None
        if min(axes[name]) < 1:
            raise ValueError(f"values of `axis` must be positive, got {text!r}")
    return axes


def points(axes: dict[str, tuple[int, ...]], common: Record) -> list[Record]:
    """Returns the settings of each point, with its `axis` and `value`.

    N is rounded down to whole minibatches.

    Raises:
        ValueError: if a minibatch is larger than the data.
    """
    found = []
    for axis, values in axes.items():
        for value in values:
            settings = {**common, axis: value, "axis": axis, "value": value}
            batch_size = settings["batch_size"]
            settings["num_data"] = settings["num_data"] // batch_size * batch_size
            if not settings["num_data"]:
                raise ValueError(f"M must be at most N, got `{axis}` {value} with M {batch_size}")
            found.append(settings)
    return found


def summarise(records: Sequence[Record], rates: Record) -> list[dict[str, Any]]:
    """Returns a row of the CSV for each point.

    Args:
        records: of single runs.
        rates: `operations_per_second` and `bytes_per_second` of the machine.
    """
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        settings = record["settings"]
        groups.setdefault((settings["axis"], settings["value"]), []).append(record)
    rows = []
    for (axis, value), group in groups.items():
        settings = group[0]["settings"]
        good = [record for record in group if "error" not in record]
        row: dict[str, Any] = {
            "axis": axis,
            "value": value,
            "floor_seconds": floor.step_seconds(
                settings, rates["operations_per_second"], rates["bytes_per_second"]
            ),
            "remarks": "; ".join(record["error"] for record in group if "error" in record),
        }
        if good:
            seconds = [settings["batch_size"] / record["images_per_second"] for record in good]
            base = statistics.median(record["base_bytes"] for record in good)
            row |= {
                "update_seconds": statistics.median(seconds),
                "update_seconds_low": min(seconds),
                "update_seconds_high": max(seconds),
                "peak_bytes": statistics.median(record["peak_bytes"] for record in good),
                "floor_bytes": base + floor.held_bytes(settings),
            }
        rows.append(row)
    return sorted(rows, key=lambda row: (list(AXES).index(row["axis"]), row["value"]))


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def draw(rows: Sequence[dict[str, Any]], axis: str, path: Path) -> None:
    """Draws time and memory against one axis, the floors dashed; nothing if no run succeeded."""
    rows = [row for row in rows if row["axis"] == axis and "update_seconds" in row]
    if not rows:
        return
    values = [row["value"] for row in rows]
    figure = Figure(figsize=(9.0, 3.5), layout="constrained")
    panels = (
        ("update_seconds", "floor_seconds", 1e-3, "milliseconds an update"),
        ("peak_bytes", "floor_bytes", 1e6, "peak memory, MB"),
    )
    for plot, (measured, least, unit, label) in zip(figure.subplots(1, 2), panels, strict=True):
        plot.plot(values, [row[measured] / unit for row in rows], "o-", label="tfp_aevb")
        plot.plot(values, [row[least] / unit for row in rows], "--", color="0.4", label="floor")
        plot.set(xscale="log", xlabel=AXES[axis][0], ylabel=label, ylim=(0.0, None))
        if measured == "update_seconds":
            # A factor 2 beyond all values, so that flat curves have ticks too.
            shown = [row[key] / unit for row in rows for key in (measured, least)]
            plot.set(yscale="log", ylim=(min(shown) / 2.0, max(shown) * 2.0))
            plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            plot.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        plot.set_xticks(values, [f"{value:,}" for value in values])
        plot.minorticks_off()
        plot.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("axis", nargs="*", help=f"NAME or NAME=1,2,3; {', '.join(AXES)}")
    runner.add_arguments(parser, [OURS])
    parser.add_argument("--optimizer", default="adam", choices=sorted(floor.SLOTS))
    arguments = parser.parse_args()
    try:
        axes = parse_axes(arguments.axis)
        num_images = max(arguments.num_data, *axes.get("num_data", (1,)))
        _, settings, execute = runner.prepare(arguments, [OURS, MACHINE], num_images)
        settings |= {"optimizer": arguments.optimizer}
        runs = [(OURS, {**point, "task": "train"}) for point in points(axes, settings)]
    except (ValueError, OSError) as error:
        parser.error(str(error))
    rates = execute(MACHINE, {**settings, "task": "rates"})
    if "error" in rates:
        parser.exit(1, f"the machine's speed cannot be measured: {rates['error']}\n")
    records = runner.run_rounds(runs, arguments.rounds, execute, arguments.seed)
    kept = runner.keep(records, arguments.output / "cost_curves.jsonl")
    rows = summarise(kept, rates)
    write_csv(rows, arguments.output / "cost_curves.csv")
    for axis in axes:
        draw(rows, axis, arguments.output / f"cost_{axis}.png")
    print((arguments.output / "cost_curves.csv").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
