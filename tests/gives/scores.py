"""What a user gives to `evaluate` and `predict`, and to `Observations`."""

import contextlib
import io
from typing import Any

import numpy as np
import tensorflow as tf

from tests.gives.data import (
    GAPS,
    HALF,
    SAME_DATA,
    WRONG_DATA,
    Notes,
    X,
    add_data,
    batches,
    fitted,
    frame,
    model,
    stream,
)
from tests.gives.table import Table
from tfp_aevb import AEVB, Observations


def evaluated(x: Any = X, **options: Any) -> Any:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = model().evaluate(x, **{"verbose": 0, **options})
    return found, bool(printed.getvalue())


def predicted(x: Any = X, **options: Any) -> Any:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = model().predict(x, **{"verbose": 0, **options})
    return found, bool(printed.getvalue())


evaluate = Table("evaluate", AEVB.evaluate, evaluated)
evaluate.has(
    "verbose",
    "sample_weight",
    "steps",
    "callbacks",
    "return_dict",
    "max_queue_size",
    "workers",
    "use_multiprocessing",
)
add_data(evaluate)
evaluate.refuses("x", "a `Stream`", lambda: {"x": stream()}, "a `Stream` is for training alone")
evaluate.agrees("y", "`x` itself", {"y": X})
evaluate.refuses("y", "another array", {"y": 1 - X}, "the target is not the data")
evaluate.agrees(
    "batch_size",
    "7, or 20",
    {"batch_size": 7},
    {"batch_size": 20},
    like="any other: noise is a row's own",
)
evaluate.refuses("batch_size", "0", {"batch_size": 0}, "`batch_size` must be")
evaluate.differs("sample_weight", "0 for half of the rows", {"sample_weight": HALF})
evaluate.differs("steps", "1", {"batch_size": 5, "steps": 1}, {"batch_size": 5})
evaluate.differs("verbose", "2", {"verbose": 2})
evaluate.differs(
    "callbacks", "one that changes the weights", lambda: {"callbacks": [Notes("on_test_begin")]}
)
evaluate.differs("return_dict", "True", {"return_dict": True})
for name in ("max_queue_size", "workers", "use_multiprocessing"):
    evaluate.refuses(name, "2", {name: 2}, f"`{name}` is for Keras")
evaluate.refuses("kwargs", "`colour=3`", {"colour": 3}, "Invalid keyword arguments: ['colour']")

predict = Table("predict", AEVB.predict, predicted)
predict.has(
    "x",
    "batch_size",
    "verbose",
    "steps",
    "callbacks",
    "max_queue_size",
    "workers",
    "use_multiprocessing",
)
predict.agrees("x", "a tensor", lambda: {"x": tf.constant(X)})
predict.agrees("x", "a DataFrame", lambda: {"x": frame()})
predict.agrees("x", "a dataset of (x, x)", lambda: {"x": batches(X, X)})
predict.refuses(
    "x",
    "a dataset of (x, another target)",
    lambda: {"x": batches(X, 1 - X)},
    "the target is not the data",
)
predict.refuses("x", "another width", {"x": X[:, :5]}, "`x` must have shape [B, 6]")
predict.agrees("batch_size", "7", {"batch_size": 7}, like="any other")
predict.differs("verbose", "2", {"verbose": 2})
predict.differs("steps", "1", {"batch_size": 5, "steps": 1})
predict.differs(
    "callbacks", "one that changes the weights", lambda: {"callbacks": [Notes("on_predict_begin")]}
)
for name in ("max_queue_size", "workers", "use_multiprocessing"):
    predict.refuses(name, "2, beside an array", {name: 2}, f"`{name}` is for Keras")
predict.refuses("kwargs", "`colour=3`", {"colour": 3}, "Model.predict() got an unexpected")


def of_batches(name: str) -> Any:
    """Calls a method of one batch twice, the second time with what a row gives."""

    def call(x: Any = X, **options: Any) -> Any:
        called = model()
        getattr(called, name)(1 - X)
        found = getattr(called, name)(x, **options)
        return found, [variable.numpy() for variable in called.trainable_variables]

    return call


for name in ("train_on_batch", "test_on_batch"):
    one_batch = Table(name, getattr(AEVB, name), of_batches(name))
    for given, make in SAME_DATA.items():
        one_batch.agrees("x", given, lambda make=make: {"x": make()})
    for given, (value, line) in WRONG_DATA.items():
        one_batch.refuses("x", given, {"x": value}, line)
    one_batch.agrees("y", "`x` itself", {"y": X})
    one_batch.refuses("y", "another array", {"y": 1 - X}, "the target is not the data")
    one_batch.differs("sample_weight", "0 for half of the rows", {"sample_weight": HALF})
    one_batch.refuses("sample_weight", "-1", {"sample_weight": -HALF}, "weights must be")
    one_batch.differs("reset_metrics", "False", {"reset_metrics": False})
    one_batch.differs("return_dict", "True", {"return_dict": True})
    if name == "train_on_batch":
        one_batch.refuses(
            "class_weight", "anything", {"class_weight": {0: 1.0}}, "`class_weight` has no"
        )
predict_batch = Table(
    "predict_on_batch", AEVB.predict_on_batch, lambda x=X: model().predict_on_batch(x)
)
predict_batch.agrees("x", "a DataFrame", lambda: {"x": frame()})
predict_batch.differs("x", "other rows", {"x": 1 - X})
predict_batch.refuses("x", "another width", {"x": X[:, :5]}, "`x` must have shape [B, 6]")

observations = Table(
    "Observations", Observations, lambda **options: fitted(Observations(**{"x": X, **options}))
)
observations.differs("x", "other rows", {"x": 1 - X})
observations.refuses("x", "NaN", {"x": GAPS}, "`x` has NaN (or masked) or infinite values")
observations.differs("weights", "0 for half of the rows", {"weights": HALF})
observations.refuses("weights", "-1", {"weights": -np.ones(20)}, "weights must be")
observations.agrees("scale", "255 for 0 and 255", {"x": X * 255, "scale": 255.0})
observations.refuses("scale", "0", {"scale": 0.0}, "`scale` must be positive and finite")
observations.differs(
    "dynamic_binarization",
    "True, of grey pixels",
    {"x": np.full_like(X, 0.5), "dynamic_binarization": True},
)
observations.refuses(
    "dynamic_binarization",
    "True, of values above 1",
    {"x": X + 1, "dynamic_binarization": True},
    "dynamic binarisation needs values in [0, 1]",
)
observations.refuses(
    "allow_missing",
    "True, for a likelihood that does not marginalise",
    {"x": GAPS, "allow_missing": True},
    "`x` has NaN values",
)
observations.agrees("allow_missing", "True, without gaps", {"allow_missing": True}, like="False")
