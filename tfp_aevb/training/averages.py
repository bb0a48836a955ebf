"""Exponential moving averages of a model's weights, which it is evaluated and exported with.

tf_keras optimizers have such averages too, but put them in the weights' place at the end of each
`fit`: a run that trains in several would go on from them.
"""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf
import tf_keras

from tfp_aevb.utils.variables import whole


class WeightAverages(tf_keras.Model):
    """The averages: a mix-in for models whose optimizer is theirs alone."""

    _ema_momentum = 0.0
    weight_averages: Sequence[tf.Variable] = ()

    def _start_averages(self, momentum: float) -> None:
        """Creates the averages, if there is a momentum, at the weights' values.

        Raises:
            ValueError: if the momentum is not in [0, 1).
        """
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`ema_momentum` must be in [0, 1), got {momentum}")
        self._ema_momentum = momentum
        if momentum and not self.weight_averages:
            self.weight_averages = [
                self.add_weight(
                    f"average_{i}",
                    variable.shape,
                    whole(variable).dtype,
                    trainable=False,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
                for i, variable in enumerate(self.trainable_variables)
            ]
        self.restart_averages()

    def restart_averages(self) -> None:
        """Sets the averages to the weights, as `fit` does before the first update."""
        for average, variable in self._averaged_pairs():
            average.assign(variable)

    def _update_averages(self) -> None:
        """Moves each average by 1 - momentum of the way to its weight."""
        share = 1.0 - self._ema_momentum
        for average, variable in self._averaged_pairs():
            average.assign(average + share * (variable - average))

    def adopt_averages(self) -> None:
        """Puts the moving averages in the weights' place, to encode, sample or export with them.

        Do it when training is over: it would go on from the averages. Without `ema_momentum`
        nothing happens.
        """
        for average, variable in self._averaged_pairs():
            variable.assign(average)

    def _averaged_pairs(self) -> Iterator[tuple[tf.Variable, tf.Variable]]:
        if self._ema_momentum:
            yield from zip(self.weight_averages, self.trainable_variables, strict=True)

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Puts the moving averages in the weights' place for a while."""
        pairs = list(self._averaged_pairs())
        weights = [variable.numpy() for _, variable in pairs]
        self.adopt_averages()
        try:
            yield
        finally:
            for (_, variable), value in zip(pairs, weights, strict=True):
                variable.assign(value)
