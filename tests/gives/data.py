"""What a user gives to `compile` and `fit`; data of all kinds."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tf_keras

from tests.gives.table import Table, fresh
from tests.helpers import binary_data, small_model
from tfp_aevb import AEVB, Observations, Stream

X = binary_data(20)
HALF = np.r_[np.ones(10), np.zeros(10)]
GAPS = np.where(np.arange(6) == 2, np.nan, X)
_models: dict[str, Any] = {}


def model(**options: Any) -> AEVB:
    """A small model as newly made, compiled to run eagerly with plain gradient steps."""

    def make() -> AEVB:
        made = small_model(**options)
        made.compile(tf_keras.optimizers.SGD(0.05), run_eagerly=True)
        return made

    return fresh(make, _models, repr(sorted(options)))


def frame(x: Any = X) -> pd.DataFrame:
    return pd.DataFrame(x, columns=list("abcdef"))


def batches(*parts: Any, size: int = 20) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(size)


def generator(*parts: Any) -> Iterator[Any]:
    for start in range(0, 20, 10):
        rows = tuple(part[start : start + 10] for part in parts)
        yield rows if len(rows) > 1 else rows[0]


class Sequence(tf_keras.utils.Sequence):
    """Batches as Keras' own class has them."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> np.ndarray:
        return X[10 * place : 10 * place + 10]


def stream() -> Stream:
    def read(start: int, worker: int = 0, num_workers: int = 1) -> Iterator[np.ndarray]:
        del start, worker, num_workers
        while True:
            yield X

    return Stream(read, 20)


def fitted(x: Any = X, *args: Any, **options: Any) -> Any:
    """The weights after `fit`, what it reported and what it printed."""
    trained, printed = model(), io.StringIO()
    with contextlib.redirect_stdout(printed):
        history = trained.fit(x, *args, **{"verbose": 0, **options}).history
    weights = [v.numpy() for v in trained.trainable_variables]
    return weights, sorted(history), list(history.values()), bool(printed.getvalue())


class Notes(tf_keras.callbacks.Callback):
    """Changes the weights when it is called."""

    def __init__(self, *hooks: str) -> None:
        super().__init__()
        for hook in hooks:
            setattr(self, hook, self._move)

    def _move(self, *_: Any) -> None:
        for variable in self.model.trainable_variables:
            variable.assign_add(tf.ones_like(variable))


# Wrong data, for whatever takes data; the same lines everywhere.
WRONG_DATA: dict[str, tuple[Any, str]] = {
    "an array of text": (np.array([["a"] * 6] * 3), "`x` must be an array of numbers"),
    "objects": (np.array([[None] * 6] * 3), "`x` must be an array of numbers"),
    "complex numbers": (X.astype(complex), "`x` must be an array of numbers"),
    "one datapoint without a batch": (X[0], "`x` must have shape [N, ...event]"),
    "no rows": (X[:0], "`x` must have shape [N, ...event] without zeros"),
    "another width": (X[:, :5], "the model's datapoints have shape [6], got [5]"),
    "NaN": (GAPS, "`x` has NaN (or masked) or infinite values"),
    "infinity": (np.where(GAPS == GAPS, X, np.inf), "`x` has NaN (or masked) or infinite values"),
    "grey values for a Bernoulli": (X / 2, "a Bernoulli likelihood needs pixels 0 or 1"),
    "rows of different lengths": ([[0.0] * 6, [1.0] * 5], "`x` must be an array of numbers"),
}
SAME_DATA: dict[str, Any] = {
    "a list of lists": lambda: X.tolist(),
    "a DataFrame": frame,
    "a tensor": lambda: tf.constant(X),
    "booleans": lambda: X > 0,
    "uint8": lambda: X.astype(np.uint8),
    "int64": lambda: X.astype(np.int64),
    "float64": lambda: X.astype(np.float64),
    "`Observations`": lambda: Observations(X),
    "`Observations` of levels with their `scale`": lambda: Observations(
        (X * 255).astype(np.uint8), scale=255.0
    ),
    "another memory order": lambda: np.asfortranarray(X),
}


def add_data(table: Table, *, validation: bool = False) -> None:
    """Adds the rows of data of all kinds."""
    name = "validation_data" if validation else "x"
    plain = {name: X} if validation else {}
    for given, make in SAME_DATA.items():
        table.agrees(name, given, lambda make=make: {name: make()}, plain)
    ordered = {"shuffle": False} if table.function == "fit" else {}
    for given, parts in {"a dataset of batches": (X,), "a dataset of (x, x)": (X, X)}.items():
        table.agrees(
            name,
            given,
            lambda parts=parts: {name: batches(*parts), **ordered},
            {**plain, **ordered},
        )
    for given, (value, line) in WRONG_DATA.items():
        table.refuses(name, given, {name: value}, line)
    masked = np.ma.masked_array(X, np.isnan(GAPS))
    table.refuses(name, "a masked array with gaps", {name: masked}, "`x` has NaN (or masked)")
    table.refuses(name, "1e8 + noise in float64", {name: X + 1e8}, "a Bernoulli likelihood needs")
    zeros = np.zeros(20, np.float32)
    table.refuses(
        name,
        "a dataset whose weights are all 0",
        lambda: {name: batches(X, X, zeros)},
        "weights must not all be 0",
    )
    table.differs(
        name,
        "a dataset of (x, x, weights)",
        lambda: {name: batches(X, X, HALF)},
        lambda: {name: batches(X)},
    )
    table.refuses(
        name,
        "a dataset of (x, another target)",
        lambda: {name: batches(X, 1 - X)},
        "the target is not the data",
    )
    table.refuses(
        name, "a dict", {name: {"x": X}}, "`x` is a dict of ['x'], and this model has one"
    )


compile_ = Table("compile", AEVB.compile, lambda **options: _compiled(**options))


def _compiled(optimizer: Any = "sgd", **options: Any) -> Any:
    made = small_model()
    made.compile(optimizer, **{"jit_compile": False, **options})
    eager = bool(made.run_eagerly)
    made.run_eagerly = True
    made.fit(X, verbose=0)
    weights = [v.numpy() for v in made.variables]
    return weights, made.optimizer.name, made.uses_xla, made._largest_block, eager


compile_.differs("optimizer", "'adam', or 'sgd'", {"optimizer": "adam"}, {"optimizer": "sgd"})
compile_.refuses("optimizer", "a name that is none", {"optimizer": "adamm"}, "`optimizer` ")
compile_.refuses(
    "optimizer",
    "a legacy optimizer",
    lambda: {"optimizer": tf_keras.optimizers.legacy.SGD()},
    "`optimizer` is",
)
compile_.differs("jit_compile", "True", {"jit_compile": True})
compile_.agrees(
    "jit_compile",
    "'auto'",
    {"jit_compile": "auto"},
    {"jit_compile": True},
    like="True, where XLA suits the model",
)
compile_.refuses("jit_compile", "another text", {"jit_compile": "never"}, "`jit_compile` must be")
compile_.differs("steps_per_execution", "3", {"steps_per_execution": 3})
compile_.refuses(
    "steps_per_execution", "0", {"steps_per_execution": 0}, "`steps_per_execution` must"
)
compile_.differs("ema_momentum", "0.9", {"ema_momentum": 0.9})
compile_.refuses("ema_momentum", "1", {"ema_momentum": 1.0}, "`ema_momentum` must be in [0, 1)")
compile_.differs("kwargs", "`run_eagerly=True`", {"run_eagerly": True})
for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
    compile_.refuses("kwargs", f"`{name}`", {name: ["mse"]}, f"`compile` does not take {name}")

fit = Table("fit", AEVB.fit, fitted)
fit.has(
    "epochs",
    "verbose",
    "callbacks",
    "class_weight",
    "sample_weight",
    "initial_epoch",
    "validation_steps",
    "validation_freq",
    "max_queue_size",
    "workers",
    "use_multiprocessing",
)
add_data(fit)
fit.agrees(
    "x",
    "a generator of batches",
    lambda: {"x": generator(X)},
    lambda: {"x": batches(X, size=10)},
    like="a dataset of these batches",
)
fit.agrees(
    "x",
    "a Keras `Sequence`",
    lambda: {"x": Sequence(), "shuffle": False},
    lambda: {"x": batches(X, size=10)},
    like="a dataset of these batches",
)
fit.differs("x", "a `Stream`", lambda: {"x": stream()})
fit.refuses("x", "nothing", {"x": None}, "`x` is missing")
fit.agrees("y", "`x` itself", {"y": X})
fit.refuses("y", "another array", {"y": 1 - X}, "the target is not the data")
fit.differs("batch_size", "5, or 20", {"batch_size": 5}, {"batch_size": 20})
for wrong in (0, -3):
    fit.refuses("batch_size", str(wrong), {"batch_size": wrong}, "`batch_size` must be")
fit.refuses(
    "batch_size",
    "5, beside a dataset",
    lambda: {"x": batches(X), "batch_size": 5},
    "`batch_size` is for",
)
fit.differs("sample_weight", "0 for half of the rows", {"sample_weight": HALF})
fit.agrees("sample_weight", "1 for each row", {"sample_weight": np.ones(20)}, like="no weights")
for given, value in {
    "-1": -np.ones(20),
    "NaN": HALF * np.nan,
    "of another length": HALF[:5],
}.items():
    fit.refuses("sample_weight", given, {"sample_weight": value}, "weights must be")
fit.refuses("class_weight", "anything", {"class_weight": {0: 1.0}}, "`class_weight` has no")
fit.differs("validation_split", "0.5", {"validation_split": 0.5})
for wrong in (0.999, 1.5, -0.5):
    fit.refuses(
        "validation_split",
        f"{wrong}",
        {"validation_split": wrong},
        "`validation_split` must leave rows",
    )
fit.refuses(
    "validation_split",
    "0.5, of a dataset",
    lambda: {"x": batches(X), "validation_split": 0.5},
    "`validation_split` needs an array",
)
fit.refuses(
    "validation_split",
    "0.5, beside `validation_data`",
    {"validation_split": 0.5, "validation_data": X},
    "give `validation_split` or `validation_data`",
)
add_data(fit, validation=True)
fit.agrees("validation_data", "(x, x)", {"validation_data": (X, X)}, {"validation_data": X})
fit.differs(
    "validation_data",
    "(x, x, weights)",
    {"validation_data": (X, X, HALF)},
    {"validation_data": X},
)
fit.refuses(
    "validation_data",
    "a `Stream`",
    lambda: {"validation_data": stream()},
    "a `Stream` is for training alone",
)
fit.agrees(
    "validation_batch_size",
    "5",
    {"validation_data": X, "validation_batch_size": 5},
    {"validation_data": X},
    like="any other: noise is by row",
)
fit.differs(
    "validation_steps",
    "1",
    {"validation_data": X, "validation_batch_size": 5, "validation_steps": 1},
    {"validation_data": X, "validation_batch_size": 5},
)
fit.differs(
    "validation_freq",
    "2 of 4 epochs",
    {"validation_data": X, "epochs": 4, "validation_freq": 2},
    {"validation_data": X, "epochs": 4},
)
fit.differs("shuffle", "False", {"batch_size": 5, "shuffle": False}, {"batch_size": 5})
fit.differs("steps_per_epoch", "2", {"batch_size": 5, "steps_per_epoch": 2}, {"batch_size": 5})
fit.differs("epochs", "2", {"epochs": 2})
fit.differs("initial_epoch", "1 of 2", {"epochs": 2, "initial_epoch": 1}, {"epochs": 2})
fit.differs("verbose", "2", {"verbose": 2})
fit.differs(
    "callbacks", "one that changes the weights", lambda: {"callbacks": [Notes("on_epoch_end")]}
)
fit.differs(
    "callbacks",
    "one of updates: called at each",
    lambda: {"callbacks": [Notes("on_train_batch_end")], "batch_size": 5},
    {"batch_size": 5},
)
_keras = tf_keras.callbacks
for given, callback, line in (
    (
        "`EarlyStopping('val_elbo')`, which takes the lowest for the best",
        _keras.EarlyStopping("val_elbo"),
        'EarlyStopping(monitor="val_elbo") would take the lowest',
    ),
    (
        "`ReduceLROnPlateau('elbo')`, likewise",
        _keras.ReduceLROnPlateau("elbo"),
        'ReduceLROnPlateau(monitor="elbo") would take the lowest',
    ),
    (
        "one that follows what is not reported",
        _keras.EarlyStopping("accuracy"),
        'EarlyStopping(monitor="accuracy") would do nothing',
    ),
):
    fit.refuses("callbacks", given, {"callbacks": [callback], "validation_data": X}, line)
fit.refuses(
    "callbacks",
    "one of Keras 3",
    lambda: {"callbacks": [tf.keras.callbacks.History()]},
    "a callback (History) is of Keras 3",
)
for name in ("max_queue_size", "workers", "use_multiprocessing"):
    fit.refuses(name, "2", {name: 2}, f"`{name}` is for Keras")
fit.refuses("kwargs", "`colour=3`", {"colour": 3}, "Model.fit() got an unexpected keyword")
