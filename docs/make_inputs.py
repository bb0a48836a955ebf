"""Writes docs/what_a_user_gives.md: `python docs/make_inputs.py`.

The rows are those that `tests/test_what_users_give.py` tries. It needs a checkout.
"""

import importlib
import itertools
from pathlib import Path

from tests.gives.table import Row, Table

PAGE = Path(__file__).with_name("what_a_user_gives.md")
MODULES = ["data", "scores", "draws", "objectives", "models", "joints", "beside", "parts", "verbs"]
HEAD = """# What a user gives

Written by `python docs/make_inputs.py` from `tests/gives/`. The test
`tests/test_what_users_give.py` tries each row: what is given changes the result ("used"), or has
the same result as another way ("used, as ..."), or is refused by a line that begins so. The test
fails if a function gains an argument that is in no row. A flag of a verb counts as used if the
source of the verb reads it; what it does is tested with the verb.
"""


def tables() -> list[Table]:
    """Returns the tables of all functions."""
    for module in MODULES:
        importlib.import_module(f"tests.gives.{module}")
    return Table.everything


def page() -> str:
    """Returns the page's text with the rows of today in it."""
    rows = [row for table in tables() for row in table.rows]
    sections = itertools.groupby(rows, lambda row: row.function)
    return HEAD + "".join(_section(function, list(of_it)) for function, of_it in sections)


def _section(function: str, rows: list[Row]) -> str:
    lines: dict[str, None] = {}  # each once
    for row in rows:
        cells = (_code(row.argument), row.given, _outcome(row))
        lines["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"] = None
    head = f"\n## {function}\n\n| argument | what | outcome |\n|---|---|---|\n"
    return head + "".join(lines)


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
    PAGE.write_text(page())
