"""The original MATLAB file of Frey Face."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfp_aevb.data import arrays

_KEY = "ff"
_IMAGE_SHAPE = (28, 20)
_COUNT = 1965
# Of the MATLAB 5 format: how elements are stored, and the classes of arrays.
_MATRIX, _COMPRESSED = 14, 15
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8"}
_MAX_BYTES = 1 << 25  # of a compressed array


def read_rawface(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads frey_rawface.mat.

    Args:
        path: the file; its array `ff` is uint8 [560, 1965], one image a column.

    Returns:
        uint8 [1965, 28, 20].

    Raises:
        ValueError: the file is no MATLAB file or its array is not as described.
    """
    where = f"Frey Face file {os.fspath(path)!r}"
    try:
        found = _arrays(Path(path).read_bytes()).get(_KEY)
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{where} cannot be read ({arrays.one_line(error)}); expected the original "
            f"frey_rawface.mat"
        ) from error
    shape = (_IMAGE_SHAPE[0] * _IMAGE_SHAPE[1], _COUNT)
    if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.uint8:
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "nothing"
        raise ValueError(
            f"{where} holds {got} under {_KEY!r}; expected uint8 {shape}, the original "
            f"frey_rawface.mat"
        )
    return np.ascontiguousarray(found.T).reshape(_COUNT, *_IMAGE_SHAPE)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """Returns the real arrays of a little-endian MATLAB 5 file, by name.

    SciPy's reader takes the whole process down with some damaged files.
    """
    if content[124:128] != b"\x00\x01IM":
        raise ValueError("it is no MATLAB 5 file")
    found = {}
    for kind, data in _elements(content[128:]):
        if kind == _COMPRESSED:
            kind, data = next(
                _elements(zlib.decompressobj().decompress(data, _MAX_BYTES)), (0, b"")
            )
        if kind != _MATRIX:
            continue
        parts = list(_elements(data))
        if len(parts) < 4:
            raise ValueError("an array lacks its parts")
        (_, flags), (_, dims), (_, name), (stored, values) = parts[:4]
        array_class = _CLASSES.get(flags[0] if flags else 0)
        if array_class is None or stored not in _STORED:
            continue  # text, cells, structures
        shape = np.frombuffer(dims, "<i4")
        array = np.frombuffer(values, f"<{_STORED[stored]}")
        if (shape < 0).any() or array.size != np.prod(shape, dtype=object):
            raise ValueError(f"an array of shape {shape.tolist()} holds {array.size} numbers")
        found[name.decode("latin-1")] = array.astype(array_class).reshape(shape, order="F")
    return found


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the type and the bytes of each element."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        start = at + 8
        if kind >> 16:  # a small element: type and size share four bytes, the data follow
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(content) or (start == at + 4 and size > 4):
            raise ValueError("it is cut short")
        yield kind, content[start : start + size]
        # Elements begin at multiples of eight bytes, compressed ones where the last ended.
        at = start + size if kind == _COMPRESSED else (start + size + 7) // 8 * 8
