"""PyTorch: eager, or with the loss compiled by `torch.compile`; the optimiser is fused.

The data stay in memory as bytes; a minibatch is taken by its rows.
"""

import os
from typing import Any

# Compiled code is kept on disk; without this, only the first run would show what compiling takes.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import torch
from torch import nn

from benchmarks.peers import common
from benchmarks.peers.torch_model import (
    Decoder,
    Encoder,
    negative_bound,
    optimizer_class,
    optimizer_options,
)


class VAE(nn.Module):
    """The model; called, it gives minus the bound, averaged over the minibatch."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(settings), Decoder(settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, log_variance = self.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return negative_bound(x, self.decoder(z), mean, log_variance) / len(x)


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    torch.manual_seed(settings["seed"])
    images = torch.from_numpy(common.load_images(settings))
    model = VAE(settings)
    optimizer = optimizer_class(settings)(
        model.parameters(), **optimizer_options(settings), fused=True
    )
    loss_function = torch.compile(model, mode=settings["mode"]) if "mode" in settings else model
    epoch = 0
    while True:
        rows = torch.from_numpy(common.epoch_rows(settings, epoch))
        total = torch.zeros(())
        for batch in rows:
            optimizer.zero_grad()
            loss = loss_function(images[batch].float())
            loss.backward()
            optimizer.step()
            timer.updated()
            total += loss.detach()
        epoch += 1
        if timer.epoch_done(-float(total) / len(rows)):
            return timer.result()


if __name__ == "__main__":
    common.main(["torch"], train=train)
