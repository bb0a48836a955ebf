"""Networks of the user's in `fit`: Keras' training mode, its noise, and the losses layers add."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import assert_same_arrays, binary_data, compiled, small_model
from tfp_aevb import layers
from tfp_aevb.export import export_saved_model
from tfp_aevb.models.aevb import AEVB

tfd = tfp.distributions
kl = tf_keras.layers
X = binary_data(24)


class Mode(kl.Layer):
    """Counts its calls in training mode, while the function runs."""

    def build(self, input_shape) -> None:
        self.calls = self.add_weight("calls", [], trainable=False, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if training:
            self.calls.assign_add(1.0)
        return inputs


def _decoder(*hidden: kl.Layer) -> layers.BernoulliLikelihood:
    net = tf_keras.Sequential([*hidden, kl.Dense(6)])
    return layers.BernoulliLikelihood(6, network=net)


def _function(*hidden: kl.Layer):
    net = tf_keras.Sequential([*hidden, kl.Dense(6)])
    return lambda z: tfd.Independent(tfd.Bernoulli(logits=net(z), dtype=tf.float32), 1)


def _tfp_layer(*hidden: kl.Layer) -> tf_keras.Sequential:
    bernoulli = tfp.layers.DistributionLambda(
        lambda logits: tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), 1)
    )
    return tf_keras.Sequential([*hidden, kl.Dense(6), bernoulli])


def _constant_encoder(x: tf.Tensor) -> tfd.Distribution:
    """q(z|x) that is almost the point (1, 1), whatever x."""
    return tfd.MultivariateNormalDiag(tf.ones_like(x[:, :2]), 1e-9 * tf.ones([2]))


# A decoder that is a layer of this package, of TFP, or a function; with XLA and without.
CASES = pytest.mark.parametrize(
    ("make", "jit_compile"),
    [(_decoder, True), (_tfp_layer, False), (_function, True)],
    ids=["layer-xla", "tfp", "function-xla"],
)
FEW = pytest.mark.parametrize(
    ("make", "jit_compile"), [(_decoder, False), (_function, True)], ids=["layer", "function-xla"]
)


def _fit(model: AEVB, epochs: int = 1, **kwargs) -> dict:
    return model.fit(X, batch_size=8, epochs=epochs, verbose=0, **kwargs).history


@pytest.mark.compile
@CASES
def test_layers_are_in_training_mode_in_updates_and_nowhere_else(make, jit_compile: bool) -> None:
    mode = Mode()
    model = compiled(small_model(decoder=make(kl.Dense(8), mode)), jit_compile=jit_compile)
    _fit(model, epochs=2, validation_data=X)
    assert mode.calls.numpy() == 6.0  # three updates in an epoch
    model.evaluate(X, verbose=0)
    model.elbo(X)
    model.predict(X, verbose=0)
    assert mode.calls.numpy() == 6.0


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", ["iwae", "vimco", "score_function"])
def test_every_objective_trains_in_training_mode(objective: str) -> None:
    mode = Mode()
    model = compiled(
        small_model(decoder=_decoder(kl.Dense(8), mode), objective=objective, num_samples=2)
    )
    _fit(model)
    assert mode.calls.numpy() >= 3.0


@pytest.mark.compile(but_first=True)
@CASES
def test_batch_statistics_move_by_keras_rule(make, jit_compile: bool) -> None:
    dense, norm = kl.Dense(8), kl.BatchNormalization(momentum=0.9)
    model = compiled(
        small_model(decoder=make(dense, norm), encoder=_constant_encoder),
        tf_keras.optimizers.SGD(0.0),
        jit_compile=jit_compile,
    )
    assert any(v is norm.moving_mean for v in model.non_trainable_variables)
    model.fit(X[:8], batch_size=8, epochs=3, verbose=0)
    # Hidden units are constant where z is: means approach them by a tenth each time.
    hidden = dense(tf.ones([1, 2])).numpy()[0]
    np.testing.assert_allclose(norm.moving_mean, (1.0 - 0.9**3) * hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.9**3 * np.ones(8), rtol=1e-5)


@pytest.mark.compile
@FEW
def test_dropout_has_the_noise_of_its_step(make, jit_compile: bool) -> None:
    """The loss of one datapoint at fixed weights tells which units were dropped."""
    losses = []
    for seed in (0, 0, 1):
        hidden = [kl.Dense(50), kl.Dropout(0.5), kl.Dropout(0.2)]
        model = small_model(decoder=make(*hidden), encoder=_constant_encoder, seed=seed)
        compiled(model, tf_keras.optimizers.SGD(0.0), jit_compile=jit_compile)
        losses.append(model.fit(X[:1], epochs=5, verbose=0).history["loss"])
    assert losses[0] == losses[1]
    assert len({*losses[0], *losses[2]}) == 10


@pytest.mark.compile
@pytest.mark.parametrize("jit_compile", [False, True])
def test_dropout_drops_its_share(jit_compile: bool) -> None:
    class Ones(kl.Layer):
        """Adds up what dropout has left of ones."""

        def build(self, input_shape) -> None:
            self.total = self.add_weight("total", [], trainable=False, initializer="zeros")
            self.squares = self.add_weight("squares", [], trainable=False, initializer="zeros")
            self.dropout = kl.Dropout(0.25)
            super().build(input_shape)

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            left = self.dropout(tf.ones([1000]))
            self.total.assign_add(tf.reduce_mean(left))
            self.squares.assign_add(tf.reduce_mean(left**2))
            return inputs

    ones = Ones()
    model = compiled(small_model(decoder=_decoder(kl.Dense(8), ones)), jit_compile=jit_compile)
    for variable in (ones.total, ones.squares):
        variable.assign(0.0)
    _fit(model, epochs=4)
    assert ones.total.numpy() / 12.0 == pytest.approx(1.0, abs=0.03)
    assert ones.squares.numpy() / 12.0 == pytest.approx(1.0 / 0.75, abs=0.04)


@pytest.mark.compile
@FEW
def test_a_resumed_run_is_the_same_bit_for_bit(make, jit_compile: bool, tmp_path: Path) -> None:
    def model() -> AEVB:
        decoder = make(kl.Dense(8), kl.Dropout(0.5), kl.BatchNormalization(), kl.GaussianNoise(0.1))
        return compiled(
            small_model(decoder=decoder), tf_keras.optimizers.Adam(0.01), jit_compile=jit_compile
        )

    straight = model()
    _fit(straight, epochs=4)
    first = model()
    _fit(first, epochs=2)
    path = tf.train.Checkpoint(model=first).save(str(tmp_path / "stopped"))
    second = model()
    tf.train.Checkpoint(model=second).restore(path).assert_existing_objects_matched()
    _fit(second, epochs=4, initial_epoch=2)
    assert_same_arrays(
        [v.numpy() for v in straight.variables], [v.numpy() for v in second.variables]
    )


@pytest.mark.compile
def test_blocks_of_any_size_drop_the_same_units() -> None:
    models = []
    for steps in (1, 5):
        model = small_model(decoder=_decoder(kl.Dense(8), kl.Dropout(0.5), kl.BatchNormalization()))
        models.append(compiled(model, steps_per_execution=steps))
        _fit(models[-1], epochs=3)
    assert_same_arrays(*([v.numpy() for v in model.variables] for model in models))


@pytest.mark.compile(but_first=True)
@CASES
def test_what_layers_add_is_part_of_the_loss_and_not_of_the_bound(make, jit_compile: bool) -> None:
    dense = kl.Dense(8, kernel_regularizer=tf_keras.regularizers.L2(0.5))
    decoder = make(dense, kl.ActivityRegularization(l1=0.25))
    model = small_model(decoder=decoder, encoder=_constant_encoder)
    compiled(model, tf_keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    # Keras takes the mean of an activity's penalty over the batch; here all rows are alike.
    outputs = dense(tf.ones([1, 2])).numpy()
    penalty = 0.5 * (dense.kernel.numpy() ** 2).sum() + 0.25 * np.abs(outputs).sum()
    found = model.evaluate(X[:8], verbose=0, return_dict=True)
    assert found["loss"] + found["elbo"] == pytest.approx(penalty, rel=1e-4)

    history = model.fit(X[:8], batch_size=8, verbose=0).history
    assert history["loss"][0] + history["elbo"][0] == pytest.approx(penalty, rel=1e-4)


def test_the_gradient_is_that_of_the_whole_loss() -> None:
    rate, strength = 0.1, 0.5
    kernels = []
    for l2 in (0.0, strength):
        dense = kl.Dense(8, kernel_regularizer=tf_keras.regularizers.L2(l2))
        model = compiled(small_model(decoder=_decoder(dense)), tf_keras.optimizers.SGD(rate))
        before = dense.kernel.numpy()
        model.fit(X, batch_size=24, verbose=0)
        kernels.append(dense.kernel.numpy())
    np.testing.assert_allclose(
        kernels[0] - kernels[1], rate * strength * 2.0 * before, rtol=1e-3, atol=1e-6
    )


def test_a_short_minibatch_has_statistics_of_its_own_rows() -> None:
    """Its places are filled up by rows of it, as often each."""
    rows, norm = np.float32([[0] * 6, [1] * 6]), kl.BatchNormalization(momentum=0.5)
    encoder = layers.DiagonalGaussianPosterior(
        2, network=tf_keras.Sequential([norm, layers.MLP(4, [3])])
    )
    model = compiled(small_model(encoder=encoder))
    fillers = np.ones([4, 6], np.float32)
    model.fit(np.concatenate([fillers, rows]), batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_allclose(norm.moving_mean, 0.5 * (0.5 * 1.0) + 0.5 * 0.5 * np.ones(6))


def test_frozen_layers_of_functions_are_not_trained() -> None:
    dense = kl.Dense(8)
    dense.trainable = False
    model = compiled(small_model(decoder=_function(dense)))
    before = dense.kernel.numpy()
    _fit(model)
    np.testing.assert_array_equal(dense.kernel, before)


@pytest.mark.compile
def test_saved_and_exported_models_are_in_inference_mode(tmp_path: Path) -> None:
    model = compiled(
        small_model(decoder=_decoder(kl.Dense(8), kl.Dropout(0.5), kl.BatchNormalization()))
    )
    _fit(model, epochs=2)
    z = tf.ones([3, 2])
    expected = model.decode(z).mean()
    np.testing.assert_array_equal(expected, model.decode(z).mean())
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.decode(z).mean(), expected)
    export_saved_model(model, tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported"))
    for _ in range(2):
        np.testing.assert_allclose(served.decode(z=z)["mean"], expected, rtol=1e-6)
