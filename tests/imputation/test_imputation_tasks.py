"""Damage: which pixels are lost, how strong the noise is, what is shown of it."""

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.imputation import TASKS, damage, spread, task_channel

SHAPE = (4, 6)
X = (np.random.default_rng(0).random((500, 24)) < 0.4).astype(np.float32)


def test_the_lower_rows_are_missing() -> None:
    for rate, rows in ((None, 2), (0.25, 1), (1.0, 4)):
        found = damage(X, "missing_lower_half", SHAPE, binary=True, rate=rate)
        lost = np.zeros(SHAPE, bool)
        lost[4 - rows :] = True
        np.testing.assert_array_equal(found.held_out, np.repeat([lost.ravel()], 500, axis=0))
        np.testing.assert_array_equal(found.y, np.where(found.held_out, np.nan, X))
        assert found.channel is None


def test_colours_of_a_row_are_missing_together() -> None:
    x = X.reshape(500, 4, 2, 3)
    found = damage(x, "missing_lower_half", (4, 2, 3), binary=True)
    np.testing.assert_array_equal(found.held_out[:, 2:], np.ones([500, 2, 2, 3], bool))
    assert not found.held_out[:, :2].any()


@pytest.mark.parametrize("rate", [0.2, 0.9])
def test_pixels_are_lost_or_flipped_at_the_rate(rate: float) -> None:
    missing = damage(X, "missing_random", (), binary=True, rate=rate, seed=3)
    flipped = damage(X, "noise", (), binary=True, rate=rate, seed=3)
    for changed in (np.isnan(missing.y), flipped.y != X):
        assert abs(changed.mean() - rate) < 5.0 * np.sqrt(rate * (1.0 - rate) / X.size)
    np.testing.assert_array_equal(missing.held_out, np.isnan(missing.y))
    assert flipped.held_out.all()
    again, other = (damage(X, "noise", (), binary=True, rate=rate, seed=seed).y for seed in (3, 4))
    np.testing.assert_array_equal(flipped.y, again)
    assert (other != again).any()


def test_gaussian_noise_has_its_standard_deviation() -> None:
    noise = damage(X, "noise", SHAPE, binary=False, rate=1.7).y - X
    assert abs(noise.mean()) < 5.0 * 1.7 / np.sqrt(X.size)
    assert abs(noise.std() - 1.7) < 5.0 * 1.7 / np.sqrt(2.0 * X.size)


def test_super_resolution_leaves_the_means_of_blocks() -> None:
    found = damage(X, "super_resolution", SHAPE, binary=True)
    images = X.reshape(500, 4, 6)
    blocks = images.reshape(500, 2, 2, 3, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(found.y.reshape(500, 2, 3), blocks)
    shown = spread(found.y, found.channel, (24,)).reshape(500, 4, 6)
    np.testing.assert_allclose(shown, np.repeat(np.repeat(blocks, 2, axis=1), 2, axis=2))


def test_what_is_not_in_blocks_is_shown_as_it_is() -> None:
    for task in ("missing_random", "noise"):
        found = damage(X, task, SHAPE, binary=True)
        np.testing.assert_array_equal(spread(found.y, found.channel, (24,)), found.y)


@pytest.mark.parametrize(
    ("task", "rate", "shape", "parts"),
    [
        ("blur", None, SHAPE, ("`task`", "'blur'", *TASKS)),
        ("noise", 1.5, SHAPE, ("`rate`", "1.5")),
        ("noise", 0.0, SHAPE, ("`rate`", "0.0")),
        ("missing_random", np.nan, SHAPE, ("`rate`", "nan")),
        ("missing_lower_half", -0.1, SHAPE, ("`rate`", "-0.1")),
        ("missing_lower_half", None, (), ("needs images",)),
        ("super_resolution", 0.5, SHAPE, ("no `rate`", "0.5")),
        ("super_resolution", None, (4, 5), ("(4, 5)", "multiples of 2")),
        ("super_resolution", None, (), ("()",)),
    ],
)
def test_wrong_tasks_are_one_line(
    task: str, rate: float | None, shape: tuple[int, ...], parts: tuple[str, ...]
) -> None:
    assert_one_line(lambda: task_channel(task, shape, binary=True, rate=rate), ValueError, *parts)
