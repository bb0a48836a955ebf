"""Evidence of a table's cells: some are known, and the others are missing."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.imputation.evidence import Conditional, Missing, per_pixel
from tfp_aevb.layers.tables import MixedColumns


class MissingCells(Missing):
    """Some cells are known exactly and the others not at all; moments are those of `Layout`."""

    def condition(self, likelihood: tfd.Distribution, y: tf.Tensor) -> Conditional:
        """See `Evidence`; the mean and the variance are [B, P]."""
        cells = per_pixel(likelihood)
        assert isinstance(cells, MixedColumns)  # chosen for it
        mean, variance = cells.moments(y)
        return Conditional(
            tf.reduce_sum(cells.log_prob(y), axis=-1),
            mean,
            variance,
            lambda seed: tf.where(tf.math.is_nan(y), cells.sample(seed=seed), y),
        )
