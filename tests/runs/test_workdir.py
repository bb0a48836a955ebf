"""Tests of tfp_aevb.runs.workdir."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import assert_one_line
from tests.runs.settings.test_config import TOGETHER
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir, flag_file
from tfp_aevb.utils.files import WriteError

DATA = {"event_shape": [4], "image_shape": [2, 2], "split_sizes": {"train": 9}}


def run_in(folder: Path, config: TrainConfig | None = None) -> Workdir:
    run = Workdir(folder)
    folder.mkdir(exist_ok=True)
    run.write_config(config or TrainConfig(), DATA)
    return run


def test_new_and_empty_folders_have_nothing_to_resume(tmp_path: Path) -> None:
    assert not Workdir(tmp_path / "new").check_config(TrainConfig())
    assert not (tmp_path / "new").exists()
    assert not Workdir(tmp_path).check_config(TrainConfig())
    (tmp_path / ".lock").write_text("")  # a run that failed before it had settings
    assert not Workdir(tmp_path).check_config(TrainConfig())


def test_a_run_of_the_same_settings_is_resumed(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    assert run.check_config(TrainConfig(steps=3, progress=False))


def test_settings_and_data_are_read_as_written(tmp_path: Path) -> None:
    config = TrainConfig(**TOGETHER)
    assert run_in(tmp_path, config).read() == (config, DATA)


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(**TOGETHER),
        TrainConfig(hidden_units=()),
        TrainConfig(dataset="my data #1, final.npz", learning_rate=1e-5),
    ],
)
def test_flag_file_gives_the_same_settings(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "flags.txt").write_text(flag_file(config))
    values = flags_lib.new_flags()
    flags_lib.define_train_config(values)
    options = flags_lib.parse(values, [f"--flagfile={tmp_path / 'flags.txt'}"])
    assert flags_lib.train_config(options) == config


def test_other_settings_are_refused_by_name_and_value(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    other = TrainConfig(latent_dim=5, seed=2)
    parts = (str(tmp_path), "latent_dim=20 (now 5)", "seed=0 (now 2)")
    assert_one_line(lambda: run.check_config(other), ValueError, *parts)


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file, folder = Workdir(tmp_path / "file"), Workdir(tmp_path)
    assert_one_line(lambda: file.check_config(TrainConfig()), ValueError, "is a file")
    assert_one_line(lambda: folder.check_config(TrainConfig()), ValueError, "not empty")
    assert_one_line(folder.read, FileNotFoundError, "holds no run")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"config": {}}', '{"config": {"a": 1}, "data": {}}', '{"config": 3}']
)
def test_a_damaged_config_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    run = Workdir(tmp_path)
    assert_one_line(run.read, ValueError, str(run.config), "damaged")
    assert_one_line(lambda: run.check_config(TrainConfig()), ValueError, str(run.config))


def test_a_claim_makes_the_folder_and_keeps_others_out(tmp_path: Path) -> None:
    run = Workdir(tmp_path / "a" / "b")
    lock = run.claim()
    try:
        owner = f"process {os.getpid()} on "
        assert_one_line(Workdir(run.path).claim, ValueError, str(run.path), "in use by", owner)
    finally:
        lock.release()
    Workdir(run.path).claim().release()


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from tfp_aevb.runs.workdir import Workdir;"
        "lock = Workdir(sys.argv[1]).claim(); print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert_one_line(Workdir(tmp_path).claim, ValueError, f"process {process.pid} on ")
        process.kill()
    Workdir(tmp_path).claim().release()


@pytest.mark.parametrize("name", ["file/run", "/proc/none"])
def test_a_folder_that_cannot_be_made_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Workdir(tmp_path / name)
    assert_one_line(run.claim, OSError, "--workdir", str(run.path), "cannot be written to")


def test_what_a_start_that_was_killed_left_is_no_obstacle(tmp_path: Path) -> None:
    for name in (".lock", ".config.json.4194305"):  # no process has so high a number
        (tmp_path / name).write_text("")
    run = Workdir(tmp_path)
    assert not run.check_config(TrainConfig())
    run.claim().release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_claim_clears_away_what_killed_processes_left_and_nothing_else(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    run.checkpoints.mkdir()
    alive = f".step-00000010.npz.{os.getppid()}"
    for name in (".step-00000010.npz.4194305", alive, ".hidden", "mine.4194305"):
        (run.checkpoints / name).write_text("")
    run.claim().release()
    assert sorted(p.name for p in run.checkpoints.iterdir()) == [".hidden", alive, "mine.4194305"]


def test_a_start_killed_between_its_two_files_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tfp_aevb.runs.workdir.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path)
    assert Workdir(tmp_path).check_config(TrainConfig())


def test_a_folder_that_has_vanished_is_found_out(tmp_path: Path) -> None:
    run = run_in(tmp_path / "run")
    run.check_present()
    run.path.rename(tmp_path / "away")
    assert_one_line(run.check_present, WriteError, str(run.path), "its folder is gone")
