"""What a user gives is used, or refused in one line: every argument of every public function.

The rows are in `tests/gives/`; `python docs/make_inputs.py` writes them into a page.
"""

import pytest

from docs.make_inputs import MODULES, PAGE, page, tables
from tests.gives.table import ERRORS, Row, alike


def _fault(row: Row) -> str:
    """Returns what is wrong with a row; nothing if it is as it says."""
    try:
        tried = row.try_it()
    except ERRORS as error:
        message = str(error)
        if row.outcome != "refused":
            return f"is refused: {message}"
        if "\n" in message or not message or not message.startswith(row.line):
            return f"is refused by another line: {message!r}"
        return ""
    if row.outcome == "refused":
        return "is not refused"
    if row.outcome == "warned":
        return "" if any(line.startswith(row.line) for line in tried) else f"says {tried}"
    return "" if alike(*tried) == (row.outcome == "agrees") else f"is not {row.outcome}"


# By module: the rows make tensors, which a module of tests may not when it is imported.
@pytest.mark.compile
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("default")
def test_what_is_given_is_used_or_refused_in_a_line(module: str) -> None:
    rows = [
        row
        for table in tables()
        if table.call.__module__ == f"tests.gives.{module}"
        for row in table.rows
    ]
    faults = {f"{row.function}({row.argument}): {row.given}": _fault(row) for row in rows}
    assert rows
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_every_argument_is_in_a_row() -> None:
    missing = {table.function: table.missing() for table in tables()}
    assert {name: found for name, found in missing.items() if found} == {}


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text() == page(), "run `python docs/make_inputs.py`"
