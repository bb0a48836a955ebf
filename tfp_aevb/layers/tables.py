"""Tables of mixed columns: one joint likelihood, in which missing cells are marginalised."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.columns import Column, as_columns, check_values
from tfp_aevb.distributions.negative_binomial import NegativeBinomial
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.likelihoods import Support
from tfp_aevb.layers.networks import PACKAGE, RowsLayer, bounded_log_variance


class Layout:
    """Where the D columns of a table stand among P numbers: one each, K of a categorical one.

    Args:
        columns: the table's.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        sizes = [column.size for column in columns]
        self.size = sum(sizes)
        starts = np.cumsum([0, *sizes[:-1]])
        owner = np.repeat(np.arange(len(columns)), sizes)
        within = np.arange(self.size) - starts[owner]
        is_category = np.array([column.kind == "categorical" for column in columns])[owner]
        self._owner = owner
        self._category = np.where(is_category, within, -1).astype(np.float32)
        self._is_count = np.array([column.kind == "count" for column in columns])[owner]
        self._shift = np.array([column.shift for column in columns], np.float32)[owner]
        self._scale = np.array([column.scale for column in columns], np.float32)[owner]

        def of_kind(kind: str) -> np.ndarray:
            return np.array([d for d, c in enumerate(columns) if c.kind == kind], np.int32)

        self.real, self.count = of_kind("real"), of_kind("count")
        self.binary, self.categorical = of_kind("binary"), of_kind("categorical")
        self.starts = starts.astype(np.int32)
        by_kind = np.concatenate([self.real, self.count, self.binary, self.categorical])
        #: The place of each column, and of each of the P numbers, in an array sorted by kind.
        self.columns_by_kind = np.argsort(by_kind)
        self.numbers_by_kind = np.argsort(
            np.concatenate([starts[d] + np.arange(sizes[d]) for d in by_kind])
        )
        #: Places of categories [C, K] among P, of K the largest number; and which are real.
        sizes_of = np.array([sizes[d] for d in self.categorical], np.int32)[:, np.newaxis]
        steps = np.arange(sizes_of.max(initial=0), dtype=np.int32)[np.newaxis]
        self.is_real_category = steps < sizes_of
        first = self.starts[self.categorical][:, np.newaxis]
        self.categories = np.where(self.is_real_category, first + steps, 0)

    def expand(self, x: tf.Tensor) -> tf.Tensor:
        """Returns x [..., D] as P numbers, codes of categories as 0s and a 1; NaN stays NaN."""
        numbers = tf.gather(x, self._owner, axis=-1)
        hot = tf.cast(numbers == self._category, x.dtype)
        is_code = (self._category >= 0.0) & ~tf.math.is_nan(numbers)
        return tf.where(is_code, hot, numbers)

    def standardise(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns the P numbers of `expand` as networks see them: 0 for NaN, means of about 0."""
        values = tf.where(self._is_count, tf.math.log1p(numbers), numbers)
        values = (values - self._shift) / self._scale
        return tf.where(tf.math.is_nan(numbers), 0.0, values)


class MixedColumns(tfd.Distribution):
    """Columns of a table given their parameters: batch shape [..., D], scalar events.

    The log density of NaN is 0, with a gradient of 0: a missing cell is marginalised.

    Args:
        params: [..., P], as `Layout` has them: a standardised mean of a real column, a standardised
            log mean of a count, the logit of a binary column, logits of categories.
        log_variance: [R] or [B, R], of the standardised real columns.
        log_dispersion: [C] or [B, C], of counts: negative binomial, variance
            mean + mean^2 / dispersion.
        layout: of the columns.
    """

    def __init__(
        self,
        params: tf.Tensor,
        log_variance: tf.Tensor,
        log_dispersion: tf.Tensor,
        layout: Layout,
        name: str = "MixedColumns",
    ) -> None:
        parameters = dict(locals())
        self._layout = layout
        self._params = params

        def take(places: np.ndarray) -> tf.Tensor:
            return tf.gather(params, places, axis=-1)

        def constants(places: np.ndarray, field: str) -> np.ndarray:
            return np.array([getattr(layout.columns[d], field) for d in places], np.float32)

        self._shift = constants(layout.real, "shift")
        self._scale = constants(layout.real, "scale")
        self._loc = take(layout.starts[layout.real])  # standardised
        self._log_variance = bounded_log_variance(log_variance) * tf.ones_like(self._loc)
        log_rate = take(layout.starts[layout.count]) * constants(layout.count, "scale")
        log_rate = bounded_log_variance(log_rate + constants(layout.count, "shift"))
        log_dispersion = bounded_log_variance(log_dispersion) * tf.ones_like(log_rate)
        self._rate = tf.exp(log_rate)
        self._counts = NegativeBinomial(log_rate, log_dispersion)
        self._logits = take(layout.starts[layout.binary])
        category_logits = tf.where(layout.is_real_category, take(layout.categories), -1e9)
        self._log_probs = tf.nn.log_softmax(category_logits)  # [..., C, K]
        super().__init__(
            dtype=params.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self) -> tf.TensorShape:
        return self._params.shape[:-1].concatenate([len(self._layout.columns)])

    def _batch_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.concat([tf.shape(self._params)[:-1], [len(self._layout.columns)]], axis=0)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.zeros([0], tf.int32)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        missing = tf.math.is_nan(x)
        fallback = np.array(  # where every kind's density is finite, with its gradient
            [c.shift if c.kind == "real" else 0.0 for c in self._layout.columns], np.float32
        )
        known = tf.where(missing, fallback, x)

        def take(places: np.ndarray) -> tf.Tensor:
            return tf.gather(known, places, axis=-1)

        u = (take(self._layout.real) - self._shift) / self._scale
        distance = tf.square(u - self._loc) * tf.exp(-self._log_variance)
        real = -0.5 * (distance + self._log_variance + math.log(2.0 * math.pi))
        count = self._counts.log_prob(take(self._layout.count))
        binary = take(self._layout.binary)
        logits = self._logits + tf.zeros_like(binary)
        binary = -tf.nn.sigmoid_cross_entropy_with_logits(
            labels=binary + tf.zeros_like(logits), logits=logits
        )
        codes = tf.cast(take(self._layout.categorical), tf.int32)
        hot = tf.one_hot(codes, self._layout.categories.shape[1], dtype=x.dtype)
        hot *= tf.cast(self._layout.is_real_category, x.dtype)
        category = tf.reduce_sum(hot * self._log_probs, axis=-1)
        category = tf.where(tf.reduce_any(hot > 0.0, axis=-1), category, -math.inf)
        parts = tf.concat([real - np.log(self._scale), count, binary, category], axis=-1)
        return tf.where(missing, 0.0, tf.gather(parts, self._layout.columns_by_kind, axis=-1))

    def _sample_n(self, n: int | tf.Tensor, seed: Any = None) -> tf.Tensor:
        seeds = tfp.random.split_seed(seed, n=4)

        def noise(like: tf.Tensor) -> tf.Tensor:
            return tf.concat([[n], tf.shape(like)], axis=0)

        eps = tf.random.stateless_normal(noise(self._loc), seeds[0])
        real = self._loc + tf.exp(0.5 * self._log_variance) * eps
        count = self._counts.sample(n, seed=seeds[1])
        uniform = tf.random.stateless_uniform(noise(self._logits), seeds[2])
        binary = tf.cast(uniform < tf.sigmoid(self._logits), self.dtype)
        uniform = tf.random.stateless_uniform(noise(self._log_probs), seeds[3], minval=1e-30)
        category = _argmax(self._log_probs - tf.math.log(-tf.math.log(uniform)))
        return self._joined(real, count, binary, tf.cast(category, self.dtype))

    def _mean(self) -> tf.Tensor:
        category = tf.cast(_argmax(self._log_probs), self.dtype)
        return self._joined(self._loc, self._rate, tf.sigmoid(self._logits), category)

    def _joined(
        self, real: tf.Tensor, count: tf.Tensor, binary: tf.Tensor, category: tf.Tensor
    ) -> tf.Tensor:
        """Returns values by kind, the real ones standardised, in the columns' order."""
        real = self._shift + self._scale * real
        parts = tf.concat([real, count, binary, category], axis=-1)
        return tf.gather(parts, self._layout.columns_by_kind, axis=-1)

    def moments(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean and variance [..., P] of `Layout.expand`, given what is not NaN in `x`.

        Of a category that is its probability p, and p (1 - p).
        """
        real = self._shift + self._scale * self._loc
        binary = tf.sigmoid(self._logits)
        every = tf.exp(self._log_probs)
        flat = tf.reshape(every, tf.concat([tf.shape(every)[:-2], [-1]], axis=0))
        category = tf.gather(flat, np.flatnonzero(self._layout.is_real_category), axis=-1)
        means = [real, self._rate, binary, category]
        variances = [
            tf.square(self._scale) * tf.exp(self._log_variance),
            self._counts.variance(),
            binary * (1.0 - binary),
            category * (1.0 - category),
        ]
        given = self._layout.expand(x)
        missing = tf.math.is_nan(given)
        order = self._layout.numbers_by_kind
        mean = tf.gather(tf.concat(means, axis=-1), order, axis=-1)
        variance = tf.gather(tf.concat(variances, axis=-1), order, axis=-1)
        return tf.where(missing, mean, given), tf.where(missing, variance, 0.0)


def _argmax(values: tf.Tensor) -> tf.Tensor:
    """Returns the argmax of the last axis, which is empty where there are no categories."""
    if not values.shape[-1]:
        return tf.zeros(tf.shape(values)[:-1], tf.int64)
    return tf.argmax(values, axis=-1)


@tf_keras.saving.register_keras_serializable(PACKAGE)
class MixedLikelihood(NetworkDistribution):
    """p(x|z) of a table: independent columns given z, each of its own kind.

    Gaussian real columns, negative binomial counts, Bernoulli binary and categorical columns. NaN
    in x is a missing cell: log p(x|z) is that of the others, so that bounds are on log p of what is
    observed. A Gaussian's variance and a count's dispersion belong to the column, whatever z.
    Values are nats in the columns' own units: densities of real columns, probabilities of others.
    The mean has, of a categorical column, its most probable code.

    Args:
        columns: D of `tfp_aevb.data.columns.Column`, or their `to_dict()`.
        hidden_units, activation, init_stddev, network: see `NetworkDistribution`.

    Attributes:
        allows_missing: True: the model accepts NaN.
    """

    support: Support = "real"
    allows_missing = True

    def __init__(
        self, columns: Sequence[Any], hidden_units: Sequence[int] = (500,), **kwargs
    ) -> None:
        found = as_columns(columns)
        super().__init__(sum(column.size for column in found), hidden_units, **kwargs)
        self.columns = found
        self.event_shape = (len(found),)
        self._layout = Layout(found)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the network's variables, log-variances and log-dispersions, which start at 0."""
        options = {"initializer": "zeros", "experimental_autocast": False}
        self.log_variance = self.add_weight("log_variance", [len(self._layout.real)], **options)
        self.log_dispersion = self.add_weight(
            "log_dispersion", [len(self._layout.count)], **options
        )
        super().build(input_shape)

    @property
    def own_parameters(self) -> list[tf.Variable]:
        """The log-variances of real columns and the log-dispersions of counts."""
        return [self.log_variance, self.log_dispersion]

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for `params` [B, P]; see `MixedColumns`."""
        log_variance, log_dispersion = (
            tf.cast(p, tf.float32) for p in own_parameters or self.own_parameters
        )
        columns = MixedColumns(params, log_variance, log_dispersion, self._layout)
        return tfd.Independent(columns, 1)

    def check_values(self, x: np.ndarray) -> None:
        """Raises a `ValueError` unless each value of `x` [N, D] is of its column's kind, or NaN."""
        check_values(x, self.columns)

    def expand(self, x: tf.Tensor) -> tf.Tensor:
        """Returns x [..., D] as P numbers; see `Layout.expand`."""
        return self._layout.expand(x)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "columns": [column.to_dict() for column in self.columns]}


@tf_keras.saving.register_keras_serializable(PACKAGE)
class TableInputs(RowsLayer):
    """What an encoder sees of a row: standardised values, 0s and 1s of categories, and the mask.

    [B, D] with NaN for missing cells -> [B, P + D]: missing ones are 0, and the mask tells them
    (Nazabal et al., 2020; Mattei & Frellsen, 2019).

    Args:
        columns: as of `MixedLikelihood`.

    Attributes:
        allows_missing: True: the model leaves NaN as it is.
    """

    allows_missing = True

    def __init__(self, columns: Sequence[Any], **kwargs) -> None:
        super().__init__(**kwargs)
        self._autocast = False  # the table's own units may need all the digits of float32
        self.columns = as_columns(columns)
        self._layout = Layout(self.columns)

    @property
    def row_size(self) -> int | None:
        """How many cells a row has."""
        return len(self.columns)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the features [B, P + D]."""
        numbers = self._layout.standardise(self._layout.expand(tf.cast(inputs, tf.float32)))
        mask = tf.cast(~tf.math.is_nan(inputs), tf.float32)
        return tf.concat([numbers, mask], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Returns [B, P + D]."""
        return input_shape[0], self._layout.size + len(self.columns)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "columns": [column.to_dict() for column in self.columns]}
