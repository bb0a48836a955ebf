import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_one_line
from tfp_aevb.data.batch_parts import check_target
from tfp_aevb.data.observations import Observations
from tfp_aevb.training.batches import MAX_BLOCK, MAX_BLOCK_BYTES, RowBatches
from tfp_aevb.training.streams import IteratorBatches

NUM_DATA, BATCH = 23, 5
X = np.arange(NUM_DATA * 2, dtype=np.float32).reshape(NUM_DATA, 2)


def _rows(
    shuffle_seed: int | None = 3,
    num_data: int | None = None,
    x: np.ndarray = X,
    batch_size: int = BATCH,
    num_devices: int = 1,
) -> RowBatches:
    return RowBatches(
        Observations(x),
        batch_size,
        num_data,
        shuffle_seed,
        num_devices=num_devices,
    )


def _pixels(block) -> list[np.ndarray]:
    """The real datapoints of each minibatch of a block."""
    batches = []
    for i in range(int(block.num_steps)):
        values = block.values[i][: block.sizes[i]]
        batches.append(values if block.data is None else block.data.numpy()[values])
    return batches


def _steps(batches: RowBatches, first: int, count: int) -> list[np.ndarray]:
    return _pixels(batches.next_block(None, first, count))


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_each_epoch_goes_through_every_row_once(shuffle_seed) -> None:
    batches = _rows(shuffle_seed)
    assert batches.steps_per_epoch == 5
    for epoch in range(3):
        parts = _steps(batches, 5 * epoch, 5)
        assert [len(part) for part in parts] == [5, 5, 5, 5, 3]
        rows = np.concatenate(parts)
        np.testing.assert_array_equal(np.sort(rows, axis=0), X)
        assert (rows == X).all() == (shuffle_seed is None)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [np.concatenate(_steps(_rows(seed), 5 * e, 5)) for seed in (3, 4) for e in (0, 1)]
    for i in range(4):
        for j in range(i):
            assert (orders[i] != orders[j]).any()


def test_a_step_has_the_same_rows_in_any_block() -> None:
    whole = _steps(_rows(), 0, 17)
    batches, parts = _rows(), []
    for first, count in ((0, 1), (1, 7), (8, 2), (10, 7)):
        parts += _steps(batches, first, count)
    alone = [_steps(_rows(), step, 1)[0] for step in range(17)]
    for a, b, c in zip(whole, parts, alone, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_all_rows_are_equally_likely_in_the_first_batch() -> None:
    firsts = np.concatenate([_steps(_rows(seed), 0, 1)[0][:, 0] / 2 for seed in range(2000)])
    counts = np.bincount(firsts.astype(int), minlength=NUM_DATA)
    expected = 2000 * BATCH / NUM_DATA
    assert (np.abs(counts - expected) < 5.0 * np.sqrt(expected)).all()


def test_blocks_have_one_shape_and_tell_their_length() -> None:
    batches = _rows()
    for count in (1, 7):
        block = batches.next_block(None, 2, count)
        assert block.values.shape == (MAX_BLOCK, BATCH)
        assert (int(block.num_steps), int(block.first_step)) == (count, 2)
        np.testing.assert_array_equal(block.sizes[count:], 0)
    assert int(batches.next_block(None, 0, 10 * MAX_BLOCK).num_steps) == MAX_BLOCK


@pytest.mark.parametrize(("num_data", "expected"), [(None, NUM_DATA), (1000, 1000)])
def test_blocks_hold_the_number_of_datapoints_of_equation_8(num_data, expected: int) -> None:
    assert _rows(num_data=num_data).next_block(None, 0, 1).num_data[0] == expected


def test_a_batch_is_never_longer_than_the_data() -> None:
    batches = _rows(None, batch_size=100)
    assert batches.steps_per_epoch == 1
    np.testing.assert_array_equal(_steps(batches, 4, 1)[0], X)


def test_blocks_of_few_steps_are_padded_to_few() -> None:
    block = _rows(None).next_block(None, 0, 1, 1)
    assert block.values.shape[:2] == (1, BATCH)
    assert block.sizes.shape == (1,)
    batches, iterator, _ = _stream([5, 5])
    assert batches.next_block(iterator, 0, 1, 1).values.shape[0] == 1


def test_a_short_batch_that_leads_a_block_changes_neither_shape_nor_bound() -> None:
    parts = [np.zeros([rows, 1 << 20], np.uint8) for rows in (8, 8, 8, 1, 8, 8, 8, 8, 8)]
    batches, iterator = IteratorBatches(None, lambda _: None, 1), iter(parts)
    blocks = [batches.next_block(iterator, 0, count) for count in (3, 64)]
    assert [int(block.num_steps) for block in blocks] == [3, MAX_BLOCK_BYTES // (8 << 20)]
    for block in blocks:
        assert block.values.nbytes <= MAX_BLOCK_BYTES
        assert block.values.shape == blocks[0].values.shape


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_bad_batch_size_is_refused(batch_size: int) -> None:
    assert_one_line(
        lambda: _rows(batch_size=batch_size), ValueError, "`batch_size`", str(batch_size)
    )


def test_places_are_padded_to_a_multiple_of_the_devices() -> None:
    one, two = (_rows(num_devices=n) for n in (1, 2))
    block = two.next_block(None, 0, 5)
    assert block.values.shape[1] == 6
    for a, b in zip(_pixels(block), _steps(one, 0, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    stream = IteratorBatches(None, lambda _: None, 2).next_block(iter([X[:5], X[5:8]]), 0, 2)
    assert stream.values.shape[1] == 6
    for a, b in zip(_pixels(stream), (X[:5], X[5:8]), strict=True):
        np.testing.assert_array_equal(a, b)


def _stream(sizes: list[int], **kwargs) -> tuple:
    starts = np.cumsum([0, *sizes])
    parts = [X[a : a + n] for a, n in zip(starts, sizes, strict=False)]
    batches = IteratorBatches(None, **{"check": lambda _: None, "num_devices": 1, **kwargs})
    return batches, iter(parts), parts


def test_a_stream_is_worked_through_in_order_to_its_end() -> None:
    batches, iterator, parts = _stream([5, 5, 5, 5, 3])
    first = batches.next_block(iterator, 0, 3)
    second = batches.next_block(iterator, 3, 3)
    assert (int(first.num_steps), int(second.num_steps)) == (3, 2)
    assert first.values.shape == second.values.shape
    assert int(second.first_step) == 3
    for a, b in zip(_pixels(first) + _pixels(second), parts, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError)):
        batches.next_block(iterator, 5, 1)


@pytest.mark.parametrize("sizes", [[3, 5, 2], [5, 3], [1, 2, 3]])
def test_streams_may_have_batches_of_any_sizes(sizes: list[int]) -> None:
    batches, iterator, parts = _stream(sizes)
    for a, b in zip(_pixels(batches.next_block(iterator, 0, 9)), parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_streams_may_have_the_data_as_their_own_target() -> None:
    batches = IteratorBatches(None, lambda _: None, 1)
    gaps = np.where(X == 7.0, np.nan, X)
    elements = [(X[:5],), (X[5:10], None), (X[10:15], X[10:15].copy()), X[15:]]
    block = batches.next_block(iter(elements), 0, 4)
    for a, b in zip(_pixels(block), (X[:5], X[5:10], X[10:15], X[15:]), strict=True):
        np.testing.assert_array_equal(a, b)
    check_target(gaps, gaps.copy())


@pytest.mark.parametrize(
    ("element", "parts"),
    [
        ((X, np.zeros(len(X))), ("ds.map(lambda x, y: x)", "GaussianNoise")),
        ((X, X + 1.0), ("ds.map(lambda x, y: x)",)),
        ((X, X[:5]), ("ds.map(lambda x, y: x)",)),
        ((X, [["a"], ["b", "c"]]), ("target",)),
        ((X, X, np.ones(len(X)), 1), ("(x, x, weights)", "4")),
        ((), ("(x, x, weights)", "0")),
        ({"image": X}, ("one array", "dict")),
        (((X, X), X), ("one array", "tuple")),
    ],
)
def test_what_else_batches_bring_along_is_refused(element, parts: tuple[str, ...]) -> None:
    batches = IteratorBatches(None, lambda _: None, 1)
    assert_one_line(lambda: batches.next_block(iter([element]), 0, 1), ValueError, *parts)


def test_every_block_of_a_stream_is_checked() -> None:
    seen: list[int] = []
    batches, iterator, _ = _stream([5, 5, 3], check=lambda x: seen.append(len(x)))
    batches.next_block(iterator, 0, 2)
    batches.next_block(iterator, 2, 2)
    assert seen == [10, 3]


def test_nan_in_a_stream_is_refused() -> None:
    batches = IteratorBatches(None, lambda _: None, 1)
    bad = np.where(X[:5] == 3.0, np.nan, X[:5])
    assert_one_line(lambda: batches.next_block(iter([bad]), 0, 1), ValueError, "NaN")
