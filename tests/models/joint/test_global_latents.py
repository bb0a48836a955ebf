"""Latents that all datapoints share, against a conjugate model's exact answers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from scipy import special, stats

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line, compiled, gaussian_log_prob
from tests.models.joint.two_levels import gaussian
from tfp_aevb.models.joint import JointAEVB
from tfp_aevb.training.loops import Minibatch

tfb, tfd = tfp.bijectors, tfp.distributions

# mu ~ N(0, 4), z | mu ~ N(mu, 1), x | z ~ N(z, 0.5)
NUM_DATA, PRIOR, V, VX = 20, 4.0, 1.0, 0.5


def _data() -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=[NUM_DATA, 1]) * np.sqrt(V + VX)
    return (1.7 + noise).astype(np.float32)


def _model(**kwargs) -> tuple[JointAEVB, dict[str, tf.Variable]]:
    """Returns the model and the variables of q(z|x) = N(gain x + shift, exp(log_variance))."""
    joint = tfd.JointDistributionNamed(
        {
            "mu": gaussian(tf.zeros(1), PRIOR),
            "z": lambda mu: gaussian(mu, V),
            "x": lambda z: gaussian(z, VX),
        }
    )
    q = {"gain": tf.Variable(0.4), "shift": tf.Variable([0.3]), "log_variance": tf.Variable(-0.9)}

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return gaussian(q["gain"] * x + q["shift"], tf.exp(q["log_variance"]))

    return JointAEVB(joint, encoder, global_latents=["mu"], **kwargs), q


def _moments(model: JointAEVB) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and the variance of q(mu)."""
    normal = model.global_posterior["mu"].distribution.distribution
    return tf.convert_to_tensor(normal.loc), tf.square(tf.convert_to_tensor(normal.scale))


def _exact_bound(model: JointAEVB, q: dict[str, tf.Variable], x: np.ndarray) -> tf.Tensor:
    """The expected bound of each datapoint, for N = NUM_DATA."""
    m, v = _moments(model)
    loc, variance = q["gain"] * x + q["shift"], tf.exp(q["log_variance"])
    terms = (tf.square(x - loc) + variance) / VX + tf.math.log(2 * np.pi * VX)
    terms += (tf.square(loc - m) + variance + v) / V + tf.math.log(2 * np.pi * V)
    terms -= tf.math.log(2 * np.pi * np.e * variance)
    kl = 0.5 * ((tf.square(m) + v) / PRIOR - 1.0 - tf.math.log(v / PRIOR))
    return tf.squeeze(-0.5 * terms - kl / NUM_DATA, axis=-1)


@pytest.mark.compile
@pytest.mark.parametrize("objective", ["sgvb_a", "stl"])
def test_bound_and_gradients_have_the_exact_expectation(objective: str) -> None:
    model, q = _model(num_data=NUM_DATA, objective=objective)
    variables = model.trainable_variables
    assert len(variables) == 5  # and so a mean and a scale of q(mu)
    x = tf.constant([[2.5], [-1.0]])

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            elbo = model.bound(x, seed, 10_000).elbo
            total = tf.reduce_sum(elbo)
        return elbo, tape.gradient(total, variables)

    drawn = [draw(tf.constant([seed, 3])) for seed in range(200)]
    with tf.GradientTape() as tape:
        exact = _exact_bound(model, q, x)
        total = tf.reduce_sum(exact)
    values = np.stack([elbo for elbo, _ in drawn])
    gradients = np.stack([np.hstack([np.ravel(part) for part in parts]) for _, parts in drawn])
    expected = np.hstack([np.ravel(part) for part in tape.gradient(total, variables)])
    for found, wanted in ((values, exact.numpy()), (gradients, expected)):
        assert_mean(found, wanted)
        errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (5 * errors < 0.01 * np.abs(wanted).max()).all()  # a formula 1% off is seen


@pytest.mark.compile
def test_the_share_of_the_global_latents_counts_once_for_all_data() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "scale": tfd.LogNormal(0.3, 0.5),
            "z": gaussian(tf.zeros(1), 1.0),
            "x": lambda scale, z: tfd.MultivariateNormalDiag(z, scale[..., tf.newaxis]),
        }
    )
    few, many = (
        JointAEVB(joint, lambda x: gaussian(0.5 * x, 0.5), global_latents=["scale"], num_data=n)
        for n in (10, 40)
    )
    for model in (few, many):  # far out, where the KL is large beside its draws' noise
        model.global_posterior["scale"].distribution.distribution.loc.assign(2.8)
    x = tf.constant(_data()[:3])

    @tf.function
    def difference(seed: tf.Tensor) -> tf.Tensor:
        return many.bound(x, seed).elbo - few.bound(x, seed).elbo

    shares = np.stack([difference(tf.constant([seed, 5])) for seed in range(400)])
    normal = few.global_posterior["scale"].distribution.distribution
    kl = float(tfd.kl_divergence(normal, tfd.Normal(0.3, 0.5)))  # the same of the logarithms
    assert_mean(shares, kl * (1 / 10 - 1 / 40))
    assert (5 * shares.std(axis=0) / np.sqrt(400) < 0.01 * shares.mean(axis=0)).all()


@pytest.mark.compile
def test_training_finds_the_posterior_of_the_mean() -> None:
    x = _data()
    model, q = _model()
    compiled(model, tf_keras.optimizers.Adam(0.02), jit_compile=True)
    for rate in (0.02, 0.001):  # the second, to settle
        model.optimizer.learning_rate = rate
        model.fit(x, batch_size=NUM_DATA, steps_per_epoch=2000, verbose=0)
    m, v = (float(value[0]) for value in _moments(model))
    precision = 1 / PRIOR + NUM_DATA / (V + VX)
    mean = x.sum() / (V + VX) / precision
    # A factorised q has the posterior's mean, and the variance that is left when all z are known.
    assert m == pytest.approx(mean, abs=0.05 / np.sqrt(precision))
    assert v == pytest.approx(1 / (1 / PRIOR + NUM_DATA / V), rel=0.05)
    covariance = PRIOR * np.ones([NUM_DATA] * 2) + (V + VX) * np.eye(NUM_DATA)
    evidence = gaussian_log_prob(x.T, np.zeros(NUM_DATA), covariance)[0]
    bound = float(tf.reduce_sum(_exact_bound(model, q, x)))
    assert evidence - 1.0 < bound < evidence  # what the factorised q costs is 0.53
    predictive = gaussian_log_prob(x, np.array([m]), np.array([[V + VX + v]]))
    found = tfp_aevb.importance_log_prob(model, x, 20_000, seed=0).log_prob
    np.testing.assert_allclose(found, predictive, atol=0.02)
    draws = model.sample(4000, seed=1).numpy()
    assert_mean(draws, m)
    assert_mean(np.square(draws - m), V + VX + v)


def test_global_latents_stay_in_their_support_and_may_depend_on_each_other() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "scale": tfd.LogNormal(0.3, 0.5),
            "mu": lambda scale: gaussian(tf.zeros(2), scale[..., tf.newaxis]),
            "z": lambda mu: gaussian(mu, 1.0),
            "x": lambda z: gaussian(z, 1.0),
        }
    )
    model = JointAEVB(
        joint, lambda x: gaussian(0.5 * x, 0.5), global_latents=["mu", "scale"], num_data=5
    )
    z = model.encode(np.zeros([3, 2])).sample(500, seed=[0, 1])
    parts = model.split_latents(z)
    assert list(parts) == ["z", "scale", "mu"]
    assert (parts["scale"].numpy() > 0.0).all()
    assert_mean(parts["mu"].numpy()[:, 0] - parts["mu"].numpy()[:, 1], 0.0)
    assert np.unique(parts["scale"]).size == 1500  # a draw for each datapoint and sample


@pytest.mark.compile
def test_what_does_not_suit_global_latents_is_refused() -> None:
    model, _ = _model()
    for error, action, words in (
        (ValueError, lambda: model.elbo(_data()), "`num_data`"),
        (ValueError, lambda: _model(objective="iwae"), "'sgvb_a' or 'stl', got 'iwae'"),
        (NotImplementedError, lambda: model.log_joint(_data(), None), "importance_log_prob"),
        (ValueError, lambda: _backwards(), "latent 'mu' depends on one that is not global"),
    ):
        assert_one_line(action, error, words)


def _backwards() -> JointAEVB:
    joint = tfd.JointDistributionNamed(
        {
            "z": gaussian(tf.zeros(1), 1.0),
            "mu": lambda z: gaussian(z, 1.0),
            "x": lambda mu: gaussian(mu, 1.0),
        }
    )
    return JointAEVB(joint, lambda x: gaussian(x, 1.0), global_latents=["mu"])


@pytest.mark.compile
def test_the_normal_prior_of_parameters_leaves_q_of_the_global_latents_alone() -> None:
    model, q = _model(num_data=NUM_DATA, parameter_prior="normal")
    plain, _ = _model(num_data=NUM_DATA)
    size, seed = float(NUM_DATA), tf.constant([0, 1])
    batch = Minibatch(tf.constant(_data()), tf.ones(NUM_DATA), size, size, 1, seed)
    penalty = 0.5 * sum(float(tf.reduce_sum(tf.square(v))) for v in q.values())
    assert penalty > 0.1
    for each in (model, plain):
        normal = each.global_posterior["mu"].distribution.distribution
        normal.loc.assign([3.0])  # which would cost 4.5 nats more
    difference = model.training_loss(batch)[0] - plain.training_loss(batch)[0]
    assert float(difference) == pytest.approx(penalty / NUM_DATA, rel=1e-3)


# Priors of any shape and support.


def _with_prior(**parts) -> tfd.JointDistribution:
    """A model of x given z, beside global latents that x knows nothing of."""
    observed = {"z": gaussian(tf.zeros(2), 1.0), "x": lambda z: gaussian(z, 1.0)}
    return tfd.JointDistributionNamed({**parts, **observed})


def _autobatched() -> tfd.JointDistribution:
    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        s = yield tfd.HalfNormal(1.0, name="s")
        yield tfd.Sample(tfd.Gamma(2.0, 1.0), 3, name="g")
        yield tfd.Normal(tf.zeros([2, 3]), s, name="h")
        z = yield tfd.Sample(tfd.Normal(0.0, 1.0), 2, name="z")
        yield tfd.Normal(z, 1.0, name="x")

    return joint


PRIORS = {
    "scalar": lambda: _with_prior(g=tfd.Normal(0.0, 1.0)),
    "draws": lambda: _with_prior(g=tfd.Sample(tfd.Normal(0.0, 1.0), 5)),
    "matrix": lambda: _with_prior(g=tfd.Sample(tfd.Gamma(2.0, 1.0), [2, 3])),
    "vectors": lambda: _with_prior(
        g=tfd.Sample(tfd.MultivariateNormalTriL(tf.zeros(3), tf.eye(3)), 2)
    ),
    "nested": lambda: _with_prior(g=tfd.Independent(tfd.Sample(tfd.Gamma([2.0, 3.0], 1.0), 4), 1)),
    "each its own": lambda: _with_prior(
        g=tfd.Sample(tfd.Independent(tfd.Uniform([0.0, 1.0], [1.0, 3.0]), 1), 3)
    ),
    "log normal": lambda: _with_prior(g=tfd.Sample(tfd.LogNormal(0.0, 1.0), 4)),
    "beta": lambda: _with_prior(g=tfd.Sample(tfd.Beta(2.0, 3.0), 4)),
    "half normal": lambda: _with_prior(g=tfd.Sample(tfd.HalfNormal(2.0), 4)),
    "topics": lambda: _with_prior(g=tfd.Sample(tfd.Dirichlet([1.0, 2.0, 3.0]), 2)),
    "correlations": lambda: _with_prior(g=tfd.CholeskyLKJ(3, 2.0)),
    "ordered": lambda: _with_prior(
        g=tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 3), tfb.Ascending())
    ),
    "of the package": lambda: _with_prior(g=tfp_aevb.layers.DiagonalNormalPrior(3)()),
    "dependent": lambda: _with_prior(
        s=tfd.Sample(tfd.Gamma(2.0, 1.0), 3),
        g=lambda s: tfd.Sample(tfd.Independent(tfd.LogNormal(0.0, s), 1), 2),
    ),
    "autobatched": _autobatched,
}


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", PRIORS)
def test_globals_of_any_shape_and_support_have_their_density_and_summary(name: str) -> None:
    joint = PRIORS[name]()
    is_named = isinstance(joint.dtype, dict)
    names = [part for part in (joint.dtype if is_named else joint.dtype._fields) if part in "sgh"]
    model = JointAEVB(joint, lambda x: gaussian(0.5 * x, 0.5), global_latents=names, num_data=10)
    assert len(model.trainable_variables) == 2 * len(names)
    summary = model.global_summary()
    parts = model.split_latents(model.encode(np.zeros([3, 2])).sample(2000, seed=[0, 1]))
    for part in names:
        q = model.global_posterior[part]
        draws = parts[part].numpy().reshape(6000, *q.event_shape)
        assert_mean(draws, summary[part].mean)
        np.testing.assert_allclose(summary[part].stddev, draws.std(axis=0), rtol=0.06, atol=1e-6)
        for probability, value in summary[part].quantiles.items():
            below = (draws <= value + 1e-6).mean(axis=0)
            constant = np.ptp(draws, axis=0) < 1e-5  # a correlation of 1
            assert (np.abs(below - probability) < 0.03)[~constant].all()
        # Its density is the Gaussian's, less the logarithm of how the bijector stretches.
        u = tf.random.stateless_normal([*q.distribution.event_shape], [0, 1])
        with tf.GradientTape() as tape:
            tape.watch(u)
            theta = q.bijector.forward(u)
            free = tf.reshape(theta, [-1])
        if q.distribution.event_shape == q.event_shape:  # as many elements: not of a simplex
            size = max(q.event_shape.num_elements(), 1)
            jacobian = tf.reshape(tape.jacobian(free, u), [size, size])
            stretched = np.linalg.slogdet(jacobian.numpy())[1]
            np.testing.assert_allclose(
                q.log_prob(theta), q.distribution.log_prob(u) - stretched, rtol=1e-3, atol=1e-3
            )


def test_the_posterior_of_a_mean_known_in_closed_form_leaves_no_gap() -> None:
    """beta ~ N(0, 2^2) each, x | beta ~ N(beta, 0.5^2): evidence and q(beta) are exact."""
    data = (1.0 + np.random.default_rng(0).normal(size=[8, 3]) * 0.5).astype(np.float32)
    joint = tfd.JointDistributionNamed(
        {
            "beta": tfd.Sample(tfd.Normal(0.0, 2.0), 3),
            "z": gaussian(tf.zeros(1), 1.0),  # of which x knows nothing
            "x": lambda beta, z: tfd.Independent(tfd.Normal(beta + 0.0 * z, 0.5), 1),
        }
    )
    model = JointAEVB(
        joint, lambda x: gaussian(0.0 * x[:, :1], 1.0), global_latents=["beta"], num_data=8
    )
    variance = 1.0 / (1 / 4.0 + 8 / 0.25)
    normal = model.global_posterior["beta"].distribution.distribution
    normal.loc.assign(variance * data.sum(axis=0) / 0.25)
    normal.scale.assign(tf.fill([3], np.float32(np.sqrt(variance))))
    summary = model.global_summary([0.25])["beta"]
    np.testing.assert_allclose(summary.mean, normal.loc, rtol=1e-5)
    np.testing.assert_allclose(summary.stddev, [np.sqrt(variance)] * 3, rtol=1e-5)
    np.testing.assert_allclose(
        summary.quantiles[0.25], normal.loc - 0.67449 * np.sqrt(variance), rtol=1e-4
    )
    covariance = 4.0 * np.ones([8, 8]) + 0.25 * np.eye(8)
    evidence = gaussian_log_prob(data.T, np.zeros(8), covariance).sum()
    variables = [v for v in model.trainable_variables if "beta" in v.name]
    assert len(variables) == 2

    @tf.function
    def draw(seed: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model.bound(tf.constant(data), seed, 200).elbo)
        return total, tape.gradient(total, variables)

    drawn = [draw(tf.constant([seed, 3])) for seed in range(80)]
    bounds = np.array([float(total) for total, _ in drawn])
    assert_mean(bounds, evidence)
    assert 5 * bounds.std() / np.sqrt(80) < 0.02 * abs(evidence)
    for k in range(2):
        assert_mean(np.stack([gradients[k] for _, gradients in drawn]), 0.0)


@pytest.mark.compile
def test_the_rate_of_poissons_is_as_far_from_the_evidence_as_q_is_from_its_posterior() -> None:
    """rate ~ Gamma(2, 0.1), x | rate ~ Poisson(rate): the posterior is Gamma(2 + sum, 0.1 + N)."""
    data = np.random.default_rng(1).poisson([[4.0, 9.0]], [10, 2]).astype(np.float32)
    joint = tfd.JointDistributionNamed(
        {
            "rate": tfd.Sample(tfd.Gamma(2.0, 0.1), 2),
            "z": gaussian(tf.zeros(1), 1.0),
            "x": lambda rate, z: tfd.Independent(tfd.Poisson(rate + 0.0 * z), 1),
        }
    )
    model = JointAEVB(
        joint, lambda x: gaussian(0.0 * x[:, :1], 1.0), global_latents=["rate"], num_data=10
    )
    q = model.global_posterior["rate"]
    assert isinstance(q.bijector, tfb.Softplus)
    shape, inverse = 2.0 + data.sum(axis=0), 10.1
    normal = q.distribution.distribution
    normal.loc.assign(shape / inverse + 0.5)
    normal.scale.assign(np.sqrt(shape) / inverse)
    evidence = special.gammaln(shape) - shape * np.log(inverse) + 2.0 * np.log(0.1)
    evidence -= special.gammaln(2.0) + special.gammaln(data + 1.0).sum(axis=0)
    gap = 0.0
    for i in range(2):  # KL(q || posterior) over the logarithm of the rate
        t = np.linspace(-6.0, 6.0, 4001)
        u = float(normal.loc[i]) + float(normal.scale[i]) * t
        log_q = stats.norm.logpdf(u, float(normal.loc[i]), float(normal.scale[i]))
        log_p = stats.gamma.logpdf(np.logaddexp(0.0, u), shape[i], scale=1.0 / inverse)
        log_p -= np.logaddexp(0.0, -u)  # the derivative of softplus
        gap += np.trapezoid(np.exp(log_q) * (log_q - log_p), u)
    assert gap > 0.4
    bound = tf.function(lambda seed: tf.reduce_sum(model.bound(tf.constant(data), seed, 200).elbo))
    bounds = np.array([float(bound(tf.constant([seed, 3]))) for seed in range(100)])
    assert_mean(bounds, evidence.sum() - gap)
    assert 5 * bounds.std() / 10.0 < 0.01 * abs(evidence.sum())


def test_summaries_of_transformed_latents_are_those_of_their_formulas() -> None:
    model = JointAEVB(
        _with_prior(g=tfd.Sample(tfd.LogNormal(0.3, 0.5), 2)),
        lambda x: gaussian(0.5 * x, 0.5),
        global_latents=["g"],
        num_data=10,
    )
    normal = model.global_posterior["g"].distribution.distribution
    normal.loc.assign([0.4, -1.0])
    normal.scale.assign([0.7, 0.1])
    m, s = np.array([0.4, -1.0]), np.array([0.7, 0.1])
    summary = model.global_summary([0.9])["g"]
    np.testing.assert_allclose(summary.mean, np.exp(m + s**2 / 2), rtol=1e-5)
    np.testing.assert_allclose(summary.stddev, summary.mean * np.sqrt(np.expm1(s**2)), rtol=1e-4)
    np.testing.assert_allclose(summary.quantiles[0.9], np.exp(m + 1.2815516 * s), rtol=1e-5)
    assert_one_line(lambda: model.global_summary([1.5]), ValueError, "between 0 and 1, got 1.5")


@pytest.mark.compile
def test_an_exported_model_tells_its_global_latents(tmp_path) -> None:
    model, _ = _model(num_data=NUM_DATA)
    tfp_aevb.export_saved_model(model, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model"))
    summary = model.global_summary()["mu"]
    for found in (served.global_latents(), served.signatures["global_latents"]()):
        np.testing.assert_allclose(found["mu_mean"], summary.mean, rtol=1e-6)
        np.testing.assert_allclose(found["mu_stddev"], summary.stddev, rtol=1e-6)


@pytest.mark.compile
def test_a_prior_at_the_ends_of_its_support_is_refused() -> None:
    for prior in (
        tfd.WishartTriL(4.0, tf.eye(3), input_output_cholesky=True),  # beyond TFP's bijector
        tfd.Gamma(1e-3, 1.0),
    ):
        assert_one_line(
            lambda prior=prior: JointAEVB(
                _with_prior(g=prior), lambda x: gaussian(x, 1.0), global_latents=["g"]
            ),
            ValueError,
            "global latent 'g'",
            "less extreme",
        )
