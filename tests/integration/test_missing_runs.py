"""Arrays with gaps from the command line: `--missing`, from training to what is served."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.runs import TINY, assert_refused, command
from tfp_aevb.runs.finish import load_run, load_run_split

GAPS = ("--missing=mask", "--optimizer=adam", "--output_bias=data")


def images(num: int, seed: int) -> np.ndarray:
    """Binary images [num, 4, 5] of two kinds, with NaN for a third of the pixels."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, [num, 1, 1])
    high = (np.arange(20).reshape(4, 5) + kind) % 2
    x = (rng.random([num, 4, 5]) < 0.1 + 0.8 * high).astype(np.float32)
    return np.where(rng.random(x.shape) < 1.0 / 3.0, np.float32(np.nan), x)


@pytest.fixture(scope="module")
def gaps_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gaps") / "gaps.npz"
    np.savez(path, train=images(80, 0), labels_train=np.arange(80) % 2)
    return path


@pytest.fixture(scope="module")
def run_with_gaps(gaps_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "gaps"
    assert command("train", f"--workdir={workdir}", f"--dataset={gaps_file}", *TINY, *GAPS) == 0
    return workdir


def test_a_run_keeps_its_gaps_and_is_served(run_with_gaps: Path) -> None:
    config, run, model = load_run(run_with_gaps)
    assert (config.missing, config.binarize, model.allows_missing) == ("mask", "dynamic", True)
    x = load_run_split(config, run, "test").x
    assert 0.2 < np.isnan(x).mean() < 0.5
    summary = json.loads((run_with_gaps / "summary.json").read_text())
    # About two thirds of 20 pixels: far from the bound of pixels that were filled.
    assert -13.9 < summary["test_elbo"] < -4.0
    assert {path.name for path in (run_with_gaps / "figures").iterdir()} >= {
        "encodings.png",
        "reconstructions.png",
    }
    served = tf.saved_model.load(run_with_gaps / "saved_model")
    np.testing.assert_allclose(
        served.elbo(x, 2, [1, 2])["elbo"], model.elbo(x, 2, seed=tf.constant([1, 2])), rtol=1e-5
    )
    np.testing.assert_allclose(served.encode(x)["loc"], model.encode(x).mean(), rtol=1e-4)


@pytest.mark.run
def test_the_verbs_take_gaps(run_with_gaps: Path, tmp_path: Path, capsys) -> None:
    new, codes = tmp_path / "new.npy", tmp_path / "codes.npz"
    x = images(6, 1)
    np.save(new, x)
    where = f"--workdir={run_with_gaps}"
    estimators = ("--estimator=elbo,importance", "--num_samples=200", "--num_datapoints=8")
    assert command("evaluate", where, *estimators) == 0
    elbo, importance = (
        float(line.split()[2]) for line in capsys.readouterr().out.splitlines()[1:3]
    )
    assert -14.0 < elbo < importance + 0.05 < 0.0
    assert command("encode", where, f"--input={new}", f"--output={codes}") == 0
    _, _, model = load_run(run_with_gaps)
    expected = model.encode(x.reshape(6, 20)).mean()
    np.testing.assert_allclose(np.load(codes)["loc"], expected, rtol=1e-4, atol=1e-6)
    quick = ("--num_samples=10", "--burn_in=4", "--draws=2", f"--output={tmp_path / 'full.npz'}")
    for source in (f"--input={new}", "--task=missing_random"):
        assert command("impute", where, source, *quick) == 0
        with np.load(tmp_path / "full.npz") as arrays:
            assert np.isfinite(arrays["mean"]).all()
            known = ~np.isnan(arrays["observed"])
            np.testing.assert_array_equal(arrays["mean"][known], arrays["observed"][known])
    assert command("diagnose", where, "--num_refined=2", "--num_draws=20") == 0
    small = ("--num_scored=2", "--num_samples=5", "--num_refined=2", "--num_datapoints=8")
    assert command("report", where, f"--output={tmp_path / 'report.html'}", *small) == 0
    capsys.readouterr()
    assert_refused(capsys, "represent", where, naming=("missing", "encode"))


@pytest.mark.run
def test_a_flow_goes_with_a_mask(gaps_file: Path, tmp_path: Path) -> None:
    where = (f"--workdir={tmp_path / 'run'}", f"--dataset={gaps_file}")
    flow = ("--posterior=realnvp", "--objective=sgvb_a", "--activation=relu")
    assert command("train", *where, *TINY, *GAPS, *flow, "--steps=20") == 0
    assert command("evaluate", where[0]) == 0
    model = load_run(tmp_path / "run")[2]
    assert [step.activation for step in model.encoder.steps] == ["relu", "relu"]


@pytest.mark.run
def test_real_values_with_gaps_and_zeros_in_their_place(tmp_path: Path) -> None:
    x = images(60, 2).reshape(60, 20)
    np.save(tmp_path / "real.npy", 3.0 * x + 1.0)
    where = (f"--workdir={tmp_path / 'run'}", f"--dataset={tmp_path / 'real.npy'}")
    kind = ("--likelihood=gaussian", "--decoder_variance=global", "--missing=zero")
    assert command("train", *where, *TINY, *kind, "--network=mlp", "--output_bias=data") == 0
    bounds = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.isfinite(bounds["test_elbo"])


def test_gaps_are_refused_where_nobody_marginalises_them(
    gaps_file: Path, trained: Path, tmp_path: Path, capsys
) -> None:
    new, one = f"--workdir={tmp_path / 'new'}", tmp_path / "one.npy"
    np.save(one, images(2, 1))
    data = f"--dataset={gaps_file}"
    codes = f"--output={tmp_path / 'codes.npz'}"
    for verb, flags, naming in (
        ("train", (new, data), ("gaps.npz", "NaN", "--missing")),
        ("train", (new, data, "--missing=mask", "--network=conv"), ("--missing=mask", "conv")),
        ("train", (new, data, "--missing=mask", "--method=mcem"), ("--missing=zero",)),
        ("encode", (f"--workdir={trained}", f"--input={one}", codes), ("one.npy", "--missing")),
    ):
        assert_refused(capsys, verb, *flags, naming=naming)
    assert not (tmp_path / "new").exists()
