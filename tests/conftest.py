"""What all tests share: two logical CPUs, exact matrix products, and the folder of real data."""

import os
from pathlib import Path

import pytest
import tensorflow as tf

pytest_plugins = ["tests.file_processes"]

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Takes the mark off the first case of each test that is marked `but_first=True`.

    This case stands for the others where the marked tests are left out.
    """
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if test in seen:
            continue
        seen.add(test)
        item.own_markers[:] = [m for m in item.own_markers if not m.kwargs.get("but_first")]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of `TFP_AEVB_TEST_DATA`: mnist/, tensorflow_datasets/, frey_rawface.mat."""
    folder = os.environ.get("TFP_AEVB_TEST_DATA")
    if not folder:
        pytest.skip("TFP_AEVB_TEST_DATA is not set: no real data beyond the embedded digits")
    return Path(folder)


@pytest.fixture(scope="session")
def two_devices() -> tf.distribute.Strategy:
    """A strategy of two logical CPUs."""
    # One for all tests: a second one would reuse the first one's collective operations.
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2
    return tf.distribute.MirroredStrategy(devices)
