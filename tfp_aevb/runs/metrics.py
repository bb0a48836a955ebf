"""`metrics.csv`: one row for each validation. Does not import TensorFlow."""

import shutil
import statistics
from pathlib import Path

from tfp_aevb.utils.files import write_text

TERMS = ("loss", "elbo", "reconstruction", "kl")
COLUMNS = (
    "step",
    "samples_seen",
    "epoch",
    *(f"train_{term}" for term in TERMS),
    *(f"validation_{term}" for term in TERMS),
    "images_per_second",
    "seconds",
)


class MetricsLog:
    """The rows of a run, kept on disk whole: a resumed run continues behind its checkpoint.

    Args:
        path: the CSV file.
        step: updates restored; rows behind it are dropped, for they will be made again.
        interval, total_steps: rows stand at multiples of the interval and at the end; the last
            row of an earlier, shorter run is dropped.

    Attributes:
        rows: column -> value, by step.
        warning: one line, if the file was damaged; it is then kept beside.
    """

    def __init__(self, path: Path, step: int, interval: int, total_steps: int) -> None:
        self._path = path
        self.rows = [
            row
            for row in read_rows(path)
            if row["step"] <= step and (row["step"] % interval == 0 or row["step"] == total_steps)
        ]
        self.warning = ""
        found = {row["step"] for row in self.rows}
        lost = [due for due in range(interval, step + 1, interval) if due not in found]
        if lost:
            self.warning = self._keep_damaged(len(lost), lost[0])
        self._write()

    def _keep_damaged(self, count: int, first: int) -> str:
        line = f"{self._path} is damaged: {count} rows are lost, the first of step {first}"
        if not self._path.exists():
            return line
        kept = self._path.with_name("metrics.damaged.csv")
        shutil.copyfile(self._path, kept)
        return f"{line}; kept as {kept.name}"

    def append(self, row: dict[str, float]) -> None:
        """Adds a row and writes the file."""
        self.rows.append(row)
        self._write()

    def _write(self) -> None:
        lines = [",".join(f"{row[column]:.10g}" for column in COLUMNS) for row in self.rows]
        write_text(self._path, "\n".join([",".join(COLUMNS), *lines]) + "\n")


def median_speed(rows: list[dict[str, float]]) -> float:
    """Returns the median of images per second; 0, as in a row that was not timed, if none was."""
    speeds = (row["images_per_second"] for row in rows)
    return statistics.median([speed for speed in speeds if speed] or [0.0])


def read_rows(path: Path) -> list[dict[str, float]]:
    """Returns the rows of the file that can be trusted; none if there is no file."""
    if not path.exists():
        return []
    text = path.read_text(errors="replace")
    # Without its line end the last line may have lost digits.
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    rows = []
    for line in lines if tuple(header.split(",")) == COLUMNS else ():
        try:
            row = dict(zip(COLUMNS, map(float, line.split(",")), strict=True))
        except ValueError:  # a damaged line: what is behind it cannot be trusted either
            break
        rows.append(row)
    return rows
