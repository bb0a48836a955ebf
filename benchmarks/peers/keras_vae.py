"""A Keras VAE: `train_step` of its own, `fit` on the array; Keras 3 on TensorFlow, or tf_keras."""

import importlib
import json
import os
import sys
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported

import tensorflow as tf

from benchmarks.peers import common

LIBRARY = json.loads(sys.argv[1])["library"]
keras: Any = importlib.import_module(LIBRARY)


class VAE(keras.Model):
    """Encoder and decoder, trained on minus the bound."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        dense, hidden = keras.layers.Dense, settings["hidden"]
        self.encoder = keras.Sequential(
            [dense(hidden, activation="tanh"), dense(2 * settings["latent_dim"])]
        )
        self.decoder = keras.Sequential([dense(hidden, activation="tanh"), dense(settings["dim"])])
        self.mean_bound = keras.metrics.Mean(name="bound")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, log_variance = tf.split(self.encoder(x), 2, axis=-1)
        z = mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))
        reconstruction = -tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=self.decoder(z))
        kl = -0.5 * (1 + log_variance - mean**2 - tf.exp(log_variance))
        return tf.reduce_sum(reconstruction, axis=-1) - tf.reduce_sum(kl, axis=-1)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x = tf.cast(data[0] if isinstance(data, tuple) else data, tf.float32)
        with tf.GradientTape() as tape:
            bound = tf.reduce_mean(self(x))
            loss = -bound
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.mean_bound.update_state(bound)
        return {"bound": self.mean_bound.result()}

    @property
    def metrics(self) -> list[Any]:
        return [self.mean_bound]


class Timing(keras.callbacks.Callback):
    """Tells the timer of updates and epochs."""

    def __init__(self, timer: common.EpochTimer) -> None:
        super().__init__()
        self.timer = timer

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.timer.updated()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.stop_training = self.timer.epoch_done((logs or {})["bound"])


def optimizer_of(settings: common.Settings) -> Any:
    """Returns Keras' Adam or Adagrad."""
    rate = common.LEARNING_RATE[settings["optimizer"]]
    if settings["optimizer"] == "adam":
        return keras.optimizers.Adam(rate, epsilon=common.EPSILON)
    start = common.ACCUMULATOR
    return keras.optimizers.Adagrad(rate, initial_accumulator_value=start, epsilon=common.EPSILON)


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    keras.utils.set_random_seed(settings["seed"])
    images = common.load_images(settings)
    model = VAE(settings)
    model(tf.cast(images[:1], tf.float32))
    for part, weights in ((model.encoder, slice(0, 4)), (model.decoder, slice(4, 8))):
        part.set_weights(common.flat_weights(settings)[weights])
    model.compile(
        optimizer=optimizer_of(settings),
        jit_compile=settings["jit"],
        steps_per_execution=settings["steps_per_execution"],
    )
    model.fit(
        images,
        batch_size=settings["batch_size"],
        epochs=1_000_000,
        callbacks=[Timing(timer)],
        verbose=0,
    )
    return timer.result()


if __name__ == "__main__":
    common.main([LIBRARY, "tensorflow"], train=train)
