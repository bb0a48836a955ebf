"""The VAE example of pytorch/examples, on this model: DataLoader, plain optimiser, sums of losses.

As there, single images go through the default collation, the reconstruction is a probability, and
the loss is read at each update. Its size, activation and bound are those of everyone here.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documents name it
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import common
from benchmarks.peers.torch_model import Decoder, Encoder, optimizer_class, optimizer_options


class VAE(nn.Module):
    """Encoder, noise and decoder; gives the probabilities and the parameters of q(z|x)."""

    def __init__(self, settings: common.Settings) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(settings), Decoder(settings)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x)
        deviation = torch.exp(0.5 * log_variance)
        z = mean + deviation * torch.randn_like(deviation)
        return torch.sigmoid(self.decoder(z)), mean, log_variance


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    torch.manual_seed(settings["seed"])
    images = torch.from_numpy(common.load_images(settings)).float()
    loader = DataLoader(TensorDataset(images), batch_size=settings["batch_size"], shuffle=True)
    model = VAE(settings)
    optimizer = optimizer_class(settings)(model.parameters(), **optimizer_options(settings))
    while True:
        total = 0.0
        for (x,) in loader:
            optimizer.zero_grad()
            probabilities, mean, log_variance = model(x)
            reconstruction = F.binary_cross_entropy(probabilities, x, reduction="sum")
            kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = reconstruction + kl
            loss.backward()
            total += loss.item()
            optimizer.step()
            timer.updated()
        if timer.epoch_done(-total / len(images)):
            return timer.result()


if __name__ == "__main__":
    common.main(["torch"], train=train)
