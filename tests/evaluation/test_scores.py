"""Scores of a data set: values in order, their interval, what is said and written of them."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.helpers import LinearGaussian
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation import scores
from tfp_aevb.evaluation.scores import Scorer, Scores, score, write_scores
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils import progress

EXACT = LinearGaussian()


def prior_of(prior: tfd.Distribution, x: tf.Tensor) -> tfd.Distribution:
    """The prior as q(z|x)."""
    loc = tf.zeros([tf.shape(x)[0], 1]) + prior.mean()
    return tfd.MultivariateNormalDiag(loc, tf.ones_like(loc) * prior.stddev())


@pytest.fixture(scope="module")
def model() -> AEVB:
    """A model whose q(z|x) is p(z|x): each draw's bound is log p(x)."""
    return AEVB(
        EXACT.prior(tf.float32),
        EXACT.encoder(dtype=tf.float32),
        EXACT.decoder(tf.float32),
        objective="sgvb_a",
    )


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("num_data", [1, 99, 100, 101, 250])
@pytest.mark.parametrize("estimator", ["elbo", "importance"])
def test_each_datapoint_has_its_own_value_in_order(
    model: AEVB, estimator: str, num_data: int
) -> None:
    x = EXACT.data(num_data)
    found = score(model, Observations(x), estimator, num_samples=3, seed=0)
    assert (found.estimator, found.num_samples) == (estimator, 3)
    np.testing.assert_allclose(found.values, EXACT.log_prob(x), rtol=1e-4)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("num_samples", [100, 101, 200, 250])
def test_many_samples_of_the_bound_are_averaged_over_their_chunks(
    model: AEVB, num_samples: int
) -> None:
    x = EXACT.data(3)
    found = score(model, Observations(x), "elbo", num_samples, seed=0)
    np.testing.assert_allclose(found.values, EXACT.log_prob(x), rtol=1e-5)


def test_chunks_of_samples_have_draws_of_their_own() -> None:
    decoder = EXACT.decoder(tf.float32)
    prior = EXACT.prior(tf.float32)
    wide = AEVB(prior, lambda x: prior_of(prior, x), decoder, objective="sgvb_a")
    x = np.tile(EXACT.data(1), [100, 1])
    draws = [score(wide, Observations(x), "elbo", n, seed=0).values.std() for n in (100, 2500)]
    assert draws[0] / draws[1] == pytest.approx(5.0, rel=0.4)  # the root of 25


def test_levels_are_divided_by_their_scale(model: AEVB) -> None:
    levels = np.arange(10, dtype=np.uint8).reshape(2, 5)
    found = score(model, Observations(levels, scale=4.0), "elbo", num_samples=1, seed=0)
    np.testing.assert_allclose(found.values, EXACT.log_prob(levels / 4.0), rtol=1e-4)


@pytest.mark.compile
def test_appendix_d_and_annealing_take_the_samples_asked_for(model: AEVB) -> None:
    x = EXACT.data(20)
    expected = EXACT.log_prob(x).mean()
    annealed = score(model, Observations(x), "ais", num_samples=50, seed=0)
    assert abs(annealed.mean - expected) < 0.1
    chains = score(model, Observations(x), "hmc", num_samples=200, seed=0)
    assert abs(chains.mean - expected) < 0.3
    words = chains.diagnostics.split("; ")
    assert words[0] == "acceptance: mean 0.90"
    assert words[1].startswith("R-hat: median 1.0")
    assert words[1].endswith(", above 1.1 for 0.0% of the datapoints")
    assert words[2].startswith("bulk ESS: median 3")
    assert "below 10 for 0.0%" in words[2]
    assert words[3].startswith("tail ESS: median 3")
    assert "below 10 for 0.0%" in words[3]
    assert list(chains.measures) == ["acceptance", "r_hat", "ess_bulk", "ess_tail"]
    assert annealed.diagnostics == (
        "acceptance: mean 0.95; effective samples: median 50.0, below 10 for 0.0% of the datapoints"
    )
    assert [len(values) for values in annealed.measures.values()] == [20, 20]


@pytest.mark.compile
def test_the_seed_decides_the_draws_of_every_batch() -> None:
    wide = AEVB(
        EXACT.prior(tf.float32),
        EXACT.encoder(widen=2.0, dtype=tf.float32),
        EXACT.decoder(tf.float32),
        objective="sgvb_a",
    )
    x = Observations(np.repeat(EXACT.data(1), 200, axis=0))
    first, again, other = (Scorer(wide, "elbo", 1, seed)(x).values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other]))) > 390  # nor do two batches share theirs


@pytest.mark.compile
def test_few_effective_samples_are_told(model: AEVB) -> None:
    x = Observations(EXACT.data(4))
    # Weights of an exact q are equal: all draws are effective.
    few = score(model, x, "importance", num_samples=5, seed=0).diagnostics
    assert few == "effective samples: median 5.0, below 10 for 100.0% of the datapoints"
    many = score(model, x, "importance", num_samples=40, seed=0).diagnostics
    assert many == "effective samples: median 40.0, below 10 for 0.0% of the datapoints"


def test_the_interval_is_that_of_the_mean() -> None:
    found = Scores("elbo", 2, np.array([-1.0, -2.0, -4.0, -5.0]))
    assert found.mean == -3.0
    # Sample variance 10/3, standard error sqrt(10/12).
    assert found.half_width == pytest.approx(1.959964 * math.sqrt(10 / 12), rel=1e-6)


@pytest.mark.parametrize("values", [[-1.0], [-1.0, -math.inf], [math.nan, -1.0]])
def test_there_is_no_interval_without_two_finite_values(values: list[float]) -> None:
    found = Scores("elbo", 1, np.array(values))
    assert math.isnan(found.half_width)
    assert " - " in found.table_row()


def test_a_row_of_the_table_shows_mean_interval_and_counts() -> None:
    row = Scores("importance", 5000, np.array([-1.0, -3.0])).table_row(header=True)
    head, line = row.splitlines()
    assert head.split() == ["estimator", "samples", "nats", "95%", "datapoints"]
    assert line.split() == ["importance", "5,000", "-2.000", "+-", "1.960", "2"]
    assert len(head) == len(line)


def test_progress_tells_datapoints_and_time_left(
    model: AEVB, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(0, 10_000, 100))  # each batch of 100 takes 100 seconds
    monkeypatch.setattr(scores, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    Scorer(model, "elbo", 1, seed=0, progress=True)(Observations(EXACT.data(250)))
    assert capsys.readouterr().err.splitlines() == [
        "elbo: 100/250 datapoints  2:30 left",
        "elbo: 200/250 datapoints  0:50 left",
        "elbo: 250/250 datapoints  0:00 left",
    ]


def test_the_file_has_a_row_for_each_datapoint_and_a_column_for_each_estimator(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scores.csv"
    first = Scores("elbo", 1, np.array([-1.5, -2.25]))
    second = Scores("importance", 5, np.array([-1.0, -1 / 3]))
    write_scores([first, second], path)
    assert path.read_text() == "row,elbo,importance\n0,-1.5,-1\n1,-2.25,-0.333333333\n"
