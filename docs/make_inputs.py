"""Writes "What a user gives" into docs/reliability.md: `python docs/make_inputs.py`.

The rows are those that `tests/test_what_users_give.py` tries. It needs a checkout.
"""

import importlib
from pathlib import Path

from tests.gives.table import Row, Table

PAGE = Path(__file__).with_name("reliability.md")
MODULES = ("data", "draws", "objectives", "models", "parts", "verbs")
BEGIN, END = "<!-- what a user gives -->\n", "<!-- end of what a user gives -->\n"
HEAD = """
Written by `python docs/make_inputs.py` from `tests/gives/`, whose rows
`tests/test_what_users_give.py` tries one by one: what is given changes the result (used), or has
that of another way (used, as ...), or is refused by a line that begins so. The test fails if a
function gains an argument that is in no row. A flag of a verb is used if the verb's source reads
it.

| given to | argument | what | outcome |
|---|---|---|---|
"""


def tables() -> list[Table]:
    """Returns the tables of all functions."""
    for module in MODULES:
        importlib.import_module(f"tests.gives.{module}")
    return Table.everything


def with_table(text: str) -> str:
    """Returns the page's text with the rows of today in it."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + HEAD + "".join(_lines()) + END + rest.partition(END)[2]


def _lines() -> list[str]:
    lines: dict[str, None] = {}
    for table in tables():
        for row in table.rows:
            cells = (f"`{row.function}`", _code(row.argument), row.given, _outcome(row))
            lines["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"] = None
    return list(lines)


def _code(argument: str) -> str:
    return argument if " " in argument else f"`{argument}`"


def _outcome(row: Row) -> str:
    if row.outcome == "agrees":
        return f"used, as {row.line}"
    if row.outcome == "warned":
        return f"used, with a warning: {row.line} ..."
    if row.outcome == "used":
        return "used"
    return f"refused: {row.line} ..." if row.line else "refused in a line"


if __name__ == "__main__":
    tables()
    PAGE.write_text(with_table(PAGE.read_text()))
