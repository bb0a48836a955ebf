"""Tests of the objective `f_divergence` on x = a z + b + e, where p(z|x) is a known Gaussian."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import assert_mean, assert_one_line, binary_data, compiled, small_model
from tests.objectives.test_importance_weighted import (
    NOISE,
    SEED,
    START,
    Found,
    X,
    assert_gradients,
    generative_gradients,
    log_mean_exp,
)
from tfp_aevb import objectives
from tfp_aevb.objectives import FDivergence
from tfp_aevb.objectives.divergences import DIVERGENCES, f_divergence, log_ratios
from tfp_aevb.runs.settings import choices as parts
from tfp_aevb.runs.settings.config import TrainConfig

tfd = tfp.distributions
# f with p = p(z|x) and q, integrated over z.
INTEGRANDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "arithmetic_geometric": lambda p, q: (p + q) * np.log((p + q) / 2 / np.sqrt(p * q)),
    "jeffreys": lambda p, q: 0.5 * (p - q) * np.log(p / q),
    "jensen_shannon": lambda p, q: p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q)),
    "kl_forward": lambda p, q: p * np.log(p / q),
    "kl_reverse": lambda p, q: q * np.log(q / p),
    "pearson": lambda p, q: (p - q) ** 2 / q,
    "squared_hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
    "total_variation": lambda p, q: 0.5 * np.abs(p - q),
    "triangular": lambda p, q: (p - q) ** 2 / (p + q),
}
PRECISION = 1.0 + (START["a"] / NOISE) ** 2
MEAN, STDDEV = START["a"] * (X[0] - START["b"]) / NOISE**2 / PRECISION, PRECISION**-0.5
LOC, SCALE = MEAN - 0.25, 1.3 * STDDEV


def normal(z: np.ndarray, loc: float, scale: float) -> np.ndarray:
    return np.exp(-0.5 * ((z - loc) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))


def exact(name: str, loc: float = LOC, scale: float = SCALE) -> float:
    """The divergence of p(z|x) and q = N(loc, scale^2), by quadrature."""
    z = np.linspace(MEAN - 12 * STDDEV, MEAN + 12 * STDDEV, 60_001)
    values = INTEGRANDS[name](normal(z, MEAN, STDDEV), normal(z, loc, scale))
    return float(np.trapezoid(values, z))


def test_quadrature_has_the_closed_forms_between_gaussians() -> None:
    ratio, shift = SCALE / STDDEV, MEAN - LOC
    forward = np.log(ratio) + (STDDEV**2 + shift**2) / (2 * SCALE**2) - 0.5
    reverse = -np.log(ratio) + (SCALE**2 + shift**2) / (2 * STDDEV**2) - 0.5
    wide = 2 * SCALE**2 - STDDEV**2
    chi_square = SCALE**2 / (STDDEV * np.sqrt(wide)) * np.exp(shift**2 / wide) - 1.0
    total = STDDEV**2 + SCALE**2
    affinity = np.sqrt(2 * STDDEV * SCALE / total) * np.exp(-(shift**2) / (4 * total))
    for name, value in (
        ("kl_forward", forward),
        ("kl_reverse", reverse),
        ("jeffreys", 0.5 * (forward + reverse)),
        ("pearson", chi_square),
        ("squared_hellinger", 2.0 - 2.0 * affinity),
    ):
        assert exact(name) == pytest.approx(value, rel=1e-6), name


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", INTEGRANDS)
def test_normalised_weights_estimate_the_exact_divergence(name: str) -> None:
    found = Found(f_divergence, 600_000, X[:1], loc=np.array([LOC]), scale=np.array([SCALE]))
    log_u = log_ratios(tf.constant(found.log_weights)).numpy()[:, 0]
    f = lambda shift: DIVERGENCES[name](tf.constant(log_u + shift)).numpy()  # noqa: E731
    # What p(x), which the draws estimate too, does to the error.
    slope = ((f(1e-5) - f(-1e-5)) / 2e-5).mean()
    values = f(0.0) - slope * (np.exp(log_u) - 1.0)
    error = values.std() / np.sqrt(len(values))
    assert error < 0.004 * exact(name)
    assert abs(values.mean() - exact(name)) < 4.0 * error


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", INTEGRANDS)
def test_q_descends_the_exact_divergence(name: str) -> None:
    rows = 500
    where = {"loc": np.full(rows, LOC), "scale": np.full(rows, SCALE)}
    objective = partial(f_divergence, divergence=name)
    found = Found(objective, 2_000, np.full(rows, X[0]), **where).gradients
    step = 1e-4
    for parameter in ("loc", "scale"):
        start = {"loc": LOC, "scale": SCALE}
        ends = [exact(name, **{**start, parameter: start[parameter] + s}) for s in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert_mean(-found[parameter], slope)
        error = found[parameter].std() / np.sqrt(rows)
        assert error < 0.004 * abs(slope)


@pytest.mark.parametrize("name", INTEGRANDS)
def test_the_value_is_l_k_and_p_ascends_it(name: str) -> None:
    found = Found(partial(f_divergence, divergence=name), 5)
    np.testing.assert_allclose(found.bound.elbo, log_mean_exp(found.log_weights), rtol=1e-10)
    np.testing.assert_allclose(found.bound.reconstruction - found.bound.kl, found.bound.elbo)
    assert_gradients(found, **generative_gradients(found, found.shares))


def test_the_gradient_of_the_reverse_divergence_is_that_of_the_gap_between_two_bounds() -> None:
    """1/K sum{ -log u } is L_K less the mean log weight: differentiated by hand."""
    found = Found(partial(f_divergence, divergence="kl_reverse"), 5)
    along_z = (1.0 / 5.0 - found.shares) * found.slope
    score = (found.shares - 1.0 / 5.0) * found.score["loc"]
    assert_gradients(found, loc=(along_z + score).sum(0))


@pytest.mark.parametrize("name", [name for name in INTEGRANDS if name != "total_variation"])
def test_at_the_true_posterior_each_draw_s_gradient_is_zero(name: str) -> None:
    loc = START["a"] * (X - START["b"]) / NOISE**2 / PRECISION
    scale = np.full(3, STDDEV)
    found = Found(partial(f_divergence, divergence=name), 4, loc=loc, scale=scale)
    assert_gradients(found, loc=np.zeros(3), scale=np.zeros(3))
    ratios = log_ratios(tf.constant(found.log_weights))
    np.testing.assert_allclose(DIVERGENCES[name](ratios), 0.0, atol=1e-12)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", INTEGRANDS)
def test_a_model_is_trained_and_saved(name: str, tmp_path) -> None:
    model = compiled(
        small_model(objective="f_divergence", divergence=name, num_samples=4),
        tf_keras.optimizers.Adam(0.02),
    )
    history = model.fit(binary_data(50), epochs=4, verbose=0).history["elbo"]
    assert history[-1] > history[0]
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    assert again.objective == FDivergence(name)


def test_log1p_abs_is_an_f_divergence_that_one_draw_makes_infinite() -> None:
    """Why `DIVERGENCES` leaves it out: the others are finite wherever a weight may be."""
    u = np.exp(np.linspace(-3.0, 3.0, 2001))
    f = tfp.vi.log1p_abs(tf.constant(np.log(u))).numpy()
    slopes = np.diff(f) / np.diff(u)
    assert (np.diff(slopes) > -1e-9).all()
    assert float(tfp.vi.log1p_abs(tf.constant(0.0))) == 0.0
    far = tf.constant([-89.0, -500.0])
    assert np.isposinf(tfp.vi.log1p_abs(far).numpy()).all()
    for name, divergence in DIVERGENCES.items():
        assert np.isfinite(divergence(far).numpy()).all(), name


def test_what_is_not_well_defined_is_refused() -> None:
    for name in ("modified_gan", "chi", "log1p_abs"):
        find = partial(Found, partial(f_divergence, divergence=name), 2)
        assert_one_line(find, ValueError, "`divergence`", "kl_forward", name)
        make = partial(small_model, objective="f_divergence", divergence=name, num_samples=2)
        assert_one_line(make, ValueError, "`divergence`", name)
    assert_one_line(lambda: Found(f_divergence, 1), ValueError, "f_divergence", "at least 2", "1")
    flips = tfd.Independent(tfd.Bernoulli(logits=tf.zeros([3, 1], tf.float64)), 1)
    call = lambda: f_divergence(flips, flips, lambda z: z[..., 0], 2, SEED)  # noqa: E731
    assert_one_line(call, ValueError, "not reparameterised")
    settings = {"objective": "f_divergence", "divergence": "pearson"}
    assert_one_line(lambda: TrainConfig(**settings), ValueError, "--num_samples=2")
    assert TrainConfig(**settings, num_samples=2).divergence == "pearson"


def test_the_names_of_flags_are_those_of_the_objectives() -> None:
    assert set(parts.OBJECTIVES) == set(objectives.OBJECTIVES)
    assert tuple(DIVERGENCES) == parts.DIVERGENCES
