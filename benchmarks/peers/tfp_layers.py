"""A VAE of TFP's distribution layers, as in its documents: losses of Keras, tf_keras' `fit`.

`KLDivergenceRegularizer` gets weight 1/2, for tf_keras counts its penalty twice: the bound is then
that of everyone here.
"""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from benchmarks.peers import common

tfd, tfpl = tfp.distributions, tfp.layers


def gaussian(params: tf.Tensor) -> Any:
    """Returns N(mean, exp(log-variance)) for `params` [B, 2 J]."""
    mean, log_variance = tf.split(params, 2, axis=-1)
    return tfd.Independent(tfd.Normal(mean, tf.exp(0.5 * log_variance)), 1)


def build(settings: common.Settings) -> tf_keras.Model:
    """Returns the model, its weights set."""
    hidden, latent_dim, dim = settings["hidden"], settings["latent_dim"], settings["dim"]
    prior = tfd.Independent(tfd.Normal(tf.zeros(latent_dim), 1.0), 1)
    regularizer = tfpl.KLDivergenceRegularizer(prior, use_exact_kl=True, weight=0.5)
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer([dim]),
            tf_keras.layers.Dense(hidden, activation="tanh"),
            tf_keras.layers.Dense(2 * latent_dim),
            tfpl.DistributionLambda(gaussian, activity_regularizer=regularizer),
        ]
    )
    decoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer([latent_dim]),
            tf_keras.layers.Dense(hidden, activation="tanh"),
            tf_keras.layers.Dense(dim),
            tfpl.IndependentBernoulli([dim], tfd.Bernoulli.logits),
        ]
    )
    model = tf_keras.Model(encoder.inputs, decoder(encoder.outputs[0]))
    model.set_weights(common.flat_weights(settings))
    return model


class Timing(tf_keras.callbacks.Callback):
    """Tells the timer of updates and epochs."""

    def __init__(self, timer: common.EpochTimer) -> None:
        super().__init__()
        self.timer = timer

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.timer.updated()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.stop_training = self.timer.epoch_done(-(logs or {})["loss"])


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    tf_keras.utils.set_random_seed(settings["seed"])
    images = common.load_images(settings).astype("float32")
    rate, eps = common.LEARNING_RATE[settings["optimizer"]], common.EPSILON
    optimizer: Any = tf_keras.optimizers.Adam(rate, epsilon=eps)
    if settings["optimizer"] == "adagrad":
        start = common.ACCUMULATOR
        optimizer = tf_keras.optimizers.Adagrad(rate, start, epsilon=eps)
    model = build(settings)
    model.compile(
        optimizer,
        loss=lambda x, likelihood: -likelihood.log_prob(x),
        jit_compile=settings["jit"],
        steps_per_execution=settings["steps_per_execution"],
    )
    model.fit(
        images,
        images,
        batch_size=settings["batch_size"],
        epochs=1_000_000,
        callbacks=[Timing(timer)],
        verbose=0,
    )
    return timer.result()


if __name__ == "__main__":
    common.main(["tensorflow-probability", "tf_keras", "tensorflow"], train=train)
