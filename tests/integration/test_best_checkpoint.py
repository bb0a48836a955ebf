"""`--checkpoint=best`: the weights, and with them all numbers, of the best validation bound."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_one_line, assert_same_arrays
from tests.integration.runs import (
    TINY,
    assert_refused,
    checkpoint_paths,
    command,
    copy_of,
    metric_rows,
    newest_step,
)
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.main import VERBS
from tfp_aevb.runs.finish import load_run, load_run_split

# Long enough to learn 48 images of noise by heart, which the validation bound pays for.
OVERFITTED = ("--optimizer=adam", "--learning_rate=0.03", "--binarize=static", "--estimation=ml")


@pytest.fixture(scope="module")
def overfitted(data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "overfitted"
    where = (f"--workdir={workdir}", f"--dataset={data_file}", "--checkpoint_secs=0")
    assert command("train", *where, *TINY, *OVERFITTED, "--steps=160") == 0
    return workdir


def best_row(workdir: Path) -> dict[str, str]:
    return max(metric_rows(workdir), key=lambda row: float(row["validation_elbo"]))


def test_the_weights_are_those_of_the_best_step(overfitted: Path) -> None:
    step = int(best_row(overfitted)["step"])
    assert 0 < step < newest_step(overfitted) - 20  # not one of the newest two either
    _, _, last = load_run(overfitted)
    _, _, best = load_run(overfitted, "best")
    assert int(last.optimizer.iterations) == newest_step(overfitted) == 160
    assert int(best.optimizer.iterations) == step
    with np.load(overfitted / "checkpoints" / f"step-{step:08d}.npz") as arrays:
        saved = [arrays[name] for name in sorted(arrays.files) if name.startswith("model/")]
    assert_same_arrays([variable.numpy() for variable in best.variables], saved)


@pytest.mark.run
def test_the_numbers_are_those_of_the_best_step(overfitted: Path, capsys) -> None:
    rows = {"best": best_row(overfitted), "last": metric_rows(overfitted)[-1]}
    printed = {}
    for checkpoint, row in rows.items():
        config, run, model = load_run(overfitted, checkpoint)
        x = load_run_split(config, run, "validation")
        bound = model.evaluate(x, verbose=0, return_dict=True)["elbo"]
        assert bound == pytest.approx(float(row["validation_elbo"]), rel=1e-6)
        where = (f"--workdir={overfitted}", f"--checkpoint={checkpoint}")
        assert command("evaluate", *where, "--split=validation", "--num_samples=100") == 0
        printed[checkpoint] = float(capsys.readouterr().out.splitlines()[1].split()[2])
    assert printed["best"] > printed["last"] + 0.2  # nats


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"train", "reproduce"}))
def test_each_verb_that_loads_a_run_takes_it(verb: str) -> None:
    values = flags_lib.new_flags()
    importlib.import_module(f"tfp_aevb.commands.{verb}").define_flags(values)
    assert values["checkpoint"].default == "last"
    assert flags_lib.parse(values, ["--checkpoint=best"]).checkpoint == "best"


@pytest.mark.run
def test_pictures_reports_and_codes_are_of_the_best_step(overfitted: Path, tmp_path: Path) -> None:
    step = best_row(overfitted)["step"]
    small = ("--num_scored=2", "--num_samples=5", "--num_refined=2", "--num_datapoints=5")
    where = (f"--workdir={overfitted}", "--checkpoint=best")
    assert command("report", *where, f"--output={tmp_path / 'best.html'}", *small) == 0
    assert f"{step} updates of 10 datapoints" in (tmp_path / "best.html").read_text()
    assert command("encode", *where, f"--output={tmp_path / 'best.npz'}") == 0
    assert command("encode", where[0], f"--output={tmp_path / 'last.npz'}") == 0
    best, last = (np.load(tmp_path / f"{name}.npz")["loc"] for name in ("best", "last"))
    assert np.abs(best - last).max() > 0.1


def test_a_damaged_best_checkpoint_is_passed_over_for_the_next(overfitted: Path, tmp_path) -> None:
    workdir = copy_of(overfitted, tmp_path / "damaged")
    step = int(best_row(overfitted)["step"])
    (workdir / "checkpoints" / f"step-{step:08d}.npz").write_bytes(b"")
    rows = {int(row["step"]): float(row["validation_elbo"]) for row in metric_rows(workdir)}
    left = [int(path.stem.removeprefix("step-")) for path in checkpoint_paths(workdir)]
    left.remove(step)
    _, _, model = load_run(workdir, "best")
    assert int(model.optimizer.iterations) == max(left, key=lambda kept: rows[kept])
    for path in checkpoint_paths(workdir):
        path.write_bytes(b"")
    assert_one_line(lambda: load_run(workdir, "best"), ValueError, "damaged", str(workdir))


def test_where_there_is_none_it_is_one_line(overfitted: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(overfitted, tmp_path / "unscored")
    (workdir / "metrics.csv").unlink()
    naming = (str(workdir), "validation bound", "--checkpoint=last")
    assert_refused(capsys, "evaluate", f"--workdir={workdir}", "--checkpoint=best", naming=naming)
    assert command("evaluate", f"--workdir={workdir}") == 0
    for path in checkpoint_paths(workdir):
        path.unlink()
    capsys.readouterr()
    parts = (f"--workdir={workdir}", "--checkpoint=best")
    assert_refused(capsys, "evaluate", *parts, naming=("no checkpoint yet",))
    assert_one_line(lambda: load_run(overfitted, "first"), ValueError, "`checkpoint`", "first")
