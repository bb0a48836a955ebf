"""Pythae: `VAE` with networks of ours, its `BaseTrainer`, and `get_nll`.

Its decoder gives probabilities, its trainer goes through single images and keeps the best model.
"""

import contextlib
import os
import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

from benchmarks.peers import common
from benchmarks.peers.torch_model import Decoder, Encoder, optimizer_options


class PythaeEncoder(BaseEncoder):
    """x [B, D] to the parameters of q(z|x), as Pythae names them."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        self.network = Encoder(settings)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.network(x)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class PythaeDecoder(BaseDecoder):
    """z [B, J] to the probabilities of p(x|z)."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        self.network = Decoder(settings)

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def build(settings: common.Settings) -> VAE:
    """Returns the model."""
    config = VAEConfig(
        input_dim=(settings["dim"],),
        latent_dim=settings["latent_dim"],
        reconstruction_loss="bce",
    )
    return VAE(config, PythaeEncoder(settings), PythaeDecoder(settings))


class TimeIsOver(Exception):  # noqa: N818 - the end of the run
    """Ends the trainer, which cannot be asked to stop."""


class Timing(TrainingCallback):
    """Tells the timer of updates and epochs."""

    def __init__(self, timer: common.EpochTimer) -> None:
        self.timer = timer

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.timer.updated()

    def on_log(self, training_config: BaseTrainerConfig, logs: dict, **kwargs: Any) -> None:
        if self.timer.epoch_done(-logs["train_epoch_loss"]):
            raise TimeIsOver


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    images = torch.from_numpy(common.load_images(settings)).float()
    options = optimizer_options(settings)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=settings["batch_size"],
            num_epochs=1_000_000,
            optimizer_cls={"adam": "Adam", "adagrad": "Adagrad"}[settings["optimizer"]],
            learning_rate=options.pop("lr"),
            optimizer_params=options,
            seed=settings["seed"],
            no_cuda=True,
        )
        trainer = BaseTrainer(
            model=build(settings),
            train_dataset=BaseDataset(images, torch.zeros(len(images))),
            training_config=config,
            callbacks=[Timing(timer)],
        )
        with contextlib.suppress(TimeIsOver), contextlib.redirect_stdout(open(os.devnull, "w")):
            trainer.train()
    return timer.result()


def evaluate(settings: common.Settings) -> dict[str, Any]:
    images = torch.from_numpy(common.evaluation_images(settings))
    model, num_samples = build(settings).eval(), settings["num_samples"]
    torch.manual_seed(settings["seed"])

    @torch.no_grad()
    def log_prob() -> float:  # despite its name, `get_nll` returns plus log p(x)
        batch_size = min(settings["nll_batch_size"], num_samples)
        return float(model.get_nll(images, n_samples=num_samples, batch_size=batch_size))

    return common.time_evaluation(settings, log_prob)


if __name__ == "__main__":
    common.main(["pythae", "torch"], train=train, evaluate=evaluate)
