"""Data of several observed parts: in the order that is stated, or by name, in every form."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb
from tests.helpers import assert_one_line, compiled, gaussian_log_prob, small_model
from tests.models.joint.two_levels import gaussian, linear
from tfp_aevb.models.joint.model import JointAEVB

tfd = tfp.distributions
RNG = np.random.default_rng(4)
WA, WB = RNG.normal(size=[3, 2]), RNG.normal(size=[2, 2])
# The joint's order is a, b; what is stated below is b, a.
A, B = RNG.normal(size=[10, 3]).astype(np.float32), RNG.normal(size=[10, 2]).astype(np.float32)
ROWS = np.concatenate([B, A], axis=1)


def _joint() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(2), 1.0),
            "a": lambda z: gaussian(linear(WA, z), 0.5),
            "b": lambda z: gaussian(linear(WB, z), 2.0),
        }
    )


def _encoder(parts: dict[str, tf.Tensor]) -> tfd.Distribution:
    assert parts["a"].shape[-1] == 3
    assert parts["b"].shape[-1] == 2
    return gaussian(0.1 * parts["a"][..., :2] + 0.2 * parts["b"], 0.5)


def _model(observed: Any = ("b", "a"), **kwargs) -> JointAEVB:
    return JointAEVB(_joint(), _encoder, observed=observed, **kwargs)


def _exact() -> np.ndarray:
    loadings = np.concatenate([WB, WA])
    covariance = loadings @ loadings.T + np.diag([2.0] * 2 + [0.5] * 3)
    return gaussian_log_prob(ROWS, np.zeros(5), covariance)


def test_rows_are_read_in_the_order_that_is_stated() -> None:
    stated, joints_own = _model(), _model(["a", "b"])
    np.testing.assert_array_equal(stated.split_observed(ROWS)["a"], A)
    assert list(stated.split_observed(ROWS)) == ["b", "a"]
    found = tfp_aevb.importance_log_prob(stated, ROWS, 20_000, seed=0).log_prob
    np.testing.assert_allclose(found, _exact(), atol=0.05)
    bounds = stated.elbo(ROWS, 10, seed=1)
    np.testing.assert_array_equal(bounds, joints_own.elbo(np.hstack([A, B]), 10, seed=1))
    z = tf.constant([[0.3, -1.0]])
    mean = stated.decode(z).mean()[0]
    np.testing.assert_allclose(mean, np.concatenate([WB, WA]) @ z[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(stated.decode(z).sample(seed=[0, 1]).shape, [1, 5])


def test_a_given_part_that_is_not_observed_has_the_joints_place() -> None:
    model = JointAEVB(_joint(), _encoder, observed="b", given="a")
    assert list(model.split_observed(ROWS)) == ["a", "b"]
    assert list(_model(["b", "a"], given=["a"]).split_observed(ROWS)) == ["b", "a"]


class _Batches(tf_keras.utils.Sequence):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rows = slice(5 * index, 5 * index + 5)
        return {"a": A[rows], "b": B[rows]}


def _generator() -> Iterator[dict[str, np.ndarray]]:
    return (_Batches()[i] for i in range(2))


BY_NAME = {"a": A, "b": B}
FORMS: dict[str, Callable[[], Any]] = {
    "dict": lambda: BY_NAME,
    "dict of tensors": lambda: {"b": tf.constant(B), "a": tf.constant(A)},
    "dict of lists": lambda: {"b": B.tolist(), "a": A.tolist()},
    "dict of mixed kinds": lambda: {"b": tf.constant(B), "a": A.astype(np.float64)},
    "tuple": lambda: (B, A),
    "list": lambda: [B, A],
    "data of dicts": lambda: tf.data.Dataset.from_tensor_slices(BY_NAME).batch(5),
    "data of dicts and targets": lambda: tf.data.Dataset.from_tensor_slices(
        (BY_NAME, BY_NAME)
    ).batch(5),
    "data of tuples": lambda: tf.data.Dataset.from_tensor_slices(((B, A),)).batch(5),
    "data of parts in order": lambda: tf.data.Dataset.from_tensor_slices((B, A)).batch(5),
    "keras sequence": _Batches,
    "generator": _generator,
}


@pytest.fixture(scope="module")
def model() -> JointAEVB:
    return compiled(_model(), tf_keras.optimizers.SGD(1e-4))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_rows_themselves(form: str, model: JointAEVB) -> None:
    x = FORMS[form]()
    if not isinstance(x, dict | tuple | list):
        batches = (
            [model.arrange(x)[i] for i in range(2)]
            if form == "keras sequence"
            else [batch[0] if isinstance(batch, tuple) else batch for batch in model.arrange(x)]
        )
        np.testing.assert_array_equal(np.concatenate(batches), ROWS)
    else:
        np.testing.assert_array_equal(model.arrange(x), ROWS)
        expected = model.elbo(ROWS, 3, seed=1)
        np.testing.assert_array_equal(model.elbo(x, 3, seed=1), expected)
    expected = model.evaluate(ROWS, verbose=0)
    found = model.evaluate(FORMS[form](), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["dict", "tuple", "dict of tensors"])
def test_each_method_takes_parts_by_name(form: str, model: JointAEVB) -> None:
    x = FORMS[form]()
    for method in (
        lambda x: model.encode(x).mean(),
        lambda x: model.reconstruct(x),
        lambda x: model.predict(x, verbose=0)["reconstruction"],
        lambda x: model.predict_on_batch(x)["loc"],
        lambda x: model.test_on_batch(x),
        lambda x: model.log_joint(x, tf.ones([2, 10, 2])),
        lambda x: tfp_aevb.importance_log_prob(model, x, 10, seed=0).log_prob,
        lambda x: tf.function(lambda: model.elbo(x, 2, seed=1))(),
    ):
        np.testing.assert_allclose(method(x), method(ROWS), rtol=1e-6)


def test_training_is_the_same_by_name_in_the_array_and_in_validation() -> None:
    def trained(x: Any, **kwargs: Any) -> tuple[list[float], list[np.ndarray]]:
        tf_keras.utils.set_random_seed(0)
        layer = tfp_aevb.DiagonalGaussianPosterior(2, [4])
        model = JointAEVB(
            _joint(), lambda p: layer(tf.concat([p["a"], p["b"]], 1)), observed=["b", "a"]
        )
        compiled(model, run_eagerly=True)
        history = model.fit(x, batch_size=5, epochs=1, verbose=0, **kwargs).history
        return history["loss"] + history["val_loss"], [v.numpy() for v in model.weights]

    expected = trained(ROWS, validation_data=ROWS)
    for x, kwargs in (
        (BY_NAME, {"y": BY_NAME, "validation_data": (BY_NAME, None)}),
        ([B, A], {"validation_data": ((B, A), (B, A))}),
        ((B, A), {"validation_data": (B, A)}),
    ):
        losses, weights = trained(x, **kwargs)
        np.testing.assert_allclose(losses, expected[0], rtol=1e-6)
        for found, wanted in zip(weights, expected[1], strict=True):
            np.testing.assert_array_equal(found, wanted)
    split = trained(BY_NAME, validation_split=0.5)
    np.testing.assert_allclose(split[0], trained(ROWS, validation_split=0.5)[0], rtol=1e-6)


def _scalars() -> JointAEVB:
    joint = tfd.JointDistributionNamed(
        {
            "z": tfd.Normal(0.0, 1.0),
            "age": lambda z: tfd.Normal(z, 1.0),
            "visits": lambda z: tfd.Poisson(tf.exp(z)),
        }
    )
    return JointAEVB(
        joint,
        lambda p: gaussian(0.1 * p["age"][..., tf.newaxis], 0.5),
        observed=["visits", "age"],
    )


def test_single_numbers_and_data_frames_are_columns() -> None:
    model = _scalars()
    frame = pd.DataFrame({"age": [0.5, -1.0, 2.0], "visits": [3, 0, 1]})
    rows = np.array([[3, 0.5], [0, -1.0], [1, 2.0]], np.float32)
    expected = model.elbo(rows, 2, seed=1)
    for x in (
        frame,
        dict(frame),
        {"age": frame["age"].to_numpy(), "visits": frame["visits"].to_numpy()[:, np.newaxis]},
        (frame["visits"], frame["age"]),
        frame[["visits", "age"]].to_numpy(),
    ):
        np.testing.assert_allclose(model.elbo(x, 2, seed=1), expected, rtol=1e-6)


def test_what_is_masked_is_missing(model: JointAEVB) -> None:
    masked = np.ma.masked_array(B, mask=np.zeros_like(B))
    masked[3, 1] = np.ma.masked
    for method in (model.arrange, lambda x: model.fit(x, verbose=0)):
        assert_one_line(
            lambda method=method: method({"a": A, "b": masked}),
            ValueError,
            "'b' has NaN in row 3: no part may be missing",
        )


def test_partly_observed_latents_are_given_by_name_and_last_in_the_order_stated() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "k": gaussian(tf.zeros(1), 1.0),
            "z": gaussian(tf.zeros(2), 1.0),
            "x": lambda z, k: gaussian(z + k, 1.0),
        }
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.JointDistributionNamed(
            {"z": gaussian(0.3 * x, 0.5), "k": lambda z: gaussian(0.2 * z[..., :1], 0.5)}
        )

    model = JointAEVB(joint, encoder, partly_observed=["z", "k"])
    x, z = RNG.normal(size=[2, 2]).astype(np.float32), np.full([2, 2], np.nan, np.float32)
    k = np.array([[0.5], [np.nan]], np.float32)
    rows = model.arrange({"k": k, "x": x, "z": z})
    np.testing.assert_array_equal(rows, np.concatenate([x, z, k], axis=1))
    drawn = model.split_latents(model.encode({"x": x, "z": z, "k": k}).sample(5, seed=[0, 1]))
    np.testing.assert_array_equal(drawn["k"][:, 0], np.full([5, 1], 0.5, np.float32))
    assert_one_line(lambda: model.elbo({"x": x, "z": z}), ValueError, "'k' is missing")
    wrong = {"x": np.where(np.arange(2) > 0, np.nan, x), "z": z, "k": k}
    assert_one_line(lambda: model.elbo(wrong), ValueError, "'x' has NaN")


def test_parts_of_nested_joints_are_nested_dicts() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(2), 1.0),
            "x": lambda z: tfd.JointDistributionNamed(
                {"m": gaussian(z, 1.0), "n": tfd.Independent(tfd.Poisson(tf.exp(z)), 1)}
            ),
        }
    )
    model = JointAEVB(joint, lambda x: gaussian(0.1 * x["m"], 0.5))
    m, n = B, np.ones([10, 2])
    rows = model.arrange({"x": {"n": n, "m": m}})
    np.testing.assert_array_equal(rows, np.concatenate([m, n], axis=1))
    assert_one_line(
        lambda: model.arrange({"x": {"m": m}}), ValueError, "`x['x']`", "'n' is missing"
    )


def test_what_does_not_fit_is_refused_in_one_line(model: JointAEVB) -> None:
    for x, words in (
        ({"a": A}, ["['b', 'a']", "'b' is missing"]),
        ({**BY_NAME, "label": A[:, 0]}, ["'label' is no part of the data", "leave it out"]),
        ({"a": A, "b": B[:9]}, ["as many rows", "'b': 9", "'a': 10"]),
        ({"a": B, "b": B}, ["'a' must have shape [N, 3], got [10, 2]"]),
        ((B,), ["an array for each of ['b', 'a'], in this order, got 1"]),
        ((A, B), ["'b' must have shape [N, 2], got [10, 3]"]),
        (B, ["{'b': 2, 'a': 3}", "laid end to end", "dict of arrays"]),
    ):
        assert_one_line(lambda x=x: model.fit(x, verbose=0), ValueError, *words)
    data = tf.data.Dataset.from_tensor_slices({"a": A, "c": B}).batch(5)
    assert_one_line(lambda: model.fit(data, verbose=0), ValueError, "'c' is no part")
    twice = ["a", "a"]
    assert_one_line(lambda: _model(twice), ValueError, "'a' is named twice")


def test_a_model_of_one_array_says_which_to_give() -> None:
    plain, x = compiled(small_model()), np.zeros([4, 6], np.float32)
    tfds_like = tf.data.Dataset.from_tensor_slices({"image": x, "label": [0, 1, 0, 1]}).batch(2)
    for action in (
        lambda: plain.fit({"image": x}, verbose=0),
        lambda: plain.fit(x, validation_data={"image": x}, verbose=0),
        lambda: plain.elbo({"image": x}),
        lambda: plain.evaluate({"image": x}, verbose=0),
        lambda: plain.predict({"image": x}, verbose=0),
        lambda: tfp_aevb.importance_log_prob(plain, {"image": x}, 2),
    ):
        assert_one_line(action, ValueError, "`x` is a dict of ['image']", "`x['image']`")
    for action in (lambda: plain.fit(tfds_like, verbose=0), lambda: plain.evaluate(tfds_like)):
        assert_one_line(action, ValueError, "lambda d: d['image']")
    one = JointAEVB(
        tfd.JointDistributionNamed(
            {"z": gaussian(tf.zeros(2), 1.0), "x": lambda z: gaussian(z, 1.0)}
        ),
        lambda x: gaussian(x, 1.0),
    )
    np.testing.assert_array_equal(one.arrange({"x": B}), B)
