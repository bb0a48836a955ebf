"""Pyro: SVI with the analytic KL, validation off, fused optimisers (Pyro has one a parameter).

log p(x) is `vectorized_importance_weights`, whose weights are those of all its data together: it is
called image by image. With `jit` the loss is traced once by TorchScript, as Pyro documents it.
"""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, JitTraceMeanField_ELBO, TraceMeanField_ELBO
from pyro.infer.importance import vectorized_importance_weights
from torch import nn

from benchmarks.peers import common
from benchmarks.peers.torch_model import Decoder, Encoder, optimizer_options

pyro.enable_validation(False)


class VAE(nn.Module):
    """Model and guide over x [B, D]."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(settings), Decoder(settings)
        self.zeros = torch.zeros(settings["latent_dim"])

    def model(self, x: torch.Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            prior = dist.Normal(self.zeros, torch.ones_like(self.zeros)).to_event(1)
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        pyro.module("encoder", self.encoder)
        mean, log_variance = self.encoder(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1))


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    pyro.set_rng_seed(settings["seed"])
    images = torch.from_numpy(common.load_images(settings))
    vae = VAE(settings)
    optimizer = {"adam": pyro.optim.Adam, "adagrad": pyro.optim.Adagrad}[settings["optimizer"]](
        {**optimizer_options(settings), "fused": True}
    )
    jit = settings["jit"]
    loss = JitTraceMeanField_ELBO(ignore_jit_warnings=True) if jit else TraceMeanField_ELBO()
    svi = SVI(vae.model, vae.guide, optimizer, loss=loss)
    epoch = 0
    while True:
        total = 0.0
        for batch in torch.from_numpy(common.epoch_rows(settings, epoch)):
            total += svi.step(images[batch].float())
            timer.updated()
        epoch += 1
        if timer.epoch_done(-total / len(images)):
            return timer.result()


def evaluate(settings: common.Settings) -> dict[str, Any]:
    images = torch.from_numpy(common.evaluation_images(settings))
    vae, num_samples = VAE(settings), settings["num_samples"]

    @torch.no_grad()
    def log_prob() -> float:
        total = 0.0
        for x in images:
            log_weights, _, _ = vectorized_importance_weights(
                vae.model, vae.guide, x[None], num_samples=num_samples, max_plate_nesting=1
            )
            total += float(torch.logsumexp(log_weights, 0)) - math.log(num_samples)
        return total / len(images)

    pyro.set_rng_seed(settings["seed"])
    return common.time_evaluation(settings, log_prob)


if __name__ == "__main__":
    common.main(["pyro-ppl", "torch"], train=train, evaluate=evaluate)
