"""The rows of `docs/reliability.csv`: fault, tries, lost, wrong, message, command."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from tfp_aevb.utils.files import write_text

COLUMNS = ("fault", "tries", "lost", "wrong", "message", "command")
BEGIN, END = "<!-- rows of reliability.csv -->", "<!-- end of rows -->"


@dataclass
class Row:
    """What became of one kind of fault.

    Attributes:
        fault: its name.
        message: what the user is told, or what happens.
        tries: how often it was injected.
        lost: how often finished work was lost or a run could not be gone on with.
        wrong: how often the result differed, or the outcome was neither a result nor one line.
        remarks: about single tries; printed, not recorded.
    """

    fault: str
    message: str
    tries: int = 0
    lost: int = 0
    wrong: int = 0
    remarks: list[str] = field(default_factory=list)

    def lose(self, remark: str) -> None:
        """Counts a loss."""
        self.lost += 1
        self.remarks.append(f"LOST {remark}")

    def err(self, remark: str) -> None:
        """Counts a wrong outcome."""
        self.wrong += 1
        self.remarks.append(f"WRONG {remark}")

    def note(self, remark: str) -> None:
        """Remarks without counting."""
        self.remarks.append(remark)


def write_rows(path: Path, rows: list[Row], command: str) -> None:
    """Puts rows into the CSV file, and into the page beside it, in place of the same faults'."""
    kept: dict[str, list[str]] = {}
    if path.exists():
        for line in list(csv.reader(path.read_text().splitlines()))[1:]:
            kept[line[0]] = line
    for row in rows:
        counts = (str(number) for number in (row.tries, row.lost, row.wrong))
        kept[row.fault] = [row.fault, *counts, row.message, command]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept.values()])
    write_text(path, text.getvalue())
    page = path.with_suffix(".md")
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        write_text(page, f"{before}{BEGIN}\n{_table(list(kept.values()))}{END}{after}")


def _table(rows: list[list[str]]) -> str:
    cells = [[*row[:-1], f"`{row[-1]}`"] for row in rows]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
