"""Tests of tfp_aevb.runs.checkpoints."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from tests.helpers import assert_one_line, assert_same_arrays, binary_data, compiled, small_model
from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.checkpoints import Checkpoints
from tfp_aevb.runs.metrics import COLUMNS, MetricsLog
from tfp_aevb.utils.files import WriteError


def new_model(weight_seed: int = 1) -> AEVB:
    optimizer = tf_keras.optimizers.Adagrad(0.1)
    return compiled(small_model(weight_seed=weight_seed), optimizer, steps_per_execution=2)


def everything(model: AEVB) -> list[np.ndarray]:
    return [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]


def saved_at(folder: Path, *steps: int) -> tuple[Checkpoints, AEVB]:
    checkpoints, model = Checkpoints(folder), new_model()
    for step in steps:
        model.optimizer.iterations.assign(step)
        model.retries.assign(step + 1)
        checkpoints.save(model)
    return checkpoints, model


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "bit flipped": flip_a_bit,
    "emptied": lambda path: path.write_bytes(b""),
    "checksum lost": lambda path: path.with_suffix(".sha256").unlink(),
    "checksum emptied": lambda path: path.with_suffix(".sha256").write_text(""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def test_all_state_comes_back(tmp_path: Path) -> None:
    model = new_model()
    model.fit(binary_data(), batch_size=5, epochs=1, verbose=0)
    model.retries.assign(2)
    assert Checkpoints(tmp_path).save(model) == tmp_path / "step-00000005.npz"
    other = new_model(weight_seed=2)
    assert Checkpoints(tmp_path).restore(other) == (5, [])
    assert_same_arrays(everything(other), everything(model))
    assert int(other.optimizer.iterations) == 5
    assert int(other.retries) == 2
    # Adagrad's slots and the running sums are among it: 24 weights of 4 layers twice, and more.
    assert [metric.total.numpy() for metric in other.averages] == [
        metric.total.numpy() for metric in model.averages
    ]
    assert other.averages[0].count.numpy() == 25.0
    for slot, fresh in zip(
        other.optimizer.variables[1:], new_model().optimizer.variables[1:], strict=True
    ):
        assert (slot.numpy() != fresh.numpy()).any()


def test_without_checkpoints_nothing_is_restored(tmp_path: Path) -> None:
    model = new_model()
    before = everything(model)
    assert Checkpoints(tmp_path / "none").restore(model) == (0, [])
    assert_same_arrays(everything(model), before)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 0, 9, 10, 100_000_000)
    names = ["step-00000010", "step-100000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{suffix}" for name in names for suffix in ("npz", "sha256")
    ]
    assert checkpoints.restore(model) == (100_000_000, [])


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_with_a_line(how: str, tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 10, 20)
    DAMAGE[how](tmp_path / "step-00000020.npz")
    line = "checkpoint step-00000020.npz is damaged or half-written: passed over"
    assert checkpoints.restore(model) == (10, [line])
    assert int(model.retries) == 11


def test_damaged_checkpoints_only_are_an_error(tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 10, 20)
    before = everything(model)
    for path in tmp_path.glob("*.npz"):
        DAMAGE["truncated"](path)
    assert_one_line(lambda: checkpoints.restore(model), ValueError, str(tmp_path), "damaged")
    assert_same_arrays(everything(model), before)


def test_a_damaged_checkpoint_does_not_push_out_the_good_ones(tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 10, 50)
    DAMAGE["truncated"](tmp_path / "step-00000050.npz")
    for step in (20, 30):
        model.optimizer.iterations.assign(step)
        checkpoints.save(model)
    DAMAGE["truncated"](tmp_path / "step-00000030.npz")
    assert checkpoints.restore(model)[0] == 20


def test_files_that_are_no_checkpoints_are_left_alone(tmp_path: Path) -> None:
    names = ["step-best.npz", "step-1.npz", ".step-00000099.npz.123", "notes.txt"]
    for name in names:
        (tmp_path / name).write_text("mine")
    checkpoints, model = saved_at(tmp_path, 1, 2, 3)
    assert checkpoints.restore(model) == (3, [])
    assert all((tmp_path / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (lambda: layers.DiagonalGaussianPosterior(2, (4,)), "has shape"),
        (lambda: layers.DiagonalGaussianPosterior(2, (5, 5)), "variables differ"),
    ],
)
def test_another_model_is_refused_and_left_as_it_is(encoder, reason: str, tmp_path: Path) -> None:
    saved_at(tmp_path, 10)
    other = compiled(small_model(encoder=encoder()), tf_keras.optimizers.Adagrad(0.1))
    before = everything(other)
    parts = ("step-00000010.npz", "another model", reason)
    assert_one_line(lambda: Checkpoints(tmp_path).restore(other), ValueError, *parts)
    assert_same_arrays(everything(other), before)


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    saved_at(tmp_path, 10)
    other = compiled(small_model(), tf_keras.optimizers.Adam(0.1))
    parts = ("step-00000010.npz", "another model")
    assert_one_line(lambda: Checkpoints(tmp_path).restore(other), ValueError, *parts)


def test_the_same_state_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (saved_at(tmp_path / name, 7)[0] for name in "ab")
    assert first.save is not second.save
    contents = [(tmp_path / name / "step-00000007.npz").read_bytes() for name in "ab"]
    assert contents[0] == contents[1]


def test_killed_after_the_first_checksum_is_no_damage(tmp_path: Path) -> None:
    _, model = saved_at(tmp_path, 0)
    (tmp_path / "step-00000000.npz").unlink()  # the checksum is written first
    assert Checkpoints(tmp_path).restore(model) == (0, [])


def test_killed_while_a_checkpoint_is_replaced_leaves_the_old_one_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, model = saved_at(tmp_path, 5)
    model.retries.assign(9)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfp_aevb.runs.checkpoints.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(model)
    assert checkpoints.restore(model) == (5, [])
    assert int(model.retries) == 6


def test_a_checksum_that_is_not_text_is_passed_over(tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 10, 20)
    (tmp_path / "step-00000020.sha256").write_bytes(b"\xff\xfe" * 32)
    assert checkpoints.restore(model)[0] == 10


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no archive"])
def test_a_forged_checksum_does_not_help_a_file_that_is_no_checkpoint(
    content: bytes, tmp_path: Path
) -> None:
    checkpoints, model = saved_at(tmp_path, 10)
    (tmp_path / "step-00000010.npz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "step-00000010.sha256").write_text(digest)
    assert_one_line(lambda: checkpoints.restore(model), ValueError, "step-00000010.npz")


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    checkpoints, model = saved_at(tmp_path, 10)
    path = tmp_path / "step-00000010.npz"
    with np.load(path, allow_pickle=False) as arrays:
        wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    np.savez(path, **wide)
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    assert_one_line(lambda: checkpoints.restore(model), ValueError, "is float64, expected")


def test_the_best_is_kept_beside_the_newest_two(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv", 0, 10, 100)
    for step, bound in ((10, -3.0), (20, -1.0), (30, -2.0), (40, -2.5), (50, -4.0)):
        log.append(dict.fromkeys(COLUMNS, 0.0) | {"step": step, "validation_elbo": bound})
    folder, model = tmp_path / "checkpoints", new_model()
    for step in (10, 20, 30, 40, 45):
        model.optimizer.iterations.assign(step)
        Checkpoints(folder, log._path).save(model)
    names = sorted(path.stem for path in folder.glob("*.npz"))
    assert names == ["step-00000020", "step-00000040", "step-00000045"]


def test_a_folder_that_has_vanished_is_not_made_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "gone" / "checkpoints")
    parts = ("step-00000000.npz cannot be written", "its folder is gone")
    assert_one_line(lambda: checkpoints.save(new_model()), WriteError, *parts)
    assert not (tmp_path / "gone").exists()
