"""Checkpoints of a run: parameters, optimizer slots and the epoch's sums, with a checksum."""

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfp_aevb.data.npy import read_archive
from tfp_aevb.runs.metrics import read_rows
from tfp_aevb.training.fused import FusedModel, NonFiniteBoundError
from tfp_aevb.utils.files import write_atomically, write_text, writing

KEEP = 2


class Checkpoints:
    """The checkpoints of one run: `step-00000500.npz` and its `.sha256` in one folder.

    A checkpoint counts only if its checksum agrees, so that a half-written or damaged one is
    passed over for the one before it. The newest two good ones are kept, and the one with the
    best validation bound.

    Args:
        directory: folder, created when first written to.
        metrics: the run's `metrics.csv`, which tells the bounds; by default none is best.
    """

    def __init__(self, directory: Path, metrics: Path | None = None) -> None:
        self._directory = directory
        self._metrics = metrics

    def save(self, model: FusedModel) -> Path:
        """Writes the state of `model` after `model.optimizer.iterations` updates.

        Raises:
            NonFiniteBoundError: if a variable is NaN or infinite; nothing is written.
        """
        step = int(model.optimizer.iterations.numpy())
        arrays = {key: variable.numpy() for key, variable in _state(model).items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise NonFiniteBoundError(step, parameter=True)  # the next update would meet it
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        path = self._directory / f"step-{step:08d}.npz"
        with writing(path):  # a run's folder that has vanished is not made again
            self._directory.mkdir(exist_ok=True)
        # The checksum comes first, beside that of the file it replaces: there is no moment at
        # which a whole checkpoint counts as damaged.
        digests = {hashlib.sha256(part).hexdigest() for part in (content, _verified(path)) if part}
        write_text(path.with_suffix(".sha256"), "\n".join(sorted(digests)) + "\n")
        write_atomically(path, lambda file: file.write(content))
        good = [path for path in self._paths() if _verified(path) is not None]
        kept = {*good[:KEEP], *self._best_first(good)[:1]}
        for old in set(self._paths()) - kept:
            old.with_suffix(".sha256").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
        return path

    def newest_step(self) -> int:
        """Returns the number of updates of the newest good checkpoint, 0 without one."""
        good = (path for path in self._paths() if _verified(path) is not None)
        return next((_step_of(path) for path in good), 0)

    def restore(self, model: FusedModel, *, best: bool = False) -> tuple[int, list[str]]:
        """Loads the newest good checkpoint into `model`.

        Args:
            model: whose variables are assigned.
            best: load the one with the best validation bound instead.

        Returns:
            The number of updates restored (0 without a checkpoint), and a line for each damaged
            checkpoint passed over.

        Raises:
            ValueError: if there are checkpoints and none is good, or a good one is not of
                this model.
        """
        warnings: list[str] = []
        paths = self._paths()
        for path in self._best_first(paths) if best else paths:
            content = _verified(path)
            if content is None:
                warnings.append(f"checkpoint {path.name} is damaged or half-written: passed over")
                continue
            _assign(_state(model), read_archive(io.BytesIO(content), f"checkpoint {path}"), path)
            return int(model.optimizer.iterations.numpy()), warnings
        if warnings and best:
            raise ValueError(
                f"all checkpoints in {self._directory} that have a validation bound are damaged; "
                "load the last one"
            )
        if warnings:
            raise ValueError(
                f"all checkpoints in {self._directory} are damaged; remove them to start again"
            )
        return 0, warnings

    def _best_first(self, paths: list[Path]) -> list[Path]:
        """Those whose step has a validation bound, the best first."""
        rows = read_rows(self._metrics) if self._metrics else []
        bounds = {int(row["step"]): row["validation_elbo"] for row in rows}
        scored = [path for path in paths if _step_of(path) in bounds]
        return sorted(scored, key=lambda path: bounds[_step_of(path)], reverse=True)

    def _paths(self) -> list[Path]:
        """All checkpoints, the newest first."""
        found = [
            path
            for path in self._directory.glob("step-*.npz")
            if re.fullmatch(r"step-\d{8,}", path.stem)
        ]
        return sorted(found, key=_step_of, reverse=True)


def _state(model: FusedModel) -> dict[str, tf.Variable]:
    """Names every variable that a run continues from; the model's include its running sums."""
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {
        f"{group}/{i:03d}/{variable.name.rpartition('/')[2]}": variable
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _verified(path: Path) -> bytes | None:
    """Returns the file's content if its checksum agrees."""
    try:
        content = path.read_bytes()
        expected = path.with_suffix(".sha256").read_bytes().split()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest().encode() in expected else None


def _has_doubles(saved: dict[str, np.ndarray]) -> bool:
    """Whether kernels of the model are saved twice."""
    kernels = [value.tobytes() for key, value in saved.items() if re.match("model.*kernel", key)]
    return 2 * len(set(kernels)) == len(kernels)


def _assign(state: dict[str, tf.Variable], saved: dict[str, np.ndarray], path: Path) -> None:
    if len(saved) > len(state) and saved.keys() - state.keys() and _has_doubles(saved):
        raise ValueError(
            f"checkpoint {path} is of mixed precision in an earlier version, which trained every "
            "variable twice; train the run anew"
        )
    if saved.keys() != state.keys():
        raise ValueError(f"checkpoint {path} is of another model: its variables differ")
    for name, variable in state.items():
        if saved[name].shape != tuple(variable.shape):
            raise ValueError(
                f"checkpoint {path} is of another model: {name} has shape {saved[name].shape}, "
                f"expected {tuple(variable.shape)}"
            )
        if saved[name].dtype != variable.dtype.as_numpy_dtype:
            raise ValueError(
                f"checkpoint {path} is of another model: {name} is {saved[name].dtype}, "
                f"expected {variable.dtype.name}"
            )
    for name, variable in state.items():
        variable.assign(saved[name])
