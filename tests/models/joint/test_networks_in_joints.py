"""Networks inside joint distributions: they see batches, however TFP goes through the joint."""

import inspect
import textwrap
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb
from tests.helpers import assert_one_line
from tests.models.joint.two_levels import two_level_named
from tfp_aevb.models.joint.flat import FlatJoint
from tfp_aevb.models.joint.model import JointAEVB

tfd = tfp.distributions
X = (np.random.default_rng(0).random([6, 12]) < 0.4).astype(np.float32)
Head = Callable[[tf.Tensor], tfd.Distribution]


def test_the_examples_of_the_docstring_run() -> None:
    lines = inspect.getdoc(JointAEVB).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Examples"))
    end = next(i for i, line in enumerate(lines) if line.startswith("The joint's functions"))
    code = [line for line in lines[start:end] if line.startswith("    ") or not line]
    rng = np.random.default_rng(0)
    names = {
        "np": np,
        "tf": tf,
        "tfd": tfd,
        "tf_keras": tf_keras,
        "tfp_aevb": tfp_aevb,
        "x": X,
        "u": rng.normal(size=20).astype(np.float32),
        "counts": rng.poisson(2.0, [20, 3]),
    }
    exec(textwrap.dedent("\n".join(code)), names)
    assert names["draws"]["counts"].shape == (5, 3)
    np.testing.assert_array_equal(names["draws"]["u"], np.full(5, 0.5, np.float32))


def _own(in_size: int, out_size: int) -> Head:
    layer = tfp_aevb.DiagonalGaussianPosterior(out_size, [4])
    return lambda z: layer(z)


def _of_network(network: tf_keras.Model) -> Head:
    def head(z: tf.Tensor) -> tfd.Distribution:
        loc, log_scale = tf.split(network(z), 2, axis=-1)
        return tfd.MultivariateNormalDiag(loc, tf.exp(0.1 * log_scale))

    return head


def _sequential(in_size: int, out_size: int) -> Head:
    return _of_network(tf_keras.Sequential([tf_keras.layers.Dense(2 * out_size)]))


def _functional(in_size: int, out_size: int) -> Head:
    inputs = tf_keras.layers.Input((in_size,))
    outputs = tf_keras.layers.Dense(2 * out_size)(tf_keras.layers.Flatten()(inputs))
    return _of_network(tf_keras.Model(inputs, outputs))


NETWORKS = {"of the package": _own, "sequential": _sequential, "functional": _functional}


def _named(top: Head, bottom: Head, prior: tfd.Distribution) -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {"z2": prior, "z1": lambda z2: top(z2), "x": lambda z1: bottom(z1)}
    )


def _listed(top: Head, bottom: Head, prior: tfd.Distribution) -> tfd.JointDistribution:
    return tfd.JointDistributionSequential([prior, lambda z2: top(z2), lambda z1: bottom(z1)])


def _coroutine(top: Head, bottom: Head, prior: tfd.Distribution) -> tfd.JointDistribution:
    def model():
        z2 = yield tfd.JointDistributionCoroutine.Root(prior)
        z1 = yield top(z2)
        yield bottom(z1)

    return tfd.JointDistributionCoroutine(model)


def _without_root(top: Head, bottom: Head, prior: tfd.Distribution) -> tfd.JointDistribution:
    def model():
        z2 = yield prior
        z1 = yield top(z2)
        yield bottom(z1)

    return tfd.JointDistributionCoroutine(model)


# Each joint, and its names of x, z1 and z2.
FORMS = {
    "named": (_named, ("x", "z1", "z2")),
    "sequential": (_listed, (2, 1, 0)),
    "coroutine": (_coroutine, ("var2", "var1", "var0")),
    "coroutine without Root": (_without_root, ("var2", "var1", "var0")),
}


@pytest.mark.parametrize(
    ("form", "network"),
    [
        *(("named", network) for network in NETWORKS),
        *((form, "of the package") for form in FORMS if form != "named"),
        ("coroutine", "functional"),
    ],
)
def test_networks_see_batches_and_densities_are_theirs(form: str, network: str) -> None:
    make, (x_name, z1_name, z2_name) = FORMS[form]
    top, up, further_up = (NETWORKS[network](*s) for s in ((2, 3), (12, 3), (3, 2)))
    bottom = tfp_aevb.BernoulliLikelihood(12, [4])
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        if isinstance(z1_name, str):
            return tfd.JointDistributionNamed(
                {z1_name: up(x), z2_name: _called(further_up, z1_name)}
            )
        return tfd.JointDistributionSequential(  # its parts in the model's order
            [further_up(up(x).mean()), lambda z2: up(tf.zeros_like(z2[..., :1]) + x)]
        )

    model = JointAEVB(make(top, lambda z: bottom(z), prior), encoder, observed=x_name)
    assert len(model.trainable_variables) in (10, 16)  # of three heads and of the package's layer
    q = model.encode(X)
    z = q.sample(3, seed=[0, 1])
    assert z.shape == (3, 6, 5)
    assert len(np.unique(z[..., 0])) == 18
    parts = model.split_latents(z)
    for draw in range(3):
        z1, z2 = parts[z1_name][draw], parts[z2_name][draw]
        if isinstance(z1_name, str):
            log_q = up(X).log_prob(z1) + further_up(z1).log_prob(z2)
        else:
            log_q = further_up(up(X).mean()).log_prob(z2) + up(X).log_prob(z1)
        np.testing.assert_allclose(q.log_prob(z)[draw], log_q, rtol=1e-5)
        np.testing.assert_allclose(q.log_prob(z[draw]), log_q, rtol=1e-5)
        log_p = prior.log_prob(z2) + top(z2).log_prob(z1) + bottom(z1).log_prob(X)
        np.testing.assert_allclose(model.log_joint(tf.constant(X), z)[draw], log_p, rtol=1e-5)


def _called(head: Head, name: str) -> Callable:
    """A function of one argument of this name, as TFP's named joints read it."""
    return {"z1": lambda z1: head(z1), "var1": lambda var1: head(var1)}[name]


def test_draws_one_by_one_have_the_densitys_moments_and_a_gradient() -> None:
    up, further_up = _own(12, 3), _own(3, 2)
    joint = _named(
        _own(2, 3), tfp_aevb.BernoulliLikelihood(12, [4]), tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    )
    model = JointAEVB(
        joint,
        lambda x: tfd.JointDistributionNamed({"z1": up(x), "z2": lambda z1: further_up(z1)}),
        num_samples=4,
    )
    x = tf.constant(X)

    @tf.function(jit_compile=True)
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            bound = tf.reduce_mean(model.bound(x, seed).elbo)
        return tape.gradient(bound, model.trainable_variables)

    found = gradients(tf.constant([0, 1]))
    assert all(np.abs(gradient).max() > 0.0 for gradient in found)
    q = model.encode(x[:1])
    draws = model.split_latents(q.sample(2000, seed=[0, 1]))
    z1 = draws["z1"][:, 0].numpy()
    exact = up(x[:1])
    error = exact.stddev()[0].numpy() / np.sqrt(2000)
    assert (np.abs(z1.mean(axis=0) - exact.mean()[0]) < 5 * error).all()
    conditional = further_up(draws["z1"][:, 0])
    standard = (draws["z2"][:, 0] - conditional.mean()) / conditional.stddev()
    assert np.abs(np.mean(standard, axis=0)).max() < 5 / np.sqrt(2000)
    assert np.abs(np.mean(np.square(standard), axis=0) - 1.0).max() < 5 * np.sqrt(2.0 / 2000)


def test_draws_are_tfps_own_with_the_same_seed() -> None:
    joint, seed = two_level_named(), tf.constant([3, 7])
    flat = FlatJoint(joint, [1])
    drawn, expected = flat.sample([5], seed), joint.sample(5, seed=seed)
    for name, place in flat.places.items():
        np.testing.assert_array_equal(drawn[place], expected[name])


def test_autobatched_joints_say_how_a_network_is_called_there() -> None:
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    network = tf_keras.Sequential([tf_keras.layers.Dense(12)])
    layer = tfp_aevb.BernoulliLikelihood(12, [4])
    encoder = tfp_aevb.DiagonalGaussianPosterior(2, [4])

    def model(function: Callable, **kwargs) -> JointAEVB:
        joint = tfd.JointDistributionNamedAutoBatched(
            {"z": prior, "x": lambda z: function(z)}, **kwargs
        )
        return JointAEVB(joint, lambda x: encoder(x))

    def pixels(logits: tf.Tensor) -> tfd.Distribution:
        return tfd.Bernoulli(logits=logits, dtype=tf.float32)

    for function in (lambda z: pixels(network(z)), layer):
        assert_one_line(
            lambda function=function: model(function),
            ValueError,
            "fails at one datapoint",
            "`net(z[tf.newaxis])[0]`",
            "without AutoBatching",
        )
    for vectorized in (True, False):
        found = model(
            lambda z: pixels(network(z[tf.newaxis])[0]), use_vectorized_map=vectorized
        ).elbo(X, 2, seed=1)
        assert np.isfinite(found).all()
