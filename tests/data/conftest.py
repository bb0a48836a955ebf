"""The folder of real data that some tests need."""

import os
import pathlib

import pytest


@pytest.fixture
def real_data() -> pathlib.Path:
    """The folder named by TFP_AEVB_TEST_DATA: mnist/, tensorflow_datasets/, frey_rawface.mat."""
    folder = os.environ.get("TFP_AEVB_TEST_DATA")
    if not folder:
        pytest.skip("TFP_AEVB_TEST_DATA names no folder of real data")
    return pathlib.Path(folder)
