"""What is said of numbers: divergence, collapse, overfitting, estimates that cannot be trusted."""

import math
from typing import Any

import numpy as np
import pytest

from tfp_aevb.evaluation.judgement import (
    Training,
    divergence,
    of_estimates,
    of_imputation,
    of_objective,
    of_training,
)

RISING = [-200.0, -150.0, -130.0, -120.0, -115.0, -112.0, -111.0, -110.5, -110.2, -110.1, -110.0]
LEVEL = [-200.0, -120.0, *[-110.0 + 0.1 * (-1) ** i for i in range(14)]]


def trained(bounds: list[float] | None = None, **values: Any) -> Training:
    """A run of digits that went well, but for what is given."""
    bounds = LEVEL if bounds is None else bounds
    found = {"train": -105.0, "test": bounds[-1], "kl": 20.0, "constants": -206.0}
    settings = {"num_elements": 784, "num_latents": 10, "active": 8}
    steps = [500.0 * (i + 1) for i in range(len(bounds))]
    return Training(steps, bounds, **{**found, **settings, **values})


def test_nothing_is_said_of_a_run_that_went_well() -> None:
    for constants in (-206.0, None):
        found = trained(constants=constants)
        assert (divergence(found), of_training(found)) == ("", [])
    grey = [300.0, 900.0, *[1200.0 + 3.0 * (-1) ** i for i in range(14)]]
    found = trained(grey, constants=350.0, train=1300.0, kl=60.0)
    assert (divergence(found), of_training(found)) == ("", [])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (trained([-1e9, -9e8]), ("-900,000,000.0", "-206.0")),
        (
            trained([-500.0, -64219.0], constants=300.0, kl=59896.0),
            ("-64,219.0", "KL term of 59,8"),
        ),
        (trained([-500.0, -64219.0], constants=None), ("it was -500.0 at step 500",)),
        (trained([-150.0, -110.0, -400.0]), ("it was -110.0 at step 1,000", "-206.0")),
        (trained([-110.0, math.nan]), ("nan",)),
        (trained([-110.0], test=-math.inf), ("-inf",)),
    ],
)
def test_a_run_that_ran_away_is_named(found: Training, said: tuple[str, ...]) -> None:
    line = divergence(found)
    assert line.startswith("Training diverged: ")
    for part in (*said, "--learning_rate", "good for nothing"):
        assert part in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "found",
    [
        trained([-540.0, -530.0]),  # a few steps from the start
        trained([-3000.0, -2000.0], constants=300.0),  # of densities, likewise
        trained([-110.0, -111.0, -109.0]),
        trained([-207.0, -206.5, -206.4], train=-206.0),  # no better than constants
        trained([5.0, 4.0], constants=None),
    ],
)
def test_slow_or_useless_is_not_diverged(found: Training) -> None:
    assert divergence(found) == ""


def notes_of(found: Training) -> str:
    return "\n".join(of_training(found))


def test_a_bound_below_that_of_constants_is_named() -> None:
    line = notes_of(trained([-540.0, -530.0], train=-531.0))
    assert "-530.0 nats, is below that of a model without latents, -206.0" in line
    assert "below that" not in notes_of(trained([-540.0, -207.0], train=-206.0))  # by chance
    assert "below that" in notes_of(trained([-540.0, -209.0], train=-206.0))


def test_what_was_learned_by_heart_is_named() -> None:
    line = notes_of(trained(train=-70.0))  # 40 nats of the 136 gained
    assert "40.1 nats below the training bound, 29% of" in line
    assert "by heart" not in notes_of(trained(train=-85.0))


def test_a_bound_that_still_rises_or_has_fallen_is_named() -> None:
    steep = [-200.0 + 5.0 * i for i in range(16)]
    line = notes_of(trained(steep))
    assert "still rising, by 20.0 nats" in line
    assert "rising" not in notes_of(trained(steep, stopped=True))
    assert "rising" not in notes_of(trained(steep[:8]))  # too few rows to tell
    assert "rising" not in notes_of(trained(RISING + [-110.0 + 0.01 * i for i in range(20)]))
    fallen = [-200.0, -150.0, -110.0, -110.0, -110.0, -112.0, *(-120.0 - i for i in range(10))]
    line = notes_of(trained(fallen, train=-100.0))
    assert "The validation bound has fallen by " in line
    assert "since step 1,500: " in line
    assert "--checkpoint=best" in line


def test_noise_alone_is_neither() -> None:
    """Of 300 runs that stand still, their first rows included, hardly one is told otherwise."""
    rng = np.random.default_rng(0)
    runs = [trained(list(rng.normal(-110.0, 1.0, 24)), train=-109.0) for _ in range(300)]
    assert sum(bool(of_training(found)) for found in runs) <= 3


def test_collapse_a_large_kl_and_restores_are_named() -> None:
    assert "Posterior collapse" in notes_of(trained(active=0))
    assert "Posterior collapse" not in notes_of(trained(active=1))
    assert "501.0 nats, 50 for each of 10 latents" in notes_of(trained(kl=501.0))
    assert notes_of(trained(kl=499.0)) == ""
    assert "not finite 2 times" in notes_of(trained(restores=2))


def test_one_draw_of_an_objective_of_several_is_named() -> None:
    for objective in ("iwae", "dreg", "renyi"):
        assert "--num_samples=2" in of_objective(objective, 1)[0]
        assert of_objective(objective, 2) == []
    assert of_objective("sgvb_b", 1) == []


# Estimates of log p(x).


def said_of(estimator: str, count: int = 5000, **found: list[float]) -> str:
    arrays = {name: np.array(values) for name, values in found.items()}
    return "\n".join(of_estimates(estimator, count, arrays, 1.1))


def test_few_effective_samples_are_named_with_what_to_do() -> None:
    sizes = [2.0] * 37 + [400.0] * 63
    line = said_of("importance", effective_sample_size=sizes)
    for part in ("37.0% of the datapoints", "fewer than 10", "of 5,000", "too low", "--posterior"):
        assert part in line
    assert said_of("importance", effective_sample_size=[2.0] + [400.0] * 99) == ""
    assert "evidence bound" in said_of("importance", 1, effective_sample_size=[1.0] * 9)
    line = said_of("ais", 20, effective_sample_size=[1.5] * 9)
    assert "effective chains of 20" in line
    assert "compare with" not in line
    assert said_of("ais", 20, effective_sample_size=[4.0] * 9) == ""


def test_chains_that_have_not_met_or_moved_are_named() -> None:
    fine = {"acceptance": [0.8] * 10, "r_hat": [1.01] * 10}
    assert said_of("hmc", **fine) == ""
    assert "40.0% of the datapoints" in said_of("hmc", **{**fine, "r_hat": [1.5] * 4 + [1.0] * 6})
    line = said_of("ais", acceptance=[0.006] * 10)
    assert "ais accepted 0.6% of its moves" in line
    assert "nothing to be compared with" in said_of("hmc", 1, **fine)


def test_the_bound_needs_no_judgement() -> None:
    assert of_estimates("elbo", 1, {"log_prob": np.zeros(3)}, 1.1) == ()


# Imputation.


def test_chains_of_imputation_that_hardly_accept_are_named() -> None:
    unknown = np.full(9, np.nan)
    (line,) = of_imputation(np.full(9, 0.0035), unknown)
    for part in ("accepted in 0.35% of the steps", "--burn_in", "--method=importance"):
        assert part in line
    assert of_imputation(np.full(9, 0.3), unknown) == []
    assert of_imputation(unknown, unknown) == []  # pseudo-Gibbs tells nothing


def test_imputations_that_rest_on_one_draw_are_named() -> None:
    unknown = np.full(4, np.nan)
    (line,) = of_imputation(unknown, np.array([1.1, 300.0, 300.0, 300.0]))
    for part in ("25.0% of the datapoints", "fewer than 10", "--method=metropolis"):
        assert part in line
    assert of_imputation(unknown, np.full(4, 300.0)) == []


def test_one_unusual_row_in_validation_is_no_divergence() -> None:
    """As in white wine: one of 489 has a density 15 deviations from the mean."""
    settings = {"train": -3.7, "kl": 4.3, "constants": -6.5, "num_elements": 12, "num_latents": 4}
    bounds = [-5.9, -6.2, -6.6, -7.0, -7.3, -7.6]
    assert divergence(trained(bounds, test=-3.7, **settings)) == ""
    assert divergence(trained(bounds, test=-7.6, **settings))
