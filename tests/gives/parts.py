"""What a user gives to the layers: priors, posteriors, likelihoods and the networks under them."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tests.combinations import COLUMNS
from tests.gives.table import Table, parameters
from tfp_aevb import layers

SIZE = 4
# What Keras says of an argument that it does not know.
UNKNOWN = "('Keyword argument not understood:', 'colour')"
Z = np.array([[0.3, -0.2], [0.4, 0.5]], np.float32)
X = np.array([[0.0, 1.0, 1.0, 0.0]] * 2, np.float32)
IMAGES = np.linspace(0.0, 1.0, 32, dtype=np.float32).reshape(2, 4, 4)
ROWS = {
    "BetaLikelihood": [0.2, 0.5, 0.7, 0.9],
    "DiscretizedLogisticLikelihood": [0.0, 1.0, 0.2, 0.4],
    "MixedLikelihood": [0.5, 0.5, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0],
}
# What each class is made of, as far as it takes it; and what some are made of besides.
SMALL: dict[str, Any] = {
    "hidden_units": (5,),
    "latent_dim": 2,
    "event_shape": SIZE,
    "num_categories": 3,
    "num_components": 3,
    "columns": COLUMNS,
    "latent_dims": (2, 2),
    "upper_hidden_units": (3,),
    "flow_units": (4,),
    "image_shape": (4, 4),
    "filters": (2, 2),
    "num_steps": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "ConstrainedPosterior": {"support": "unit"},
    "FlowPosterior": {"kind": "realnvp", "context_size": 2},
    "MLP": {"output_size": 3},
    "ConvEncoder": {"output_size": 3, "activation": "tanh"},
    "ConvDecoder": {"output_size": 16, "activation": "tanh"},
}
# Arguments of a base class that a class fills in by itself.
FILLED = {"HierarchicalPrior": {"latent_dim"}, "HierarchicalPosterior": {"latent_dim"}}
# Another value of each argument.
OTHERS: dict[str, Any] = {
    "activation": "relu",
    "allow_grey": True,
    "allow_missing": True,
    "columns": COLUMNS[:-1],
    "concentration": 2.0,
    "context_size": 3,
    "event_shape": 8,
    "filters": (3, 2),
    "flow_units": (7,),
    "hidden_units": (6,),
    "image_shape": (8, 2),
    "init_stddev": 0.5,
    "kind": "spline",
    "latent_dim": 3,
    "latent_dims": (2, 3),
    "mean": "sigmoid",
    "num_categories": 5,
    "num_components": 2,
    "num_inputs": 1,
    "num_steps": 3,
    "output_size": 32,
    "rank": 1,
    "support": "positive",
    "upper_hidden_units": (6,),
    "variance": "scalar",
}
# Values that are refused, and the line.
WRONG: dict[str, list[tuple[Any, str]]] = {
    "allow_grey": [],
    "concentration": [(0.0, "`concentration` must be")],
    "filters": [((0,), "`filters` must be")],
    "hidden_units": [((5, 0), "`hidden_units` must be whole numbers")],
    "image_shape": [((4,), "`image_shape` must be (H, W) or (H, W, C)")],
    "kind": [("far", "`kind` must be one of")],
    "latent_dim": [(0, "`latent_dim` must be a whole number")],
    "mean": [("cubic", "`mean` must be 'linear' or 'sigmoid'")],
    "num_categories": [(1, "`num_categories` must be")],
    "num_components": [(0, "`num_components` must be")],
    "num_inputs": [(9, "`num_inputs` must be from 1 to")],
    "num_steps": [(0, "`num_steps` must be")],
    "rank": [(0, "`rank` must be"), (3, "`rank` must be 1 to `latent_dim`")],
    "support": [("somewhere", "`support` must be")],
    "variance": [(0.0, "a fixed `variance` must be"), ("odd", "`variance` must be 'per_pixel'")],
}


class Layers(Table):
    """The rows of a class of layers."""

    def __init__(self, name: str) -> None:
        self.cls: type = getattr(layers, name)
        self.name = name
        takes = parameters(self.cls) - FILLED.get(name, set())
        self.plain = {k: v for k, v in SMALL.items() if k in takes} | OWN.get(name, {})
        super().__init__(f"layers.{name}", self.cls, self.made)
        self.without = FILLED.get(name, set())

    def made(self, **options: Any) -> Any:
        """Makes the layer, its first weights by a fixed seed, and says what it says."""
        tf_keras.utils.set_random_seed(0)
        layer = self.cls(**{**self.plain, **options})
        inputs = self._inputs(layer)
        found = layer(inputs) if inputs is not None else layer()
        if isinstance(found, tf.Tensor):
            return found, layer.compute_dtype
        size = found.event_shape.num_elements()
        x = self._points(layer, size)
        said = [found.log_prob(x)]
        if getattr(layer, "allows_missing", False):
            said.append(found.log_prob(np.where(np.arange(size) == 0, np.nan, x)))
        return said, size, layer.compute_dtype, getattr(layer, "support", "")

    def _inputs(self, layer: Any) -> tf.Tensor | None:
        if self.name == "ConvEncoder":
            return IMAGES
        if self.name.endswith("Prior"):
            return None
        seen = self.name.endswith(("Posterior", "Inputs"))
        return (
            tf.constant([ROWS["MixedLikelihood"]] * 2) if "Table" in self.name else X if seen else Z
        )

    def _points(self, layer: Any, size: int) -> np.ndarray:
        """Two points where the distribution has a density."""
        if self.name.endswith("Likelihood"):
            return np.resize(np.float32(ROWS.get(self.name, X[0])), [2, size])
        point = np.linspace(0.2, 0.8, size, dtype=np.float32)
        is_simplex = layer.latent_support == "simplex"
        return np.stack([point / point.sum() if is_simplex else point] * 2)


def add(name: str) -> None:
    """Adds the rows of a class."""
    table = Layers(name)
    for argument in sorted(table.missing()):
        if argument == "network":
            table.differs(argument, "a function that returns a layer", {argument: ones})
            table.refuses(
                argument,
                "a layer of another width",
                lambda: {"network": tf_keras.layers.Dense(1)},
                "`network` must return [B, ",
            )
            table.refuses(argument, "a text", {argument: lambda size: "dense"}, "`network` must be")
        elif argument == "params_per_element":
            table.refuses(
                argument,
                "2",
                {argument: 2},
                "tfp_aevb.layers.likelihoods.Likelihood.__init__() got",
            )
        elif argument in OTHERS:  # others are found missing
            table.differs(argument, f"{OTHERS[argument]!r:.40}", {argument: OTHERS[argument]})
        for wrong, line in WRONG.get(argument, []):
            table.refuses(argument, repr(wrong), {argument: wrong}, line)
    if not name.endswith(("Prior", "Inputs")):
        table.differs("dtype", "'mixed_bfloat16'", {"dtype": "mixed_bfloat16"})
    table.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)


def ones(size: int) -> tf_keras.layers.Layer:
    return tf_keras.layers.Dense(size, kernel_initializer="ones")


for each in layers.__all__:
    if each not in ("VampPrior", "TableInputs", "ObservedInputs"):
        add(each)

table_inputs = Layers("TableInputs")
table_inputs.differs("columns", "others", lambda: {"columns": [*COLUMNS[1:], COLUMNS[0]]})
observed = Layers("ObservedInputs")
observed.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)


def vamp(**options: Any) -> Any:
    tf_keras.utils.set_random_seed(0)
    plain = {"latent_dim": 2, "event_shape": SIZE, "num_components": 3}
    prior = layers.VampPrior(**{**plain, **options})
    return prior.pseudo_inputs().numpy(), prior.latent_dim


pseudo = Table("layers.VampPrior", layers.VampPrior, vamp)
pseudo.differs("latent_dim", "3", {"latent_dim": 3})
pseudo.differs("event_shape", "8", {"event_shape": 8})
pseudo.differs("num_components", "2", {"num_components": 2})
pseudo.refuses("num_components", "0", {"num_components": 0}, "`num_components` must be")
pseudo.differs("support", "'real', or 'unit'", {"support": "real"}, {"support": "unit"})
pseudo.refuses("support", "another text", {"support": "far"}, "`support` must be one of")
pseudo.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)
