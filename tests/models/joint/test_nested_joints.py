"""Joint distributions that are parts of joint distributions."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_mean, assert_one_line, gaussian_log_prob
from tests.models.joint.two_levels import (
    COVARIANCE,
    V1,
    VX,
    A,
    B,
    exact_encoder,
    gaussian,
    linear,
    structured_encoder,
    two_level_data,
)
from tfp_aevb.models.joint import JointAEVB

tfd = tfp.distributions


def _latents() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {"z2": gaussian(tf.zeros(2), 1.0), "z1": lambda z2: gaussian(linear(A, z2), V1)}
    )


def _nested() -> tfd.JointDistribution:
    """The two-level model: its latents are one part, and so are the halves of x."""

    def halves(z: dict[str, tf.Tensor]) -> tfd.JointDistribution:
        mean = linear(B, z["z1"])
        return tfd.JointDistributionSequential(
            [gaussian(mean[..., :2], VX), gaussian(mean[..., 2:], VX)]
        )

    return tfd.JointDistributionNamed({"z": _latents(), "x": halves})


def _nested_autobatched() -> tfd.JointDistribution:
    """The same of one datapoint."""

    @tfd.JointDistributionCoroutineAutoBatched
    def latents():
        z2 = yield tfd.Normal(tf.zeros(2), 1.0, name="z2")
        yield tfd.Normal(linear(A, z2), V1**0.5, name="z1")

    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        z = yield latents.copy(name="z")
        mean = linear(B, z.z1)
        halves = [tfd.Normal(mean[:2], VX**0.5), tfd.Normal(mean[2:], VX**0.5)]
        yield tfd.JointDistributionSequentialAutoBatched(halves, name="x")

    return joint


FORMS = {"plain": _nested, "autobatched": _nested_autobatched}


def _flat(x: dict[int, tf.Tensor]) -> tf.Tensor:
    return tf.concat([x[0], x[1]], axis=-1)


@pytest.mark.parametrize("form", FORMS)
def test_a_nested_model_is_the_flat_one(form: str) -> None:
    model = JointAEVB(FORMS[form](), lambda x: exact_encoder(_flat(x)))
    x = two_level_data(5)
    exact = gaussian_log_prob(x, np.zeros(4), COVARIANCE)
    np.testing.assert_allclose(model.elbo(x, num_samples=3, seed=1), exact, rtol=1e-4)
    z = model.prior_distribution().sample(6, seed=[0, 1])
    parts = model.split_latents(z)["z"]
    np.testing.assert_array_equal(tf.concat([parts["z2"], parts["z1"]], axis=-1), z)
    np.testing.assert_array_equal(model.split_observed(x)["x"][1], x[:, 2:])
    np.testing.assert_allclose(model.decode(z).mean(), linear(B, parts["z1"]), rtol=1e-5)
    residuals = model.decode(z).sample(500, seed=[0, 2]) - linear(B, parts["z1"])
    assert_mean(tf.reshape(residuals, [-1, 4]), 0.0)
    assert_mean(tf.reshape(tf.square(residuals), [-1, 4]), VX)
    between = np.corrcoef(residuals[..., 0], rowvar=False)  # of the datapoints, drawn together
    assert np.abs(between - np.eye(6)).max() < 5 / np.sqrt(500)


def test_a_nested_encoder_meets_the_models_latents_by_name() -> None:
    def encoder(x: dict[int, tf.Tensor]) -> tfd.Distribution:
        return tfd.JointDistributionNamed({"z": structured_encoder(_flat(x))})  # z1 first

    model = JointAEVB(_nested(), encoder, partly_observed=["z"])
    x = two_level_data(2)
    z = np.array([[0.3, -1.0, 0.5, 0.2, 1.1], [np.nan] * 5], np.float32)
    prior = np.block([[np.eye(2), A.T], [A, A @ A.T + V1 * np.eye(3)]])
    known = gaussian_log_prob(z[:1], np.zeros(5), prior)
    known += gaussian_log_prob(x[:1] - z[:1, 2:] @ B.T, np.zeros(4), VX * np.eye(4))
    exact = [known[0], gaussian_log_prob(x[1:], np.zeros(4), COVARIANCE)[0]]
    found = model.elbo(np.concatenate([x, z], axis=1), seed=1)
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_parts_that_do_not_fit_are_refused() -> None:
    def make(joint: tfd.JointDistribution, latents: tfd.Distribution | None = None) -> JointAEVB:
        return JointAEVB(joint, lambda x: tfd.JointDistributionNamed({"z": latents}))

    def outer(z: tfd.Distribution) -> tfd.JointDistribution:
        return tfd.JointDistributionNamed({"z": z, "x": lambda z: gaussian(z["z2"], 1.0)})

    inner = tfd.JointDistributionNamedAutoBatched({"z2": tfd.Normal(tf.zeros(2), 1.0)})
    assert_one_line(lambda: make(outer(inner)), ValueError, "an AutoBatched joint is part of one")
    repeated = tfd.Sample(_latents(), 3)
    assert_one_line(lambda: make(outer(repeated)), ValueError, "has several tensors")
    alone = gaussian(tf.zeros([1, 5]), 1.0)
    assert_one_line(lambda: make(_nested(), alone), ValueError, "latent 'z' is a joint in")
    other = tfd.JointDistributionNamed({"a": alone})
    assert_one_line(lambda: make(_nested(), other), ValueError, "['a']", "['z2', 'z1']")
