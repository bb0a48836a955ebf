"""Section 2.4: every family that the paper names, made as docs/reparameterization.md says."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from scipy import special, stats
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_mean, binary_data
from tfp_aevb.evaluation import importance_log_prob
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives import analytic_kl
from tfp_aevb.training.fused import NonFiniteBoundError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reparameterization.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
LISTS = {
    "1": "Exponential Cauchy Logistic Rayleigh Pareto Weibull Reciprocal Gompertz Gumbel Erlang",
    "2": "Laplace Elliptical Student-t Logistic Uniform Triangular Gaussian",
    "3": "Log-Normal Gamma Dirichlet Beta Chi-squared F",
}
X = binary_data()
Parameters = dict[str, Any]


class Row(NamedTuple):
    """A row of the document's table."""

    family: str
    lists: str
    expression: str
    sample: str
    prior: str
    closed_kl: str
    note: str


class Family(NamedTuple):
    """Values for a row's parameters, with what SciPy knows of the family.

    Attributes:
        parameters: name -> value.
        marginals: values -> pairs of a vector w and the distribution of w . z; None for a scalar z.
        joint: values -> the distribution of a vector z.
        positive: look at log z, where fewer samples tell shapes of positive families apart.
        num_samples: enough to tell gradients that are 1% apart.
    """

    parameters: Parameters
    marginals: Callable[..., list[tuple[Any, Any]]]
    joint: Callable[..., Any] | None = None
    positive: bool = False
    num_samples: int = 300_000


def _scalar(
    reference: Callable[..., Any], *, positive: bool = False, num_samples: int = 300_000, **values
) -> Family:
    return Family(values, lambda *v: [(None, reference(*v))], None, positive, num_samples)


_positive = functools.partial(_scalar, positive=True)


def _scale_tril(b: np.ndarray) -> np.ndarray:
    return np.array([[np.logaddexp(0.0, b[2]), 0.0], [b[1], np.logaddexp(0.0, b[0])]])


def _elliptical_marginals(a: np.ndarray, b: np.ndarray) -> list[tuple[Any, Any]]:
    directions = np.array([[0.0, 1.0], [1.0, -1.0]])
    return [(w, stats.t(5.0, w @ a, np.linalg.norm(w @ _scale_tril(b)))) for w in directions]


def _dirichlet_marginals(b: np.ndarray) -> list[tuple[Any, Any]]:
    return [(w, stats.beta(w @ b, np.sum(b) - w @ b)) for w in np.eye(3)]


FAMILIES = {
    "Exponential": _positive(lambda b: stats.expon(scale=1 / b), b=1.7),
    "Cauchy": _scalar(stats.cauchy, a=0.3, b=0.8),
    "Logistic": _scalar(stats.logistic, a=0.3, b=0.8),
    "Rayleigh": _positive(lambda b: stats.rayleigh(scale=b), b=0.8),
    "Pareto": _positive(lambda b, c: stats.pareto(b, scale=c), b=2.5, c=0.8),
    "Weibull": _positive(lambda b, c: stats.weibull_min(b, scale=c), b=0.8, c=0.9),
    "Reciprocal": _positive(lambda a, b: stats.loguniform(np.exp(a), np.exp(a + b)), a=-0.7, b=1.8),
    "Gompertz": _positive(lambda b, c: stats.gompertz(b, scale=1 / c), b=0.8, c=1.4),
    "Gumbel": _scalar(stats.gumbel_r, a=0.3, b=0.8),
    "Erlang": _positive(lambda b: stats.erlang(3, scale=1 / b), b=2.4, num_samples=200_000),
    "Laplace": _scalar(stats.laplace, a=0.3, b=0.8),
    "Elliptical": Family(
        {"a": np.array([0.3, -0.2]), "b": np.array([0.4, -0.5, 0.6])},
        _elliptical_marginals,
        lambda a, b: stats.multivariate_t(a, _scale_tril(b) @ _scale_tril(b).T, 5.0),
        num_samples=600_000,
    ),
    "Student-t": _scalar(
        lambda a, b, c: stats.t(c, a, b), a=0.3, b=0.8, c=0.8, num_samples=1_000_000
    ),
    "Uniform": _scalar(stats.uniform, a=-0.7, b=1.8),
    "Triangular": _scalar(
        lambda a, b, c: stats.triang(b / (b + c), a, b + c), a=-0.7, b=0.8, c=1.4
    ),
    "Gaussian": _scalar(stats.norm, a=0.3, b=0.8),
    "Log-Normal": _positive(lambda a, b: stats.lognorm(b, scale=np.exp(a)), a=0.3, b=0.8),
    "Gamma": _positive(lambda b, c: stats.gamma(b, scale=1 / c), b=1.6, c=1.2, num_samples=200_000),
    "Dirichlet": Family(
        {"b": np.array([1.2, 1.6, 2.1])},
        _dirichlet_marginals,
        stats.dirichlet,
        num_samples=150_000,
    ),
    "Beta": _scalar(lambda b, c: stats.beta(1 + b, 1 + c), b=0.6, c=1.2, num_samples=200_000),
    "Chi-squared": _positive(stats.chi2, b=3.1),
    "F": _positive(lambda b, c: stats.f(2 + 2 * b, 2 + 2 * c), b=0.2, c=0.2, num_samples=1_000_000),
}

# f and f': between them, their means depend on location, scale and shape of all the families.
FUNCTIONS: list[tuple[Callable, Callable]] = [
    (np.arctan, lambda s: 1.0 / (1.0 + s**2)),
    (lambda s: 1.0 / (1.0 + s**2), lambda s: -2.0 * s / (1.0 + s**2) ** 2),
    (lambda s: np.log1p(s**2), lambda s: 2.0 * s / (1.0 + s**2)),
]
# Quadrature over u in (0, 1), the argument of the quantile function, in even steps of its logit.
LOGITS = np.linspace(-30.0, 30.0, 6001)
WEIGHTS = special.expit(LOGITS) * special.expit(-LOGITS) * (LOGITS[1] - LOGITS[0])


@functools.cache
def _table() -> dict[str, Row]:
    lines = [line.strip("| ") for line in DOCUMENT.splitlines() if line.startswith("| ")]
    rows = [Row(*(cell.strip("` ") for cell in line.split(" | "))) for line in lines[1:]]
    assert len({row.family for row in rows}) == len(rows)
    return {row.family: row for row in rows}


def _evaluate(expression: str, **parameters: Any) -> tfd.Distribution:
    return eval(expression, {"tf": tf, "tfd": tfd, "tfb": tfb, **parameters})


def _constants(parameters: Parameters, *batch: int) -> Parameters:
    return {
        key: tf.constant(np.broadcast_to(value, [*batch, *np.shape(value)]), tf.float64)
        for key, value in parameters.items()
    }


def _quantiles(reference: Any) -> np.ndarray:
    lower, upper = reference.ppf(special.expit(LOGITS)), reference.isf(special.expit(-LOGITS))
    return np.where(LOGITS < 0.0, lower, upper)


def _expectations(family: Family, parameters: Parameters) -> np.ndarray:
    """Returns the exact E[f(s)], for each w and within it each f, and the entropy: [K + 1]."""
    values = []
    for _, reference in family.marginals(*parameters.values()):
        z = _quantiles(reference)
        s = np.log(z) if family.positive else z
        values += [np.sum(WEIGHTS * f(s)) for f, _ in FUNCTIONS]
    if family.joint is not None:
        return np.array([*values, family.joint(*parameters.values()).entropy()])
    return np.array([*values, -np.sum(WEIGHTS * reference.logpdf(z))])


@functools.cache
def _exact_gradients(name: str) -> dict[str, np.ndarray]:
    """Returns the gradients of `_expectations`, [K + 1, size of the parameter] by name."""
    family, step = FAMILIES[name], 1e-4
    gradients = {}
    for key, value in family.parameters.items():
        columns = []
        for direction in np.eye(np.size(value)):
            change = step * direction.reshape(np.shape(value))
            above = _expectations(family, {**family.parameters, key: value + change})
            below = _expectations(family, {**family.parameters, key: value - change})
            columns.append((above - below) / (2.0 * step))
        gradients[key] = np.stack(columns, axis=-1)
    return gradients


class Draws:
    """Samples of a family in float64, one for each of as many copies of its parameters.

    The gradient of their sum with respect to the copies is the gradient of each sample. With
    `fixed`, `log_prob` does not see how the samples depend on the parameters.
    """

    def __init__(self, name: str, num_samples: int, fixed: bool = False) -> None:
        family = FAMILIES[name]
        self.parameters = _constants(family.parameters, num_samples)
        directions = [w for w, _ in family.marginals(*family.parameters.values())]
        with tf.GradientTape(persistent=True) as self.tape:
            self.tape.watch(self.parameters)
            q = _evaluate(_table()[name].expression, **self.parameters)
            z = q.sample(seed=[5, 6])
            s = tf.math.log(z) if family.positive else z
            self.projections = [s if w is None else tf.linalg.matvec(s, w) for w in directions]
            self.log_prob = q.log_prob(tf.stop_gradient(z)) if fixed else q.log_prob(z)

    def gradient(self, target: tf.Tensor, key: str) -> np.ndarray:
        """Returns the gradient of each sample by the parameter `key`: [num_samples, its size]."""
        gradient = self.tape.gradient(
            target, self.parameters[key], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return gradient.numpy().reshape([len(gradient), -1])


def _errors(samples: np.ndarray, *expected: np.ndarray) -> list[np.ndarray]:
    """Returns |mean over axis 0 - expected| in standard errors, for each expected."""
    mean = samples.mean(axis=0)
    error = samples.std(axis=0) / np.sqrt(len(samples)) + 1e-7  # that of finite differences
    return [np.abs(mean - value) / error for value in expected]


def test_the_table_has_the_families_of_the_paper() -> None:
    for number, families in LISTS.items():
        listed = [row.family for row in _table().values() if number in row.lists.split(", ")]
        assert sorted(listed) == sorted(families.split())
    assert set(_table()) == set(FAMILIES)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_through_samples_are_exact(name: str) -> None:
    draws, exact = Draws(name, FAMILIES[name].num_samples), _exact_gradients(name)
    for key in draws.parameters:
        told_apart = np.zeros(exact[key].shape[1], bool)  # from gradients that are 1% off
        expected = iter(exact[key])
        for projection in draws.projections:
            slope, s = draws.gradient(projection, key), projection.numpy()[:, np.newaxis]
            for _, derivative in FUNCTIONS:
                value = next(expected)
                right, above, below = _errors(
                    derivative(s) * slope, value, 1.01 * value, 0.99 * value
                )
                assert (right < 4.0).all(), (key, right)
                told_apart |= (above > 4.0) & (below > 4.0)
        assert told_apart.all(), key
        (right,) = _errors(-draws.gradient(draws.log_prob, key), next(expected))
        assert (right < 4.0).all(), (key, right)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_score_function_is_wrong_exactly_where_ends_move(name: str) -> None:
    draws, exact = Draws(name, 50_000, fixed=True), _exact_gradients(name)
    largest = 0.0
    for key in draws.parameters:
        score = draws.gradient(draws.log_prob, key)
        expected = iter(exact[key])
        for projection in draws.projections:
            for f, _ in FUNCTIONS:
                (errors,) = _errors(f(projection.numpy())[:, np.newaxis] * score, next(expected))
                largest = max(largest, errors.max())
    moves = re.search(r"Its ends? moves?", _table()[name].note)
    assert (largest > 50.0) if moves else (largest < 5.0), largest


@pytest.mark.parametrize("name", FAMILIES)
def test_density_is_that_of_scipy_and_of_the_samples(name: str) -> None:
    family = FAMILIES[name]
    q = _evaluate(_table()[name].expression, **_constants(family.parameters))
    z = q.sample(100_000, seed=[7, 8]).numpy()
    if family.joint is None:
        ((_, reference),) = family.marginals(*family.parameters.values())
        s = _quantiles(reference)
        mass = q.prob(s).numpy() * np.gradient(s)
        log_prob, first = reference.logpdf(z), z
    else:
        even = np.linspace(-4.0, 4.0, 401)
        plane = np.stack(np.meshgrid(np.sinh(even), np.sinh(even), indexing="ij"), axis=-1)
        weights = np.cosh(even) * (even[1] - even[0])
        carry = tfb.IteratedSigmoidCentered() if name == "Dirichlet" else tfb.Identity()
        points, log_slope = carry.forward(plane), carry.forward_log_det_jacobian(plane, 1)
        s = points[..., 0].numpy()
        mass = np.exp(q.log_prob(points) + log_slope) * np.multiply.outer(weights, weights)
        joint = family.joint(*family.parameters.values())
        log_prob, first = joint.logpdf(z.T if name == "Dirichlet" else z), z[:, 0]
    np.testing.assert_allclose(q.log_prob(z), log_prob, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(np.sum(mass), 1.0, rtol=1e-4)
    assert_mean(np.arctan(first), np.sum(mass * np.arctan(s)))


@pytest.mark.parametrize("name", FAMILIES)
def test_closed_form_kl_is_known_where_the_table_says(name: str) -> None:
    family, expression = FAMILIES[name], _table()[name].expression
    # The prior's support holds that of q.
    values = {
        key: {"a": v - 0.1, "b": 1.3 * v, "c": 0.9 * v}[key] for key, v in family.parameters.items()
    }
    last = [1] if family.joint is None else []  # J = 1
    q = _evaluate(expression, **_constants(family.parameters, 1, *last))
    prior = _evaluate(expression, **_constants(values, *last))
    q, prior = tfd.Independent(q, len(last)), tfd.Independent(prior, len(last))
    if _table()[name].closed_kl == "no":
        with pytest.raises(NotImplementedError, match="sgvb_a"):
            analytic_kl(q, prior)
        return
    kl = analytic_kl(q, prior)
    if family.joint is not None:
        z = q.sample(100_000, seed=[1, 2])
        assert_mean((q.log_prob(z) - prior.log_prob(z)).numpy(), kl.numpy())
        return
    first, second = (
        family.marginals(*parameters.values())[0][1] for parameters in (family.parameters, values)
    )
    z = _quantiles(first)
    expected = np.sum(WEIGHTS * (first.logpdf(z) - second.logpdf(z)))
    np.testing.assert_allclose(kl, [expected], rtol=1e-4)


def _model(name: str, prior: str | None = None) -> AEVB:
    """Returns a model whose decoder is fixed, so that only its encoder can raise the bound."""
    row, parameters = _table()[name], FAMILIES[name].parameters
    p = _evaluate(prior or row.prior)
    scalar = p.event_shape.rank == 0
    sizes = [2 if scalar else len(value) for value in parameters.values()]
    tf_keras.utils.set_random_seed(1)
    start = tf_keras.initializers.Constant(-1.0)  # far from the best q
    net = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(8, "tanh"),
            tf_keras.layers.Dense(sum(sizes), bias_initializer=start),
        ]
    )

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        outputs = zip(parameters, tf.split(net(x), sizes, axis=-1), strict=True)
        q = _evaluate(
            row.expression, **{key: v if key == "a" else tf.nn.softplus(v) for key, v in outputs}
        )
        return tfd.Independent(q, 1) if scalar else q

    p = tfd.Sample(p, 2) if scalar else p
    weights = np.random.default_rng(0).normal(size=[p.event_shape[0], X.shape[1]], scale=4.0)
    weights = tf.constant(weights, tf.float32)

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=tf.matmul(tf.tanh(z), weights)), 1)

    model = AEVB(p, encoder, decoder, objective="sgvb_a")
    model.compile(tf_keras.optimizers.Adam(0.02), jit_compile=False)
    return model


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_encoder_of_the_family_raises_the_bound(name: str) -> None:
    model, x = _model(name), np.repeat(X, 40, axis=0)
    with tf.GradientTape() as tape:
        before = model.elbo(x, seed=3)
        mean = tf.reduce_mean(before)
    assert np.isfinite(before).all()
    gradients = tape.gradient(mean, model.trainable_variables)
    assert len(gradients) == 4
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.all(gradient != 0.0)
    model.fit(X, batch_size=5, epochs=20, verbose=0)
    gain = (model.elbo(x, seed=3) - before).numpy()
    assert gain.mean() > 3.0 * gain.std() / np.sqrt(len(gain))


@pytest.mark.parametrize(
    ("name", "prior"),
    [("Uniform", "tfd.Uniform(0.0, 1.0)"), ("Pareto", "tfd.Pareto(1.0, 0.8)")],
)
def test_outside_of_the_prior_the_bound_is_minus_infinity(name: str, prior: str) -> None:
    model = _model(name, prior)
    assert np.isneginf(model.elbo(X, seed=3)).any()
    with pytest.raises(NonFiniteBoundError):
        model.fit(X, verbose=0)


def test_importance_sampling_misses_what_q_does_not_cover() -> None:
    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Uniform(tf.fill([tf.shape(x)[0], 1], -1.0), 0.5), 1)

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=tf.zeros([tf.shape(z)[0], X.shape[1]])), 1)

    model = AEVB(tfd.Sample(tfd.Normal(0.0, 1.0), 1), encoder, decoder, objective="sgvb_a")
    estimate = importance_log_prob(model, X[:2], 50_000, seed=1).log_prob
    covered = np.log(stats.norm.cdf(0.5) - stats.norm.cdf(-1.0))
    np.testing.assert_allclose(estimate, X.shape[1] * np.log(0.5) + covered, atol=0.01)


@pytest.mark.compile
@pytest.mark.parametrize("example", EXAMPLES, ids=["positive", "simplex"])
def test_examples_of_the_document_run(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(example, names)
    elbos = names["history"].history["elbo"]
    assert float(capsys.readouterr().out) == elbos[-1] > elbos[0]
    predicted = names["model"].predict(names["x"][:20], verbose=0)
    assert all(np.isfinite(value).all() for value in predicted.values())
