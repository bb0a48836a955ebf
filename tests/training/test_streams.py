"""Training on `Stream`s: what is read, from where, and that it equals training on the array."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import (
    DATA_DIM,
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    fresh_model,
    small_model,
    weights_of,
)
from tfp_aevb import AEVB, Observations, Stream, layers
from tfp_aevb.data.stream import StreamEndedError
from tfp_aevb.training.read_ahead import READER
from tfp_aevb.training.streams import StreamBatches

tfd = tfp.distributions
X = binary_data(24)


def repeated(x: np.ndarray = X, chunk: int = 7, **kwargs) -> Stream:
    """The rows of `x` over and over, worker w's every W-th from w on, in chunks of 7."""

    def read(start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
        share = x[worker::num_workers]
        while True:
            yield share[np.arange(start, start + chunk) % len(share)]
            start += chunk

    return Stream(read, **{"num_data": len(x), **kwargs})


def fit(model: AEVB, x, epochs: int = 2, **kwargs) -> dict:
    kwargs = {"verbose": 0, "batch_size": 4, "shuffle": False, **kwargs}
    return model.fit(x, epochs=epochs, **kwargs).history


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_a_stream_in_row_order_trains_as_the_array(chunk: int) -> None:
    model = fresh_model()
    rows = fit(model, X), weights_of(model)
    model = fresh_model()
    stream = fit(model, repeated(chunk=chunk)), weights_of(model)
    assert model.optimizer.iterations == 12
    for name in rows[0]:
        assert stream[0][name] == pytest.approx(rows[0][name], rel=1e-6)
    for a, b in zip(rows[1], stream[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_training_goes_on_from_the_place_of_its_step() -> None:
    model = fresh_model()
    fit(model, repeated(), epochs=4)
    whole = weights_of(model)
    model = fresh_model()
    for _ in range(2):
        fit(model, repeated(), epochs=2)
    assert_same_arrays(whole, weights_of(model))
    starts: list[int] = []
    stream = repeated()

    def read(*place: int):
        starts.append(place[0])
        return stream.read(*place)

    fit(model, Stream(read, num_data=24), epochs=3)
    assert starts == [4 * 24]  # 24 steps of 4 before it; opened once for all three epochs


def test_pixels_are_scaled_and_binarised_as_an_array_is() -> None:
    grey = np.random.default_rng(1).integers(0, 256, [24, DATA_DIM]).astype(np.uint8)
    how = {"scale": 255.0, "dynamic_binarization": True}
    results = []
    for x in (repeated(grey, **how), Observations(grey, **how)):
        model = fresh_model()
        fit(model, x)
        results.append(weights_of(model))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_without_an_end_the_number_of_datapoints_used_takes_the_place_of_n() -> None:
    batches = StreamBatches(repeated(num_data=None), 4, None, lambda _: None)
    block = batches.next_block(None, 5, 3)
    np.testing.assert_array_equal(block.num_data[:3], [24.0, 28.0, 32.0])
    # Weight decay of MAP: each step shrinks the weights by rate / N, exactly so without data terms.
    model = compiled(small_model(parameter_prior="normal"))
    fixed = compiled(small_model(parameter_prior=None))
    before = weights_of(model)
    for one in (model, fixed):
        fit(one, repeated(num_data=None), epochs=1, steps_per_epoch=1)
    for old, map_, ml in zip(before, weights_of(model), weights_of(fixed), strict=True):
        np.testing.assert_allclose(ml - map_, 0.05 * old / 4.0, rtol=2e-3, atol=1e-7)
    assert model.known_num_data == 4
    fit(model, repeated(num_data=None), epochs=1, steps_per_epoch=8)
    assert model.known_num_data == 36


@pytest.mark.compile
@pytest.mark.parametrize("form", ["generator", "endless dataset"])
def test_map_trains_on_endless_data_in_batches(form: str) -> None:
    endless = {
        "generator": (X[:4] for _ in range(1000)),
        "endless dataset": tf.data.Dataset.from_tensor_slices(X[:4]).repeat().batch(4),
    }[form]
    model = compiled(small_model(parameter_prior="normal"))
    model.fit(endless, epochs=2, steps_per_epoch=3, verbose=0)
    assert model.known_num_data == 24


def test_a_stream_without_n_needs_steps_per_epoch() -> None:
    assert_one_line(
        lambda: fit(fresh_model(), repeated(num_data=None)), ValueError, "`steps_per_epoch`"
    )
    assert_one_line(lambda: repeated(num_data=0), ValueError, "`num_data`", "0")


def test_a_stream_that_ends_says_where() -> None:
    ending = Stream(lambda *_: [X[:10]], num_data=10)
    model = fresh_model()
    assert_one_line(lambda: fit(model, ending), StreamEndedError, "ended", "step 3")
    assert model.optimizer.iterations == 2


def test_where_a_stream_ends_all_complete_minibatches_are_used() -> None:
    batches = StreamBatches(Stream(lambda *_: [X[:10], X[10:23]]), 4, 24, lambda _: None)
    block = batches.next_block(None, 0, 9)
    assert int(block.num_steps) == 5
    np.testing.assert_array_equal(block.values[:5].reshape(20, -1), X[:20])
    np.testing.assert_array_equal(block.sizes[5:], 0)
    assert_one_line(lambda: batches.next_block(None, 5, 9), StreamEndedError, "ended", "step 6")


def _threads() -> int:
    return sum(thread.name == READER for thread in threading.enumerate())


def test_the_next_block_is_read_while_this_one_is_computed_with() -> None:
    read: list[int] = []
    both = threading.Event()

    def chunks(*_) -> Iterator[np.ndarray]:
        for i in range(10):
            read.append(i)
            if i == 3:
                both.set()
            yield X[:4]

    batches = StreamBatches(Stream(chunks), 4, 24, lambda _: None)
    batches.next_block(None, 0, 2)
    assert both.wait(30.0)  # two more, nobody having asked
    batches.close()
    assert read == [0, 1, 2, 3]
    assert not _threads()


@pytest.mark.parametrize("fails", [False, True])
def test_reading_ends_with_fit(fails: bool) -> None:
    def chunks(*_) -> Iterator[np.ndarray]:
        yield from [X[:4]] * 6
        if fails:
            raise OSError("the disk is gone")
        while True:
            yield X[:4]

    model = compiled(small_model(), steps_per_execution=3)
    with pytest.raises(OSError, match="the disk is gone") if fails else nullcontext():
        fit(model, Stream(chunks), steps_per_epoch=9)
    assert model.optimizer.iterations == (6 if fails else 18)
    assert not _threads()


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_what_a_stream_brings_is_checked_as_it_comes(value: float) -> None:
    bad = X.copy()
    bad[20, 3] = value
    model = compiled(small_model(), steps_per_execution=1)
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "pixels 0 or 1") as caught:
        fit(model, repeated(bad, chunk=4))
    assert "\n" not in str(caught.value)
    assert model.optimizer.iterations == 5


def test_each_worker_reads_its_share_and_knows_its_place() -> None:
    blocks = [
        StreamBatches(
            repeated(), 4, None, lambda _: None, num_devices=2, worker=w, num_workers=2
        ).next_block(None, 1, 2)
        for w in range(2)
    ]
    for worker, block in enumerate(blocks):
        assert (block.places, block.first_place, block.values.shape[1]) == (4, 2 * worker, 2)
        np.testing.assert_array_equal(block.sizes[:2], 4)
        rows = block.values[:2].reshape(4, -1)
        np.testing.assert_array_equal(rows, X[worker::2][2:6])


def test_a_minibatch_of_a_stream_must_divide_among_the_devices() -> None:
    assert_one_line(
        lambda: StreamBatches(repeated(), 5, None, lambda _: None, num_devices=2),
        ValueError,
        "`batch_size`",
        "2 devices",
        "5",
    )


class Drift:
    """x ~ N(drift * number of the datapoint, 1): endless."""

    def __init__(self, drift: float) -> None:
        self._drift = drift

    def read(self, start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
        del worker, num_workers
        while True:
            rng = np.random.default_rng(start)
            number = np.arange(start, start + 100)
            yield (self._drift * number[:, None] + rng.normal(size=[100, 3])).astype(np.float32)
            start += 100


class Mean(tf_keras.layers.Layer):
    """x ~ N(bias, 1), whatever z is."""

    def build(self, input_shape) -> None:
        self.bias = self.add_weight("bias", [3], initializer="zeros")
        super().build(input_shape)

    def call(self, z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Normal(self.bias + 0.0 * z, 1.0), 1)


def drift_model(optimizer: tf_keras.optimizers.Optimizer) -> AEVB:
    encoder = layers.DiagonalGaussianPosterior(1, (5,))
    return compiled(AEVB(layers.StandardNormalPrior(1), encoder, Mean()), optimizer)


def test_a_drifting_stream_is_tracked() -> None:
    # The bound's gradient in the bias is mean(x) - bias, so that gradient steps of rate 0.05
    # follow a drift of 0.1 an update 0.1 / 0.05 = 2 behind.
    stream = Stream(Drift(0.001).read)
    model = drift_model(tf_keras.optimizers.SGD(0.05))
    for end in (10_000, 20_000, 40_000):
        steps = end // 100 - int(model.optimizer.iterations)
        fit(model, stream, epochs=1, batch_size=100, steps_per_epoch=steps)
        np.testing.assert_allclose(model.decoder.bias.numpy(), 0.001 * end - 2.0, atol=0.2)
    # Adagrad's steps shrink: it stays behind.
    model = drift_model(tf_keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.0))
    fit(model, stream, epochs=1, batch_size=100, steps_per_epoch=400)
    assert (model.decoder.bias.numpy() < 30.0).all()
