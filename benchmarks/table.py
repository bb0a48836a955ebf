"""Tables of what was measured: medians, ranges and ratios to ours; Markdown and CSV."""

import csv
import dataclasses
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A measured quantity.

    Attributes:
        key: of the records.
        title: in Markdown, with its unit.
        scale: it is divided by this to be shown in that unit.
        decimals: shown.
        ratio: whether the ratio to ours is shown.
    """

    key: str
    title: str
    scale: float = 1.0
    decimals: int = 0
    ratio: bool = True


class Spread(NamedTuple):
    """Median, least and greatest over the rounds."""

    median: float
    low: float
    high: float


@dataclasses.dataclass
class Row:
    """A program in a table.

    Attributes:
        name: of the program.
        spreads: column's key -> spread, where there is one.
        ratios: column's key -> value divided by the reference's of the same round, where both have
            one.
        versions: package -> version.
        remark: what went wrong, or differs.
    """

    name: str
    spreads: dict[str, Spread]
    ratios: dict[str, Spread]
    versions: dict[str, str]
    remark: str = ""


def summarise(
    records: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    reference: str,
    bound_tolerance: float,
) -> list[Row]:
    """Makes a row of each program, the fastest first.

    Args:
        records: of single runs; a failed one has an `error`.
        columns: to summarise.
        reference: program that ratios and bounds are compared with.
        bound_tolerance: greatest distance from the reference's bound, in nats, that goes without
            remark.

    Returns:
        The rows; programs that always failed are the last, and say why.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        runs.setdefault(record["program"], []).append(record)
    rows = {name: _row(name, found, columns) for name, found in runs.items()}
    base = rows[reference].spreads if reference in rows else {}
    by_round = {record["round"]: record for record in runs.get(reference, ())}
    for row in rows.values():
        for key in row.spreads:
            # Within a round, for the machine's speed drifts from one to the next.
            ratios = [
                record[key] / by_round[record["round"]][key]
                for record in runs[row.name]
                if record.get(key) is not None and by_round.get(record["round"], {}).get(key)
            ]
            if ratios:
                row.ratios[key] = _spread(ratios)
        if "bound" in base and "bound" in row.spreads:
            distance = row.spreads["bound"].median - base["bound"].median
            if not abs(distance) <= bound_tolerance:
                difference = f"{distance:+.1f} nats from {reference}"
                row.remark = "; ".join(filter(None, [row.remark, difference]))
    first = columns[0].key
    return sorted(
        rows.values(), key=lambda row: -row.spreads[first].median if row.spreads else float("inf")
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def _row(name: str, records: Sequence[dict[str, Any]], columns: Sequence[Column]) -> Row:
    good = [record for record in records if "error" not in record]
    errors = [record["error"] for record in records if "error" in record]
    spreads = {}
    for column in columns:
        values = [record[column.key] for record in good if record.get(column.key) is not None]
        if values:
            spreads[column.key] = _spread(values)
    remarks = [record["remark"] for record in good[:1] if record.get("remark")]
    if errors:
        share = "" if not good else f" in {len(errors)} of {len(records)} rounds"
        remarks.append(f"failed{share}: {errors[-1]}")
    return Row(name, spreads, {}, good[0]["versions"] if good else {}, "; ".join(remarks))


def to_markdown(rows: Sequence[Row], columns: Sequence[Column], reference: str) -> str:
    """Returns the table; a cell holds median and range, and those of the ratio to the reference."""
    titles = ["program", *(column.title for column in columns), "versions", "remarks"]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        cells = [_cell(row, column, row.name == reference) for column in columns]
        versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
        lines.append([row.name, *cells, versions, row.remark.replace("|", "\\|")])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(row: Row, column: Column, is_reference: bool) -> str:
    if column.key not in row.spreads:
        return "-"
    median, low, high = (
        f"{v / column.scale:,.{column.decimals}f}" for v in row.spreads[column.key]
    )
    text = f"{median} ({low} to {high})"
    if column.ratio and not is_reference and column.key in row.ratios:
        ratio = row.ratios[column.key]
        text += f", {ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"
    return text


def to_csv(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Returns one line for each program, its values in base units."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    parts = ("median", "low", "high", "ratio", "ratio_low", "ratio_high")
    header = [f"{column.key}_{part}" for column in columns for part in parts]
    writer.writerow(["program", *header, "versions", "remarks"])
    for row in rows:
        values: list[Any] = []
        for column in columns:
            for spreads in (row.spreads, row.ratios):
                values += spreads.get(column.key, ("", "", ""))
        versions = " ".join(f"{name}=={version}" for name, version in row.versions.items())
        writer.writerow([row.name, *values, versions, row.remark])
    return file.getvalue()


def write(
    path: Path,
    records: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    reference: str,
    bound_tolerance: float,
) -> str:
    """Writes `path` with the suffixes .md and .csv; returns the Markdown."""
    rows = summarise(records, columns, reference, bound_tolerance)
    text = to_markdown(rows, columns, reference)
    path.with_suffix(".md").write_text(text)
    path.with_suffix(".csv").write_text(to_csv(rows, columns))
    return text
