"""R-hat and effective sample sizes: equal to ArviZ's, whatever the draws are like."""

import functools
import logging
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_one_line
from tfp_aevb.evaluation import ess_bulk, ess_tail, r_hat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz as az

NUM = 3


def autoregressive(
    rng: np.random.Generator, num_draws: int, num_chains: int, coefficient: float = 0.0
) -> np.ndarray:
    """Draws [S, C, 3] of stationary chains, standard normal."""
    noise = rng.normal(size=[num_draws, num_chains, NUM])
    draws = noise.copy()
    for s in range(1, num_draws):
        draws[s] = coefficient * draws[s - 1] + np.sqrt(1.0 - coefficient**2) * noise[s]
    return draws


def many_kinds(num_draws: int, num_chains: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws [S, C, 3] of all kinds."""
    rng = np.random.default_rng([seed, num_draws, num_chains])
    make = functools.partial(autoregressive, rng, num_draws, num_chains)
    shape = [num_draws, num_chains, NUM]
    with_a_nan = make()
    with_a_nan[-1, 0, 0] = np.nan
    chain = np.arange(num_chains)[:, np.newaxis]
    return {
        "independent": make(),
        "slow": make(0.9),
        "antithetic": make(-0.8),
        "ties": np.round(make(0.5)),
        "counts": rng.poisson(3.0, shape).astype(float),
        "nearly all equal": (rng.random(shape) < 0.1).astype(float),
        "constant": np.full(shape, 0.3),
        "infinite": np.where(rng.random(shape) < 0.1, np.inf, make()),
        "NaN": with_a_nan,
        "chains apart": make() + chain,
        "chains of different widths": make() * 3.0**chain,
        "trend": make() + np.linspace(-2.0, 2.0, num_draws)[:, np.newaxis, np.newaxis],
    }


def arviz_values(draws: np.ndarray) -> np.ndarray:
    """R-hat, bulk and tail ESS by ArviZ, [3, N] for draws [S, C, N]."""
    logging.getLogger("arviz").setLevel(logging.ERROR)
    functions = (
        lambda chains: az.rhat(chains, method="rank"),
        lambda chains: az.ess(chains, method="bulk"),
        lambda chains: az.ess(chains, method="tail"),
    )
    with np.errstate(all="ignore"):
        found = [
            [float(function(draws[..., i].T.copy())) for i in range(draws.shape[-1])]
            for function in functions
        ]
    return np.array(found)


def values(draws: np.ndarray) -> np.ndarray:
    """R-hat, bulk and tail ESS by this package, [3, N] for draws [S, C, N]."""
    return np.array([function(draws) for function in (r_hat, ess_bulk, ess_tail)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_chains", [1, 2, 5])
@pytest.mark.parametrize("num_draws", [1, 3, 4, 5, 6, 7, 8, 9, 20, 21, 100, 101])
def test_they_are_those_of_arviz(num_draws: int, num_chains: int) -> None:
    """Where two autocorrelations of an indicator sum to 0, rounding decides: not in these draws."""
    kinds = many_kinds(num_draws, num_chains)
    draws = np.concatenate(list(kinds.values()), axis=-1)
    found, expected = values(draws), arviz_values(draws)
    for i, name in enumerate(kinds):
        part = np.s_[:, NUM * i : NUM * (i + 1)]
        np.testing.assert_allclose(found[part], expected[part], rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_they_are_those_of_arviz_in_other_types(dtype: type) -> None:
    draws = (1.5 * many_kinds(50, 4)["slow"]).astype(dtype)
    np.testing.assert_allclose(values(draws), arviz_values(draws), rtol=1e-8)


@pytest.mark.compile
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_give_the_same(jit_compile: bool) -> None:
    kinds = many_kinds(21, 3)
    draws = np.stack([kinds[name] for name in ("slow", "ties", "constant", "NaN")], axis=2)
    for function in (r_hat, ess_bulk, ess_tail):
        found = tf.function(function, jit_compile=jit_compile)(tf.constant(draws))
        assert found.dtype == tf.float64
        assert found.shape == [4, NUM]
        np.testing.assert_allclose(found, function(draws), rtol=1e-10)


def test_chains_that_stay_where_they_are_have_an_enormous_r_hat() -> None:
    for num_chains in (2, 3, 5):
        start = np.random.default_rng(num_chains).normal(size=[1, num_chains, NUM])
        assert (r_hat(np.repeat(start, 20, axis=0)).numpy() > 1e6).all()


def test_chains_of_equal_means_and_other_widths_are_found_out() -> None:
    draws = np.random.default_rng(0).normal(size=[200, 4, NUM])
    draws[:, 0] *= 5.0
    assert (r_hat(draws).numpy() > 1.1).all()
    assert (r_hat(draws[:, 1:]).numpy() < 1.02).all()


def test_draws_of_one_quantity_have_one_value() -> None:
    draws = many_kinds(50, 4)["slow"][..., 0].astype(np.float32)
    for function in (r_hat, ess_bulk, ess_tail):
        assert function(draws).shape == []
        assert function(draws.tolist()) == function(draws)


def test_draws_without_a_chain_axis_are_refused() -> None:
    for function in (r_hat, ess_bulk, ess_tail):
        assert_one_line(lambda f=function: f(np.zeros(9)), ValueError, "[S, C, ...]", "(9,)")
