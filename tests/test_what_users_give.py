"""What a user gives is used, or refused in one line: every argument of every public function.

The rows are in `tests/gives/`; `python docs/make_inputs.py` writes them into docs/reliability.md.
"""

import pytest

from docs.make_inputs import PAGE, tables, with_table
from tests.gives.table import ERRORS, WAITS_FOR, Row, Table, alike, all_rows

TABLES = tables()
ROWS = list(all_rows())


def _name(row: Row) -> str:
    return f"{row.function}-{row.argument}-{row.given}"


@pytest.mark.parametrize("row", ROWS, ids=map(_name, ROWS))
def test_what_is_given_is_used_or_refused_in_a_line(row: Row) -> None:
    if row.waits in WAITS_FOR:
        pytest.skip(f"waits for {row.waits}")
    if row.outcome != "refused":
        first, second = row.try_it()
        assert alike(first, second) == (row.outcome == "agrees")
        return
    with pytest.raises(ERRORS) as caught:
        row.try_it()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert message.startswith(row.line)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.function)
def test_every_argument_is_in_a_row(table: Table) -> None:
    assert table.missing() == set()


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text()
    assert text == with_table(text), "run `python docs/make_inputs.py`"
