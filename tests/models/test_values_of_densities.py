"""Data that TFP's densities take and are no distributions of: refused, or warned about."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_one_line
from tfp_aevb import AEVB, DiagonalGaussianPosterior, JointAEVB, StandardNormalPrior
from tfp_aevb.models.part_checks import values_of

COUNTS = np.random.default_rng(0).poisson(2.0, [12, 3]).astype(np.float32)


def model(density: Callable[[tf.Tensor], tfd.Distribution]) -> AEVB:
    made = AEVB(
        StandardNormalPrior(2),
        DiagonalGaussianPosterior(2, hidden_units=(4,)),
        lambda z: tfd.Independent(density(0.1 * z[..., :1] * tf.ones([3])), 1),
    )
    made.compile(tf_keras.optimizers.SGD(1e-3), jit_compile=False)
    return made


def with_one(value: float) -> np.ndarray:
    x = COUNTS.copy()
    x[7, 1] = value
    return x


COUNT_DENSITIES = {
    "Poisson": lambda a: tfd.Poisson(log_rate=a),
    "negative binomial": lambda a: tfd.NegativeBinomial(5.0, logits=a),
    "binomial": lambda a: tfd.Binomial(20.0, logits=a),
    "geometric": lambda a: tfd.Geometric(logits=a),
    "mixture": lambda a: tfd.MixtureSameFamily(
        tfd.Categorical(logits=[0.0, 1.0]), tfd.Poisson(log_rate=tf.stack([a, a + 1.0], -1))
    ),
}


@pytest.mark.parametrize("density", COUNT_DENSITIES.values(), ids=COUNT_DENSITIES)
def test_counts_are_whole_and_not_negative(density) -> None:
    made = model(density)
    assert np.isfinite(made.elbo(COUNTS, seed=0)).all()
    for wrong in (0.5, -1.0):
        x = with_one(wrong)
        for use in (lambda x=x: made.elbo(x, seed=0), lambda x=x: made.evaluate(x, verbose=0)):
            assert_one_line(use, ValueError, "counts 0, 1, 2, ...", f"{wrong:g}")


def test_streams_and_validation_data_are_looked_at_too() -> None:
    made = model(COUNT_DENSITIES["Poisson"])
    batches = tf.data.Dataset.from_tensor_slices(with_one(0.5)).batch(4)
    assert_one_line(lambda: made.fit(batches, verbose=0), ValueError, "counts", "0.5")
    assert_one_line(
        lambda: made.fit(COUNTS, validation_data=with_one(-3.0), verbose=0), ValueError, "-3"
    )


def test_codes_are_those_of_the_categories() -> None:
    made = model(lambda a: tfd.Categorical(logits=tf.stack([a, -a, a, a], axis=-1)))
    codes = np.minimum(COUNTS, 3.0)
    assert np.isfinite(made.elbo(codes, seed=0)).all()
    for wrong in (4.0, 1.5):
        x = codes.copy()
        x[0, 0] = wrong
        assert_one_line(lambda x=x: made.elbo(x, seed=0), ValueError, "codes 0 to 3", f"{wrong:g}")


def test_grey_pixels_under_a_bernoulli_are_warned_about() -> None:
    made = model(lambda a: tfd.Bernoulli(logits=a))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.evaluate((COUNTS > 1).astype(np.float32), verbose=0)
    with pytest.warns(UserWarning, match="neither 0 nor 1"):
        made.evaluate(np.full([12, 3], 0.3, np.float32), verbose=0)


def joint(observed: Callable[[tf.Tensor], tfd.Distribution]) -> JointAEVB:
    parts = tfd.JointDistributionNamed(
        {
            "z": tfd.Sample(tfd.Normal(0.0, 1.0), 2),
            "n": lambda z: tfd.Independent(observed(z[..., :1] * tf.ones([3])), 1),
            "y": lambda z: tfd.Normal(z[..., 0], 1.0),
        }
    )
    layer = DiagonalGaussianPosterior(2, hidden_units=(4,))

    def encode(x: dict[str, tf.Tensor]) -> tfd.Distribution:
        n = tf.cast(x["n"], tf.float32)
        return layer(tf.concat([n, x["y"][..., tf.newaxis]], axis=-1))

    return JointAEVB(parts, encode, observed=["n", "y"])


@pytest.mark.parametrize(
    ("observed", "said"),
    [
        (lambda a: tfd.Poisson(log_rate=a), "counts"),
        (lambda a: tfd.Bernoulli(logits=a), "0 or 1"),  # of int32: 0.5 would be read as 0
        (lambda a: tfd.Categorical(logits=tf.stack([a, -a], axis=-1)), "codes 0 to 1"),
    ],
)
def test_parts_of_a_joint_are_refused_by_name(observed, said: str) -> None:
    made = joint(observed)
    y = np.linspace(-1.5, 2.5, 12, dtype=np.float32)  # a real part may be anything
    n = np.minimum(COUNTS, 1.0)
    assert np.isfinite(made.elbo({"n": n, "y": y}, seed=0)).all()
    wrong = n.copy()
    wrong[7, 1] = 0.5
    for x in ({"n": wrong, "y": y}, np.concatenate([wrong, y[:, np.newaxis]], axis=1)):
        assert_one_line(lambda x=x: made.elbo(x, seed=0), ValueError, "'n'", said, "0.5")


def test_other_densities_say_themselves_what_they_are_of() -> None:
    assert values_of(tfd.Independent(tfd.Gamma(tf.ones([3]), 1.0), 1)) == "real"
    assert values_of(tfd.Sample(tfd.Poisson(1.0), 3)) == "counts"
    assert values_of(tfd.Multinomial(4.0, logits=tf.zeros([3]))) == "counts"
