"""Which devices a run trains on: one, all of this machine, or those of several workers."""

import json
import os

import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy to build and train a model under.

    It has to be made before TensorFlow computes anything.

    Args:
        name: `one` device; `mirrored` on all GPUs of this machine, or without one on all its
            logical CPU devices; `multi_worker`, with the workers that the environment variable
            TF_CONFIG lists; or `auto`: several workers if TF_CONFIG lists them, else mirrored if
            there are several GPUs, else one.

    Raises:
        ValueError: if TF_CONFIG is needed and missing or not as TensorFlow documents it.
    """
    if name == "multi_worker" and _num_workers() < 1:
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, e.g. "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    if name in ("auto", "multi_worker"):
        if _num_workers() > 1:
            return tf.distribute.MultiWorkerMirroredStrategy()
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run: the only one, or the first of several workers."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and _num_workers() > 1


def worker_place(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns which worker this process is, and of how many; (0, 1) without others."""
    resolver = strategy.cluster_resolver
    if not is_multi_worker(strategy) or resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    before = 0 if resolver.task_type == "chief" else len(jobs.get("chief", []))
    return before + resolver.task_id, sum(len(jobs.get(job, [])) for job in ("chief", "worker"))


def mean_over_devices(strategy: tf.distribute.Strategy, value: float) -> float:
    """Returns the mean of what the processes say, the same in all; all must ask at once."""
    if strategy.num_replicas_in_sync == 1:
        return value
    values = strategy.run(lambda: tf.constant(value, tf.float64))
    return float(strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None))


def device_names(strategy: tf.distribute.Strategy) -> str:
    """Names the devices, for people."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [detail.get("device_name", "GPU") for detail in details]
    text = ", ".join(names) or f"CPU, {os.cpu_count()} cores"
    count = strategy.num_replicas_in_sync
    return text if count == 1 else f"{text}; minibatches split among {count} devices"


def _num_workers() -> int:
    """Returns how many workers TF_CONFIG lists; 0 without it."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        cluster = json.loads(text).get("cluster", {})
        return sum(len(cluster.get(job, [])) for job in ("chief", "worker"))
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"TF_CONFIG must be JSON with `cluster` and `task`, got {text[:80]!r}"
        ) from None
