"""The model in PyTorch, for the programs whose library builds on it."""

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documents name it
from torch import nn

from benchmarks.peers.common import ACCUMULATOR, EPSILON, LEARNING_RATE, Settings, initial_weights


class Encoder(nn.Module):
    """x [B, D] to the mean and the log-variance of q(z|x), [B, J] each."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        weights = initial_weights(settings)
        self.hidden, self.heads = linear(weights.encoder), linear(weights.heads)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.heads(torch.tanh(self.hidden(x))).chunk(2, dim=-1)


class Decoder(nn.Module):
    """z [B, J] to the logits of p(x|z), [B, D]."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        weights = initial_weights(settings)
        self.hidden, self.logits = linear(weights.decoder), linear(weights.logits)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.logits(torch.tanh(self.hidden(z)))


def linear(kernel) -> nn.Linear:
    """Returns a layer with `kernel` [in, out] and zero biases."""
    layer = nn.utils.skip_init(nn.Linear, *kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
        layer.bias.zero_()
    return layer


def negative_bound(
    x: torch.Tensor, logits: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """Returns minus the bound, summed over the minibatch, in nats."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
    return reconstruction + kl


def optimizer_options(settings: Settings) -> dict:
    """Returns the options of `torch.optim.Adam` or `torch.optim.Adagrad`."""
    name = settings["optimizer"]
    options = {"lr": LEARNING_RATE[name], "eps": EPSILON}
    return options if name == "adam" else {**options, "initial_accumulator_value": ACCUMULATOR}


def optimizer_class(settings: Settings) -> type[torch.optim.Optimizer]:
    """Returns PyTorch's optimizer."""
    return {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[settings["optimizer"]]
