"""Positive columns are log-normal, ordinal ones categorical, dates real: densities, moments."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfp_aevb.data.columns import Column
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.constants import constant_bound
from tfp_aevb.layers import MixedLikelihood, TableInputs
from tfp_aevb.layers.tables import Layout, MixedColumns

COLUMNS = (
    Column("r", "real", shift=1.0, scale=2.0),
    Column("p", "positive", shift=0.5, scale=0.8),
    Column("d", "date", shift=19000.0, scale=300.0, whole=True),
    Column("o", "ordinal", ("low", "mid", "high")),
    Column("q", "positive", shift=-3.0, scale=0.1),
)
PARAMS = np.float32([[0.3, -0.4, 0.5, 0.1, 0.7, -0.2, 1.5]])  # r, p, d, o (3), q
LOG_VARIANCE = np.float32([0.2, -0.7, 0.1, -1.0])  # r, p, d, q
X = np.float32([[2.0, 3.5, 19100.0, 1.0, 0.06]])


def columns() -> MixedColumns:
    none = tf.zeros([0])
    return MixedColumns(tf.constant(PARAMS), tf.constant(LOG_VARIANCE), none, Layout(COLUMNS))


def log_normal(place: int, variance: int, column: Column) -> stats.rv_continuous:
    mean = column.shift + column.scale * float(PARAMS[0, place])
    stddev = column.scale * np.exp(0.5 * float(LOG_VARIANCE[variance]))
    return stats.lognorm(stddev, scale=np.exp(mean))


def test_densities_are_the_log_normal_ones() -> None:
    found = columns().log_prob(X).numpy()[0]
    p, q = log_normal(1, 1, COLUMNS[1]), log_normal(6, 3, COLUMNS[4])
    assert found[1] == pytest.approx(p.logpdf(3.5), rel=1e-4)
    assert found[4] == pytest.approx(q.logpdf(0.06), rel=1e-4)
    date = stats.norm(19000.0 + 150.0, 300.0 * np.exp(0.05))
    assert found[2] == pytest.approx(date.logpdf(19100.0), rel=1e-4)
    logits = PARAMS[0, 3:6].astype(float)
    assert found[3] == pytest.approx(logits[1] - np.log(np.exp(logits).sum()), rel=1e-5)


def test_moments_and_draws_are_those_of_x_itself() -> None:
    p = log_normal(1, 1, COLUMNS[1])
    model = columns()
    mean, variance = model.moments(tf.fill([1, 5], np.nan))
    assert mean[0, 1].numpy() == pytest.approx(p.mean(), rel=1e-4)
    assert variance[0, 1].numpy() == pytest.approx(p.var(), rel=1e-4)
    assert model.mean()[0, 1].numpy() == pytest.approx(p.mean(), rel=1e-4)
    draws = np.log(model.sample(20_000, seed=3).numpy()[:, 0, 1])
    logs = stats.norm(np.log(p.median()), p.args[0])
    assert draws.mean() == pytest.approx(logs.mean(), abs=4 * logs.std() / np.sqrt(20_000))
    assert draws.std() == pytest.approx(logs.std(), rel=4 / np.sqrt(2 * 20_000))


def test_missing_and_impossible_cells() -> None:
    x = np.float32([[np.nan, np.nan, np.nan, np.nan, -1.0]])
    values = tf.Variable(x)
    with tf.GradientTape() as tape:
        found = columns().log_prob(values)
        known = tf.reduce_sum(found[:, :4])
    np.testing.assert_array_equal(found[0, :4], 0.0)
    assert found[0, 4] == -np.inf
    np.testing.assert_array_equal(tape.gradient(known, values)[0, :4], 0.0)
    decoder = MixedLikelihood(COLUMNS, ())
    for bad in ([1, 0, 1, 1, 1], [1, -2, 1, 1, 1], [1, 1, 1, 3, 1], [1, 1, 1, 0.5, 1]):
        with pytest.raises(ValueError, match=r"column '[po]', row 0"):
            decoder.check_values(np.float32([bad]))
    decoder.check_values(np.concatenate([X, np.full([1, 5], np.nan, np.float32)]))


def test_the_encoder_sees_standardised_logarithms() -> None:
    seen = TableInputs(COLUMNS)(X).numpy()[0]
    assert seen[1] == pytest.approx((np.log(3.5) - 0.5) / 0.8, rel=1e-5)
    np.testing.assert_array_equal(seen[3:6], [0, 1, 0])
    assert np.isfinite(TableInputs(COLUMNS)(np.full([1, 5], np.nan, np.float32))).all()


def test_the_bound_of_constants_is_that_of_a_log_normal() -> None:
    logs = np.random.default_rng(0).normal(2.0, 1.5, size=500)
    column = Column("p", "positive", shift=logs.mean(), scale=logs.std())
    x = Observations(np.exp(logs).astype(np.float32)[:, None], allow_missing=True)
    expected = stats.lognorm(logs.std(), scale=np.exp(logs.mean())).logpdf(np.exp(logs)).mean()
    assert constant_bound(MixedLikelihood([column], ()), x, x) == pytest.approx(expected, rel=1e-4)


def test_a_record_without_the_new_field_is_the_same_column() -> None:
    column = Column("r", "real", (), 1.0, 2.0)
    record = {"name": "r", "kind": "real", "categories": [], "shift": 1.0, "scale": 2.0}
    assert column.to_dict() == record
    assert Column(**record) == column
    assert Column(**COLUMNS[2].to_dict()) == COLUMNS[2]
