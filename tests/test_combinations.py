"""Every pair of prior, posterior, likelihood and objective that is claimed trains and is served."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from docs.make_combinations import PAGE, page
from tests.combinations import (
    ELEMENTS,
    ROWS,
    Combination,
    all_combinations,
    covering_set,
    quick_set,
)
from tests.helpers import assert_same_arrays
from tfp_aevb.export import export_saved_model
from tfp_aevb.runs.build import build_model

TABLES = [c for c in all_combinations() if c[2:] == ("mixed", "sgvb_a") and c.refusal() is None]


def _check(combination: Combination, folder: Path, export: bool = True) -> None:
    x = combination.data()
    model = build_model(combination.config(), [ELEMENTS], ROWS, combination.record())

    def bound() -> float:
        return float(np.mean(model.elbo(x, num_samples=20, seed=1)))

    before = bound()
    model.fit(x, batch_size=ROWS, epochs=200, verbose=0)
    after = bound()
    assert np.isfinite(before)
    assert np.isfinite(after)
    assert after > before + 0.1  # nats

    model.save(folder / "model.keras")
    loaded = tf_keras.models.load_model(folder / "model.keras", safe_mode=True)
    assert_same_arrays([v.numpy() for v in model.variables], [v.numpy() for v in loaded.variables])
    names = [variable.ref() for variable in model.trainable_variables]
    assert len(names) == len(set(names))
    assert bound() == pytest.approx(float(np.mean(loaded.elbo(x, num_samples=20, seed=1))))

    if not export:
        return
    export_saved_model(model, folder / "saved")
    served = tf.saved_model.load(folder / "saved")
    np.testing.assert_allclose(
        served.reconstruct(x)["mean"], model.reconstruct(x), rtol=1e-3, atol=1e-4
    )
    for name, values in served.elbo(x, 2, [1, 2]).items():
        assert np.isfinite(values).all(), name
    for name, values in served.sample(5, [1, 2]).items():
        assert np.isfinite(values).all(), name
        assert len(values) == 5


def _id(combination: Combination) -> str:
    return "-".join(combination)


@pytest.mark.compile
@pytest.mark.parametrize("combination", quick_set(), ids=_id)
def test_each_part_trains_and_is_served(combination: Combination, tmp_path: Path) -> None:
    # Exporting takes longer than the rest: one with a flow and one without do in the quick run.
    _check(combination, tmp_path, export=combination.posterior in ("realnvp", "unit"))


@pytest.mark.slow
@pytest.mark.parametrize("combination", covering_set(), ids=_id)
def test_each_pair_of_parts_trains_and_is_served(combination: Combination, tmp_path: Path) -> None:
    _check(combination, tmp_path)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("combination", TABLES, ids=_id)
def test_each_prior_and_posterior_goes_with_a_table(combination: Combination) -> None:
    model = build_model(combination.config(), [ELEMENTS], ROWS, combination.record())
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        elbo = model.bound(tf.constant(combination.data()), tf.constant([1, 2])).elbo
    assert np.isfinite(elbo).all()
    for variable, gradient in zip(variables, tape.gradient(elbo, variables), strict=True):
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0.0, variable.name


def test_each_claimed_pair_of_parts_is_in_the_covering_set() -> None:
    def pairs(combinations: Iterable[Combination]) -> set:
        return {(i, c[i], j, c[j]) for c in combinations for i in range(4) for j in range(i + 1, 4)}

    claimed = [c for c in all_combinations() if c.refusal() is None]
    assert pairs(covering_set()) == pairs(claimed)
    assert 120 <= len(covering_set()) <= 180  # likelihoods times objectives, at least
    for place in range(4):
        assert {c[place] for c in quick_set()} == {c[place] for c in all_combinations()}


def test_what_makes_no_sense_is_refused_in_one_line_with_advice() -> None:
    refusals = {c: c.refusal() for c in all_combinations()}
    for combination, line in refusals.items():
        if line is not None:
            assert "\n" not in line
            assert "; use --" in line
            assert f"--prior={combination.prior}" in line or "--posterior=" in line
    assert sum(line is None for line in refusals.values()) == 4352


def test_the_page_of_combinations_is_up_to_date() -> None:
    written = PAGE.read_text()
    assert written == page(), "run `python docs/make_combinations.py`"
