"""The SavedModel under load: threads, wrong inputs, any batch size, and its memory."""

import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.processes import descriptors_of, in_child, memory_of
from tests.faults.record import Row

THREADS = 8
SIZES = (0, 1, 2, 7, 100, 1000, 10_000)
WARM = 0.3  # of the requests, before memory is looked at
GROWTH = 64 << 20  # bytes: the spread of TensorFlow's own pools


def serve(tries: int, seed: int, folder: Path) -> list[Row]:
    """Mixed requests from several threads; every answer is compared with one given alone."""
    right = Row("SavedModel: concurrent requests", "the answer of a request alone, bit for bit")
    wrong = Row(
        "SavedModel: wrong dtype, rank, name or number", "TensorFlow's error; serving goes on"
    )
    memory = Row(
        "SavedModel: memory under load",
        "flat, but for some 1 KB that TensorFlow keeps of each refused request",
    )
    answers = in_child(partial(_serve, tries, seed, str(folder / "saved_model")))
    right.tries, wrong.tries, memory.tries = answers["right"], answers["wrong"], tries
    for remark in answers["remarks"]:
        (wrong if "refused" in remark else right).err(remark)
    grown = answers["memory"][-1] - answers["memory"][0]
    memory.note(f"memory {[value >> 20 for value in answers['memory']]} MiB, "
                f"descriptors {answers['descriptors']}")  # fmt: skip
    if grown > GROWTH or answers["descriptors"][-1] > answers["descriptors"][0] + THREADS:
        memory.err(f"grew by {grown >> 20} MiB")
    return [right, wrong, memory]


def _serve(tries: int, seed: int, path: str) -> dict[str, Any]:
    import tensorflow as tf

    from tests.helpers import small_model
    from tfp_aevb.export import export_saved_model

    export_saved_model(small_model(), path)
    loaded = tf.saved_model.load(path)
    good, bad = _good_requests(loaded, tf), _bad_requests(loaded, tf)
    expected = [_numpy(request()) for request in good]
    remarks: list[str] = []
    counts = {"right": 0, "wrong": 0}
    memory, descriptors = [], []
    lock = threading.Lock()

    def work(worker: int) -> None:
        choose = random.Random(seed * 1000 + worker)
        for _ in range(tries // THREADS):
            if choose.random() < 0.1:
                name = choose.choice(list(bad))
                problem = _refused(name, bad[name], tf)
                kind = "wrong"
            else:
                i = choose.randrange(len(good))
                problem = "" if _equal(_numpy(good[i]()), expected[i]) else f"request {i} differs"
                kind = "right"
            with lock:
                counts[kind] += 1
                done = sum(counts.values())
                if problem:
                    remarks.append(problem)
                if done >= WARM * tries and not done % max(tries // 10, 1):
                    memory.append(memory_of())
                    descriptors.append(descriptors_of())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {**counts, "remarks": remarks[:20], "memory": memory, "descriptors": descriptors}


def _good_requests(loaded: Any, tf: Any) -> list[Callable[[], dict[str, Any]]]:
    """Requests of every signature and size; the largest ones are rare by their number."""
    rng = np.random.default_rng(0)
    requests: list[Callable] = []
    for size in SIZES:
        x = tf.constant((rng.random([size, 6]) < 0.4).astype(np.float32))
        z = tf.constant(rng.normal(size=[size, 2]).astype(np.float32))
        draws = {"num_samples": tf.constant(3), "seed": tf.constant([size, 1])}
        call = loaded.signatures
        requests += [
            partial(call["serving_default"], x=x),
            partial(call["encode"], x=x),
            partial(call["decode"], z=z),
            partial(call["reconstruct"], x=x),
            partial(call["elbo"], x=x, **draws),
            partial(call["sample"], num_samples=tf.constant(size), seed=draws["seed"]),
        ]
        if size <= 1000:
            requests.append(partial(call["log_prob"], x=x, **draws))
    return requests


def _bad_requests(loaded: Any, tf: Any) -> dict[str, Callable[[], Any]]:
    call, x, seed = loaded.signatures, tf.zeros([2, 6]), tf.constant([1, 2])
    return {
        "float64": lambda: call["encode"](x=tf.zeros([2, 6], tf.float64)),
        "int32": lambda: call["encode"](x=tf.zeros([2, 6], tf.int32)),
        "text": lambda: call["encode"](x=tf.constant([["a"] * 6])),
        "rank 1": lambda: call["encode"](x=tf.zeros([6])),
        "rank 3": lambda: call["encode"](x=tf.zeros([2, 6, 1])),
        "width": lambda: call["encode"](x=tf.zeros([2, 7])),
        "no width": lambda: call["decode"](z=tf.zeros([2, 0])),
        "name": lambda: call["encode"](y=x),
        "no input": lambda: call["encode"](),
        "too many": lambda: call["encode"](x=x, z=x),
        "no samples": lambda: call["elbo"](x=x, num_samples=tf.constant(0), seed=seed),
        "fewer than no samples": lambda: call["sample"](num_samples=tf.constant(-1), seed=seed),
        "long seed": lambda: call["sample"](
            num_samples=tf.constant(1), seed=tf.zeros([3], tf.int32)
        ),
    }


def _refused(name: str, request: Callable[[], Any], tf: Any) -> str:
    try:
        request()
    except (tf.errors.OpError, TypeError, ValueError):
        return ""
    return f"{name} was not refused"


def _numpy(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in outputs.items()}


def _equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
