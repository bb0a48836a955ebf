"""`impute` on a run of each likelihood of `train`; tables are in test_table_runs.py."""

from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import TINY, command
from tfp_aevb.runs.settings.choices import LIKELIHOODS, SUPPORTS

ENDING = {"bounds_nats_per_datapoint": {}, "samples_seen": 0, "images_per_second": 0, "seed": 0}
ENDING |= {"notes": [], "diverged": False}
ARRAYS = [name for name in LIKELIHOODS if name != "mixed"]
# Compiling each takes a while: the others are slow.
QUICK = ("discretized_logistic", "negative_binomial")


def _values(likelihood: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    draws = {
        "binary": lambda: rng.integers(0, 2, (40, 4, 5)),
        "levels": lambda: rng.integers(0, 256, (40, 4, 5)).astype(np.uint8),
        "codes": lambda: rng.integers(0, 4, (40, 4, 5)),
        "counts": lambda: rng.poisson(4.0, (40, 4, 5)),
    }
    found = draws.get(SUPPORTS[likelihood], lambda: rng.uniform(0.01, 0.99, (40, 4, 5)))()
    return found if SUPPORTS[likelihood] == "levels" else found.astype(np.float32)


@pytest.mark.parametrize(
    "likelihood",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARRAYS],
)
def test_each_likelihood_is_imputed(
    likelihood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfp_aevb.runs.train.finish", lambda *_: ENDING)
    data, output = tmp_path / "data.npy", tmp_path / "full.npz"
    np.save(data, _values(likelihood))
    kind = (f"--likelihood={likelihood}", "--steps=2", "--eval_every=1")
    kind += ("--categories=4",) if likelihood == "categorical" else ()
    where = f"--workdir={tmp_path / 'run'}"
    assert command("train", where, f"--dataset={data}", *TINY, *kind, "--binarize=none") == 0
    quick = ("--num_samples=5", "--burn_in=2", "--draws=3", "--count=2", f"--output={output}")
    assert command("impute", where, "--task=missing_random", *quick) == 0
    with np.load(output) as arrays:
        missing = np.isnan(arrays["observed"])
        assert missing.any()
        for name in ("mean", "stddev", "draws"):
            assert np.isfinite(arrays[name]).all(), name
        assert (arrays["stddev"][missing] > 0.0).all()
        np.testing.assert_array_equal(arrays["stddev"][~missing], 0.0)
