"""Long runs: memory, descriptors and files stay where they are."""

import resource
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.processes import descriptors_of, in_child, memory_of
from tests.faults.record import Row

BATCH = 2000
GROWTH = 64 << 20


def endure(tries: int, seed: int, folder: Path) -> list[Row]:
    """A run of `tries` million samples through `train_and_evaluate`."""
    row = Row("a long run", "memory, descriptors and files flat", tries)
    found = in_child(lambda: _train(tries, seed, folder), timeout=7200.0)
    third = len(found["memory"]) // 3
    grown = max(found["memory"][-third:]) - max(found["memory"][third : 2 * third])
    opened = found["descriptors"][-1] - found["descriptors"][third]
    row.note(
        f"memory {[value >> 20 for value in found['memory'][:: max(third // 3, 1)]]} MiB, "
        f"descriptors {found['descriptors'][third]} to {found['descriptors'][-1]}, "
        f"files {found['files']}"
    )
    if grown > GROWTH:
        row.err(f"memory grew by {grown >> 20} MiB in the last third")
    if opened:
        row.err(f"{opened} more descriptors")
    if found["files"]["checkpoints"] > 3:
        row.err(f"{found['files']['checkpoints']} checkpoints")
    return [row]


def _train(millions: int, seed: int, folder: Path) -> dict[str, Any]:
    import tf_keras

    from tfp_aevb import train_and_evaluate
    from tfp_aevb.runs.settings.config import TrainConfig

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (20_000, 6, 5)).astype(np.uint8)
    np.savez(folder / "data.npz", train=images)
    steps = millions * 1_000_000 // BATCH
    config = TrainConfig(
        dataset=str(folder / "data.npz"), hidden_units=(8,), latent_dim=2, batch_size=BATCH,
        steps=steps, eval_every=max(steps // 400, 1), checkpoint_secs=1.0, seed=seed,
        progress=False,
    )  # fmt: skip
    memory, descriptors = [], []

    def look(epoch: int, logs: Any) -> None:
        memory.append(memory_of())
        descriptors.append(descriptors_of())

    callback = tf_keras.callbacks.LambdaCallback(on_epoch_end=look)
    train_and_evaluate(config, folder / "run", only_train=True, callbacks=[callback])
    events = [path.stat().st_size for path in (folder / "run/tensorboard").rglob("*events*")]
    files = {
        "checkpoints": len(list((folder / "run/checkpoints").glob("*.npz"))),
        "TensorBoard bytes": sum(events),
        "metrics.csv bytes": (folder / "run/metrics.csv").stat().st_size,
    }
    return {"memory": memory, "descriptors": descriptors, "files": files}
