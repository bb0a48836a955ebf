"""The paper's other algorithms on two devices: one device's results, but for rounding."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import binary_data, compiled, weights_of
from tfp_aevb import AblatedAEVB, layers
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.wake_sleep import WakeSleep

X = binary_data(15)
GAPS = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.float32(np.nan), X)


def _parts(decoder: Callable = layers.BernoulliLikelihood, **kwargs) -> tuple:
    tf_keras.utils.set_random_seed(2)
    return (
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (5,)),
        decoder(6, (5,), **kwargs),
    )


MODELS: dict[str, tuple[Callable[[], AEVB], np.ndarray]] = {
    "wake_sleep": (lambda: WakeSleep(*_parts()), X),
    "wake_sleep gaps": (lambda: WakeSleep(*_parts(allow_missing=True)), GAPS),
    "wake_sleep gaussian": (lambda: WakeSleep(*_parts(layers.GaussianLikelihood)), X),
    "full_vb": (lambda: FullVB(*_parts()), X),
    "full_vb shared draw": (
        lambda: FullVB(*_parts(), shared_draw=True, sampled_parameter_kl=True),
        X,
    ),
    "no_kl": (lambda: AblatedAEVB(*_parts(), sampled=True), X),
    "mean_only": (lambda: AblatedAEVB(*_parts(), regularised=True), X),
}


@pytest.mark.compile
@pytest.mark.parametrize("name", MODELS)
def test_two_devices_train_a_baseline_as_one(
    name: str, two_devices: tf.distribute.Strategy
) -> None:
    make, x = MODELS[name]
    one = compiled(make())
    with two_devices.scope():
        two = compiled(make())
    # Three updates, the last of them short.
    histories = [model.fit(x, batch_size=6, epochs=1, verbose=0).history for model in (one, two)]
    for metric, values in histories[0].items():
        np.testing.assert_allclose(histories[1][metric], values, rtol=1e-5, atol=1e-6)
    for a, b in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
