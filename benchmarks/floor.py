"""What the work costs at least: floating-point operations and bytes, counted. Pure functions.

Settings: M = batch_size, L = train_samples, D = dim, H = hidden, J = latent_dim, N = num_data.
"""

from typing import Any, NamedTuple

FLOAT = 4  # bytes
SLOTS = {"adam": 2, "adagrad": 1}


class Product(NamedTuple):
    """A matrix product, [rows, inner] times [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns


def layers(settings: dict[str, Any]) -> list[tuple[int, int]]:
    """Returns (inputs, outputs) of the four layers; mean and log-variance are one layer."""
    hidden, latent_dim, dim = settings["hidden"], settings["latent_dim"], settings["dim"]
    return [(dim, hidden), (hidden, 2 * latent_dim), (latent_dim, hidden), (hidden, dim)]


def training_products(settings: dict[str, Any]) -> list[Product]:
    """Returns the eleven matrix products of an update.

    Four forward, four for the weights' gradients, three for the inputs'; the encoder's input has no
    gradient.
    """
    encoder_rows = settings["batch_size"]
    decoder_rows = encoder_rows * settings.get("train_samples", 1)
    rows = [encoder_rows, encoder_rows, decoder_rows, decoder_rows]
    shapes = [(r, *layer) for r, layer in zip(rows, layers(settings), strict=True)]
    forward = [Product(r, i, o) for r, i, o in shapes]
    weights = [Product(i, r, o) for r, i, o in shapes]
    inputs = [Product(r, o, i) for r, i, o in shapes[1:]]
    return forward + weights + inputs


def evaluation_products(settings: dict[str, Any]) -> tuple[list[Product], list[Product]]:
    """Returns the products of log p(x) for one image: the encoder's, and those of K samples."""
    encoder = [Product(1, *layer) for layer in layers(settings)[:2]]
    decoder = [Product(settings["num_samples"], *layer) for layer in layers(settings)[2:]]
    return encoder, decoder


def parameters(settings: dict[str, Any]) -> int:
    """Returns the number of weights and biases."""
    return sum(inputs * outputs + outputs for inputs, outputs in layers(settings))


def activations(settings: dict[str, Any]) -> int:
    """Returns how many values the layers of an update put out."""
    rows = settings["batch_size"]
    outputs = [layer[1] for layer in layers(settings)]
    return rows * (sum(outputs[:2]) + settings.get("train_samples", 1) * sum(outputs[2:]))


def step_operations(settings: dict[str, Any]) -> int:
    """Returns the floating-point operations of an update's products."""
    return sum(product.operations for product in training_products(settings))


def step_bytes(settings: dict[str, Any]) -> int:
    """Returns the bytes that an update reads and writes at least.

    Weights are read forward and backward, their gradients written; the optimiser reads parameters,
    gradients and slots, and writes parameters and slots; activations are written and read once;
    pixels are read once, as bytes.
    """
    slots = SLOTS[settings["optimizer"]]
    weights = parameters(settings) * (2 + 1 + (2 + slots) + (1 + slots))
    values = FLOAT * (weights + 2 * activations(settings))
    return values + settings["batch_size"] * settings["dim"]


def step_seconds(
    settings: dict[str, Any], operations_per_second: float, bytes_per_second: float
) -> float:
    """Returns the least time of an update: of its operations or of its bytes, as if at once."""
    return max(
        step_operations(settings) / operations_per_second, step_bytes(settings) / bytes_per_second
    )


def held_bytes(settings: dict[str, Any]) -> int:
    """Returns the bytes training holds at least.

    Parameters, gradients, slots, one set of activations, and the data as bytes.
    """
    copies = 2 + SLOTS[settings["optimizer"]]
    values = FLOAT * (copies * parameters(settings) + activations(settings))
    return values + settings["num_data"] * settings["dim"]
