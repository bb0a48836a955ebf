"""Arrays that the verbs take: one divisor of integers, which the run recorded."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import TINY, assert_refused, command

pytestmark = pytest.mark.run
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, size=[60, 4, 4]).astype(np.uint8)
DARK = (PIXELS[:5] > 128).astype(np.uint8)  # of 255
COUNTS = RNG.poisson(300, size=[60, 6])


@pytest.fixture(scope="module")
def run_of_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pixels")
    np.savez(folder / "x.npz", x=PIXELS, labels=np.arange(60) % 3)
    flags = (f"--dataset={folder / 'x.npz'}", "--likelihood=gaussian_sigmoid", *TINY)
    assert command("train", *flags, f"--workdir={folder / 'run'}") == 0
    return folder / "run"


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_a_dark_image_has_one_code_whatever_is_beside_it(
    run_of_pixels: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record = json.loads((run_of_pixels / "config.json").read_text())["data"]
    assert record["scale"] == 255.0
    files = {"alone": DARK, "beside": np.concatenate([DARK, PIXELS[:2]]), "floats": DARK / 255.0}
    for name, x in files.items():
        np.save(tmp_path / f"{name}.npy", x)
        where = (f"--workdir={run_of_pixels}", f"--input={tmp_path / name}.npy")
        assert command("encode", *where, f"--output={tmp_path / name}.csv") == 0
        said = capsys.readouterr().err
        assert ("divided by 255" in said) == (name != "floats")
    alone, beside, floats = (rows(tmp_path / f"{name}.csv") for name in files)
    assert alone == beside[:5]
    np.testing.assert_allclose(np.float64(floats), np.float64(alone), rtol=1e-4, atol=1e-6)
    output = tmp_path / "scores.csv"
    assert command("evaluate", *where, f"--output={output}") == 0
    assert len(rows(output)) == 5
    np.save(tmp_path / "wide.npy", PIXELS.astype(np.float64))
    where = (f"--workdir={run_of_pixels}", f"--input={tmp_path / 'wide.npy'}")
    capsys.readouterr()
    for verb in ("encode", "evaluate", "impute"):
        output = () if verb == "evaluate" else (f"--output={tmp_path / 'o.npz'}",)
        assert_refused(capsys, verb, *where, *output, naming=("wide.npy", "divided by 255"))


def test_observed_and_imputed_pixels_have_one_scale(run_of_pixels: Path, tmp_path: Path) -> None:
    mask = np.ones(DARK.shape, bool)
    mask[:, 2:] = False
    x = np.where(mask, PIXELS[:5], 255).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x=x, mask=mask)
    settings = ("--num_samples=10", "--burn_in=5", "--draws=2", f"--output={tmp_path / 'o.npz'}")
    where = (f"--workdir={run_of_pixels}", f"--input={tmp_path / 'x.npz'}")
    assert command("impute", *where, *settings) == 0
    with np.load(tmp_path / "o.npz") as found:
        known = mask.reshape(5, -1)
        expected = (PIXELS[:5] / np.float32(255.0)).reshape(5, -1)[known]
        np.testing.assert_allclose(found["observed"][known], expected, rtol=1e-6)
        np.testing.assert_allclose(found["mean"][known], expected, rtol=1e-6)
        assert found["mean"].max() <= 1.0


def test_counts_above_255_are_trained_on_and_scored(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", x_train=COUNTS, x_test=COUNTS[:20] // 4)
    np.save(tmp_path / "n.npy", COUNTS[:3])
    flags = (f"--dataset={tmp_path / 'n.npz'}", "--likelihood=poisson", *TINY)
    assert command("train", *flags, f"--workdir={tmp_path / 'run'}") == 0
    where = (f"--workdir={tmp_path / 'run'}", f"--input={tmp_path / 'n.npy'}")
    assert command("evaluate", *where, f"--output={tmp_path / 's.csv'}") == 0
    assert all(float(value) < -100.0 for _, value in rows(tmp_path / "s.csv"))
