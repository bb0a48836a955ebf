"""Tests of tfp_aevb.runs.metrics."""

from pathlib import Path

import pytest

from tfp_aevb.runs.metrics import COLUMNS, MetricsLog, median_speed


def row(step: int) -> dict[str, float]:
    return {name: float(i) + step / 7 for i, name in enumerate(COLUMNS)} | {"step": step}


def log_with(path: Path, *steps: int) -> MetricsLog:
    log = MetricsLog(path, 0, 10, 100)
    for step in steps:
        log.append(row(step))
    return log


def test_rows_are_written_at_once_under_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10)
    header, line = path.read_text().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert [float(value) for value in line.split(",")] == pytest.approx(
        list(row(10).values()), rel=1e-9
    )


def test_a_new_log_has_its_header_only(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "metrics.csv", 0, 10, 100)
    assert (tmp_path / "metrics.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_rows_behind_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10, 20, 30)
    log = MetricsLog(path, 25, 10, 100)
    assert [row["step"] for row in log.rows] == [10, 20]
    assert len(path.read_text().splitlines()) == 3


def test_going_on_keeps_the_text_of_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10, 20)
    before = path.read_text()
    MetricsLog(path, 20, 10, 100)
    assert path.read_text() == before


def test_the_short_last_row_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10, 15)
    assert [row["step"] for row in MetricsLog(path, 15, 10, 15).rows] == [10, 15]
    assert [row["step"] for row in MetricsLog(path, 15, 10, 40).rows] == [10]


@pytest.mark.parametrize("rest", ["20,1,2", "x" * 5, "\0", "20" + ",1" * 20])
def test_a_damaged_line_ends_what_can_be_trusted(rest: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10)
    path.write_text(path.read_text() + rest + "\n" + path.read_text().splitlines()[-1] + "\n")
    assert [row["step"] for row in MetricsLog(path, 50, 10, 100).rows] == [10]


@pytest.mark.parametrize("content", [b"", b"step,loss\n10,3\n", bytes(range(256))])
def test_a_file_of_something_else_starts_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    assert MetricsLog(path, 50, 10, 100).rows == []
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_bytes_that_are_not_text_end_what_can_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10)
    path.write_bytes(path.read_bytes() + b"20,\xff\n")
    assert [row["step"] for row in MetricsLog(path, 50, 10, 100).rows] == [10]


def test_a_last_line_that_may_have_lost_digits_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10, 20)
    path.write_text(path.read_text()[:-2])
    assert [row["step"] for row in MetricsLog(path, 20, 10, 100).rows] == [10]


def test_lost_rows_are_told_and_the_damaged_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert log_with(path, 10, 20, 30).warning == ""
    damaged = path.read_text()[:-20]
    path.write_text(damaged)
    warning = MetricsLog(path, 35, 10, 100).warning
    assert "1 rows are lost, the first of step 30; kept as metrics.damaged.csv" in warning
    assert (tmp_path / "metrics.damaged.csv").read_text() == damaged
    path.unlink()
    assert "3 rows are lost, the first of step 10" in MetricsLog(path, 35, 10, 100).warning


def test_a_sound_file_is_no_cause_for_warning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log_with(path, 10, 20, 30)
    assert MetricsLog(path, 29, 10, 100).warning == ""
    assert not (tmp_path / "metrics.damaged.csv").exists()


def test_the_median_speed_leaves_out_rows_that_were_not_timed() -> None:
    rows = [{**row(10), "images_per_second": speed} for speed in (8.0, 0.0, 2.0, 0.0, 0.0)]
    assert median_speed(rows) == 5.0
    assert median_speed(rows[1:2]) == 0.0
