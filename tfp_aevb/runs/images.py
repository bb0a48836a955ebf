"""Datapoints as grey levels, for pictures."""

import numpy as np
import tensorflow as tf

from tfp_aevb.models.aevb import AEVB


def white_value(model: AEVB, *shown: np.ndarray) -> float:
    """Returns the value that pictures of a model's data draw white; 0 is black.

    Args:
        model: of its decoder's `support`: of codes 0 to K - 1 white is K - 1, of counts the largest
            `shown`, at least 1; of everything else 1.
        shown: data, any shapes; NaN is missing.
    """
    support = getattr(model.decoder, "support", "real")
    if support.startswith("codes:"):
        return float(support.removeprefix("codes:")) - 1.0
    if support == "counts":
        return max(1.0, *(float(np.nan_to_num(values).max()) for values in shown))
    return 1.0


def as_images(
    values: np.ndarray | tf.Tensor, shape: tuple[int, ...], white: float = 1.0
) -> np.ndarray:
    """Returns `values` as images [N, *shape] in [0, 1]: divided by `white`, NaN is black."""
    return np.clip(np.nan_to_num(np.reshape(values, [-1, *shape])) / white, 0.0, 1.0)
