"""A Gaussian model of two levels, in TFP's several forms, and its exact answers."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# Two levels: z2 ~ N(0, I), z1 | z2 ~ N(A z2, 0.5 I), x | z1 ~ N(B z1, 0.3 I). All Gaussian.
RNG = np.random.default_rng(2)
A, B = RNG.normal(size=[3, 2]), RNG.normal(size=[4, 3])
V1, VX = 0.5, 0.3
COVARIANCE = B @ (A @ A.T + V1 * np.eye(3)) @ B.T + VX * np.eye(4)


def gaussian(loc: tf.Tensor, variance: float) -> tfd.Distribution:
    """Returns N(loc, variance I)."""
    scale = tf.sqrt(variance) * tf.ones_like(loc)
    return tfd.MultivariateNormalDiag(loc, scale)


def linear(matrix: np.ndarray, z: tf.Tensor) -> tf.Tensor:
    """Returns the matrix times each z."""
    return tf.linalg.matvec(tf.constant(matrix, tf.float32), z)


def two_level_named() -> tfd.JointDistribution:
    """Returns the model by names."""
    return tfd.JointDistributionNamed(
        {
            "z2": gaussian(tf.zeros(2), 1.0),
            "z1": lambda z2: gaussian(linear(A, z2), V1),
            "x": lambda z1: gaussian(linear(B, z1), VX),
        }
    )


def two_level_sequential() -> tfd.JointDistribution:
    """Returns the model as a list."""
    return tfd.JointDistributionSequential(
        [
            gaussian(tf.zeros(2), 1.0),
            lambda z2: gaussian(linear(A, z2), V1),
            lambda z1: gaussian(linear(B, z1), VX),
        ]
    )


def two_level_autobatched() -> tfd.JointDistribution:
    """Returns the model of one datapoint, which TFP batches."""

    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        z2 = yield tfd.Normal(tf.zeros(2), 1.0, name="z2")
        z1 = yield tfd.Normal(linear(A, z2), V1**0.5, name="z1")
        yield tfd.Normal(linear(B, z1), VX**0.5, name="x")

    return joint


TWO_LEVEL = {
    "named": (two_level_named, "x"),
    "sequential": (two_level_sequential, 2),
    "autobatched": (two_level_autobatched, "x"),
}


def exact_posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [B, 5] and the covariance [5, 5] of p(z2, z1|x)."""
    prior = np.block([[np.eye(2), A.T], [A, A @ A.T + V1 * np.eye(3)]])
    loadings = np.hstack([np.zeros([4, 2]), B])  # of x on (z2, z1)
    gain = prior @ loadings.T @ np.linalg.inv(COVARIANCE)
    return x @ gain.T, prior - gain @ loadings @ prior


def two_level_data(num_data: int = 12) -> np.ndarray:
    """Draws x [num_data, 4]."""
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(4), COVARIANCE, num_data)
    return draws.astype(np.float32)


def exact_encoder(x: tf.Tensor) -> tfd.Distribution:
    """Returns p(z2, z1|x)."""
    mean, covariance = exact_posterior(np.zeros([1, 4]))
    gain = exact_posterior(np.eye(4))[0].T  # [5, 4]
    loc = tf.linalg.matvec(tf.constant(gain, tf.float32), x) + tf.constant(mean, tf.float32)
    return tfd.MultivariateNormalTriL(
        loc, tf.constant(np.linalg.cholesky(covariance), tf.float32)[tf.newaxis]
    )


def structured_encoder(x: tf.Tensor) -> tfd.Distribution:
    """Returns q(z1|x) q(z2|z1), the exact posterior's own factors."""
    mean, covariance = exact_posterior(np.eye(4))
    gain, s11 = mean.T[2:], covariance[2:, 2:]
    regression = A.T @ np.linalg.inv(A @ A.T + V1 * np.eye(3))  # of z2 on z1
    rest = np.eye(2) - regression @ A
    z1 = tfd.MultivariateNormalTriL(
        linear(gain, x), tf.constant(np.linalg.cholesky(s11), tf.float32)
    )
    root = tf.constant(np.linalg.cholesky(rest), tf.float32)
    return tfd.JointDistributionNamed(
        {
            "z1": z1,
            "z2": lambda z1: tfd.MultivariateNormalTriL(linear(regression, z1), root),
        }
    )
