"""Codes of whole data sets: means and standard deviations of q(z|x), batch by batch."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_aevb.data import npy
from tfp_aevb.data.arrays import compact_array, one_line
from tfp_aevb.data.binarize import binarize_pixels
from tfp_aevb.data.observations import Observations, as_observations, read_values
from tfp_aevb.distributions.noise import compiled
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.utils.files import write_atomically
from tfp_aevb.utils.seeds import step_seeds

BATCH = 500
_NO_PIXEL = 10.0  # grey values with noise are below


class Codes(NamedTuple):
    """The mean and the standard deviation of q(z|x), each [N, J] float32."""

    loc: np.ndarray
    stddev: np.ndarray


def encode_batches(model: AEVB, parts: Iterable[Observations], *, seed: int = 0) -> Iterator[Codes]:
    """Encodes data in batches of 500: memory does not grow with N.

    Args:
        model: the model.
        parts: the data, whole or in parts whose sizes (but the last's) are multiples of 500; how
            they are cut does not change the codes.
        seed: of dynamic binarisation.

    Yields:
        The codes of each batch, in the order of the data.

    Raises:
        ValueError: if the data do not fit the model.
    """

    def encode(values: tf.Tensor, step: tf.Tensor, scale: float, dynamic: bool) -> list[tf.Tensor]:
        seeds = step_seeds(seed, "encode", step)
        x = read_values(values, scale, dynamic, seeds.binarization)
        return [tf.cast(value, tf.float32) for value in posterior_moments(model.encode(x))]

    compiled_encode = compiled(encode, model.uses_xla)
    step = 0
    for part in parts:
        model.check_observations(part)
        for rows, count in padded_batches(part.x, BATCH):
            found = compiled_encode(rows, tf.constant(step), part.scale, part.dynamic_binarization)
            yield Codes(*(value.numpy()[:count] for value in found))
            step += 1


def encode_all(model: AEVB, x: Any, *, seed: int = 0) -> Codes:
    """Returns the codes of all of `x`, an array in any form; see `encode_batches`."""
    rows = as_observations(model.arrange(x), model.allows_missing)
    return _joined(encode_batches(model, [rows], seed=seed))


def padded_batches(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields `size` rows at a time and how many are real; the last batch repeats its last row."""
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        padding = np.repeat(rows[-1:], size - len(rows), axis=0)
        yield np.concatenate([rows, padding]), len(rows)


def open_input(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Opens a user's array: a .npy, which stays on disk, or a .npz with `x` and maybe `labels`.

    Returns:
        x [N, ...], and labels [N] or `None`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or does not hold what it should.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--input {path} is not a file; give a .npy or .npz file")
    labels: np.ndarray | None = None
    if path.suffix.lower() == ".npz":
        found = npy.read_archive(path, f"--input {path}")
        if "x" not in found:
            raise ValueError(
                f"--input {path} holds {sorted(found)}; expected `x`, and `labels` if there are"
            )
        x, labels = found["x"], found.get("labels")
    else:
        try:
            x = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(x, np.ndarray):
                raise ValueError("an archive is to be named .npz")
        except Exception as error:  # an untrusted file fails in many ways
            raise ValueError(f"--input {path} cannot be read: {one_line(error)}") from error
    if x.ndim < 2 or not x.size:
        raise ValueError(f"--input {path} has shape {list(x.shape)}; expected [N, D] or [N, H, W]")
    if labels is not None and labels.shape != (len(x),):
        raise ValueError(
            f"--input {path}: `labels` has shape {list(labels.shape)}, expected [{len(x)}]"
        )
    return x, labels


def input_parts(
    x: np.ndarray,
    binarize: str,
    where: str,
    allow_missing: bool = False,
    pixels: bool = True,
    scale: float | None = None,
) -> Iterator[Observations]:
    """Yields a user's array in parts, scaled and binarised as a run's own data are.

    Integers are divided by the run's divisor; floats are as the likelihood sees them. Static
    binarisation is a draw as dynamic is, made once.

    Args:
        x: [N, ...]; may be memory-mapped.
        binarize: the run's.
        where: what an error message starts with.
        allow_missing: accept NaN, for what is missing.
        pixels: whether integers may be pixels, divided by 255; counts and codes are not.
        scale: what the run divides integers by; `None` of a run that did not record it: they are
            pixels of 8 bits then if one is above 1.

    Raises:
        ValueError: if the values are not finite numbers, integers outside 0 to 255 that are to be
            pixels, or floats far above 1 where the run's data are pixels; or if they are binarised
            already, as integers that are to be divided.
    """

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(x), 10 * BATCH):
            piece = np.asarray(x[start : start + 10 * BATCH])
            piece = compact_array(piece, where, allow_missing, pixels)
            if scale == 255.0 and piece.dtype != np.uint8 and (piece > _NO_PIXEL).any():
                raise ValueError(
                    f"{where}: floats up to {np.nanmax(piece):g}, and the run's data are integers "
                    "divided by 255; save integers, or floats divided by 255"
                )
            yield piece.reshape(len(piece), -1)

    if x.dtype.kind not in "ui":
        divisor = 1.0
    elif scale == 255.0 and binarize != "none" and max(int(part.max()) for part in pieces()) == 1:
        raise ValueError(
            f"{where}: integers 0 and 1, and the run's data were pixels from 0 to 255, which it "
            "binarised; save what is binarised already as bool or floats"
        )
    elif scale is None:
        divisor = 255.0 if pixels and any(int(piece.max()) > 1 for piece in pieces()) else 1.0
    else:
        divisor = scale
    for piece in pieces():
        if binarize == "threshold":
            piece = binarize_pixels(piece, divisor, binarize)
            yield Observations(piece, allow_missing=allow_missing)
        else:
            drawn = binarize in ("static", "dynamic")
            yield Observations(
                piece, scale=divisor, dynamic_binarization=drawn, allow_missing=allow_missing
            )


def write_codes(
    batches: Iterable[Codes], labels: Sequence[int] | np.ndarray | None, path: Path
) -> int:
    """Writes codes, and labels where there are, to a .npz or a .csv; returns how many.

    The .npz has arrays `loc` and `stddev` [N, J] and `labels` [N]; the .csv one line for each
    datapoint, written as they come: row, label, loc_0, ..., stddev_0, ... `labels` may grow as the
    batches are made.
    """
    if path.suffix == ".npz":
        codes = _joined(batches)
        arrays = codes._asdict() if labels is None else {**codes._asdict(), "labels": labels}
        write_atomically(path, lambda file: np.savez(file, **arrays))
        return len(codes.loc)
    count = 0

    def write(file: BinaryIO) -> None:
        nonlocal count
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        rows = csv.writer(text, lineterminator="\n")
        for batch in batches:
            if not count:
                columns = [
                    f"{name}_{j}" for name in Codes._fields for j in range(len(batch.loc[0]))
                ]
                rows.writerow(["row", *([] if labels is None else ["label"]), *columns])
            for values in np.concatenate(batch, axis=1):
                label = [] if labels is None else [labels[count]]
                rows.writerow([count, *label, *(f"{value:.9g}" for value in values)])
                count += 1
        text.detach()

    write_atomically(path, write)
    return count


def _joined(batches: Iterable[Codes]) -> Codes:
    return Codes(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
