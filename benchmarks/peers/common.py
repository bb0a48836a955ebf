"""What every program shares: settings, data, starting weights and clocks. Needs NumPy alone.

A program is run as `python -m benchmarks.peers.NAME JSON` and prints one line of JSON.
"""

import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Settings = dict[str, Any]
Program = Callable[[Settings], dict[str, Any]]

# The same for everyone; what a library computes differently is said in README.md.
LEARNING_RATE = {"adam": 1e-3, "adagrad": 0.01}
EPSILON = 1e-7
ACCUMULATOR = 0.0  # Adagrad's start


class Weights(NamedTuple):
    """Kernels [in, out] of the four layers; all biases start at zero.

    `heads` [H, 2 J] gives the mean and then the log-variance of q(z|x).
    """

    encoder: np.ndarray
    heads: np.ndarray
    decoder: np.ndarray
    logits: np.ndarray


def initial_weights(settings: Settings) -> Weights:
    """Returns Glorot-uniform kernels, the same for every program."""
    hidden, latent_dim, dim = settings["hidden"], settings["latent_dim"], settings["dim"]
    shapes = [(dim, hidden), (hidden, 2 * latent_dim), (latent_dim, hidden), (hidden, dim)]
    generator = np.random.default_rng([settings["seed"], 1])
    return Weights(
        *(
            generator.uniform(-1.0, 1.0, shape).astype(np.float32)
            * np.float32((6 / sum(shape)) ** 0.5)
            for shape in shapes
        )
    )


def flat_weights(settings: Settings) -> list[np.ndarray]:
    """Returns kernel, bias, kernel, bias, ..., as Keras orders them."""
    return [
        part
        for kernel in initial_weights(settings)
        for part in (kernel, np.zeros(kernel.shape[1], np.float32))
    ]


def load_images(settings: Settings) -> np.ndarray:
    """Returns the pixels, [N, D] uint8 zeros and ones."""
    images = np.load(settings["data"], mmap_mode="r", allow_pickle=False)
    return np.array(images[: settings["num_data"]])


def epoch_rows(settings: Settings, epoch: int) -> np.ndarray:
    """Returns the order of an epoch: rows [steps, M] int32, a new permutation for each epoch."""
    order = np.random.default_rng([settings["seed"], 2, epoch]).permutation(settings["num_data"])
    return order.astype(np.int32).reshape(-1, settings["batch_size"])


class EpochTimer:
    """Times training: epoch 1 warms up; whole epochs after it count, until the time is over.

    The bound that is reported is the mean over epoch 2, the same number of updates for everyone.

    Args:
        settings: of the program.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = memory("VmRSS")
        self._startup: float | None = None
        self._bounds: list[float] = []
        self._start = self._end = 0.0

    def updated(self) -> None:
        """Is to be called after updates; the first call ends the start-up."""
        if self._startup is None:
            self._startup = time.time() - self._settings["started"]

    def epoch_done(self, bound: float) -> bool:
        """Notes the end of an epoch, all its updates done, and its mean bound, in nats.

        Returns:
            Whether to stop.
        """
        self.updated()
        self._end = time.perf_counter()
        self._bounds.append(float(bound))
        if len(self._bounds) == 1:
            self._start = self._end
            return False
        return self._end - self._start >= self._settings["seconds"]

    def result(self) -> dict[str, Any]:
        """Returns what was measured."""
        images = self._settings["num_data"] * (len(self._bounds) - 1)
        return {
            "images_per_second": images / (self._end - self._start),
            "startup_seconds": self._startup,
            "bound": self._bounds[1],
            "base_bytes": self._base,
        }


def time_evaluation(settings: Settings, estimate: Callable[[], float]) -> dict[str, Any]:
    """Times calls of `estimate`, which returns the mean of log p(x) over the images in nats.

    The first call warms up; at least one more counts, until the time is over.
    """
    log_prob = float(estimate())
    startup = time.time() - settings["started"]
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < settings["seconds"]:
        float(estimate())  # waits for it
        calls += 1
    seconds = time.perf_counter() - start
    return {
        "images_per_second": calls * settings["images"] / seconds,
        "startup_seconds": startup,
        "bound": log_prob,
    }


def seconds_of(action: Callable[[], Any], repeats: int = 30) -> float:
    """Returns the least time of a call."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def time_steps(settings: Settings, step: Callable[[], Any], images: int) -> dict[str, Any]:
    """Times `step`, the least work of an update on a minibatch of so many images."""
    step()
    startup = time.time() - settings["started"]
    seconds_of(step)  # warms up
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < settings["seconds"]:
        step()
        steps += 1
    seconds = time.perf_counter() - start
    return {"images_per_second": steps * images / seconds, "startup_seconds": startup}


def evaluation_images(settings: Settings) -> np.ndarray:
    """Returns the images whose log p(x) is estimated, float32 [B, D]."""
    return load_images(settings)[: settings["images"]].astype(np.float32)


def memory(name: str) -> int:
    """Returns a size of this process in bytes: `VmRSS` now, `VmHWM` at most (Linux)."""
    # Not `getrusage`: its peak counts the parent's memory from before the program was started.
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}; the benchmarks need Linux")
    return 1024 * int(found.group(1))


def main(packages: Sequence[str], **programs: Program) -> None:
    """Runs what the settings on the command line ask for and prints the result.

    Args:
        packages: whose versions are reported.
        **programs: task -> function of the settings, for `train` and `evaluate`.
    """
    settings = json.loads(sys.argv[1])
    result = programs[settings["task"]](settings)
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"peak_bytes": memory("VmHWM"), "versions": versions, **result}))
