"""The original MATLAB file of Frey Face."""

import os

import numpy as np

from tfp_aevb.data import arrays

_KEY = "ff"
_IMAGE_SHAPE = (28, 20)
_COUNT = 1965


def read_rawface(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads frey_rawface.mat.

    Args:
        path: the file; its array `ff` is uint8 [560, 1965], one image a column.

    Returns:
        uint8 [1965, 28, 20].

    Raises:
        ValueError: the file is no MATLAB file or its array is not as described.
    """
    import scipy.io

    where = f"Frey Face file {os.fspath(path)!r}"
    try:
        found = scipy.io.loadmat(os.fspath(path), variable_names=[_KEY]).get(_KEY)
    except Exception as error:  # an untrusted file fails in many ways
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
