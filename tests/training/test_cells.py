"""Evaluation does not depend on how it is computed: batches, their sizes, and devices."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import binary_data, compiled, small_model
from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.diagnostics import latent_statistics
from tfp_aevb.evaluation.scores import Scorer
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.wake_sleep import WakeSleep
from tfp_aevb.training.batches import MAX_BLOCK_BYTES, Block
from tfp_aevb.training.cells import CELL, ArrayCells, cell_rows, most_cells
from tfp_aevb.training.streams import IteratorBatches

tfd = tfp.distributions
X = binary_data(230)
GREY = Observations(
    np.random.default_rng(1).integers(0, 256, [230, 6]).astype(np.uint8),
    scale=255.0,
    dynamic_binarization=True,
)


def _foreign_q(x: tf.Tensor) -> tfd.Distribution:
    """A q(z|x) whose draws know nothing of rows."""
    return tfd.Independent(tfd.StudentT(5.0, 0.3 * x[:, :2], 1.0), 1)


def _parts() -> tuple:
    return (
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (5,)),
        layers.BernoulliLikelihood(6, (5,)),
    )


MODELS: dict[str, Callable[[], AEVB]] = {
    "gaussian": lambda: small_model(num_samples=2),
    "foreign": lambda: small_model(encoder=_foreign_q, objective="iwae", num_samples=3),
    "map": lambda: small_model(parameter_prior="normal", num_data=50),
    "full vb": lambda: FullVB(*_parts(), num_data=50),
    "wake-sleep": lambda: WakeSleep(*_parts()),
}


def _evaluate(model: AEVB, x, **kwargs) -> dict[str, float]:
    return model.evaluate(x, verbose=0, return_dict=True, **kwargs)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("make", MODELS)
def test_evaluation_does_not_depend_on_the_batches(make: str) -> None:
    model = compiled(MODELS[make]())
    whole = _evaluate(model, X, batch_size=1000)
    unknown = tf.data.Dataset.from_tensor_slices(X).batch(90).filter(lambda _: True)
    others = [
        _evaluate(model, X, batch_size=7),
        _evaluate(model, X, batch_size=100),
        _evaluate(model, tf.data.Dataset.from_tensor_slices(X).batch(9)),
        _evaluate(model, unknown),
        _evaluate(model, (X[i : i + 60] for i in range(0, 230, 60))),
    ]
    for other in others:
        assert other == pytest.approx(whole, rel=1e-12)


@pytest.mark.compile
@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_dynamic_binarisation_does_not_depend_on_the_batches(steps_per_execution: int) -> None:
    model = compiled(small_model(), steps_per_execution=steps_per_execution)
    whole = _evaluate(model, GREY, batch_size=1000)
    assert _evaluate(model, GREY, batch_size=23) == pytest.approx(whole, rel=1e-12)
    history = model.fit(
        GREY, batch_size=100, verbose=0, validation_data=GREY, validation_batch_size=33
    ).history
    after = _evaluate(model, GREY)
    assert {name: history[f"val_{name}"][0] for name in after} == pytest.approx(after, rel=1e-12)


@pytest.mark.compile
@pytest.mark.parametrize("make", ["foreign", "wake-sleep"])
def test_evaluation_does_not_depend_on_the_devices(
    make: str, two_devices: tf.distribute.Strategy
) -> None:
    one = compiled(MODELS[make]())
    with two_devices.scope():
        two = compiled(MODELS[make]())
    two.set_weights(one.get_weights())
    for x in (X, GREY):
        expected = _evaluate(one, x)
        assert _evaluate(two, x, batch_size=30) == pytest.approx(expected, rel=1e-12)


def test_the_first_steps_are_the_first_rows() -> None:
    model = compiled(small_model())
    found = _evaluate(model, X, batch_size=40, steps=3)
    assert found == pytest.approx(_evaluate(model, X[:120]), rel=1e-12)


def test_the_noise_of_a_row_is_its_own() -> None:
    """Equal rows differ by their noise alone, also from cell to cell."""
    model = compiled(small_model())
    same = np.repeat(X[:1], 3 * CELL, axis=0)
    values = [_evaluate(model, same[:n])["elbo"] * n for n in (1, 2, 100, 101, 201)]
    rows = values[0], values[1] - values[0], values[3] - values[2]
    assert len({round(value, 4) for value in rows}) == 3


@pytest.mark.compile
@pytest.mark.parametrize("estimator", ["elbo", "importance"])
def test_scores_of_rows_do_not_depend_on_those_behind_them(estimator: str) -> None:
    scorer = Scorer(small_model(), estimator, 5, seed=3)
    few, many = scorer(GREY[:30]).values, scorer(GREY[:130]).values
    np.testing.assert_array_equal(few, many[:30])


def test_latent_statistics_have_the_draws_of_the_scores() -> None:
    model = small_model()
    statistics = latent_statistics(model, GREY[:30], num_samples=2, seed=3)
    scores = Scorer(model, "elbo", 2, seed=3)(GREY[:30]).values
    np.testing.assert_allclose(statistics.elbo, scores, rtol=1e-5)


def _rows_of(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which cells a block has, and the datapoints that count with their places."""
    used = int(block.num_steps)
    is_real = block.weights[:used].reshape(-1) > 0
    values = block.values[:used].reshape(-1, *block.values.shape[2:])
    places = block.cells[:used].reshape(-1).repeat(CELL) * CELL + np.tile(
        np.arange(CELL), used * block.cells.shape[1]
    )
    return block.cells[:used], values[is_real], places[is_real]


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 99, 100, 101, 230, 500])
def test_every_row_lies_once_at_its_place(batch_size: int, num_devices: int) -> None:
    x = np.arange(460, dtype=np.float32).reshape(230, 2)
    array = ArrayCells(Observations(x), batch_size, None, num_devices)
    stream = IteratorBatches(None, lambda _: None, num_devices, cell=CELL)
    iterator = iter([x[i : i + batch_size] for i in range(0, 230, batch_size)])
    for source in (array, stream):
        found, places, step = [], [], 0
        while step < -(-230 // batch_size):
            block = source.next_block(iterator, step, 3)
            _, values, at = _rows_of(block)
            found.append(values)
            places.append(at)
            step += block.num_batches
        np.testing.assert_array_equal(np.concatenate(found), x)
        np.testing.assert_array_equal(np.concatenate(places), np.arange(230))


def test_blocks_have_one_shape_and_no_more_cells_than_there_are() -> None:
    few = ArrayCells(Observations(X[:25]), 4, None, 1)
    assert {few.next_block(None, step, n).values.shape[:2] for step, n in ((0, 1), (1, 6))} == {
        (1, CELL)
    }
    many = ArrayCells(Observations(np.tile(X, [300, 1])), 70, None, 1)
    shapes = {many.next_block(None, step, n).values.shape for step, n in ((0, 1), (1, 9), (10, 64))}
    assert shapes == {(most_cells(64 * 70, CELL), CELL, 6)}


def test_blocks_are_bounded_in_bytes() -> None:
    x = Observations(np.zeros([900, 1 << 18], np.uint8))
    rows = cell_rows(x.event_shape, 1)
    block = ArrayCells(x, 32, None, 1, rows).next_block(None, 0, 9)
    assert block.values.nbytes <= MAX_BLOCK_BYTES
    assert block.num_batches == 4


@pytest.mark.parametrize(
    ("event_shape", "num_samples", "expected"),
    [((784,), 1, 100), ((784,), 50, 100), ((784,), 1000, 5), ((256, 256, 3), 1, 21), ((), 1, 100),
     ((10**7,), 1, 1)],
)  # fmt: skip
def test_large_datapoints_come_in_small_cells(event_shape, num_samples, expected) -> None:
    assert cell_rows(event_shape, num_samples) == expected


def test_small_cells_do_not_depend_on_the_batches_either() -> None:
    model = compiled(small_model(num_samples=100_000))
    assert model.cell_rows == 6
    results = [_evaluate(model, X[:20], batch_size=size) for size in (1, 9, 20)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-12)
