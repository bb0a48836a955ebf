"""What a user gives is used, or refused in one line: every argument of every public function.

The rows are in `tests/gives/`; `python docs/make_inputs.py` writes them into a page.
"""

import inspect

import pytest

from docs.make_inputs import PAGE, page, tables
from tests.gives.table import ERRORS, Row, Table, alike
from tfp_aevb import AEVB, layers, objectives
from tfp_aevb.commands.main import VERBS

METHODS = (
    *("compile", "fit", "evaluate", "predict"),
    *("train_on_batch", "test_on_batch", "predict_on_batch"),
    *("elbo", "encode", "decode", "reconstruct", "sample", "sample_with_latents"),
)

# Tables that are not tried at each run of the tests; and those of the layers.
SLOW = {
    *("compile", "train_on_batch", "test_on_batch", "EarlyStopping", "AEVBTransformer"),
    *("AEVB", "AblatedAEVB", "FullVB", "JointAEVB", "MonteCarloEM", "WakeSleep"),
    *("annealed_log_prob", "hmc_log_prob", "importance_log_prob", "impute", "sample_posterior"),
    *(f"objectives.{name}" for name in ("doubly_reparameterized", "f_divergence", "renyi")),
    *(f"objectives.{name}" for name in ("reweighted_wake_sleep", "score_function", "vimco")),
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
    missing = {table.function: sorted(table.missing()) for table in tables() if table.missing()}
    assert not missing, (
        f"{missing}: add rows to tests/gives/ that try these (for a flag an example in verbs.py), "
        "then run `python -m docs.make_inputs`"
    )


def test_every_public_function_has_a_table() -> None:
    known = {table.target for table in tables()}
    functions = (getattr(objectives, name) for name in objectives.__all__)
    public = {function for function in functions if inspect.isfunction(function)}
    public |= {getattr(layers, name) for name in layers.__all__}
    public |= {getattr(AEVB, name) for name in METHODS}
    assert public - known == set()
    verbs = {table.function.removeprefix("verb ") for table in tables()}
    assert set(VERBS) - verbs == set()


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text() == page(), "run `python docs/make_inputs.py`"
