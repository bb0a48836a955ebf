"""The limit, by PyTorch: the products and one pass of the fused optimiser, nothing else."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import floor
from benchmarks.peers import common
from benchmarks.peers.torch_model import optimizer_class, optimizer_options

CHUNKS = (250, 500, 1000, 2500)


def product_function(product: floor.Product) -> Callable[[], Any]:
    """Returns the product, by oneDNN or MKL, into memory of its own."""
    left, right, out = (
        torch.randn(shape)
        for shape in (
            (product.rows, product.inner),
            (product.inner, product.columns),
            (product.rows, product.columns),
        )
    )
    return partial(torch.mm, left, right, out=out)


def train(settings: common.Settings) -> dict[str, Any]:
    multiplications = [product_function(product) for product in floor.training_products(settings)]
    flat = torch.zeros(floor.parameters(settings), requires_grad=True)
    flat.grad = torch.full_like(flat, 1e-3)
    options = optimizer_options(settings)
    optimizer = optimizer_class(settings)([flat], **options, fused=True)

    def step() -> None:
        for multiply in multiplications:
            multiply()
        optimizer.step()

    return common.time_steps(settings, step, settings["batch_size"])


@torch.no_grad()
def evaluate(settings: common.Settings) -> dict[str, Any]:
    encoder, decoder = floor.evaluation_products(settings)
    encoder = [product._replace(rows=settings["images"]) for product in encoder]
    encode = [product_function(product) for product in encoder]
    total = settings["images"] * settings["num_samples"]

    def chunk_function(rows: int) -> Callable[[], Any]:
        hidden, logits = (torch.randn(rows, product.columns) for product in decoder)
        z = torch.randn(rows, decoder[0].inner)
        w1, w2 = (torch.randn(product.inner, product.columns) for product in decoder)

        def decode() -> torch.Tensor:
            torch.mm(z, w1, out=hidden)
            torch.mm(hidden, w2, out=logits)
            return torch.nn.functional.softplus(logits).sum(-1)

        return decode

    chunks = {rows: chunk_function(rows) for rows in CHUNKS if rows <= total} or {
        total: chunk_function(total)
    }
    best = min(chunks, key=lambda rows: common.seconds_of(chunks[rows]) / rows)
    log_weights = torch.randn(settings["num_samples"], settings["images"])

    def estimate() -> float:
        for multiply in encode:
            multiply()
        for _ in range(-(-total // best)):
            chunks[best]()
        return float(torch.logsumexp(log_weights, 0).mean())

    result = common.time_evaluation(settings, estimate)
    return {**result, "bound": None, "remark": f"{best} samples at a time"}


if __name__ == "__main__":
    common.main(["torch"], train=train, evaluate=evaluate)
