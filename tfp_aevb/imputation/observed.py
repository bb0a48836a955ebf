"""From what a caller has seen to evidence: checks, and the choice of the closed form."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.observations import Observations
from tfp_aevb.imputation.blocks import BinaryBlocks, GaussianBlocks
from tfp_aevb.imputation.cells import MissingCells
from tfp_aevb.imputation.channels import Channel
from tfp_aevb.imputation.evidence import Evidence, Missing, pixels_of
from tfp_aevb.layers.missing import neutral_value
from tfp_aevb.layers.tables import MixedColumns
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.seeds import as_seed

ROWS_CHECKED = 1000  # at once


def make_evidence(
    model: AEVB, y: Any, mask: Any = None, channel: Channel | None = None
) -> Evidence:
    """Returns the evidence of `y`, after checking that it is possible and can be exact.

    Arguments are those of `tfp_aevb.imputation.impute`.

    Raises:
        ValueError: if shapes or values do not fit the model and the channel, or p(x|y, z) has no
            closed form.
    """
    pixel = pixels_of(model)
    y = _checked(y, mask)
    if channel is None:
        filler = neutral_value(getattr(model.decoder, "support", "real"))
        filled = Observations(np.nan_to_num(y, nan=filler))
        model.check_observations(filled)
        if isinstance(pixel, tfd.Bernoulli):
            filled.check_support("binary")  # of grey pixels a Bernoulli is not a distribution
        is_table = isinstance(pixel, MixedColumns)
        evidence: Evidence = MissingCells(y) if is_table else Missing(y, filler)
    elif isinstance(pixel, tfd.Bernoulli):
        evidence = BinaryBlocks(y, channel, model.event_shape)
    elif isinstance(pixel, tfd.Normal):
        evidence = GaussianBlocks(y, channel, model.event_shape)
    else:
        raise ValueError(
            "a `channel` has an exact posterior for Bernoulli and Gaussian pixels alone, got "
            f"{pixel.name}; give missing pixels as NaN, without a channel"
        )
    for start in range(0, len(y), ROWS_CHECKED):
        rows = evidence.y[start : start + ROWS_CHECKED]
        z = model.prior_distribution().sample(len(rows), seed=as_seed(0))
        likelihood = model.decode(z)
        possible = np.isfinite(evidence.condition(likelihood, tf.constant(rows)).log_prob)
        if not possible.all():
            row = start + int(np.argmin(possible))
            raise ValueError(
                f"row {row} of `y` has a value of probability 0; check it and `channel`"
            )
    return evidence


def _checked(y: Any, mask: Any) -> np.ndarray:
    """Returns `y` [N, ...] as float32, NaN where `mask` says that it is not observed."""
    y = np.array(y)
    if y.dtype.kind not in "biuf" or y.ndim < 2 or 0 in y.shape:
        raise ValueError(
            f"`y` must be numbers of shape [N, ...event], got {y.dtype} of shape {list(y.shape)}"
        )
    y = y.astype(np.float32)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != y.shape:
            raise ValueError(
                f"`mask` must be bool of the shape of `y`, {list(y.shape)}, got {mask.dtype} of "
                f"shape {list(mask.shape)}"
            )
        if np.isnan(y[mask]).any():
            raise ValueError("`y` is NaN where `mask` says that it was observed")
        y[~mask] = np.nan
    if np.isinf(y).any():
        raise ValueError("`y` has infinite values; give NaN for what is missing")
    return y
