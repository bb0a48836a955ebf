"""tfp_aevb as a library: `AEVB.fit` on the array, and `importance_log_prob`."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import tfp_aevb
from benchmarks.peers import common
from tfp_aevb.distributions.noise import compiled


def build(settings: common.Settings) -> tfp_aevb.AEVB:
    """Returns the model, its weights set."""
    hidden, latent_dim = [settings["hidden"]], settings["latent_dim"]
    model = tfp_aevb.AEVB(
        prior=tfp_aevb.StandardNormalPrior(latent_dim),
        encoder=tfp_aevb.DiagonalGaussianPosterior(latent_dim, hidden, init_stddev=None),
        decoder=tfp_aevb.BernoulliLikelihood(settings["dim"], hidden, init_stddev=None),
        num_samples=settings.get("train_samples", 1),
        seed=settings["seed"],
    )
    weights = common.flat_weights(settings)
    model.encoder.set_weights(weights[:4])
    model.decoder.set_weights(weights[4:])
    return model


class Timing(tf_keras.callbacks.Callback):
    """Tells the timer of updates and epochs."""

    def __init__(self, timer: common.EpochTimer) -> None:
        super().__init__()
        self.timer = timer

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.timer.updated()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.stop_training = self.timer.epoch_done((logs or {})["elbo"])


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    rate, eps = common.LEARNING_RATE[settings["optimizer"]], common.EPSILON
    optimizer: Any = tf_keras.optimizers.Adam(rate, epsilon=eps)
    if settings["optimizer"] == "adagrad":
        optimizer = tf_keras.optimizers.Adagrad(rate, common.ACCUMULATOR, epsilon=eps)
    model = build(settings)
    # Without a number the loop would return at each update, where `Timing` asks to be called.
    model.compile(optimizer, steps_per_execution=256)
    model.fit(
        common.load_images(settings),
        batch_size=settings["batch_size"],
        epochs=1_000_000,
        callbacks=[Timing(timer)],
        verbose=0,
    )
    return timer.result()


def evaluate(settings: common.Settings) -> dict[str, Any]:
    images = tf.constant(common.evaluation_images(settings))
    model = build(settings)

    def log_prob(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tfp_aevb.importance_log_prob(model, x, settings["num_samples"], seed).log_prob

    # As the command `evaluate` compiles it, with XLA and its Threefry; or called as it is.
    estimate = compiled(log_prob) if settings["jit"] else log_prob
    seed = tf.constant([0, settings["seed"]])
    return common.time_evaluation(settings, lambda: np.mean(estimate(images, seed)))


if __name__ == "__main__":
    common.main(["tfp_aevb", "tensorflow"], train=train, evaluate=evaluate)
