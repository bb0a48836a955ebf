"""Exponential moving averages of the weights: their values, and where they are used."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import (
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    small_model,
    weights_of,
)

X = binary_data()
MOMENTUM = 0.8


def _averaged(**kwargs):
    return compiled(small_model(), ema_momentum=MOMENTUM, **kwargs)


@pytest.mark.compile
@pytest.mark.parametrize("jit_compile", [False, True])
def test_averages_follow_the_weights_of_each_update(jit_compile: bool) -> None:
    model = _averaged(jit_compile=jit_compile)
    expected = [value.astype(np.float64) for value in weights_of(model)]

    class Follow(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            for i, value in enumerate(weights_of(self.model)):
                expected[i] = MOMENTUM * expected[i] + (1.0 - MOMENTUM) * value

    model.compile(
        model.optimizer, jit_compile=jit_compile, ema_momentum=MOMENTUM, steps_per_execution=1
    )
    model.fit(X, batch_size=5, epochs=3, verbose=0, callbacks=[Follow()])
    for average, value in zip(model.weight_averages, expected, strict=True):
        np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-7)


def test_averages_start_where_training_does() -> None:
    """Not where the weights were at `compile`: an output bias may be set, or weights be loaded."""
    model = _averaged()
    for variable in model.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    start = weights_of(model)
    seen: list[np.ndarray] = []

    class AtTheStart(tf_keras.callbacks.Callback):
        def on_train_begin(self, logs: dict | None = None) -> None:
            seen.extend(average.numpy() for average in self.model.weight_averages)

    model.fit(X, batch_size=5, epochs=2, verbose=0, callbacks=[AtTheStart()])
    assert_same_arrays(seen, start)
    ends = [average.numpy() for average in model.weight_averages]
    seen.clear()
    model.fit(X, batch_size=5, epochs=1, verbose=0, callbacks=[AtTheStart()])
    assert_same_arrays(seen, ends)  # they go on


@pytest.mark.compile
def test_training_itself_is_not_changed() -> None:
    plain, averaged = compiled(small_model()), _averaged()
    for model in (plain, averaged):
        model.fit(X, batch_size=5, epochs=2, verbose=0, validation_data=X)
    assert_same_arrays(weights_of(plain), weights_of(averaged))


@pytest.mark.compile
def test_evaluation_and_validation_use_the_averages_and_give_the_weights_back() -> None:
    model = _averaged()
    history = model.fit(X, batch_size=5, epochs=2, verbose=0, validation_data=X).history
    weights = weights_of(model)
    found = model.evaluate(X, verbose=0, return_dict=True)
    assert_same_arrays(weights, weights_of(model))
    assert found["elbo"] == history["val_elbo"][-1]
    plain = compiled(small_model())
    for variable, average in zip(plain.trainable_variables, model.weight_averages, strict=True):
        variable.assign(average)
    assert found["elbo"] == plain.evaluate(X, verbose=0, return_dict=True)["elbo"]
    model.adopt_averages()
    assert_same_arrays(weights_of(model), weights_of(plain))
    assert found["elbo"] == model.evaluate(X, verbose=0, return_dict=True)["elbo"]


def test_a_saved_model_keeps_its_averages(tmp_path: Path) -> None:
    model = _averaged()
    model.fit(X, batch_size=5, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    assert_same_arrays(
        [v.numpy() for v in again.weight_averages], [v.numpy() for v in model.weight_averages]
    )


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_a_momentum_outside_is_refused(momentum: float) -> None:
    model = small_model()
    assert_one_line(
        lambda: compiled(model, ema_momentum=momentum), ValueError, "`ema_momentum`", str(momentum)
    )
