"""Tests of tfp_aevb.data.tfds_stream and function_stream."""

import itertools
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.helpers import assert_one_line
from tfp_aevb.data import Dataset, load_dataset
from tfp_aevb.data.dataset import StreamOptions
from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.data.tfds_stream import train_in_order
from tfp_aevb.runs.data import load_data, streamed_parts
from tfp_aevb.runs.settings.config import TrainConfig

COUNT = 700
HELD = 70  # a tenth
STREAMED = COUNT - 2 * HELD


class TinyAevbShards(tfds.core.GeneratorBasedBuilder):
    """Arrays that hold their number, in several files, without validation and test splits."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=(2, 3), dtype=np.uint8)
        features = tfds.features.FeaturesDict({"image": image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator:
        for i in range(COUNT):
            yield i, {"image": np.array([[i // 256, i % 256, 0], [1, 1, 1]], np.uint8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the prepared set."""
    builder = TinyAevbShards(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=5))
    assert builder.info.splits["train"].num_shards == 5
    return pathlib.Path(builder.data_dir)


def opened(folder: pathlib.Path, buffer: int = 100, seed: int = 0, **kwargs) -> Dataset:
    return load_dataset(str(folder), stream=StreamOptions(buffer, seed), **kwargs)


def numbers(x: np.ndarray) -> np.ndarray:
    return x[:, 0].astype(int) * 256 + x[:, 1]


def read(
    dataset: Dataset, count: int, start: int = 0, worker: int = 0, num_workers: int = 1
) -> np.ndarray:
    """The numbers of the next `count` examples."""
    assert dataset.stream
    found: list[int] = []
    for chunk in dataset.stream.read(start, worker, num_workers):
        found.extend(numbers(chunk))
        if len(found) >= count:
            return np.array(found[:count])
    raise AssertionError("the stream ended")


def test_each_epoch_gives_every_training_example_once_in_an_order_of_its_own(folder) -> None:
    dataset = opened(folder)
    assert dataset.num_data == STREAMED
    epochs = read(dataset, 3 * STREAMED).reshape(3, STREAMED)
    for epoch in epochs:
        assert sorted(epoch) == sorted(epochs[0])
        assert len(set(epoch)) == STREAMED
    for one, other in itertools.combinations(epochs, 2):
        assert (one != other).mean() > 0.9
    # Far from the files' order: its neighbours are not neighbours.
    assert (np.abs(np.diff(epochs[0])) == 1).mean() < 0.05


def test_the_splits_share_no_example(folder) -> None:
    dataset = opened(folder)
    held = [numbers(split.x) for split in (dataset.validation, dataset.test)]
    assert [len(part) for part in held] == [HELD, HELD]
    parts = [*held, read(dataset, STREAMED)]
    assert len(set(np.concatenate(parts))) == COUNT
    assert set(numbers(dataset.train.x)) == set(parts[2])  # held to look at, as N is small
    assert dataset.record["split_sizes"] == {"train": STREAMED, "validation": HELD, "test": HELD}
    assert "end of train's files" in dataset.record["split_rule"]


def test_reading_goes_on_anywhere_as_if_it_had_not_stopped(folder) -> None:
    dataset = opened(folder)
    whole = read(dataset, 2 * STREAMED)
    for start in (1, 250, STREAMED - 1, STREAMED, STREAMED + 3):
        np.testing.assert_array_equal(read(dataset, 150, start), whole[start : start + 150])


def test_the_order_depends_on_the_seed_alone(folder) -> None:
    orders = [read(opened(folder, seed=seed), STREAMED) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).mean() > 0.9


def test_workers_share_the_data(folder) -> None:
    dataset = opened(folder)
    shares = [read(dataset, STREAMED // 2, worker=w, num_workers=2) for w in range(2)]
    assert sorted(np.concatenate(shares)) == sorted(read(dataset, STREAMED))


def test_thresholding_is_done_while_reading(folder) -> None:
    dataset = opened(folder, binarize="threshold")
    assert dataset.stream
    assert dataset.scale == dataset.stream.scale == 1.0
    chunk = next(iter(dataset.stream.read(0, 0, 1)))
    assert set(np.unique(chunk)) == {0, 1}


def test_pixels_to_draw_and_their_scale_are_told(folder) -> None:
    stream = opened(folder, binarize="dynamic").stream
    assert stream
    assert (stream.scale, stream.dynamic_binarization) == (255.0, True)


def test_a_static_draw_needs_the_data_in_memory(folder) -> None:
    assert_one_line(lambda: opened(folder, binarize="static"), ValueError, "static", "dynamic")


@pytest.mark.parametrize("name", ["mnist_5k", "frey_face", "x.npy"])
def test_what_is_held_in_memory_is_no_stream(name: str) -> None:
    assert_one_line(
        lambda: load_dataset(name, stream=StreamOptions()), ValueError, name, "held in memory"
    )


def test_the_folder_of_a_prepared_set_is_a_dataset(folder) -> None:
    dataset = load_dataset(str(folder))
    assert dataset.stream is None
    assert len(dataset.train.x) == STREAMED


SOURCE = """
import numpy as np

def digits(start, worker, num_workers):
    for first in range(start, 10**6, 50):
        numbers = np.arange(first, first + 50) * num_workers + worker
        yield np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)

def contiguous(start, worker, num_workers):
    for first in range(start, 10**6, 50):
        numbers = np.arange(first, first + 50) + worker * 10000
        yield np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)

def short(start, worker, num_workers):
    yield np.zeros([2999, 2])

def changing(start, worker, num_workers):
    yield np.zeros([3000, 2], np.uint8)
    yield np.zeros([3000, 3], np.uint8)

def text(start, worker, num_workers):
    yield ["a", "b"]

nothing = 3
"""


@pytest.fixture
def module(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "tiny_aevb_source.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "tiny_aevb_source"
    sys.modules.pop("tiny_aevb_source", None)


def test_a_function_is_a_stream_behind_its_first_examples(module: str) -> None:
    dataset = load_dataset(f"{module}:digits")
    assert dataset.num_data is None
    np.testing.assert_array_equal(numbers(dataset.validation.x), np.arange(1000))
    np.testing.assert_array_equal(numbers(dataset.test.x), np.arange(1000, 2000))
    np.testing.assert_array_equal(numbers(dataset.train.x), np.arange(2000, 3000))
    np.testing.assert_array_equal(read(dataset, 500, 70), np.arange(2070, 2570))
    shares = np.stack([read(dataset, 500, worker=w, num_workers=2) for w in range(2)], axis=1)
    np.testing.assert_array_equal(shares.ravel(), np.arange(2000, 3000))


@pytest.mark.parametrize("num_workers", [2, 3, 7])
def test_no_worker_trains_on_what_is_held_out(module: str, num_workers: int) -> None:
    dataset = load_dataset(f"{module}:digits")
    for worker in range(num_workers):
        assert read(dataset, 50, worker=worker, num_workers=num_workers).min() >= 2000


def test_shares_that_are_not_dealt_in_turn_are_refused(module: str) -> None:
    dataset = load_dataset(f"{module}:contiguous")
    np.testing.assert_array_equal(read(dataset, 50), np.arange(2000, 2050))
    assert_one_line(
        lambda: read(dataset, 5, worker=1, num_workers=2), ValueError, "worker 1 of 2", "in turn"
    )


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("short", ("ended within its first 3000",)),
        ("text", ("dtype",)),
        ("missing", ("no such function", "missing")),
        ("nothing", ("no function", "3")),
    ],
)
def test_a_function_that_gives_no_examples_is_refused(module: str, function: str, parts) -> None:
    assert_one_line(lambda: load_dataset(f"{module}:{function}"), ValueError, function, *parts)


def test_a_missing_module_is_refused() -> None:
    assert_one_line(lambda: load_dataset("no_such_place:f"), ValueError, "no_such_place")


def test_a_stream_whose_examples_change_is_refused(module: str) -> None:
    dataset = load_dataset(f"{module}:changing")
    assert_one_line(lambda: read(dataset, 5000), ValueError, "changed", "(3,)")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a:b", True), ("a.b:c", True), ("mnist:3.0.1", False), ("a/b:c", False), ("mnist", False)],
)
def test_function_names_are_told_from_versions(name: str, expected: bool) -> None:
    assert is_function_name(name) == expected


def test_in_order_every_training_example_comes_once_as_in_memory(folder) -> None:
    parts = list(train_in_order(str(folder), None, 100))
    assert [len(x) for x, _ in parts] == [100] * 5 + [60]
    assert all(labels is None for _, labels in parts)
    together = np.concatenate([x for x, _ in parts])
    np.testing.assert_array_equal(together, opened(folder).train.x)  # few enough to be held
    assert len(set(numbers(together))) == STREAMED


@pytest.mark.parametrize("binarize", ["threshold", "dynamic"])
def test_parts_of_a_stream_are_what_the_run_sees(folder, binarize: str) -> None:
    config = TrainConfig(dataset=str(folder), stream=True, binarize=binarize)
    dataset = load_data(config)
    parts = list(streamed_parts(config, dataset, None, 200, None))
    np.testing.assert_array_equal(np.concatenate([part.x for part in parts]), dataset.train.x)
    for part in parts:
        assert part.scale == dataset.scale
        assert part.dynamic_binarization == (binarize == "dynamic")


def test_parts_of_a_function_are_not_kept() -> None:
    config = TrainConfig(dataset="tests.integration.stream_source:rows")
    parts = streamed_parts(config, load_data(config), None, 100, [])
    assert_one_line(lambda: next(parts), ValueError, "stream_source:rows", "--input")
