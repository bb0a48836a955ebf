"""Careful reading of .npy and .npz: no pickle, and no memory that a header asks for in vain."""

import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from tfp_aevb.data import arrays

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_file(path: Path, where: str) -> np.ndarray:
    """Reads a .npy file.

    Args:
        path: the file.
        where: what an error message starts with.

    Raises:
        ValueError: the file is damaged, or holds no real numbers.
    """
    try:
        with path.open("rb") as stream:
            return _read_array(stream, os.path.getsize(path), where)
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {arrays.one_line(error)}") from error


def read_archive(
    file: Path | IO[bytes], where: str, check_names: Callable[[list[str]], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """Reads a .npz file: its arrays by name.

    Args:
        file: the file, or its path.
        where: what an error message starts with.
        check_names: called with all names before an array is read; may raise.

    Raises:
        ValueError: the file is damaged, or an array is not of real numbers.
    """
    found: dict[str, np.ndarray] = {}
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # an untrusted file fails in many ways
        raise ValueError(
            f"{where} cannot be read ({arrays.one_line(error)}); write it again with numpy.savez"
        ) from error
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        check_names(list(members))
        for name, info in members.items():
            here = f"{where}, {name}"
            try:
                stream = archive.open(info)
            except Exception as error:
                raise _damaged(here, arrays.one_line(error)) from error
            with stream:
                found[name] = _read_array(stream, info.file_size, here)
    return found


def _read_array(stream: IO[bytes], size: int, where: str) -> np.ndarray:
    """Reads one .npy stream of `size` bytes, and allocates no more than these.

    NumPy's own reader allocates what the header declares before it reads.
    """
    try:
        shape, fortran_order, dtype = _HEADER_READERS[np.lib.format.read_magic(stream)](stream)
        start = stream.tell()
    except Exception as error:
        raise _damaged(where, f"no valid .npy header: {arrays.one_line(error)}") from error
    arrays.check_dtype(dtype, where)
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != size - start:
        raise _damaged(
            where,
            f"its header declares shape {shape} of {dtype}, the file has {size - start} bytes",
        )
    try:
        data = stream.read(declared + 1)  # one more, to reach the end: only there zip checks CRC
    except Exception as error:
        raise _damaged(where, arrays.one_line(error)) from error
    if len(data) != declared:
        raise _damaged(where, f"{declared} bytes declared, {len(data)} found")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _damaged(where: str, reason: str) -> ValueError:
    return ValueError(f"{where} is damaged ({reason}); write it again with numpy.save or savez")
