"""What an AEVB model refuses, and in which words."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import (
    assert_one_line,
    assert_same_arrays,
    binary_data,
    fresh_model,
    small_model,
    weights_of,
)
from tfp_aevb import layers
from tfp_aevb.models.aevb import AEVB

tfd = tfp.distributions
X = binary_data()


@pytest.fixture
def model() -> AEVB:
    return fresh_model()


def _fit(model: AEVB, x=X, **kwargs) -> dict:
    return model.fit(x, **{"verbose": 0, "batch_size": 10, **kwargs}).history


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (X[:, :5], ["[6]", "[5]"]),
        (X.reshape(25, 2, 3), ["[6]", "[2, 3]"]),
        (0.5 * X, ["0.5", "Bernoulli"]),
        (np.where(X > 0, np.nan, X), ["NaN"]),
        (X[:0], ["`x`"]),
        ([["a"] * 6], ["`x`"]),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_wrong_data_are_refused(model: AEVB, x, parts: list[str], method: str) -> None:
    start = weights_of(model)
    assert_one_line(lambda: getattr(model, method)(x, verbose=0), ValueError, *parts)
    assert_same_arrays(start, weights_of(model))


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_model_must_be_compiled(method: str) -> None:
    with pytest.raises(RuntimeError, match="must compile"):
        getattr(small_model(), method)(X, verbose=0)


@pytest.mark.parametrize("bad", [np.nan, 0.5])
def test_wrong_streams_are_refused(model: AEVB, bad: float) -> None:
    x = np.where(np.arange(6) == 3, bad, X).astype(np.float32)
    stream = tf.data.Dataset.from_tensor_slices(x).batch(10)
    assert_one_line(lambda: model.fit(stream, verbose=0), ValueError)
    assert_one_line(lambda: model.evaluate(stream, verbose=0), ValueError)
    assert_one_line(lambda: _fit(model, validation_data=stream), ValueError)


def test_streams_of_the_wrong_shape_are_refused(model: AEVB) -> None:
    stream = tf.data.Dataset.from_tensor_slices(X[:, :5]).batch(10)
    assert_one_line(lambda: model.fit(stream, verbose=0), ValueError, "[6]", "[5]")


def test_wrong_validation_data_are_refused_before_training(model: AEVB) -> None:
    start = weights_of(model)
    assert_one_line(lambda: _fit(model, validation_data=0.5 * X), ValueError, "Bernoulli")
    assert_same_arrays(start, weights_of(model))


@pytest.mark.parametrize("method", ["elbo", "encode", "reconstruct"])
def test_methods_refuse_the_wrong_shape(model: AEVB, method: str) -> None:
    assert_one_line(lambda: getattr(model, method)(X[:, :5]), ValueError, "[B, 6]", "(25, 5)")


@pytest.mark.parametrize(
    ("kwargs", "parts"),
    [
        ({"objective": "elbo"}, ["`objective`", "'elbo'", "sgvb_a"]),
        ({"num_samples": 0}, ["`num_samples`", "0"]),
        ({"prior": layers.StandardNormalPrior(3)}, ["(2,)", "(3,)", "the same"]),
        ({"decoder": lambda z: z}, ["decoder", "tfd.Distribution"]),
        ({"encoder": lambda x: x}, ["encoder", "tfd.Distribution"]),
        (
            {"encoder": lambda x: tfd.Normal(x[:, :2], 1.0)},
            ["encoder", "batch shape", "tfd.Independent"],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parts_that_do_not_fit_are_refused(kwargs: dict, parts: list[str]) -> None:
    assert_one_line(lambda: small_model(**kwargs), ValueError, *parts)


def test_a_prior_of_scalars_is_refused() -> None:
    prior = tfd.Normal(0.0, 1.0)
    assert_one_line(lambda: small_model(prior=prior), ValueError, "prior", "[J]")
