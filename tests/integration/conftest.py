"""A small data file and a finished tiny run, shared by the tests of the verbs."""

from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import TINY, command


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 6 / 6 grey images of 4x5 pixels with labels, in a .npz file."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = rng.integers(0, 256, (60, 4, 5)).astype(np.uint8)
    np.savez(path, train=images, labels_train=np.arange(60) % 3)
    return path


@pytest.fixture(scope="session")
def trained(data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a finished run of 40 steps; tests must not write to it."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    assert command("train", f"--workdir={workdir}", f"--dataset={data_file}", *TINY) == 0
    return workdir
