"""`train` on several devices and with several workers, in processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import REPOSITORY, TINY, command, newest_step, python, wait_until
from tfp_aevb.figures import read_metrics

BOUNDS = ("train_loss", "train_elbo", "train_kl", "validation_elbo", "validation_kl")
MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfp_aevb.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def assert_same_bounds(first: Path, second: Path) -> None:
    """Fails unless two runs have the same curves but for rounding."""
    one, other = (read_metrics(run / "metrics.csv") for run in (first, second))
    np.testing.assert_array_equal(one["step"], other["step"])
    for name in BOUNDS:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def workers(arguments: tuple[object, ...], count: int = 2) -> list[subprocess.Popen]:
    """Starts `train` as that many workers on this machine."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    started = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tfp_aevb", "train", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, "TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "2"},
            )
        )
    return started


def test_two_devices_of_one_process_train_as_one(data_file: Path, tmp_path: Path) -> None:
    arguments = (f"--dataset={data_file}", *TINY)
    assert command("train", f"--workdir={tmp_path / 'one'}", "--strategy=one", *arguments) == 0
    process = python(
        *("-c", MIRRORED, "train", f"--workdir={tmp_path / 'two'}", "--strategy=mirrored"),
        *arguments,
    )
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert_same_bounds(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "saved_model").is_dir()


@pytest.mark.slow
def test_two_workers_train_as_one_and_the_first_one_writes(data_file: Path, tmp_path: Path) -> None:
    arguments = (f"--dataset={data_file}", *TINY)
    assert command("train", f"--workdir={tmp_path / 'one'}", "--strategy=one", *arguments) == 0
    both = workers((f"--workdir={tmp_path / 'two'}", *arguments))
    output = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert_same_bounds(tmp_path / "one", tmp_path / "two")
    assert "nats per datapoint" in output[0]
    assert "nats per datapoint" not in output[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_worker_is_killed_the_others_stop_and_all_resume(
    victim: int, data_file: Path, tmp_path: Path
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    steps = "--steps=1500"
    arguments = (f"--dataset={data_file}", *TINY, "--eval_every=300")
    both = workers((f"--workdir={run}", *arguments, "--steps=1000000", "--checkpoint_secs=0.1"))
    wait_until(lambda: newest_step(run) > 300, both[0])
    both[victim].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    output, _ = both[1 - victim].communicate(timeout=60)
    assert time.monotonic() - killed_at < 60.0
    assert both[1 - victim].returncode != 0
    if victim == 1:  # without the first worker TensorFlow itself ends the others
        assert "start all workers again" in output.splitlines()[-1]
    both[victim].communicate()

    again = workers((f"--workdir={run}", *arguments, steps))
    output_again = [process.communicate(timeout=300)[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], output_again
    assert command("train", f"--workdir={whole}", "--strategy=one", *arguments, steps) == 0
    assert_same_bounds(run, whole)


@pytest.mark.slow
def test_two_workers_read_a_share_of_a_stream_each_and_train_as_one(tmp_path: Path) -> None:
    arguments = ("--dataset=tests.integration.stream_source:rows", *TINY)
    assert command("train", f"--workdir={tmp_path / 'one'}", "--strategy=one", *arguments) == 0
    both = workers((f"--workdir={tmp_path / 'two'}", *arguments))
    output = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert_same_bounds(tmp_path / "one", tmp_path / "two")
