"""The tutorials of docs/tutorials run as they are, and find what they say."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.runs import REPOSITORY

TUTORIALS = REPOSITORY / "docs" / "tutorials"


def own_data(found: dict[str, Any]) -> None:
    assert -125.0 < found["bound"] < -95.0
    assert found["log_prob"] > found["bound"]
    assert found["same"]
    for name in ("reconstructions.png", "samples.png", "digits.keras"):
        assert Path(name).stat().st_size > 1000


def count_data(found: dict[str, Any]) -> None:
    assert found["explained"] > 0.98
    assert 2.5 < np.median(found["dispersions"]) < 6.0
    assert 0.0 < found["log_prob"] - found["bound"] < 0.5


def missing_data(found: dict[str, Any]) -> None:
    error = found["error"]
    assert error(found["restored"].mean) < 0.9 * error(found["mean_digit"])
    assert found["wrong"] < 0.4 * np.mean(found["flips"])
    assert Path("lower_half.png").stat().st_size > 1000


def tables(found: dict[str, Any]) -> None:
    for table in ("diabetes", "wine"):
        error, right = found["results"][table, "model"]
        mean_error, most_frequent = found["results"][table, "column means"]
        assert error < 0.85 * mean_error
        assert right > most_frequent
        assert Path(f"{table}_scores.csv").is_file()
    assert len(found["results"]) == 6


def serving(found: dict[str, Any]) -> None:
    assert found["difference"] < 1e-5
    assert Path("digits_model", "saved_model.pb").exists()


CHECKS = (own_data, count_data, missing_data, tables, serving)


@pytest.mark.run
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_tutorial_runs_and_finds_what_it_says(
    check: Callable[[dict[str, Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check(runpy.run_path(str(TUTORIALS / f"{check.__name__}.py")))


def test_every_tutorial_is_run() -> None:
    names = {path.stem for path in TUTORIALS.glob("*.py")}
    assert names == {check.__name__ for check in CHECKS}
