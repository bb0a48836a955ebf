"""Several stochastic layers against the same model written as a TFP joint distribution."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tfp_aevb import layers
from tfp_aevb.evaluation import importance_log_prob
from tfp_aevb.models.aevb import AEVB

tfd = tfp.distributions
DIMS = (3, 2)


def _prior(**kwargs) -> layers.HierarchicalPrior:
    tf_keras.utils.set_random_seed(0)
    return layers.HierarchicalPrior(DIMS, **{"hidden_units": (4,), "init_stddev": 0.5, **kwargs})


def _posterior() -> layers.HierarchicalPosterior:
    tf_keras.utils.set_random_seed(1)
    return layers.HierarchicalPosterior(DIMS, (5,), (4,), init_stddev=0.5)


def _gaussian(params: tf.Tensor) -> tfd.Distribution:
    loc, log_variance = tf.split(params, 2, axis=-1)
    return tfd.MultivariateNormalDiag(loc, tf.exp(0.5 * log_variance))


def test_prior_density_is_the_product_over_levels_from_the_top() -> None:
    prior = _prior()
    z = tf.random.stateless_normal([4, 7, 5], [0, 1])
    z1, z2 = z[..., :3], z[..., 3:]
    step = prior.steps[0]
    below = tf.reshape(step(tf.reshape(z2, [-1, 2])), [4, 7, 6])
    standard = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    expected = standard.log_prob(z2) + _gaussian(below).log_prob(z1)
    np.testing.assert_allclose(prior().log_prob(z), expected, rtol=1e-5)


def test_posterior_density_is_the_product_over_levels_from_the_data() -> None:
    posterior = _posterior()
    x = tf.random.stateless_normal([7, 6], [0, 2])
    q = posterior(x)
    z = tf.random.stateless_normal([4, 7, 5], [0, 3])
    z1, z2 = z[..., :3], z[..., 3:]
    above = tf.reshape(posterior.steps[0](tf.reshape(z1, [-1, 3])), [4, 7, 4])
    expected = _gaussian(posterior.network(x)).log_prob(z1) + _gaussian(above).log_prob(z2)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize("direction", ["prior", "posterior"])
def test_draws_have_the_density_of_the_levels(direction: str) -> None:
    """E[ log q - log p ] over draws of p is minus a KL divergence: zero for p itself."""
    if direction == "prior":
        distribution = _prior()()
    else:
        distribution = _posterior()(tf.random.stateless_normal([1, 6], [0, 2]))
    z = distribution.sample(20_000, seed=[0, 5])
    z = tf.reshape(z, [-1, 5])
    # E[exp(log r - log q)] = 1 for any density r that is narrower than q.
    loc, scale = tf.reduce_mean(z, axis=0), 0.6 * tf.math.reduce_std(z, axis=0)
    other = tfd.MultivariateNormalDiag(loc, scale)
    log_q = distribution.log_prob(z[:, tf.newaxis] if direction == "posterior" else z)
    ratio = tf.exp(other.log_prob(z) - tf.reshape(log_q, [-1]))
    assert_mean(ratio.numpy(), 1.0)
    assert np.std(ratio) / np.sqrt(len(ratio)) < 0.02


@pytest.mark.compile
def test_linear_two_level_bound_is_below_log_p_and_reaches_it_by_importance() -> None:
    prior = layers.HierarchicalPrior(DIMS, (), trainable=False)
    kernel, bias = prior.steps[0].network_weights
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[2, 3]), rng.normal(size=[3, 4])
    kernel.assign(np.hstack([a, np.zeros([2, 3])]))  # the variance does not depend on z2
    bias.assign([0.0, 0.0, 0.0, *np.log([0.5, 0.5, 0.5])])
    decoder = layers.GaussianLikelihood(
        4,
        variance=0.4,
        network=lambda size: layers.MLP(size, (), num_inputs=3),
        trainable=False,
    )
    model = AEVB(
        prior,
        layers.HierarchicalPosterior(DIMS, (), (), init_stddev=0.2),
        decoder,
        objective="sgvb_a",
    )
    decoder.network.set_weights([b, np.zeros(4)])
    covariance = b.T @ (a.T @ a + 0.5 * np.eye(3)) @ b + 0.4 * np.eye(4)
    x = rng.multivariate_normal(np.zeros(4), covariance, 6).astype(np.float32)
    exact = gaussian_log_prob(x, np.zeros(4), covariance)
    compiled(model, tf_keras.optimizers.Adam(0.01), jit_compile=True)
    assert len(model.trainable_variables) == 4
    model.fit(rng.multivariate_normal(np.zeros(4), covariance, 500), epochs=60, verbose=0)
    estimate = importance_log_prob(model, x, num_samples=30_000, seed=0).log_prob
    np.testing.assert_allclose(estimate, exact, atol=0.05)
    assert (model.elbo(x, num_samples=2000, seed=1).numpy() < exact + 0.02).all()


class _Chain:
    """z3 -> z2 -> z1 -> x, each linear in the one before with Gaussian noise, in float64."""

    dims, data_dim = (2, 3, 1), 4

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        sizes = (self.data_dim, *self.dims)
        #: From z1 to x, from z2 to z1, from z3 to z2.
        self.maps = [rng.normal(size=[above, below]) for below, above in itertools.pairwise(sizes)]
        self.variances = (0.4, 0.5, 0.7)  # of x, z1 and z2

    def covariance(self, variances: Sequence[float]) -> np.ndarray:
        """Returns the covariance of [x, z1, z2, z3]."""
        sizes = (self.data_dim, *self.dims)
        # All of them are linear in independent noises, those of [x, z1, z2, z3].
        paths = [[np.eye(size)] for size in sizes]
        for i in (2, 1, 0):
            paths[i] += [self.maps[i].T @ path for path in paths[i + 1]]
        total = sum(sizes)
        mix = np.zeros([total, total])
        starts = np.cumsum([0, *sizes])
        for i, found in enumerate(paths):
            for k, path in enumerate(found):
                columns = slice(starts[i + k], starts[i + k + 1])
                mix[starts[i] : starts[i + 1], columns] = path
        return mix * np.repeat([*variances, 1.0], sizes) @ mix.T

    def log_prob(self, x: np.ndarray, variances: Sequence[float]) -> np.ndarray:
        """Returns log p(x) [B]."""
        covariance = self.covariance(variances)[: self.data_dim, : self.data_dim]
        return gaussian_log_prob(x, np.zeros(self.data_dim), covariance)

    def model(self) -> AEVB:
        """Returns it as a model; its q has each conditional's mean, and 1.2 of its variances."""
        prior = layers.HierarchicalPrior(self.dims, ())
        posterior = layers.HierarchicalPosterior(self.dims, (), ())
        decoder = layers.MLP(self.data_dim, (), num_inputs=self.dims[0])
        likelihood = layers.GaussianLikelihood(
            self.data_dim, variance=self.variances[0], network=decoder
        )
        model = AEVB(prior, posterior, likelihood, objective="sgvb_a")
        decoder.set_weights([self.maps[0], np.zeros(self.data_dim)])
        for step, i in zip(prior.steps, (2, 1), strict=True):
            _set_linear(step, self.maps[i], np.full(self.dims[i - 1], self.variances[i]))
        joint = self.covariance(self.variances)
        starts = np.cumsum([0, self.data_dim, *self.dims])
        places = [slice(start, end) for start, end in itertools.pairwise(starts)]
        networks = (posterior.network, *posterior.steps)
        for network, (given, level) in zip(networks, itertools.pairwise(places), strict=True):
            gain = np.linalg.solve(joint[given, given], joint[given, level])
            left = joint[level, level] - joint[level, given] @ gain
            _set_linear(network, gain, 1.2 * np.diag(left))
        return model


def _set_linear(network: layers.MLP, kernel: np.ndarray, variance: np.ndarray) -> None:
    bias = np.concatenate([np.zeros(len(variance)), np.log(variance)])
    network.set_weights([np.hstack([kernel, np.zeros_like(kernel)]), bias])


@pytest.mark.compile
def test_importance_sampling_of_three_levels_finds_log_p_to_a_hundredth_of_a_variance() -> None:
    chain = _Chain()
    covariance = chain.covariance(chain.variances)[: chain.data_dim, : chain.data_dim]
    rng = np.random.default_rng(1)
    # Far out, where log p is steep in each variance.
    x = 2.5 * rng.multivariate_normal(np.zeros(chain.data_dim), covariance, 200)
    exact = chain.log_prob(x, chain.variances).mean()
    model, x = chain.model(), tf.constant(x, tf.float32)
    q = model.encode(x)
    log_weights = []
    for seed in range(10):
        z = q.sample(500, seed=[seed, 1])
        log_weights.append(model.log_joint(x, z).numpy() - q.log_prob(z).numpy())
    values = np.concatenate(log_weights).astype(np.float64)  # [5000, 200]
    largest = values.max(axis=0)
    weights = np.exp(values - largest)
    estimate = np.mean(largest + np.log(weights.mean(axis=0)))
    relative = weights.std(axis=0, ddof=1) / weights.mean(axis=0) / np.sqrt(len(weights))
    error = np.sqrt(np.sum(relative**2)) / x.shape[0]
    assert abs(estimate - exact) < 4.0 * error
    for i in range(3):
        wrong = [v * (1.01 if i == j else 1.0) for j, v in enumerate(chain.variances)]
        assert abs(chain.log_prob(x, wrong).mean() - exact) > 8.0 * error


def test_the_decoder_sees_the_first_level_alone() -> None:
    decoder = layers.BernoulliLikelihood(
        6, network=lambda size: layers.MLP(size, (4,), num_inputs=3)
    )
    z = tf.random.stateless_normal([2, 5], [1, 1])
    other = tf.concat([z[:, :3], z[:, 3:] + 1.0], axis=1)
    np.testing.assert_array_equal(decoder(z).mean(), decoder(other).mean())
    assert decoder.network.network_weights[0].shape == [3, 4]


@pytest.mark.compile
def test_a_hierarchy_survives_its_keras_file_and_trains_in_mixed_precision(tmp_path) -> None:
    model = AEVB(
        _prior(dtype="mixed_bfloat16"),
        layers.HierarchicalPosterior(DIMS, (5,), (4,), dtype="mixed_bfloat16"),
        layers.BernoulliLikelihood(6, network=layers.MLP(6, (4,), num_inputs=3)),
        objective="dreg",
        num_samples=3,
    )
    x = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.float32)
    history = compiled(model, jit_compile=True).fit(x, epochs=3, verbose=0).history
    assert np.isfinite(history["elbo"]).all()
    assert model.prior_distribution().log_prob(tf.zeros([2, 5])).dtype == tf.float32
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    for kept, weight in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(kept, weight)
    np.testing.assert_array_equal(loaded.elbo(x, seed=1), model.elbo(x, seed=1))


@pytest.mark.parametrize("dims", [(), (0, 2)])
def test_levels_without_a_dimension_are_refused(dims: tuple[int, ...]) -> None:
    assert_one_line(lambda: layers.HierarchicalPrior(dims), ValueError, "`latent_dims`")


def test_more_inputs_than_there_are_is_refused() -> None:
    network = layers.MLP(3, (), num_inputs=6)
    assert_one_line(lambda: network(tf.zeros([1, 5])), ValueError, "`num_inputs`", "6", "5")
