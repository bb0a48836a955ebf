"""The quick part of every harness, and by `-m slow` the long one: see docs/reliability.md."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import disk, inputs, numeric, serving, tables, trust
from tests.faults.__main__ import ROWS
from tests.faults.record import Row, write_rows
from tests.integration.runs import REPOSITORY

FORKING = ("kill", "stop", "disk", "limit", "vanish")


def harness(*arguments: str) -> None:
    """Runs the program, for its children must be forked before TensorFlow computes."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def assert_nothing_lost(rows: list[Row]) -> None:
    for row in rows:
        assert row.tries > 0
        assert (row.lost, row.wrong) == (0, 0), (row.fault, row.remarks)


@pytest.mark.run
@pytest.mark.parametrize("row", FORKING)
def test_a_run_survives_faults_of_processes_and_disks(row: str) -> None:
    harness(row, "--tries=1" if row != "kill" else "--tries=3", "--seed=5")


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    ("function", "tries"), [(disk.damage, 5), (tables.metrics, 100), (tables.locks, 2)]
)
def test_damaged_files_and_foreign_processes(function, tries: int, tmp_path: Path) -> None:
    assert_nothing_lost(function(tries, 1, tmp_path))


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("target", inputs.SHARES)
def test_hostile_inputs_are_a_result_or_one_line(target: str, tmp_path: Path) -> None:
    strategy, read = inputs.targets(tmp_path)[target]
    count, failures = inputs.run_target(strategy, read, 60, 1)
    assert count >= 50
    assert failures == []


def test_what_is_no_result_and_no_line_is_found_out() -> None:
    def fail(error: Exception):
        raise error

    assert inputs.outcome_of(fail, KeyError("x")).startswith("KeyError")
    assert inputs.outcome_of(fail, MemoryError()).startswith("memory")
    assert inputs.outcome_of(fail, ValueError("two\nlines")).startswith("message")
    assert inputs.outcome_of(fail, ValueError("one line")) == ""


@pytest.mark.run
@pytest.mark.parametrize("where", ["weight", "slot", "gradient"])
def test_poison_is_named_at_its_step_and_never_saved(where: str, tmp_path: Path) -> None:
    assert numeric._injected(where, 3, 1, tmp_path) == (3, 0, [])


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    "harness", [numeric._bad_data, numeric._learning_rates, numeric._pixels, numeric._sizes]
)
def test_extreme_numbers_end_finite_or_in_a_line(harness, tmp_path: Path) -> None:
    tries, lost, remarks = harness(8, 1, tmp_path)
    assert (tries, lost, remarks) == (8, 0, [])


@pytest.mark.run
def test_the_saved_model_under_load(tmp_path: Path) -> None:
    answers = serving._serve(400, 1, str(tmp_path / "saved_model"))
    assert answers["remarks"] == []
    assert answers["right"] > 300
    assert answers["wrong"] > 20


@pytest.mark.run
def test_blocks_of_any_length_give_the_same_bits() -> None:
    assert trust._blocks(4, 1) == (4, [])


def test_ranks_tell_a_wrong_posterior_from_a_right_one() -> None:
    found = trust._calibrate(400, 1, learn=False)
    assert min(found["the exact posterior"]) > trust.P_VALUE
    assert min(found["a posterior spoilt on purpose"]) < trust.P_VALUE


def test_rows_are_replaced_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, [Row("a", "m", 1), Row("b", "m, n", 2, 1)], "one")
    write_rows(path, [Row("a", "m", 3, 0, 1)], "two")
    assert path.read_text().splitlines() == [
        "fault,tries,lost,wrong,message,command",
        "a,3,0,1,m,two",
        'b,2,1,0,"m, n",one',
    ]


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row not in ("mutate", "guided")])
def test_the_long_part(row: str) -> None:
    harness(row)
