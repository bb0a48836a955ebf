"""What a user gives to a model's own methods and to the estimators of log p(x)."""

import contextlib
import functools
import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.gives.data import GAPS, X, frame, model
from tests.gives.table import Table, eagerly
from tfp_aevb import AEVB, JointAEVB, evaluation, imputation, layers
from tfp_aevb.utils import progress

Z = np.array([[0.5, -1.0], [2.0, 0.0], [0.0, 1.0]], np.float32)
WIDTH = "`x` must have shape [B, 6]"


def graph(function: Any) -> Any:
    """What two calls of a compiled loop of the user's own give."""
    compiled = tf.function(function)
    return compiled(), compiled()


def add_x(table: Table) -> None:
    """Adds the rows of datapoints given to a method."""
    for given, make in {
        "a list of lists": X.tolist,
        "a DataFrame": frame,
        "a tensor": lambda: tf.constant(X),
        "float64": lambda: X.astype(np.float64),
        "int64": lambda: X.astype(np.int64),
    }.items():
        table.agrees("x", given, lambda make=make: {"x": make()})
    table.differs("x", "other rows", {"x": 1 - X})
    table.refuses("x", "another width", {"x": X[:, :5]}, WIDTH)
    table.refuses("x", "one datapoint without a batch", {"x": X[0]}, "`x` must have")
    table.refuses("x", "NaN", {"x": GAPS}, "`x` has NaN (or masked)")
    table.refuses("x", "text", {"x": np.array([["a"] * 6] * 3)}, "`x` must be an array of numbers")


def add_seed(table: Table, in_graph: Any) -> None:
    """Adds the rows of a seed."""
    table.differs("seed", "1, or 2", {"seed": 1}, {"seed": 2})
    table.agrees("seed", "1, twice", {"seed": 1}, {"seed": 1}, like="the first call")
    table.agrees(
        "seed",
        "[0, 1]",
        lambda: {"seed": tf.constant([0, 1])},
        {"seed": np.array([0, 1])},
        like="a tensor",
    )
    table.differs("seed", "none: fresh each time", {"seed": None}, {"seed": None})
    table.rows.append(
        table.rows[-1]._replace(
            given="none, in a `tf.function`: fresh at each call",
            try_it=lambda: graph(in_graph),
        )
    )
    table.refuses("seed", "text", {"seed": "now"}, "`seed` must be")


def add_count(table: Table, name: str, more: tuple[int, int], line: str) -> None:
    """Adds the rows of a number of draws."""
    table.differs(name, f"{more[0]}, or {more[1]}", {name: more[0]}, {name: more[1]})
    for wrong in (0, -1):
        table.refuses(name, str(wrong), {name: wrong}, line)


elbo = Table("elbo", AEVB.elbo, lambda **o: model().elbo(**{"x": X, "seed": 1, **o}).numpy())
add_x(elbo)
add_count(elbo, "num_samples", (1, 3), "`num_samples` must be")
elbo.refuses("num_samples", "2.5", {"num_samples": 2.5}, "`num_samples` must be")
add_seed(elbo, lambda: model().elbo(X))


def moments(found: tfd.Distribution) -> Any:
    return found.mean().numpy(), found.stddev().numpy()


encode = Table("encode", AEVB.encode, lambda **o: moments(model().encode(**{"x": X, **o})))
add_x(encode)
reconstruct = Table(
    "reconstruct", AEVB.reconstruct, lambda **o: model().reconstruct(**{"x": X, **o}).numpy()
)
add_x(reconstruct)

decode = Table("decode", AEVB.decode, lambda **o: model().decode(**{"z": Z, **o}).mean().numpy())
decode.differs("z", "other rows", {"z": 1 - Z})
decode.agrees("z", "a list of lists", {"z": Z.tolist()})
decode.agrees("z", "float64", {"z": Z.astype(np.float64)})
decode.agrees("z", "a tensor", lambda: {"z": tf.constant(Z)})
decode.refuses("z", "of another width", {"z": Z[:, :1]}, "`z` must have shape")

sample = Table("sample", AEVB.sample, lambda **o: model().sample(**{"num_samples": 8, **o}).numpy())
with_latents = Table(
    "sample_with_latents",
    AEVB.sample_with_latents,
    lambda **o: [v.numpy() for v in model().sample_with_latents(**{"num_samples": 8, **o})],
)
for table in (sample, with_latents):
    add_count(table, "num_samples", (4, 8), "`num_samples` must be")
add_seed(sample, lambda: model().sample(8))
add_seed(with_latents, lambda: model().sample_with_latents(8).z)


@functools.cache
def pair() -> JointAEVB:
    """A joint of u, z and x, given u."""
    joint = tfd.JointDistributionNamed(
        {
            "u": tfd.Sample(tfd.Normal(0.0, 1.0), 1),
            "z": lambda u: tfd.Independent(tfd.Normal(tf.zeros([1, 2]) * u, 1.0), 1),
            "x": lambda z, u: tfd.Independent(tfd.Normal(z + u, 1.0), 1),
        }
    )

    def encoder(parts: dict[str, tf.Tensor]) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(parts["x"] - parts["u"], tf.ones([2]))

    return JointAEVB(joint, encoder, observed=["x"], given=["u"])


def jointly_drawn(**options: Any) -> np.ndarray:
    with eagerly():
        return pair().sample(**{"num_samples": 3, "seed": 1, **options}).numpy()


joint_sample = Table(
    "JointAEVB.sample",
    JointAEVB.sample,
    jointly_drawn,
)
add_count(joint_sample, "num_samples", (3, 5), "`num_samples` must be")
joint_sample.differs("seed", "1, or 2", {"seed": 1}, {"seed": 2})
joint_sample.differs("given", "u", {"given": {"u": [3.0]}})
joint_sample.refuses("given", "another part", {"given": {"v": [3.0]}}, "`given` must be a dict of")

# Estimators.

FEW = np.array([[0.3, -0.2], [1.0, 0.5]], np.float32)


@functools.cache
def line_model(shift: float = 0.0) -> AEVB:
    """A model of two numbers without networks, quick to trace."""

    bias = tf.Variable([[0.1, 0.4]])

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(0.4 * x[:, :1] + shift, tf.ones([1]))

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Normal(z + bias, 1.0), 1)

    return AEVB(layers.StandardNormalPrior(1), encoder, decoder, objective="sgvb_a")


def estimated(function: Any, **plain: Any) -> Any:
    """Calls an estimator."""

    def call(**options: Any) -> Any:
        with eagerly():
            return function(**{"model": line_model(), "x": FEW, "seed": 1, **plain, **options})

    return call


def add_estimator(table: Table, counts: dict[str, int]) -> None:
    """Adds the rows of an estimator; `counts` are other than its table's own."""
    table.differs("model", "with another q(z|x)", lambda: {"model": line_model(0.5)})
    table.differs("x", "other rows", {"x": 1 - FEW})
    table.refuses("x", "another width", {"x": FEW[:, :1]}, "`x` must have shape [B, 2]")
    table.differs("seed", "another", {"seed": 2})
    for name, count in counts.items():
        table.differs(name, "another", {name: count})
        wrong = -1 if name == "burn_in" else 0
        table.refuses(name, str(wrong), {name: wrong}, f"`{name}` must be")


importance = Table(
    "importance_log_prob",
    evaluation.importance_log_prob,
    estimated(evaluation.importance_log_prob, num_samples=4),
)
add_estimator(importance, {"num_samples": 6, "chunk": 1})
_chains = {"num_chains": 2, "burn_in": 2, "thinning": 1, "num_leapfrog_steps": 1}
_others = {"num_chains": 1, "burn_in": 5, "thinning": 2, "num_leapfrog_steps": 2}
posterior_draws = Table(
    "sample_posterior",
    evaluation.sample_posterior,
    estimated(evaluation.sample_posterior, num_draws=4, **_chains),
)
add_estimator(posterior_draws, {"num_draws": 5, **_others})
appendix_d = Table(
    "hmc_log_prob",
    evaluation.hmc_log_prob,
    estimated(evaluation.hmc_log_prob, num_samples=4, **_chains),
)
add_estimator(appendix_d, {"num_samples": 6, **_others})
appendix_d.refuses("num_samples", "2: latents + 1", {"num_samples": 2}, "`num_samples` must be")
annealed = Table(
    "annealed_log_prob",
    evaluation.annealed_log_prob,
    estimated(evaluation.annealed_log_prob, num_chains=2, num_temperatures=2, num_leapfrog_steps=1),
)
add_estimator(annealed, {"num_chains": 3, "num_temperatures": 3, "num_leapfrog_steps": 2})
annealed.differs("step_size", "0.2", {"step_size": 0.2})
annealed.refuses("step_size", "0", {"step_size": 0.0}, "`step_size` must be")


@functools.cache
def numbers(slope: float = 1.0) -> AEVB:
    """A model of six numbers without networks."""

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(0.2 * x[:, :1], tf.ones([1]))

    decoder = layers.GaussianLikelihood(6, ())
    made = AEVB(layers.StandardNormalPrior(1), encoder, decoder, objective="sgvb_a")
    for variable in made.trainable_variables:
        variable.assign(slope * tf.ones_like(variable))
    made.compile("sgd", jit_compile=False)
    return made


def imputed(**options: Any) -> Any:
    few = {"y": GAPS[:2], "num_draws": 2, "num_samples": 2, "burn_in": 1, "seed": 0}
    given = {"model": numbers(), **few, "method": "gibbs", **options}
    said = io.StringIO()
    way = contextlib.nullcontext() if "jit_compile" in options else eagerly()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said), way:
        patch.setattr(progress, "LOG_SECONDS", 0.0)
        return imputation.impute(**given), bool(said.getvalue())


impute = Table("impute", imputation.impute, imputed)
impute.differs("model", "with other weights", lambda: {"model": numbers(0.5)})
impute.differs("y", "other gaps", {"y": np.where(np.arange(6) == 3, np.nan, X[:2])})
impute.refuses("y", "another width", {"y": GAPS[:2, :5]}, "the model's datapoints have shape")
impute.agrees("mask", "where `y` is not NaN", {"y": X[:2], "mask": ~np.isnan(GAPS[:2])}, like="NaN")
impute.refuses(
    "mask", "of another shape", {"mask": np.ones([2, 5], bool)}, "`mask` must be bool of"
)
impute.differs(
    "channel",
    "`gaussian_noise(0.2)`",
    lambda: {"y": X[:2], "channel": imputation.gaussian_noise(0.2)},
    {"y": X[:2]},
)
impute.differs("method", "'metropolis'", {"method": "metropolis"})
impute.refuses("method", "another text", {"method": "magic"}, "`method` must be one of")
for name in ("num_draws", "num_samples"):
    impute.differs(name, "2, or 3", {name: 2}, {name: 3})
    impute.refuses(name, "0", {name: 0}, f"`{name}` must be at least 1")
impute.differs("burn_in", "1, or 3", {"burn_in": 1}, {"burn_in": 3})
impute.refuses("burn_in", "-1", {"burn_in": -1}, "`burn_in` must be at least 0")
impute.differs("seed", "0, or 1", {"seed": 0}, {"seed": 1})
impute.differs(
    "jit_compile", "True: other random numbers", {"jit_compile": True}, {"jit_compile": False}
)
impute.differs("progress", "True", {"progress": True})
