"""Latents that are positive, bounded or on a simplex: samplers and q(theta) stay where they are."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_aevb
from tests.helpers import assert_mean, assert_one_line
from tests.models.joint.two_levels import gaussian
from tfp_aevb.evaluation import annealed_log_prob, sample_posterior
from tfp_aevb.evaluation.unconstrained import Unconstrained
from tfp_aevb.models.joint import JointAEVB

tfd, tfb = tfp.distributions, tfp.bijectors

# rate ~ Gamma(3, 0.5), share ~ Dirichlet(SHARE), cap | rate ~ U(0, rate) of which x knows nothing,
# total | rate ~ Poisson(rate), counts | share ~ Poisson(4 share).
SHAPE, RATE, SHARE = 3.0, 0.5, np.array([1.5, 2.0, 3.0])
X = np.array([[7.0, 3.0, 0.0, 1.0], [2.0, 1.0, 1.0, 2.0]], np.float32)


def _named() -> tfd.JointDistribution:
    return tfd.JointDistributionNamed(
        {
            "rate": tfd.Gamma(SHAPE, RATE),
            "share": tfd.Dirichlet(SHARE.astype(np.float32)),
            "cap": lambda rate: tfd.Uniform(0.0, rate),
            "total": lambda rate: tfd.Poisson(rate),
            "counts": lambda share: tfd.Independent(tfd.Poisson(4.0 * share), 1),
        }
    )


def _autobatched() -> tfd.JointDistribution:
    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        rate = yield tfd.Gamma(SHAPE, RATE, name="rate")
        share = yield tfd.Dirichlet(SHARE.astype(np.float32), name="share")
        yield tfd.Uniform(0.0, rate, name="cap")
        yield tfd.Poisson(rate, name="total")
        yield tfd.Poisson(4.0 * share, name="counts")

    return joint


def _encoder(seen: dict[str, tf.Tensor]) -> tfd.Distribution:
    """The exact posterior of all but the share, whose part is of the exact one's kind."""
    ones = tf.ones_like(seen["total"])

    @tfd.JointDistributionCoroutine
    def posterior():
        root = tfd.JointDistributionCoroutine.Root
        rate = yield root(tfd.Gamma(SHAPE + seen["total"], (RATE + 1.0) * ones, name="rate"))
        concentration = SHARE.astype(np.float32) + seen["counts"]
        yield root(tfd.Dirichlet(concentration, name="share"))
        yield tfd.TransformedDistribution(
            tfd.Normal(0.3 * tf.ones_like(rate), 1.5), tfb.Sigmoid(0.0, rate), name="cap"
        )

    return posterior


def _model(make=_named) -> JointAEVB:
    return JointAEVB(make(), _encoder, observed=["total", "counts"])


def _exact_log_prob() -> np.ndarray:
    """A negative binomial's; and counts whose rates add up to 4, given the sum a multinomial's."""
    total, counts = X[:, 0].astype(np.float64), X[:, 1:].astype(np.float64)
    found = tfd.NegativeBinomial(SHAPE, probs=1.0 / (RATE + 1.0)).log_prob(total).numpy()
    every = counts.sum(1)
    found = found + tfd.Poisson(np.float64(4.0)).log_prob(every).numpy()
    return found + tfd.DirichletMultinomial(every, SHARE).log_prob(counts).numpy()


@pytest.mark.compile
@pytest.mark.parametrize("make", [_named, _autobatched])
def test_the_way_to_the_supports_is_there_and_back_with_its_jacobian(make) -> None:
    model = _model(make)
    space = Unconstrained(model)
    u = tf.random.stateless_normal([2, 3, 4], [0, 1])  # of 5 elements, 2 for the share of 3
    z = space.forward(u)
    parts = model.split_latents(z)
    np.testing.assert_allclose(tf.reduce_sum(parts["share"], axis=-1), 1.0, rtol=1e-5)
    assert (parts["rate"].numpy() > 0.0).all()
    assert ((parts["cap"] > 0.0) & (parts["cap"] < parts["rate"])).numpy().all()
    np.testing.assert_allclose(space.inverse(z), u, atol=2e-4)
    flat = tf.reshape(u, [6, 4])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        free = tf.gather(space.forward(flat), [0, 1, 2, 4], axis=1)  # without the last share
    matrix = tape.batch_jacobian(free, flat, experimental_use_pfor=False)
    expected = np.linalg.slogdet(matrix.numpy())[1].reshape(2, 3)
    np.testing.assert_allclose(space.log_jacobian(u), expected, atol=1e-4)


@pytest.mark.compile
def test_importance_sampling_reaches_log_p_of_x() -> None:
    found = tfp_aevb.importance_log_prob(_model(), X, 20_000, seed=0).log_prob
    np.testing.assert_allclose(found, _exact_log_prob(), atol=0.03)


@pytest.mark.compile
def test_hamiltonian_monte_carlo_draws_from_the_posterior() -> None:
    model = _model()

    @tf.function
    def draw(x: tf.Tensor) -> tf.Tensor:
        return sample_posterior(model, x, 8, num_chains=250, burn_in=100, thinning=8, seed=2).z

    z = draw(tf.constant(X))
    parts = model.split_latents(tf.reshape(z, [-1, *z.shape[2:]]))
    rate, share, cap = (parts[name].numpy() for name in ("rate", "share", "cap"))
    shape = SHAPE + X[:, 0]
    square = shape * (shape + 1) / (RATE + 1) ** 2  # of the rate, on average
    assert_mean(rate, shape / (RATE + 1))
    assert_mean(rate**2, square)
    assert_mean(cap, shape / (RATE + 1) / 2)
    assert_mean(cap**2, square / 3)
    concentration = SHARE + X[:, 1:]
    mean = concentration / concentration.sum(1, keepdims=True)
    assert_mean(share, mean)
    variance = mean * (1 - mean) / (concentration.sum(1, keepdims=True) + 1)
    assert_mean((share - mean) ** 2, variance)


@pytest.mark.compile
def test_annealing_reaches_log_p_of_x() -> None:
    model = _model()
    anneal = tf.function(lambda x: annealed_log_prob(model, x, 500, num_temperatures=10, seed=0))
    np.testing.assert_allclose(anneal(tf.constant(X)).log_prob, _exact_log_prob(), atol=0.03)


@pytest.mark.compile
def test_a_q_over_all_reals_of_a_latent_that_is_not_is_refused() -> None:
    joint = tfd.JointDistributionNamed(
        {
            "mean": tfd.Normal(0.0, 1.0),
            "scale": tfd.LogNormal(0.0, 1.0),
            "x": lambda mean, scale: tfd.Sample(tfd.Normal(mean, scale), 2),
        }
    )

    def real_parts(x: tf.Tensor) -> tfd.Distribution:
        normal = tfd.Normal(x[:, 0], 1.0)
        return tfd.JointDistributionNamed({"mean": normal, "scale": normal})

    def positive_parts(x: tf.Tensor) -> tfd.Distribution:
        parts = {"mean": tfd.Normal(x[:, 0], 1.0), "scale": tfd.LogNormal(x[:, 0], 1.0)}
        return tfd.JointDistributionNamed(parts)

    for encoder in (real_parts, lambda x: gaussian(x, 1.0)):
        assert_one_line(
            lambda encoder=encoder: JointAEVB(joint, encoder), ValueError, "'scale'", "TransformedD"
        )
    assert np.isfinite(JointAEVB(joint, positive_parts).elbo(X[:, :2], seed=0)).all()


def test_the_way_to_the_simplex_that_is_advised_has_a_dirichlets_density(monkeypatch) -> None:
    size, prior = 10, tfd.Dirichlet(3.0 * tf.ones(10))
    joint = tfd.JointDistributionNamed({"w": prior, "x": lambda w: gaussian(w[..., :2], 1.0)})

    def model(bijector: tfb.Bijector | None, width: int = size - 1) -> JointAEVB:
        def encoder(x: tf.Tensor) -> tfd.Distribution:
            normal = tfd.MultivariateNormalDiag(0.0 * x[:, :1] + tf.zeros(width), tf.ones(width))
            return normal if bijector is None else tfd.TransformedDistribution(normal, bijector)

        return JointAEVB(joint, encoder)

    advice = "`tfb.IteratedSigmoidCentered()`"
    assert_one_line(lambda: model(None, size), ValueError, "'w' is over all reals", advice)
    q = model(tfb.IteratedSigmoidCentered()).encode(X[:1, :2])
    w = q.sample(20_000, seed=[0, 1])
    assert_mean(np.exp(prior.log_prob(w) - q.log_prob(w)), 1.0)
    # TFP 0.25 calls this with a name that NumPy 2.4 no longer has.
    reshape = np.reshape
    monkeypatch.setattr(np, "reshape", lambda a, newshape: reshape(a, newshape))
    for bijector in (
        tfb.SoftmaxCentered(),
        tfb.Chain([tfb.Chain([tfb.SoftmaxCentered(), tfb.Scale(2.0)]), tfb.Shift(1.0)]),
    ):
        assert_one_line(
            lambda bijector=bijector: model(bijector), ValueError, "SoftmaxCentered", advice
        )


class _Silent(tfd.Normal):
    """A distribution that does not say where it is."""

    def _default_event_space_bijector(self):
        raise NotImplementedError


def test_samplers_refuse_a_latent_that_does_not_say_where_it_is() -> None:
    joint = tfd.JointDistributionNamed(
        {"z": tfd.Sample(_Silent(0.0, 1.0), 2), "x": lambda z: gaussian(z, 1.0)}
    )
    model = JointAEVB(joint, lambda x: gaussian(0.5 * x, 0.5))
    plain = tfp_aevb.AEVB(
        tfd.Independent(_Silent(tf.zeros(2), 1.0), 1),
        lambda x: gaussian(0.5 * x, 0.5),
        lambda z: gaussian(z, 1.0),
        objective="sgvb_a",
    )
    for each in (model, plain):
        for run in (sample_posterior, annealed_log_prob):
            assert_one_line(
                lambda run=run, each=each: run(each, X[:, :2], 2),
                NotImplementedError,
                "does not say where it is",
                "`importance_log_prob`",
            )


# q(theta)


def _with_globals(parts: dict, x) -> JointAEVB:
    joint = tfd.JointDistributionNamed({**parts, "z": gaussian(tf.zeros(1), 1.0), "x": x})
    return JointAEVB(
        joint, lambda x: gaussian(0.5 * x[:, :1], 0.5), global_latents=list(parts), num_data=10
    )


def test_global_latents_on_bounds_and_a_simplex_have_a_q_there_with_the_right_density() -> None:
    model = _with_globals(
        {
            "share": tfd.Dirichlet([2.0, 3.0, 4.0]),
            "scale": tfd.Gamma(3.0, 2.0),
            "unit": lambda scale: tfd.Uniform(0.0 * scale, 2.0),
        },
        lambda z, scale, share, unit: gaussian(z * unit[..., tf.newaxis] + share, scale[..., None]),
    )
    parts = model.split_latents(model.encode(np.zeros([3, 3])).sample(500, seed=[0, 1]))
    np.testing.assert_allclose(tf.reduce_sum(parts["share"], -1), 1.0, rtol=1e-5)
    assert parts["scale"].shape == parts["unit"].shape == (500, 3)
    assert (parts["scale"].numpy() > 0.0).all()
    assert ((parts["unit"] > 0.0) & (parts["unit"] < 2.0)).numpy().all()
    assert np.isfinite(model.bound(tf.ones([2, 3]), tf.constant([0, 1])).elbo).all()
    # q's density is of the same measure as the prior's: E_q[p / q] = 1 where q is wide enough.
    q = model.global_posterior["share"]
    q.distribution.distribution.scale.assign([1.2, 1.2])
    theta = q.sample(40_000, seed=[0, 2])
    prior = tfd.Dirichlet([2.0, 3.0, 4.0])
    assert_mean(np.exp(prior.log_prob(theta) - q.log_prob(theta)), 1.0)


def test_global_latents_without_a_q_are_refused() -> None:
    scale = tfd.Gamma(3.0, 2.0)
    bounded = {"scale": scale, "cap": lambda scale: tfd.Uniform(0.0, scale)}
    for parts, words in (
        (bounded, "where global latent 'cap' may be depends on another"),
        ({"scale": scale, "cap": _Silent(0.0, 1.0)}, "global latent 'cap' is discrete or does not"),
    ):
        assert_one_line(
            lambda parts=parts: _with_globals(
                parts, lambda z, scale, cap: gaussian(z * cap[..., None], scale[..., None])
            ),
            ValueError,
            words,
        )
