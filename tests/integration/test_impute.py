"""`impute` on a finished run: test images, one's own files, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.runs import assert_refused, command
from tfp_aevb.imputation import impute
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.finish import load_run, load_run_data

QUICK = ("--num_samples=10", "--burn_in=4", "--draws=3")


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.run
@pytest.mark.parametrize(
    ("method", "diagnostic"),
    [("gibbs", None), ("metropolis", "acceptance"), ("importance", "effective_sample_size")],
)
def test_test_images_are_damaged_and_restored(
    method: str, diagnostic: str | None, trained: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "restored.npz"
    arguments = (f"--workdir={trained}", f"--output={output}", *QUICK, "--task=missing_lower_half")
    assert command("impute", *arguments, f"--method={method}", "--count=5", "--seed=3") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(output)
    assert printed[-1] == str(output.with_suffix(".png"))
    count = 1 if diagnostic else 0
    words = [line.partition(":")[0].replace(" ", "_") for line in printed[1 : 1 + count]]
    assert words == [diagnostic] * count
    # What is doubtful about the draws is said after that, in sentences.
    assert all(line.endswith(".") for line in printed[1 + count : -1])
    found = arrays_in(output)
    config, run, model = load_run(trained)
    dataset = load_run_data(config, run)
    originals = as_seen(dataset.test, dataset, 5, 3)
    np.testing.assert_array_equal(found["original"], originals)
    seen = np.arange(20) < 10
    np.testing.assert_array_equal(found["observed"][:, seen], originals[:, seen])
    assert np.isnan(found["observed"][:, ~seen]).all()
    options: dict[str, Any] = {"num_draws": 3, "num_samples": 10, "burn_in": 4, "seed": 3}
    expected = impute(model, found["observed"], method=method, **options)
    for name in ("mean", "stddev", "draws", *([diagnostic] if diagnostic else [])):
        np.testing.assert_array_equal(found[name], getattr(expected, name))
    assert tf.io.decode_png(output.with_suffix(".png").read_bytes()).numpy().std() > 0.0


@pytest.mark.run
def test_own_images_have_nan_or_a_mask(trained: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2, (4, 4, 5)).astype(np.float32)
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    np.save(tmp_path / "nan.npy", np.where(mask, x, np.nan))
    np.savez(tmp_path / "mask.npz", x=x, mask=mask)
    found = []
    for name in ("nan.npy", "mask.npz"):
        output = tmp_path / f"{name}-out.npz"
        arguments = (f"--workdir={trained}", f"--input={tmp_path / name}", f"--output={output}")
        assert command("impute", *arguments, *QUICK) == 0
        found.append(arrays_in(output))
        assert "original" not in found[-1]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name])
    flat, known = x.reshape(4, 20), mask.reshape(4, 20)
    np.testing.assert_array_equal(found[0]["mean"][known], flat[known])
    np.testing.assert_array_equal(np.isnan(found[0]["observed"]), ~known)


def test_own_noisy_images_are_restored(trained: Path, tmp_path: Path) -> None:
    y = np.random.default_rng(0).integers(0, 2, (4, 20)).astype(np.float32)
    np.save(tmp_path / "y.npy", y)
    output = tmp_path / "out.npz"
    arguments = (f"--workdir={trained}", f"--input={tmp_path / 'y.npy'}", f"--output={output}")
    assert command("impute", *arguments, *QUICK, "--task=noise", "--rate=0.1") == 0
    found = arrays_in(output)
    np.testing.assert_array_equal(found["observed"], y)
    assert (np.abs(found["mean"] - y) < 0.5).mean() > 0.8
    assert (found["stddev"] > 0.0).all()


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        ((), ("--input or --task",)),
        (("--task=blur",), ("--task=blur", "super_resolution")),
        (("--task=noise", "--rate=2"), ("`rate`", "2.0")),
        (("--task=super_resolution",), ("multiples of 2", "(4, 5)")),
        (("--task=super_resolution", "--rate=0.5"), ("no `rate`",)),
        (("--task=noise", "--method=magic"), ("--method=magic",)),
        (("--task=noise", "--draws=0"), ("--draws",)),
        (("--task=noise", "--output={folder}/x.png"), ("--output", ".npz")),
        (("--task=noise", "--output={folder}/none/x.npz"), ("--output", "no folder")),
        (("--input={folder}/good.npy", "--task=missing_random"), ("--input", "NaN or a mask")),
        (("--input={folder}/none.npy",), ("--input", "none.npy", "does not exist")),
        (("--input={folder}/text.npy",), ("text.npy", "no valid .npy header")),
        (("--input={folder}/text.npz",), ("text.npz", "cannot be read")),
        (("--input={folder}/objects.npy",), ("objects.npy", "'object' is not supported")),
        (("--input={folder}/names.npz",), ("names.npz", "['images']")),
        (("--input={folder}/grey.npy",), ("0 or 1", "0.5")),
        (("--input={folder}/wide.npy",), ("[20]", "[21]")),
        (("--input={folder}/masked.npz",), ("`mask`", "bool")),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...], naming: tuple[str, ...], trained: Path, tmp_path: Path, capsys
) -> None:
    np.save(tmp_path / "good.npy", np.zeros([2, 20]))
    np.save(tmp_path / "grey.npy", np.full([2, 20], 0.5))
    np.save(tmp_path / "wide.npy", np.zeros([2, 21]))
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "names.npz", images=np.zeros([2, 20]))
    np.savez(tmp_path / "masked.npz", x=np.zeros([2, 20]), mask=np.zeros([2, 20]))
    for name in ("text.npy", "text.npz"):
        (tmp_path / name).write_text("hello")
    output = tmp_path / "out.npz"
    flags = [flag.format(folder=tmp_path) for flag in (f"--output={output}", *arguments)]
    assert_refused(capsys, "impute", f"--workdir={trained}", *flags, naming=naming)
    assert not output.exists()
