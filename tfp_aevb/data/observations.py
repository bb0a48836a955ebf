"""Training data as the compiled loop reads them: scaled and binarised at each use."""

import copy
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_aevb.data.batch_parts import as_weights
from tfp_aevb.data.host_arrays import is_array_like, numeric_array
from tfp_aevb.data.value_checks import check_unit_range, check_values
from tfp_aevb.distributions.noise import uniform_like

_PART = 1 << 18


class Observations:
    """Datapoints and how to read them: `x / scale`, then binarised afresh at each use if asked.

    Arrays stay on the device in their own dtype (`uint8` pixels take a quarter of the memory of
    floats) and are gathered, scaled and binarised inside the compiled training loop.

    Args:
        x: array [N, ...event].
        scale: divisor; 255 turns `uint8` pixels into [0, 1].
        dynamic_binarization: replace each scaled pixel by a Bernoulli draw with that mean,
            a fresh one at each use.
        allow_missing: accept NaN for what is missing; for models that marginalise it.
        weights: [N], how often each datapoint counts, finite and at least 0; by default once.

    Raises:
        ValueError: if `x` is empty, not numeric, or has NaN or infinite values; if `scale` is not
            positive; if pixels to binarise are outside [0, 1]; or if weights are wrong or all 0.
    """

    def __init__(
        self,
        x: np.ndarray,
        *,
        scale: float = 1.0,
        dynamic_binarization: bool = False,
        allow_missing: bool = False,
        weights: Any = None,
    ) -> None:
        if not 0.0 < scale < np.inf:
            raise ValueError(f"`scale` must be positive and finite, got {scale}")
        self.x = numeric_array(x, allow_missing)
        self.allow_missing = allow_missing
        self.scale = float(scale)
        self.dynamic_binarization = dynamic_binarization
        self.weights = None if weights is None else as_weights(weights, len(self.x))
        if self.weights is not None and not self.weights.any():
            raise ValueError("weights must not all be 0: no datapoint would count")
        if dynamic_binarization:
            check_unit_range(self._known(), self.scale, "dynamic binarisation")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datapoint."""
        return tuple(self.x.shape[1:])

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> "Observations":
        return Observations(
            self.x[rows],
            scale=self.scale,
            dynamic_binarization=self.dynamic_binarization,
            allow_missing=self.allow_missing,
            weights=None if self.weights is None else self.weights[rows],
        )

    def weighted(self, weights: Any) -> "Observations":
        """Returns the same datapoints with these weights [N].

        Raises:
            ValueError: if they have weights already, or these are wrong.
        """
        if self.weights is not None:
            raise ValueError("the data have weights already; leave `sample_weight` out")
        weighted = copy.copy(self)
        weighted.weights = as_weights(weights, len(self))
        return weighted[:]

    @property
    def total_weight(self) -> float:
        """N: how many datapoints these are, each as often as it counts."""
        return len(self) if self.weights is None else float(self.weights.sum())

    def relative_weights(self) -> np.ndarray | None:
        """Returns the weights [N] over the mean of those above 0, float32; `None` if all are 1."""
        if self.weights is None:
            return None
        used = self.weights[self.weights > 0.0]
        if (used == used[0]).all():
            return None
        return (self.weights / used.mean()).astype(np.float32)

    def check_support(self, support: str) -> None:
        """Raises a `ValueError` unless the values read lie in a likelihood's support.

        Args:
            support: see `check_values`.
        """
        if self.dynamic_binarization:
            check_values(np.array([0.0, 1.0], np.float32), 1.0, support)
            return
        values = self._known()
        if self.x.dtype == np.uint8 and support not in ("binary", "unit"):  # these only compare
            values = _byte_values(self.x)
        check_values(values, self.scale, support)

    def _known(self) -> np.ndarray:
        """The values that are not missing."""
        has_gaps = self.allow_missing and self.x.dtype != np.uint8
        return self.x[~np.isnan(self.x)] if has_gaps else self.x


def _byte_values(x: np.ndarray) -> np.ndarray:
    """Returns the different values of uint8 `x`."""
    # Counted in parts: as an index each value takes eight bytes.
    flat, counts = x.reshape(-1), np.zeros(256, np.int64)
    for start in range(0, flat.size, _PART):
        counts += np.bincount(flat[start : start + _PART], minlength=256)
    return np.flatnonzero(counts).astype(np.uint8)


def read_values(
    values: tf.Tensor, scale: float, dynamic_binarization: bool, seed: tf.Tensor
) -> tf.Tensor:
    """Returns what the likelihood sees of stored `values` [B, ...event], float32; NaN stays."""
    x = tf.cast(values, tf.float32)
    if scale != 1.0:
        x = x * (1.0 / scale)
    if dynamic_binarization:
        drawn = tf.cast(uniform_like(x, seed) < x, tf.float32)
        has_gaps = tf.as_dtype(values.dtype).is_floating
        x = tf.where(tf.math.is_nan(x), x, drawn) if has_gaps else drawn
    return x


def as_observations(x: Any, allow_missing: bool = False) -> Observations:
    """Wraps an array; `Observations` are returned as they are."""
    return x if isinstance(x, Observations) else Observations(x, allow_missing=allow_missing)


def split_off(x: Observations, fraction: float) -> tuple[Observations, Observations]:
    """Splits off the last rows for validation.

    Raises:
        ValueError: if that leaves no rows on a side.
    """
    rows = int(len(x) * (1.0 - fraction)) if 0.0 <= fraction < 1.0 else 0
    if not 0 < rows < len(x):
        raise ValueError(
            f"`validation_split` must leave rows on both sides, got {fraction} of {len(x)} rows"
        )
    return x[:rows], x[rows:]


def is_array(x: Any) -> bool:
    """Whether `x` is held in memory as one array, or as what NumPy makes one of (a DataFrame)."""
    return isinstance(x, Observations) or is_array_like(x)
