"""NaN in observed parts: marginalised where the likelihood says so, refused elsewhere."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_aevb
from tests.helpers import assert_one_line, compiled, gaussian_log_prob
from tests.models.joint.two_levels import VX, B, gaussian, linear
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.layers.missing import ObservedElements
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions

X = np.array([[1.0, np.nan, -0.5, np.nan], [0.3, 1.0, np.nan, 0.2]], np.float32)
Y = np.array([[0.5], [-1.0]], np.float32)
COVARIANCE = B @ B.T + VX * np.eye(4)  # of x


def _may_miss(z: tf.Tensor) -> tfd.Distribution:
    return ObservedElements(tfd.Normal(linear(B, z), VX**0.5), 1)


def _encoder(x: tf.Tensor) -> tfd.Distribution:
    return gaussian(0.2 * tf.matmul(x, tf.constant(B, tf.float32)), 0.4)


def _log_prob_of_known() -> np.ndarray:
    known = ~np.isnan(X)
    return np.array(
        [
            gaussian_log_prob(x[k][np.newaxis], np.zeros(k.sum()), COVARIANCE[np.ix_(k, k)])[0]
            for x, k in zip(X, known, strict=True)
        ]
    )


@pytest.mark.compile
def test_elements_that_are_nan_are_marginalised() -> None:
    joint = tfd.JointDistributionNamed({"z": gaussian(tf.zeros(3), 1.0), "x": _may_miss})
    model = JointAEVB(joint, _encoder)
    found = tfp_aevb.importance_log_prob(model, X, 50_000, seed=0).log_prob
    np.testing.assert_allclose(found, _log_prob_of_known(), atol=0.02)
    compiled(model)
    assert np.isfinite(model.evaluate(X, verbose=0)[0])


def test_of_several_parts_those_that_say_so_are_marginalised() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(3), 1.0),
            "x": _may_miss,
            "y": lambda z: gaussian(tf.reduce_sum(z, axis=-1, keepdims=True), 1.0),
        }
    )
    model = JointAEVB(joint, lambda seen: _encoder(seen["x"]), observed=["x", "y"])
    data = np.concatenate([X, Y], axis=1)
    loadings = np.vstack([B, np.ones(3)])
    covariance = loadings @ loadings.T + np.diag([VX] * 4 + [1.0])
    known = ~np.isnan(data)
    exact = [
        gaussian_log_prob(row[k][np.newaxis], np.zeros(k.sum()), covariance[np.ix_(k, k)])[0]
        for row, k in zip(data, known, strict=True)
    ]
    found = tfp_aevb.importance_log_prob(model, data, 50_000, seed=0).log_prob
    np.testing.assert_allclose(found, exact, atol=0.02)
    wrong = np.where(np.arange(5) == 4, np.nan, data).astype(np.float32)
    for action in (lambda: model.elbo(wrong), lambda: compiled(model).fit(wrong)):
        assert_one_line(action, ValueError, "'y' has NaN in row 0", "only ['x'] may be missing")


def test_an_encoder_that_takes_nan_sees_it() -> None:
    joint = tfd.JointDistributionNamed({"z": gaussian(tf.zeros(3), 1.0), "x": _may_miss})
    seen = []

    class Takes:
        allows_missing = True

        def __call__(self, x: tf.Tensor) -> tfd.Distribution:
            seen.append(x)
            return _encoder(tf.where(tf.math.is_nan(x), 0.0, x))

    JointAEVB(joint, Takes()).encode(X)
    np.testing.assert_array_equal(seen[-1], X)


def test_a_layer_that_marginalises_serves_as_a_part() -> None:
    likelihood = layers.GaussianLikelihood(4, (), allow_missing=True)
    joint = tfd.JointDistributionNamed(
        {"z": gaussian(tf.zeros(3), 1.0), "x": lambda z: likelihood(tf.reshape(z, [-1, 3]))}
    )
    model = JointAEVB(joint, _encoder)
    assert model.allows_missing
    assert np.isfinite(model.elbo(X, seed=0)).all()


@pytest.mark.parametrize("dependent", [False, True])
def test_nan_is_refused_where_it_is_not_marginalised(dependent: bool) -> None:
    parts = {"z": gaussian(tf.zeros(3), 1.0), "x": lambda z: gaussian(linear(B, z), VX)}
    if dependent:  # y's density cannot leave out what is missing in x
        parts |= {"x": _may_miss, "y": lambda x: gaussian(x[..., :1], 1.0)}
    names = [name for name in parts if name != "z"]
    model = JointAEVB(
        tfd.JointDistributionNamed(parts),
        lambda seen: _encoder(seen["x"] if dependent else seen),
        observed=names,
    )
    data = np.concatenate([X, Y], axis=1) if dependent else X
    for action in (
        lambda: model.elbo(data),
        lambda: tfp_aevb.importance_log_prob(model, data, 5),
        lambda: model.reconstruct(data),
        lambda: compiled(model).evaluate(Observations(data, allow_missing=True)),
    ):
        assert_one_line(action, ValueError, "'x' has NaN in row 0", "may be missing")
    assert_one_line(lambda: compiled(model).fit(data), ValueError, "NaN")


def test_given_parts_may_not_be_missing() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "u": lambda: ObservedElements(tfd.Normal(tf.zeros(4), 1.0), 1),
            "z": gaussian(tf.zeros(3), 1.0),
            "x": lambda z: gaussian(linear(B, z), VX),
        }
    )
    model = JointAEVB(joint, lambda seen: _encoder(seen["x"]), observed=["u", "x"], given=["u"])
    data = np.concatenate([X, np.ones([2, 4])], axis=1)
    assert_one_line(lambda: model.elbo(data), ValueError, "'u' has NaN in row 0")
