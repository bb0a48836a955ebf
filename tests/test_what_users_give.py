"""What a user gives is used, or refused in one line: every argument of every public function.

The rows are in `tests/gives/`; `python docs/make_inputs.py` writes them into a page.
"""

import pytest

from docs.make_inputs import PAGE, page, tables
from tests.gives.table import ERRORS, Row, Table, alike

# Of what is not tried at each run of the tests: all layers, and these.
SLOW = {
    *("AblatedAEVB", "AEVBTransformer", "FullVB", "JointAEVB", "MonteCarloEM", "WakeSleep"),
    *("annealed_log_prob", "hmc_log_prob", "impute", "sample_posterior"),
}


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


def _case(table: Table) -> object:
    is_slow = table.function in SLOW or table.function.startswith("layers.")
    return pytest.param(table, id=table.function, marks=[pytest.mark.compile] if is_slow else [])


@pytest.mark.parametrize("table", [_case(table) for table in tables()])
@pytest.mark.filterwarnings("default")
def test_what_is_given_is_used_or_refused_in_a_line(table: Table) -> None:
    assert table.rows
    faults = {f"{row.function}({row.argument}): {row.given}": _fault(row) for row in table.rows}
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_every_argument_is_in_a_row() -> None:
    missing = {table.function: table.missing() for table in tables()}
    assert {name: found for name, found in missing.items() if found} == {}, (
        "add rows to tests/gives/ that try these arguments (to gives/verbs.py an example of a "
        "flag), and run `python docs/make_inputs.py`"
    )


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text() == page(), "run `python docs/make_inputs.py`"
