"""MMD against a double sum, its mean under the null, and the level and power of its test."""

from functools import partial

import numpy as np
import pytest

from tests.helpers import assert_mean, assert_one_line
from tfp_aevb.evaluation.mmd import mmd_test


def samples(seed: int, n: int = 30, m: int = 30, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=[n, 2]), rng.normal(size=[m, 2]) + shift]


def brute_force(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """MMD^2 and bandwidth, term by term."""
    pooled = [*x, *y]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(pooled) for b in pooled[:i]]
    h = float(np.median(distances))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2.0 * h * h)))

    within_x = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    return float(within_x + within_y - 2.0 * between), h


@pytest.mark.parametrize(("n", "m"), [(12, 12), (9, 17), (2, 2)])
def test_the_value_is_that_of_the_sums(n: int, m: int) -> None:
    x, y = samples(0, n, m, shift=0.7)
    found = mmd_test(x, y, permutations=3, rng=np.random.default_rng(1))
    expected, bandwidth = brute_force(x, y)
    np.testing.assert_allclose([found.mmd2, found.bandwidth], [expected, bandwidth], rtol=1e-9)
    assert found.draws == (n, m)


def test_far_from_the_origin_the_value_is_the_same() -> None:
    x, y = samples(0, shift=0.7)
    near, far = (mmd_test(x + s, y + s, rng=np.random.default_rng(1)) for s in (0.0, 1e4))
    np.testing.assert_allclose(far.mmd2, near.mmd2, rtol=1e-6)


def test_for_equal_distributions_it_is_0_on_average_and_p_values_are_uniform() -> None:
    found = [
        mmd_test(*samples(seed), permutations=99, rng=np.random.default_rng([seed, 1]))
        for seed in range(400)
    ]
    assert_mean(np.array([f.mmd2 for f in found]), 0.0, standard_errors=4.0)
    p = np.array([f.p_value for f in found])
    assert_mean(p, 0.505, standard_errors=4.0)  # uniform on 0.01, 0.02, ..., 1
    for level in (0.05, 0.2, 0.5, 0.8):
        error = np.sqrt(level * (1.0 - level) / len(p))
        assert abs((p <= level + 1e-9).mean() - level) < 4.0 * error


def test_a_shift_is_detected() -> None:
    x, y = samples(0, 200, 200, shift=0.4)
    found = mmd_test(x, y, permutations=199, rng=np.random.default_rng(1))
    assert found.mmd2 > 0.0
    assert found.p_value == 1 / 200  # larger than under every division


def test_points_that_are_all_the_same_show_no_difference() -> None:
    found = mmd_test(np.ones([4, 2]), np.ones([4, 2]), rng=np.random.default_rng(0))
    assert (found.mmd2, found.p_value) == (0.0, 1.0)


def test_wrong_samples_are_one_line_errors() -> None:
    rng = np.random.default_rng(0)
    x, y = samples(0)
    for bad, naming in ((x[:1], "[1, 2]"), (x[:, :1], "[30, 1]"), (x * np.nan, "finite")):
        assert_one_line(partial(mmd_test, bad, y, rng=rng), ValueError, naming)
    assert_one_line(lambda: mmd_test(x, y, permutations=0, rng=rng), ValueError, "`permutations`")
