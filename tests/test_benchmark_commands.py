import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from benchmarks import (
    cost_curves,
    environments,
    evaluation,
    floor,
    runner,
    streaming,
    training,
    workers,
)
from benchmarks.peers import common, ours_cli
from benchmarks.runner import Program
from tests.helpers import assert_one_line
from tfp_aevb.runs.settings.config import TrainConfig

PAPER = {
    "hidden": 500,
    "latent_dim": 20,
    "dim": 784,
    "batch_size": 100,
    "num_data": 50_000,
    "optimizer": "adam",
}
TINY = {**PAPER, "hidden": 3, "dim": 5, "batch_size": 4, "num_data": 8, "seed": 0}


def test_every_program_runs_once_a_round_in_changing_order():
    programs = [Program(name, "", "") for name in "abcdef"]
    records = list(
        runner.run_rounds([(p, {"x": 1}) for p in programs], 3, lambda p, s: {"error": "no"})
    )
    orders = [[r["program"] for r in records if r["round"] == number] for number in range(3)]
    assert all(Counter(order) == Counter("abcdef") for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_programs_are_selected_by_name():
    chosen = runner.select(training.PROGRAMS, "pyro,tfp_aevb")
    assert [program.name for program in chosen] == ["pyro", "tfp_aevb"]
    assert_one_line(
        lambda: runner.select(training.PROGRAMS, "tensorflo"), ValueError, "--programs", "tensorflo"
    )


@pytest.mark.parametrize("programs", [training.PROGRAMS, evaluation.PROGRAMS])
def test_every_program_has_its_environment_and_file(programs):
    assert len({program.name for program in programs}) == len(programs)
    for program in programs:
        assert program.environment in environments.names()
        assert (Path(common.__file__).parent / f"{program.module}.py").is_file()


@pytest.fixture
def fake_peer(tmp_path, monkeypatch):
    """Returns a function that runs the text of a program as a peer of this interpreter."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    peers = tmp_path / "benchmarks" / "peers"
    peers.mkdir(parents=True)
    for folder in (peers, peers.parent):
        (folder / "__init__.py").touch()  # found before any other `benchmarks` on PYTHONPATH
    monkeypatch.setattr(environments, "ROOT", tmp_path)

    def run(text: str, timeout: float = 60.0, **options) -> dict:
        (peers / "fake.py").write_text(text)
        program = Program("fake", "env", "fake", options)
        return runner.run_program(program, {"seconds": 1.0}, tmp_path, timeout)

    return run


def test_a_program_gets_settings_and_gives_json(fake_peer):
    text = "import json, sys; print('noise'); print(json.dumps(json.loads(sys.argv[1])))"
    result = fake_peer(text, jit=True)
    assert result["seconds"] == 1.0
    assert result["jit"] is True
    assert result["started"] > 0.0


def test_a_program_that_fails_gives_one_line(fake_peer):
    assert fake_peer("raise ValueError('no way')") == {"error": "exit code 1: ValueError: no way"}
    assert "printed no JSON" in fake_peer("print('hello')")["error"]
    assert "\n" not in fake_peer("print('a'); print('b')")["error"]
    assert fake_peer("import time; time.sleep(60)", timeout=0.5) == {
        "error": "took more than 0.5 seconds"
    }


def test_records_are_kept_as_they_come(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"

    def records():
        yield {"a": 1}
        assert json.loads(path.read_text()) == {"a": 1}
        yield {"a": 2}

    assert runner.keep(records(), path) == [{"a": 1}, {"a": 2}]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}]


def test_an_environment_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "peer.txt").write_text("numpy\n")
    made = tmp_path / "made"
    made.mkdir()
    (made / "peer").write_text("a file where the folder is to be")
    failures = environments.create(made, ["peer"], quiet=True)
    assert list(failures) == ["peer"]
    assert failures["peer"].startswith("does not install: ")
    assert "\n" not in failures["peer"]
    assert (made / "peer.log").read_text()
    assert not environments.is_ready(made, "peer")


def test_an_environment_is_made_again_when_its_requirements_change(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "peer.txt").write_text("numpy\n")
    (tmp_path / "made" / "peer").mkdir(parents=True)
    assert not environments.is_ready(tmp_path / "made", "peer")
    (tmp_path / "made" / "peer" / environments.MARK).write_text("numpy\n")
    assert environments.is_ready(tmp_path / "made", "peer")
    assert environments.create(tmp_path / "made", ["peer"]) == {}
    (tmp_path / "peer.txt").write_text("numpy>=2\n")
    assert not environments.is_ready(tmp_path / "made", "peer")
    assert_one_line(lambda: environments.create(tmp_path, ["other"]), ValueError, "'other'")


def test_the_telling_line_of_an_error_is_found():
    assert environments.last_error("a\nERROR: no such thing\n[notice] b\n") == (
        "ERROR: no such thing"
    )
    assert environments.last_error("a\nb\n\n") == "b"
    assert environments.last_error("") == "no output"


def test_two_sample_sizes_make_one_record():
    def run(program: str, num_samples: int, **more) -> dict:
        settings = {"num_samples": num_samples}
        return {"program": program, "round": 0, "settings": settings, **more}

    records = [
        run("a", 50, images_per_second=9.0, peak_bytes=100),
        run("b", 5000, images_per_second=1.0, peak_bytes=500),
        run("a", 5000, images_per_second=3.0, peak_bytes=150),
        run("b", 50, error="broke"),
    ]
    joined = {r["program"]: r for r in evaluation.join_sample_sizes(records, 5000)}
    assert joined["a"]["images_per_second"] == 3.0
    assert joined["a"]["few_images_per_second"] == 9.0
    assert joined["a"]["memory_growth"] == pytest.approx(1.5)
    assert joined["b"]["error"] == "broke"


def test_axes_are_parsed():
    assert cost_curves.parse_axes([]) == {name: v for name, (_, v) in cost_curves.AXES.items()}
    assert cost_curves.parse_axes(["hidden=1,2", "num_data"]) == {
        "hidden": (1, 2),
        "num_data": cost_curves.AXES["num_data"][1],
    }
    for text in ("depth", "hidden=x", "hidden=0"):
        assert_one_line(partial(cost_curves.parse_axes, [text]), ValueError, "`axis`")


def test_points_keep_whole_minibatches():
    found = cost_curves.points({"batch_size": (3, 4), "num_data": (7,)}, TINY)
    assert [(p["batch_size"], p["num_data"]) for p in found] == [(3, 6), (4, 8), (4, 4)]
    assert_one_line(lambda: cost_curves.points({"batch_size": (9,)}, TINY), ValueError, "M 9")


def test_cost_rows_stand_beside_their_floor(tmp_path):
    points = cost_curves.points({"hidden": (500, 250)}, PAPER)
    fine = {"images_per_second": 1e4, "peak_bytes": 9e8, "base_bytes": 5e8}
    records: list[dict] = [{"settings": points[0], **fine}]
    records.append({"settings": points[0], "error": "broke"})
    records += [{"settings": points[1], **fine, "images_per_second": s} for s in (1e4, 5e4, 2e4)]
    rates = {"operations_per_second": 1e11, "bytes_per_second": 1e12}
    rows = cost_curves.summarise(records, rates)
    assert [row["value"] for row in rows] == [250, 500]
    assert rows[0]["update_seconds"] == pytest.approx(100 / 2e4)
    assert rows[0]["update_seconds_high"] == pytest.approx(100 / 1e4)
    assert rows[1]["floor_seconds"] == pytest.approx(floor.step_operations(PAPER) / 1e11)
    assert rows[1]["floor_bytes"] == 5e8 + floor.held_bytes(PAPER)
    assert rows[1]["remarks"] == "broke"
    cost_curves.write_csv(rows, tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines()[0] == ",".join(cost_curves.HEADER)
    cost_curves.draw(rows, "hidden", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_an_axis_of_which_no_run_succeeded_has_no_picture(tmp_path):
    rows = cost_curves.summarise(
        [{"settings": cost_curves.points({"hidden": (500,)}, PAPER)[0], "error": "broke"}],
        {"operations_per_second": 1e11, "bytes_per_second": 1e12},
    )
    cost_curves.draw(rows, "hidden", tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_the_commands_speed_is_all_images_over_all_seconds_but_the_first_epochs():
    numbers = ((100, 9.0), (200, 10.0), (300, 14.0))
    rows = [{"samples_seen": samples, "seconds": seconds} for samples, seconds in numbers]
    assert ours_cli.speed(rows) == pytest.approx(200 / 5.0)


def test_memory_of_a_process_that_has_ended_is_none():
    assert streaming.resident_megabytes(os.getpid()) > 10.0
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays
    assert streaming.resident_megabytes(process.pid) == 0.0
    process.wait()


def run_workers(folder: Path, timeout: float, *programs: str) -> list[subprocess.Popen]:
    logs = [folder / f"{i}.log" for i in range(len(programs))]
    processes = []
    for text, path in zip(programs, logs, strict=True):
        with path.open("w") as log:
            processes.append(subprocess.Popen([sys.executable, "-c", text], stderr=log))
    try:
        workers.wait_for_all(processes, logs, timeout)
    finally:
        assert all(process.poll() is not None for process in processes)
    return processes


def test_the_workers_picture_has_medians_beside_what_sums_for_nothing_would_give():
    figure = workers.draw({2: [0.02, 0.05, 0.01], 1: [0.004]}, 100)
    (times, speeds) = (
        {line.get_label(): line.get_ydata() for line in plot.lines} for plot in figure.axes
    )
    assert list(times["median"]) == pytest.approx([4.0, 20.0])
    assert list(times["if sums cost nothing"]) == pytest.approx([4.0, 4.0])
    assert list(speeds["median"]) == pytest.approx([25_000, 10_000])
    assert list(speeds["if sums cost nothing"]) == pytest.approx([25_000, 50_000])


def test_workers_are_waited_for_and_end_together(tmp_path):
    noise = "import sys; sys.stderr.write('x' * 1_000_000)"  # more than a pipe holds
    assert [p.returncode for p in run_workers(tmp_path, 60.0, noise, noise)] == [0, 0]
    waits, fails = "import time; time.sleep(60)", "raise ValueError('no way')"
    for timeout, second, parts in (
        (60.0, fails, ("worker 1 of 2", "ValueError: no way")),
        (0.5, waits, ("2 workers", "0.5 seconds")),
    ):
        assert_one_line(
            partial(run_workers, tmp_path, timeout, waits, second), RuntimeError, *parts
        )


def test_the_command_is_given_flags_that_it_has(tmp_path):
    flags = ours_cli.flags(TINY, tmp_path)
    names = {flag.removeprefix("--").split("=")[0] for flag in flags}
    assert names - {"workdir"} <= set(TrainConfig.__dataclass_fields__)
    assert "--eval_every=2" in flags


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--num_data=10", "--batch_size=4"], "--num_data"),
        (["--rounds=0"], "--rounds"),
        (["--programs=nobody"], "--programs"),
        (["--optimizers=sgd"], "--optimizers"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    tmp_path, monkeypatch, capsys, arguments, part
):
    output = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["training", f"--output={output}", *arguments])
    with pytest.raises(SystemExit) as caught:
        training.main()
    assert caught.value.code == 2
    assert part in capsys.readouterr().err.splitlines()[-1]
    assert not os.path.exists(output)
