"""Writes docs/odd_tables.md: `python docs/make_odd_tables.py`, in the folder of the sources.

The files are those of the tests, and what is said of each is what the program says.
"""

import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.data.odd_tables import READ, written  # noqa: E402
from tests.data.refused_tables import REFUSED  # noqa: E402
from tfp_aevb.data.tables import read_table  # noqa: E402

PAGE = HERE / "odd_tables.md"
HEAD = """# Odd files of tables

Written by `python docs/make_odd_tables.py` from the files of a test, which reads each of them.
Each is read right, or refused by one line that says what is likely to be wrong and how to go on.
What cells look like is no reason to refuse a column whose kind `--columns` states.
[Tables and gaps](tables_and_gaps.md) explains the kinds.
"""


def page() -> str:
    """Returns the text of the page."""
    lines = [HEAD, f"## {len(READ)} files that are read", "", "| file | its columns |", "|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for case, (content, name, *_) in READ.items():
            columns, _ = read_table(written(Path(folder), content, name))
            kinds = ", ".join(f"{_short(c.name)}: {c.kind}" for c in columns)
            lines.append(f"| {case} | {kinds} |")
        lines += ["", f"## {len(REFUSED)} files that are refused", ""]
        lines += ["| file | the line |", "|---|---|"]
        for case, (content, _, *name) in REFUSED.items():
            path = written(Path(folder), content, *name)
            try:
                read_table(path)
            except ValueError as error:
                text = str(error).replace(f"{folder}/", "").replace("|", "\\|")
                # What the reader of binary files says depends on its version.
                text = re.sub(r"(cannot be read as \w+): .*", r"\1: ...", text)
                lines.append(f"| {case} | {re.sub('[<*]', _escaped, text)} |")
    return "\n".join(lines) + "\n"


def _escaped(found: re.Match) -> str:
    return "\\" + found[0]


def _short(name: str) -> str:
    return name.replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page())
