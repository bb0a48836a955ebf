"""`python -m tests.exact_answers`: estimators of log p(x) beside exact answers on six models.

Writes docs/exact_answers.csv and the table in docs/reliability.md.
"""

import argparse
import csv
import io
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import gammaln, logsumexp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian, log_sigmoid_terms
from tfp_aevb.evaluation import (
    annealed_log_prob,
    ess_bulk,
    ess_tail,
    hmc_log_prob,
    importance_log_prob,
    r_hat,
    sample_posterior,
)
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.files import write_text

TABLE = Path(__file__).parents[1] / "docs" / "exact_answers.csv"
BEGIN, END = "<!-- rows of exact_answers.csv -->", "<!-- end of exact answers -->"
CHAINS = 5  # of Appendix D


class Case(NamedTuple):
    """A model with an exact answer.

    Attributes:
        model: p(z), p(x|z) and q(z|x).
        x: [N, D].
        log_prob: [N] nats, exact.
        q: what is wrong with q(z|x).
    """

    model: AEVB
    x: np.ndarray
    log_prob: np.ndarray
    q: str


def linear(
    latent_dim: int,
    data_dim: int,
    num_data: int,
    q: str = "",
    sd: float = 0.6**0.5,
    **encoder: float,
) -> Case:
    """z ~ N(0, I), x|z ~ N(W z + b, sd^2 I); q is the posterior, changed by `encoder`."""
    exact = LinearGaussian(latent_dim, data_dim, seed=latent_dim)
    exact.variance = sd**2
    encode = exact.encoder(dtype=tf.float32, **encoder)
    model = AEVB(exact.prior(tf.float32), encode, exact.decoder(tf.float32), objective="sgvb_a")
    x = exact.data(num_data).astype(np.float32)
    return Case(model, x, exact.log_prob(x), q)


def mean_field(num_data: int) -> Case:
    """As `linear`, J = 20 and D = 800; q is the best Gaussian with a diagonal covariance."""
    exact = LinearGaussian(20, 800, seed=20)
    exact.weights[:, 1:] += exact.weights[:, :-1].copy()  # the latents depend on each other given x
    exact.variance = 0.8**2
    precision = np.linalg.inv(exact.posterior(np.zeros([1, 800]))[1])
    scale = (1.0 / np.sqrt(np.diag(precision))).astype(np.float32)
    full = exact.encoder(dtype=tf.float32)

    def encode(x: tf.Tensor) -> tfd.Distribution:
        loc = full(x).mean()
        return tfd.MultivariateNormalDiag(loc, scale * tf.ones_like(loc))

    model = AEVB(exact.prior(tf.float32), encode, exact.decoder(tf.float32), objective="sgvb_a")
    x = exact.data(num_data).astype(np.float32)
    return Case(model, x, exact.log_prob(x), "diagonal, so too narrow")


def pixels(num_data: int) -> Case:
    """One datapoint of 784 binary pixels and two latents, `num_data` times; by quadrature."""
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=[2, 784]) * 0.5, rng.normal(size=784)
    z = rng.normal(size=2)
    x = (rng.random(784) < 1.0 / (1.0 + np.exp(-z @ weights - bias))).astype(np.float32)
    grid = np.linspace(-4.0, 4.0, 401)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    log_joint = log_sigmoid_terms(x, points @ weights + bias).sum(axis=1)
    log_joint -= 0.5 * (points**2).sum(axis=1) + np.log(2.0 * np.pi)
    log_prob = logsumexp(log_joint) + 2.0 * np.log(grid[1] - grid[0])
    mass = np.exp(log_joint - logsumexp(log_joint))[:, np.newaxis]
    mean = (mass * points).sum(axis=0)
    sd = np.sqrt((mass * (points - mean) ** 2).sum(axis=0)).astype(np.float32)
    far = mean.astype(np.float32) + 3.0 * sd
    kernel, offset = weights.astype(np.float32), bias.astype(np.float32)
    model = AEVB(
        tfd.MultivariateNormalDiag(np.zeros(2, np.float32)),
        lambda x: tfd.MultivariateNormalDiag(tf.zeros([tf.shape(x)[0], 2]) + far, sd),
        lambda z: tfd.Independent(
            tfd.Bernoulli(tf.matmul(z, kernel) + offset, dtype=tf.float32), 1
        ),
        objective="sgvb_a",
    )
    rows = np.repeat(x[np.newaxis], num_data, axis=0)
    return Case(model, rows, np.full([num_data], log_prob), "three sds off in each dimension")


def counts(num_data: int) -> Case:
    """z ~ Exponential(1), four counts of mean z: p(z|x) is Gamma(1 + sum x, 5)."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.exponential(size=[num_data, 1]), [num_data, 4]).astype(np.float32)
    a = 1.0 + x.sum(axis=1)
    log_prob = gammaln(a) - a * np.log(5.0) - gammaln(x + 1.0).sum(axis=1)

    def encode(x: tf.Tensor) -> tfd.Distribution:
        shape = 1.0 + tf.reduce_sum(x, axis=1, keepdims=True)
        normal = tfd.MultivariateNormalDiag(tf.math.log(shape / 5.0), tf.math.rsqrt(shape))
        return tfd.TransformedDistribution(normal, tfb.Exp())

    model = AEVB(
        tfd.Independent(tfd.Exponential(np.ones(1, np.float32)), 1),
        encode,
        lambda z: tfd.Independent(tfd.Poisson(z * tf.ones([4])), 1),
        objective="sgvb_a",
    )
    return Case(model, x, log_prob, "log-normal near the posterior")


# Name -> (latents, what makes it).
CASES: dict[str, tuple[int, Callable[[int], Case]]] = {
    "linear-Gaussian, D = 1": (1, lambda n: linear(1, 1, n, "1.5 times too wide", widen=1.5)),
    "exponential and Poisson counts": (1, counts),
    "784 Bernoulli pixels": (2, pixels),
    "linear-Gaussian, D = 100": (4, lambda n: linear(4, 100, n, "4 times too wide", widen=4.0)),
    "linear-Gaussian, small noise": (
        3,
        lambda n: linear(3, 100, n, "half as wide as it should be", sd=0.1, widen=0.5),
    ),
    "linear-Gaussian, D = 800": (20, mean_field),
}


class Row(NamedTuple):
    """What one estimator says of one model; medians and means are over datapoints."""

    model: str
    latents: int
    q: str
    datapoints: int
    exact: float
    estimator: str
    draws: int
    error: float
    standard_error: float
    errors_off: float  # of the mean weight (Appendix D: of its inverse) from 1, in standard errors
    acceptance: float
    weight_ess: float
    r_hat: float
    arviz_r_hat: float
    ess_bulk: float
    arviz_ess_bulk: float
    ess_tail: float
    arviz_ess_tail: float


def row(name: str, case: Case, estimator: str, draws: int, seed: int) -> Row:
    """Runs an estimator on all datapoints of a model."""
    nothing = math.nan
    chains = [nothing] * 6
    if estimator == "importance":
        found = importance_log_prob(case.model, case.x, draws, seed)
        acceptance, size = nothing, found.effective_sample_size
    elif estimator == "ais":
        found = annealed_log_prob(case.model, case.x, draws, seed=seed)
        acceptance, size = np.mean(found.acceptance), found.effective_sample_size
    else:
        found = hmc_log_prob(case.model, case.x, draws, num_chains=CHAINS, seed=seed)
        acceptance, size = np.mean(found.acceptance), nothing
        chains = _beside_arviz(case, 2 * draws // CHAINS, seed)
    difference = np.asarray(found.log_prob, np.float64) - case.log_prob
    weights = np.exp(-difference if estimator == "hmc" else difference)
    root = math.sqrt(len(difference))
    off = (weights.mean() - 1.0) / (weights.std(ddof=1) / root)
    return Row(
        name,
        CASES[name][0],
        case.q,
        len(difference),
        float(case.log_prob.mean()),
        estimator,
        draws,
        float(difference.mean()),
        float(difference.std(ddof=1) / root),
        float(off),
        float(acceptance),
        float(np.median(size)),
        *chains,
    )


def _beside_arviz(case: Case, num_draws: int, seed: int) -> list[float]:
    """Returns the worst R-hat and ESS of the chains of `hmc_log_prob`, each beside ArviZ's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz as az
    logging.getLogger("arviz").setLevel(logging.ERROR)
    z = sample_posterior(case.model, case.x, num_draws, num_chains=CHAINS, seed=seed).z.numpy()
    found = []
    for ours, theirs, worst in (
        (r_hat, lambda chains: az.rhat(chains, method="rank"), np.max),
        (ess_bulk, lambda chains: az.ess(chains, method="bulk"), np.min),
        (ess_tail, lambda chains: az.ess(chains, method="tail"), np.min),
    ):
        values = [
            [float(theirs(z[..., b, j].T.copy())) for j in range(z.shape[3])]
            for b in range(z.shape[2])
        ]
        found += [float(worst(ours(z))), float(worst(values))]
    return found


def rows(num_data: int, seed: int, names: list[str]) -> list[Row]:
    """Runs all estimators on the models with these names."""
    found = []
    for name in names:
        latent_dim, make = CASES[name]
        case = make(num_data)
        for estimator, draws in (
            ("importance", 5000),
            ("ais", 20),
            ("hmc", 50 if latent_dim <= 5 else 200),
        ):
            found.append(row(name, case, estimator, draws, seed))
            print(_cells(found[-1]), flush=True)
    return found


def _cells(row: Row) -> list[str]:
    """Returns the cells of a row of the table."""

    def pair(ours: float, theirs: float, digits: int) -> str:
        return "" if math.isnan(ours) else f"{ours:.{digits}f} ({theirs:.{digits}f})"

    def number(value: float, digits: int) -> str:
        return "" if math.isnan(value) else f"{value:.{digits}f}"

    return [
        row.model,
        str(row.latents),
        row.q,
        f"{row.exact:,.2f}",
        f"{row.estimator}, {row.draws:,}",
        f"{row.error:+.4f} +- {row.standard_error:.4f}",
        f"{row.errors_off:+.1f}",
        number(row.acceptance, 2),
        number(row.weight_ess, 1),
        pair(row.r_hat, row.arviz_r_hat, 3),
        pair(row.ess_bulk, row.arviz_ess_bulk, 1),
        pair(row.ess_tail, row.arviz_ess_tail, 1),
    ]


HEAD = [
    "model",
    "J",
    "q(z given x)",
    "log p(x)",
    "estimator, draws",
    "error, nats",
    "1 off by",
    "acceptance",
    "ESS of weights",
    "R-hat (ArviZ)",
    "bulk ESS (ArviZ)",
    "tail ESS (ArviZ)",
]


def table(found: list[Row]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [HEAD, ["---"] * len(HEAD), *map(_cells, found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read(path: Path = TABLE) -> list[Row]:
    """Returns the rows of the CSV file."""
    lines = list(csv.DictReader(path.read_text().splitlines()))
    return [
        Row(**{name: Row.__annotations__[name](value) for name, value in line.items()})
        for line in lines
    ]


def main() -> None:
    """Runs all, and writes the file and the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.exact_answers", description=__doc__)
    parser.add_argument("--num_data", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = rows(options.num_data, options.seed, list(CASES))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *found])
    write_text(TABLE, text.getvalue())
    page = TABLE.with_name("reliability.md")
    before, _, rest = page.read_text().partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{table(read())}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
