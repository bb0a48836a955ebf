"""`train` from the command line: what a run leaves behind, and what TensorBoard reads of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.integration.runs import (
    TINY,
    assert_refused,
    assert_same_run,
    checkpoint_paths,
    command,
    copy_of,
    error_line,
    metric_rows,
    python,
    tree,
)
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands import train
from tfp_aevb.evaluation.scores import score
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.finish import load_run, load_run_data, load_run_split
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.tensorboard import mean_kl_per_dimension
from tfp_aevb.runs.workdir import Workdir

FIGURES = (
    "encodings",
    "kl_per_dimension",
    "learning_curves",
    "manifold",
    "reconstructions",
    "samples",
)


def config_of(*arguments: str) -> TrainConfig:
    """Parses the flags of `train`."""
    values = flags_lib.new_flags()
    train.define_flags(values)
    return flags_lib.train_config(flags_lib.parse(values, arguments))


def events(workdir: Path, split: str) -> EventAccumulator:
    accumulator = EventAccumulator(str(workdir / "tensorboard" / split))
    accumulator.Reload()
    return accumulator


def scalar_steps(workdir: Path, split: str, tag: str) -> list[int]:
    return [event.step for event in events(workdir, split).Tensors(tag)]


def test_a_run_leaves_everything_in_its_folder(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()} - {".lock"}
    folders = {"checkpoints", "tensorboard", "figures", "saved_model"}
    assert names == {"config.json", "flags.txt", "metrics.csv", "summary.json"} | folders
    figures = sorted((trained / "figures").iterdir())
    assert [path.name for path in figures] == [f"{name}.png" for name in FIGURES]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in figures)
    assert [path.stem for path in checkpoint_paths(trained)] == ["step-00000000", "step-00000040"]
    assert [row["step"] for row in metric_rows(trained)] == ["20", "40"]


def test_summary_reports_the_test_bound_of_the_loaded_model(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    config, run, model = load_run(trained)
    bound = model.evaluate(load_run_split(config, run, "test"), verbose=0, return_dict=True)
    assert summary["test_elbo"] == bound["elbo"]
    np.testing.assert_allclose(bound["elbo"], bound["reconstruction"] - bound["kl"], rtol=1e-6)
    assert -20.0 < summary["test_elbo"] < -10.0  # 20 fair coins: -13.9
    assert summary["samples_seen"] == 8 * 48  # 5 minibatches of 48 datapoints an epoch
    assert summary["images_per_second"] > 0.0
    assert (summary["seed"], summary["steps"]) == (0, 40)
    assert TrainConfig.from_dict(summary["config"]) == config


def test_summary_agrees_with_scores_of_many_samples(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    config, run, model = load_run(trained)
    train_split = load_run_split(config, run, "train")
    scores = score(model, train_split, "elbo", 100, seed=1)
    reported = summary["bounds_nats_per_datapoint"]["train"]
    assert reported["datapoints"] == 48
    assert abs(reported["elbo"] - scores.mean) < 3.0 * scores.half_width


def test_flag_file_gives_the_same_settings_again(trained: Path) -> None:
    config, _ = Workdir(trained).read()
    assert config_of(f"--flagfile={trained / 'flags.txt'}") == config
    assert (config.hidden_units, config.latent_dim, config.xla) == ((16,), 2, False)


def test_bound_and_its_terms_are_written_for_tensorboard(trained: Path) -> None:
    rows = metric_rows(trained)
    for split in ("train", "validation"):
        for tag in ("loss", "elbo", "reconstruction", "kl"):
            points = events(trained, split).Tensors(tag)
            assert [point.step for point in points] == [20, 40]
            values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
            expected = [float(row[f"{split}_{tag}"]) for row in rows]
            np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_kl_of_each_dimension_is_written_for_tensorboard(trained: Path) -> None:
    accumulator = events(trained, "validation")
    assert "kl per dimension" in accumulator.Tags()["tensors"]
    written = [
        float(tf.make_ndarray(accumulator.Tensors(f"kl per dimension/{j:03d}")[-1].tensor_proto))
        for j in range(2)
    ]
    config, run, model = load_run(trained)
    dataset = load_run_data(config, run)
    x = as_seen(dataset.validation, dataset, 500, seed=config.seed)
    exact = tfp.distributions.kl_divergence(model.encode(x), model.prior_distribution())
    np.testing.assert_allclose(sum(written), np.mean(exact), rtol=1e-4)
    np.testing.assert_allclose(written, mean_kl_per_dimension(model, x), rtol=1e-5)


def test_pictures_are_written_for_tensorboard(trained: Path) -> None:
    accumulator = events(trained, "validation")
    for tag, pixels in (
        ("reconstructions", None),
        ("samples", None),
        ("manifold", 15 * 15 * 4 * 5),
    ):
        point = accumulator.Tensors(tag)[-1]
        assert point.step == 40
        width, height, *images = tf.make_ndarray(point.tensor_proto)
        decoded = tf.io.decode_png(images[0]).numpy()
        assert decoded.shape[:2] == (int(height), int(width))
        assert decoded.size >= (pixels or 1)
        assert decoded.std() > 0.0


def test_settings_are_written_for_tensorboard(trained: Path) -> None:
    accumulator = events(trained, "validation")
    metadata = accumulator.SummaryMetadata("_hparams_/session_start_info")
    content = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    hparams = content.session_start_info.hparams
    assert hparams["learning_rate"].number_value == pytest.approx(0.02)
    assert hparams["latent_dim"].number_value == 2
    assert hparams["hidden_units"].string_value == "[16]"
    assert hparams.keys() == TrainConfig().to_dict().keys()


@pytest.mark.run
def test_table_of_bounds_is_printed(trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    config = f"--flagfile={trained / 'flags.txt'}"
    assert command("train", config, f"--workdir={workdir}") == 0
    captured = capsys.readouterr()
    assert f"{workdir}: resuming at step 40" in captured.err
    summary = json.loads((trained / "summary.json").read_text())
    assert f"{summary['test_elbo']:.3f}" in captured.out
    assert "384 training samples" in captured.out
    assert str(workdir) in captured.out
    assert_same_run(workdir, trained)
    assert json.loads((workdir / "summary.json").read_text()) == summary


@pytest.mark.run
def test_a_finished_run_without_its_metrics_ends_again(trained: Path, tmp_path: Path) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = json.loads((workdir / "summary.json").read_text())
    (workdir / "metrics.csv").unlink()
    assert command("train", f"--flagfile={trained / 'flags.txt'}", f"--workdir={workdir}") == 0
    summary = json.loads((workdir / "summary.json").read_text())
    for key in ("test_elbo", "samples_seen", "steps", "config", "bounds_nats_per_datapoint"):
        assert summary[key] == before[key]


def test_other_settings_are_refused_and_nothing_changes(
    trained: Path, tmp_path: Path, data_file: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = tree(workdir)
    arguments = ("--workdir", workdir, f"--dataset={data_file}", *TINY)
    for change, naming in (
        ("--latent_dim=3", "latent_dim=2 (now 3)"),
        ("--seed=1", "seed=0 (now 1)"),
        ("--xla", "xla=False (now True)"),
        ("--hidden_units=16,16", "hidden_units=[16] (now [16, 16])"),
        ("--dataset=mnist_5k", "(now mnist_5k)"),
    ):
        assert_refused(capsys, "train", *arguments, change, naming=(naming, str(workdir)))
        assert tree(workdir) == before


def test_fewer_steps_than_done_are_refused_and_nothing_changes(
    trained: Path, tmp_path: Path, data_file: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = tree(workdir)
    arguments = ("--workdir", workdir, f"--dataset={data_file}", *TINY, "--steps=39", "--progress")
    assert_refused(capsys, "train", *arguments, naming=("step 40", "--steps=39"))
    assert tree(workdir) == before


@pytest.mark.run
def test_other_data_under_the_same_name_are_refused(tmp_path: Path, capsys) -> None:
    path = tmp_path / "data.npy"
    np.save(path, np.eye(30, 4, dtype=np.uint8))
    arguments = (f"--dataset={path}", f"--workdir={tmp_path / 'run'}", *TINY, "--steps=2")
    assert command("train", *arguments) == 0
    capsys.readouterr()
    before = tree(tmp_path / "run")
    np.save(path, 1 - np.eye(30, 4, dtype=np.uint8))
    assert_refused(capsys, "train", *arguments, naming=("not what this run was started with",))
    assert tree(tmp_path / "run") == before


def test_a_workdir_in_use_is_refused(
    trained: Path, tmp_path: Path, data_file: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = tree(workdir)
    arguments = ("--workdir", workdir, f"--dataset={data_file}", *TINY, "--steps=60")
    lock = Workdir(workdir).claim()
    try:
        assert_refused(capsys, "train", *arguments, naming=(str(workdir), "in use by process"))
    finally:
        lock.release()
    assert tree(workdir).keys() - before.keys() <= {".lock"}
    assert {**tree(workdir), ".lock": b""} == {**before, ".lock": b""}


@pytest.mark.run
def test_a_run_of_digits_in_its_own_process(tmp_path: Path) -> None:
    process = python(
        *("-m", "tfp_aevb", "train", f"--workdir={tmp_path / 'run'}"),
        *("--steps=40", "--eval_every=20", "--hidden_units=16", "--latent_dim=2"),
    )
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert "Warning" not in stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert f"{summary['test_elbo']:.3f}" in stdout
    assert -400.0 < summary["test_elbo"] < -150.0
    assert summary["data"]["split_sizes"] == {"train": 4000, "validation": 500, "test": 500}
    assert scalar_steps(tmp_path / "run", "validation", "elbo") == [20, 40]


@pytest.mark.run
def test_an_error_in_its_own_process_is_one_line(tmp_path: Path) -> None:
    process = python("-m", "tfp_aevb", "train", f"--workdir={tmp_path / 'x'}", "--dataset=nope.npy")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert stderr.splitlines() == [
        f"tfp_aevb: dataset file '{Path('nope.npy').absolute()}' does not exist; check the path"
    ]
    assert stdout == ""
    assert not (tmp_path / "x").exists()


def test_settings_are_checked_before_tensorflow_loads(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("tfp_aevb.commands.runtime.start", lambda: pytest.fail("started"))
    assert command("train", f"--workdir={tmp_path / 'x'}", "--steps=0") == 2
    assert "--steps" in error_line(capsys)
