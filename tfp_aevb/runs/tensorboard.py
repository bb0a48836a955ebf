"""What a run writes for TensorBoard: scalars, pictures and hyper-parameters."""

import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from tensorboard.plugins.hparams import api as hparams

from tfp_aevb.data.dataset import Dataset
from tfp_aevb.evaluation.diagnostics import kl_per_dimension
from tfp_aevb.figures import image_grid, manifold_grid
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.data import as_seen
from tfp_aevb.runs.images import as_images, white_value
from tfp_aevb.runs.interpolations import gaussian_prior
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.training.fused import METRICS
from tfp_aevb.utils.seeds import as_seed

# Pictures come at most so often and are at most so many: the files of a long run stay small.
IMAGE_SECONDS = 20.0
MAX_PICTURES = 100
NUM_IMAGES = 32
MANIFOLD_SIDE = 15


class TensorBoardLog(tf_keras.callbacks.Callback):
    """Writes the bound and its terms at each validation, pictures every so often.

    Args:
        directory: the run's `tensorboard` folder; training and validation have one each in it.
        config: the settings, shown as hyper-parameters.
        dataset: the validation images are encoded and reconstructed.
    """

    def __init__(self, directory: Path, config: TrainConfig, dataset: Dataset) -> None:
        super().__init__()
        self._writers = {
            split: tf.summary.create_file_writer(str(directory / split))
            for split in ("train", "validation")
        }
        self._config = config
        self._image_shape = dataset.image_shape if config.tensorboard_images else ()
        self._x = as_seen(dataset.validation, dataset, 500, seed=config.seed)
        self._drawn_at, self._drawn_step = -IMAGE_SECONDS, -config.steps
        with self._writers["validation"].as_default():
            hparams.hparams(
                {
                    name: value if isinstance(value, bool | int | float | str) else str(value)
                    for name, value in config.to_dict().items()
                },
                trial_id=str(directory.parent.name),
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the scalars, and the pictures if the last are old enough."""
        step = int(self.model.optimizer.iterations.numpy())
        for split, prefix in (("train", ""), ("validation", "val_")):
            with self._writers[split].as_default(step):
                for name in METRICS:
                    tf.summary.scalar(name, (logs or {})[prefix + name])
        now, total = time.perf_counter(), self._config.steps
        is_due = now - self._drawn_at >= IMAGE_SECONDS
        if (is_due and (step - self._drawn_step) * MAX_PICTURES >= total) or step == total:
            self._drawn_at, self._drawn_step = now, step
            with self._writers["validation"].as_default(step):
                self._write_latents()
                if self._image_shape:
                    self._write_images()
        for writer in self._writers.values():
            writer.flush()

    def _write_latents(self) -> None:
        kl = mean_kl_per_dimension(self.model, self._x)
        if kl is not None:
            tf.summary.histogram("kl per dimension", kl)
            for dimension, value in enumerate(kl):
                tf.summary.scalar(f"kl per dimension/{dimension:03d}", value)

    def _write_images(self) -> None:
        x = self._x[:NUM_IMAGES]
        means = self.model.reconstruct(x).numpy()
        pairs = np.stack([x.reshape(len(x), -1), means.reshape(len(x), -1)], axis=1)
        self._image("reconstructions", pairs.reshape(2 * len(x), -1), columns=8)
        z = self.model.prior_distribution().sample(64, seed=as_seed(self._config.seed))
        self._image("samples", self.model.decode(z).mean().numpy(), columns=8)
        moments = gaussian_prior(self.model)
        if self.model.latent_dim == 2 and moments:
            z = manifold_grid(MANIFOLD_SIDE, *moments)
            self._image("manifold", self.model.decode(z).mean().numpy(), columns=MANIFOLD_SIDE)

    def _image(self, name: str, images: np.ndarray, columns: int) -> None:
        white = white_value(self.model, self._x[:NUM_IMAGES])
        grid = image_grid(as_images(images, self._image_shape, white), columns=columns)
        grid = grid[None, ..., None] if grid.ndim == 2 else grid[None]
        tf.summary.image(name, grid)


def mean_kl_per_dimension(model: AEVB, x: np.ndarray) -> np.ndarray | None:
    """Returns the mean over `x` of KL(q(z[j]|x) || p(z[j])) for each j: [J] nats.

    `None` where it is not defined, see `diagnostics.kl_per_dimension`.
    """
    kl = kl_per_dimension(model.encode(x), model.prior_distribution())
    return None if kl is None else tf.reduce_mean(kl, axis=0).numpy()
