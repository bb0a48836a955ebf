"""Every bad input to `train` is one line and leaves nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import TINY, assert_refused, command, tree
from tfp_aevb.runs import train as run
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir

GREY = np.random.default_rng(0).integers(0, 256, (40, 4, 5)).astype(np.uint8)


@pytest.mark.parametrize(
    ("flag", "naming"),
    [
        *((f"--{name}={value}", (f"--{name}", value)) for value in ("0", "-3") for name in (
            "latent_dim", "hidden_units", "batch_size", "steps", "num_samples", "eval_every",
            "prior_components",
        )),
        ("--hidden_units=16,0", ("--hidden_units", "[16, 0]")),
        ("--hidden_units=16,x", ("--hidden_units", "'16,x'")),
        ("--latent_dim=2.5", ("--latent_dim=2.5", "whole number")),
        ("--steps=1e3", ("--steps=1e3", "whole number")),
        ("--seed=-1", ("--seed", "-1")),
        ("--seed=4294967296", ("--seed", "4294967296")),
        ("--learning_rate=fast", ("--learning_rate=fast", "a number")),
        ("--learning_rate=nan", ("--learning_rate", "nan")),
        ("--learning_rate=inf", ("--learning_rate", "inf")),
        ("--learning_rate=-0.1", ("--learning_rate", "-0.1")),
        ("--learning_rate=0", ("--learning_rate", "0")),
        ("--checkpoint_secs=nan", ("--checkpoint_secs", "nan")),
        ("--decoder_variance=-1", ("--decoder_variance", "-1")),
        ("--decoder_variance=big", ("--decoder_variance", "big")),
        ("--likelihood=bernouli", ("--likelihood=bernouli", "continuous_bernoulli")),
        ("--binarize=maybe", ("--binarize=maybe", "static")),
        ("--xla=maybe", ("--xla=maybe", "true or false")),
        ("--prior=mixture", ("--objective=sgvb_b", "--objective=sgvb_a")),
        ("--dataset=mnistt", ("mnistt", "did you mean")),
        ("--dataset=", ("dataset", "mnist_5k")),
        ("--dataset=missing.npz", ("missing.npz", "does not exist")),
        ("--flagfile=missing.flags", ("--flagfile", "missing.flags")),
        ("--steps", ("--steps",)),
        ("steps=3", ("steps=3",)),
        ("--stpes=3", ("--stpes", "did you mean --steps?")),
        ("--zzzzzz", ("--zzzzzz", "--help")),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named(
    flag: str, naming: tuple[str, ...], data_file: Path, tmp_path: Path, capsys
) -> None:
    workdir = tmp_path / "run"
    arguments = (f"--workdir={workdir}", f"--dataset={data_file}", *TINY, flag)
    assert_refused(capsys, "train", *arguments, naming=naming)
    assert not workdir.exists()


@pytest.mark.parametrize("content", [bytes(range(256)), b"\xff\xfe--steps=3\n"])
def test_a_binary_flag_file_is_refused(content: bytes, tmp_path: Path, capsys) -> None:
    path = tmp_path / "binary.flags"
    path.write_bytes(content)
    arguments = (f"--flagfile={path}", f"--workdir={tmp_path / 'run'}")
    assert_refused(capsys, "train", *arguments, naming=("--flagfile", "text"))
    assert path.read_bytes() == content


def test_a_flag_file_that_names_itself_is_one_line(tmp_path: Path, capsys) -> None:
    path = tmp_path / "self.flags"
    path.write_text(f"--flagfile={path}\n--steps=0\n")
    assert_refused(capsys, "train", f"--flagfile={path}", f"--workdir={tmp_path / 'run'}")


def test_a_flag_file_takes_the_place_of_nothing_behind_it(tmp_path: Path, capsys) -> None:
    path = tmp_path / "first.flags"
    path.write_text("# a comment\n--steps=7\n--latent_dim=0\n")
    arguments = (f"--flagfile={path}", "--latent_dim=-5", f"--workdir={tmp_path / 'run'}")
    assert_refused(capsys, "train", *arguments, naming=("--latent_dim", "-5"))


def wrong_files(folder: Path) -> dict[str, Path]:
    """Writes files that do not make a data set; returns them by what is wrong."""
    floats = GREY / np.float32(255.0)
    with_nan = floats.copy()
    with_nan[3, 2, 1] = np.nan
    arrays = {
        "one axis": np.zeros(10, np.uint8),
        "empty": np.zeros((0, 4), np.uint8),
        "no pixels": np.zeros((10, 0), np.uint8),
        "NaN": with_nan,
        "objects": np.array([[{}, []]] * 5, dtype=object),
        "complex": floats.astype(np.complex64),
        "text": np.full((10, 4), "a"),
        "too few": np.zeros((2, 4), np.uint8),
        "above 255": np.full((10, 4), 256),
        "below 0": np.full((10, 4), -1),
    }
    paths = {}
    for name, array in arrays.items():
        paths[name] = folder / f"{name}.npy"
        np.save(paths[name], array, allow_pickle=True)
    tables = {
        "splits of two shapes": {"train": GREY, "test": GREY[:, :3]},
        "no train": {"test": GREY},
        "unknown array": {"train": GREY, "weights": GREY},
        "too many labels": {"train": GREY, "labels_train": np.arange(41)},
        "objects in npz": {"train": arrays["objects"]},
    }
    for name, table in tables.items():
        paths[name] = folder / f"{name}.npz"
        np.savez(paths[name], **table)
    for name, content in (("not numpy.npy", b"hello"), ("not zip.npz", b"PK"), ("blank.npy", b"")):
        paths[name] = folder / name
        paths[name].write_bytes(content)
    paths["cut"] = folder / "cut.npy"
    paths["cut"].write_bytes((folder / "above 255.npy").read_bytes()[:-7])
    paths["folder"] = folder / "folder.npy"
    paths["folder"].mkdir()
    return paths


def test_files_that_are_no_data_set_are_refused(tmp_path: Path, capsys) -> None:
    paths = wrong_files(tmp_path)
    before = tree(tmp_path)
    workdir = tmp_path / "run"
    for path in paths.values():
        arguments = (f"--workdir={workdir}", f"--dataset={path}", *TINY)
        assert_refused(capsys, "train", *arguments, naming=(path.name,))
        assert not workdir.exists()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "naming"),
    [
        (("--binarize=none",), ("--binarize=none", "0 or 1", "continuous Bernoulli")),
        (("--binarize=none", "--dataset={floats}"), ("0 or 1",)),
        (("--binarize=none", "--dataset={wide}", "--allow_grey_bernoulli"), ("[0, 1]",)),
        (("--likelihood=continuous_bernoulli", "--dataset={wide}"), ("[0, 1]",)),
        (("--binarize=threshold", "--dataset={wide}"), ("[0, 1]",)),
    ],
)
def test_pixels_outside_the_support_are_refused(
    flags: tuple[str, ...], naming: tuple[str, ...], data_file: Path, tmp_path: Path, capsys
) -> None:
    np.save(tmp_path / "floats.npy", GREY / np.float32(255.0))
    np.save(tmp_path / "wide.npy", GREY / np.float32(100.0))
    places = {name: tmp_path / f"{name}.npy" for name in ("floats", "wide")}
    workdir = tmp_path / "run"
    arguments = [flag.format(**places) for flag in (f"--dataset={data_file}", *TINY, *flags)]
    assert_refused(capsys, "train", f"--workdir={workdir}", *arguments, naming=naming)
    assert not workdir.exists()


def test_a_test_split_outside_the_support_is_found_before_training(tmp_path: Path, capsys) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, train=GREY // 128, test=GREY // 64)
    arguments = (f"--workdir={tmp_path / 'run'}", f"--dataset={path}", *TINY, "--binarize=none")
    assert_refused(capsys, "train", *arguments, naming=("0 or 1",))
    assert not (tmp_path / "run").exists()


@pytest.mark.run
def test_a_workdir_that_cannot_be_one_is_refused(data_file: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("mine")
    before = tree(tmp_path)
    for workdir, naming in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "run", "cannot be written to"),
        (Path("/proc/none"), "cannot be written to"),
        (tmp_path / "foreign", "not empty and not a run"),
    ):
        arguments = (f"--workdir={workdir}", f"--dataset={data_file}", *TINY)
        assert_refused(capsys, "train", *arguments, naming=(str(workdir), naming))
        assert tree(tmp_path) == before
    assert_refused(capsys, "train", *arguments[1:], naming=("--workdir is required",))


def test_a_run_that_appears_while_the_data_load_is_not_overwritten(
    data_file: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "run"
    load_data = run.load_data

    def slow_load_data(config: TrainConfig, record: None) -> object:
        workdir.mkdir()
        data = {"event_shape": [20], "image_shape": [4, 5], "split_sizes": {"train": 48}}
        Workdir(workdir).write_config(TrainConfig(latent_dim=9), data)
        return load_data(config, record)

    monkeypatch.setattr(run, "load_data", slow_load_data)
    arguments = (f"--workdir={workdir}", f"--dataset={data_file}", *TINY)
    assert_refused(capsys, "train", *arguments, naming=("latent_dim=9",))
    assert json.loads((workdir / "config.json").read_text())["config"]["latent_dim"] == 9


@pytest.mark.run
def test_grey_pixels_are_taken_when_allowed_by_name(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = {"bounds_nats_per_datapoint": {}, "samples_seen": 0, "images_per_second": 0, "seed": 0}
    ending |= {"notes": [], "diverged": False}
    monkeypatch.setattr("tfp_aevb.runs.train.finish", lambda *_: ending)
    arguments = (f"--workdir={tmp_path / 'run'}", f"--dataset={data_file}", *TINY, "--steps=2")
    assert command("train", *arguments, "--binarize=none", "--allow_grey_bernoulli") == 0


@pytest.mark.run
def test_the_largest_seed_trains(data_file: Path, tmp_path: Path) -> None:
    arguments = (f"--workdir={tmp_path / 'run'}", f"--dataset={data_file}", *TINY, "--steps=2")
    assert command("train", *arguments, f"--seed={2**32 - 1}") == 0
