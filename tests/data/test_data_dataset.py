"""Tests of tfp_aevb.data.dataset."""

import hashlib
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tfp_aevb.data import load_dataset


def _file(tmp_path: pathlib.Path, array: np.ndarray) -> str:
    np.save(tmp_path / "a.npy", array)
    return str(tmp_path / "a.npy")


@pytest.mark.compile
def test_record_is_json_and_hashes_the_final_pixels() -> None:
    data = load_dataset("mnist_5k", binarize="static", binarize_seed=4)
    record = json.loads(json.dumps(data.record))
    assert record == data.record
    assert (record["binarize"], record["binarize_seed"]) == ("static", 4)
    assert not record["already_binary"]
    for name in ("train", "validation", "test"):
        pixels = getattr(data, name).x
        assert record["sha256"][name] == hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("method", "scale", "values"),
    [("none", 255.0, 256), ("threshold", 1.0, 2), ("static", 1.0, 2), ("dynamic", 255.0, 256)],
)
def test_binarised_pixels_are_uint8_zeros_and_ones(
    tmp_path: pathlib.Path, method: str, scale: float, values: int
) -> None:
    name = _file(tmp_path, np.tile(np.arange(256, dtype=np.uint8), (20, 1)))
    data = load_dataset(name, binarize=method)
    assert (data.scale, data.binarize) == (scale, method)
    assert data.train.x.dtype == np.uint8
    assert len(np.unique(data.train.x)) == values


def test_static_draws_differ_between_splits_and_seeds(tmp_path: pathlib.Path) -> None:
    half = np.full((30, 50), 0.5, np.float32)
    np.savez(tmp_path / "a.npz", train=half, validation=half, test=half)
    drawn = []
    for seed in (0, 1):
        data = load_dataset(str(tmp_path / "a.npz"), binarize="static", binarize_seed=seed)
        drawn += [data.train.x, data.validation.x, data.test.x]
    assert len({x.tobytes() for x in drawn}) == 6


def test_binary_data_are_recorded_as_such(tmp_path: pathlib.Path) -> None:
    name = _file(tmp_path, np.random.RandomState(0).randint(0, 2, (50, 9)).astype(np.uint8))
    plain = load_dataset(name)
    for method in ("threshold", "static", "dynamic"):
        data = load_dataset(name, binarize=method)
        assert data.record["already_binary"]
        assert data.record["sha256"] == plain.record["sha256"]
        assert data.scale == 1.0


@pytest.mark.parametrize("method", ["threshold", "static", "dynamic"])
def test_unbounded_floats_cannot_be_binarised(tmp_path: pathlib.Path, method: str) -> None:
    name = _file(tmp_path, np.linspace(-3, 3, 40, dtype=np.float32).reshape(10, 4))
    assert load_dataset(name).scale == 1.0
    with pytest.raises(ValueError, match="needs intensities in") as caught:
        load_dataset(name, binarize=method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 5}, TypeError, "`dataset` is 5; expected a name or a path as a string"),
        (
            {"name": "mnist_5k", "binarize": "otsu"},
            ValueError,
            "`binarize` is 'otsu'; expected one of none, threshold, static, dynamic",
        ),
        (
            {"name": "mnist_5k", "binarize_seed": 1.5},
            TypeError,
            "`binarize_seed` is 1.5; expected an integer",
        ),
        (
            {"name": "mnist_5k", "binarize_seed": -1},
            ValueError,
            "`binarize_seed` is -1; expected 0 to 4294967295",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        load_dataset(**arguments)
    assert str(caught.value) == message


def test_data_modules_import_no_tensorflow() -> None:
    root = pathlib.Path(__file__).parents[2]
    modules = sorted(p.stem for p in (root / "tfp_aevb" / "data").glob("[a-z]*.py"))
    # What the compiled loop reads is made of tensors.
    for_the_loop = ("batch_parts", "host_arrays", "observations")
    modules = [name for name in modules if name not in for_the_loop]
    assert "dataset" in modules
    # The package's own __init__ is other code: it is replaced by an empty one here.
    script = (
        "import sys, types; package = types.ModuleType('tfp_aevb'); "
        f"package.__path__ = [{str(root / 'tfp_aevb')!r}]; sys.modules['tfp_aevb'] = package; "
        + "; ".join(f"import tfp_aevb.data.{module}" for module in modules)
        + "; print([m for m in ('tensorflow', 'tensorflow_datasets', 'mlxtend', 'scipy') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_integers_that_are_no_pixels_are_not_divided(tmp_path) -> None:
    counts = np.arange(40, dtype=np.int64).reshape(20, 2)
    np.save(tmp_path / "counts.npy", counts)
    name = str(tmp_path / "counts.npy")
    assert load_dataset(name).scale == 255.0
    raw = load_dataset(name, pixels=False)
    assert raw.scale == 1.0
    assert {int(v) for split in (raw.train, raw.validation, raw.test) for v in split.x.flat} == set(
        range(40)
    )
