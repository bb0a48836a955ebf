"""Tests of tfp_aevb.data.tfds_sets and tfds_download."""

import gzip
import pathlib
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfp_aevb.data import load_dataset
from tfp_aevb.data.tfds_download import DatasetUnavailableError

COUNTS = {"train": 2300, "test": 40}


class TinyAevbDigits(tfds.core.GeneratorBasedBuilder):
    """Images whose pixels repeat their label, and a feature that cannot be batched."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(4, 3, 1)),
            "label": tfds.features.ClassLabel(num_classes=200),
            "ragged": tfds.features.Sequence(np.int32),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {name: self._generate_examples(count) for name, count in COUNTS.items()}

    def _generate_examples(self, count: int) -> Iterator:
        for i in range(count):
            image = np.full((4, 3, 1), i % 200, np.uint8)
            yield i, {"image": image, "label": i % 200, "ragged": list(range(i % 3))}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tfds")
    TinyAevbDigits(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends every request to a port where nothing listens."""
    _use_proxy(monkeypatch, 9)


def _use_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")


def test_prepared_set_is_read_whole_with_its_labels(prepared: pathlib.Path) -> None:
    data = load_dataset("tiny_aevb_digits", data_dir=str(prepared))
    parts = (data.train, data.validation, data.test)
    assert [len(split.x) for split in parts] == [2070, 230, 40]
    assert (data.scale, data.event_shape, data.image_shape) == (255.0, (12,), (4, 3))
    for split in parts:
        assert split.x.dtype == np.uint8
        assert split.labels is not None
        assert (split.x == split.labels[:, None]).all()
    read = np.concatenate([data.train.labels, data.validation.labels])
    assert sorted(read) == sorted(i % 200 for i in range(2300))
    assert data.record["source"] == "tensorflow_datasets tiny_aevb_digits/1.0.0"
    again = load_dataset("tiny_aevb_digits", data_dir=str(prepared))
    assert again.record == data.record


def test_version_found_on_disk_is_used(prepared: pathlib.Path, tmp_path: pathlib.Path) -> None:
    old = tmp_path / "tiny_aevb_digits" / "0.9.0"
    shutil.copytree(prepared / "tiny_aevb_digits" / "1.0.0", old)
    info = old / "dataset_info.json"
    info.write_text(info.read_text().replace("1.0.0", "0.9.0"))
    data = load_dataset("tiny_aevb_digits", data_dir=str(tmp_path))
    assert data.record["source"] == "tensorflow_datasets tiny_aevb_digits/0.9.0"
    assert len(data.test.x) == 40


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_damaged_records_are_refused_in_one_line(
    prepared: pathlib.Path, tmp_path: pathlib.Path, damage: str
) -> None:
    shutil.copytree(prepared / "tiny_aevb_digits", tmp_path / "tiny_aevb_digits")
    (records,) = (tmp_path / "tiny_aevb_digits").rglob("*train.tfrecord*")
    content = records.read_bytes()
    records.unlink()
    if damage == "truncated":
        records.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cannot be read .* prepare the set again$") as caught:
        load_dataset("tiny_aevb_digits", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["cifar10", "mnist", "emnist/letters", "frey_face"])
def test_unprepared_set_ends_at_once_without_a_network(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "empty"
    start = time.monotonic()
    with pytest.raises(DatasetUnavailableError) as caught:
        load_dataset(name, data_dir=str(folder))
    assert time.monotonic() - start < 15
    assert str(caught.value) == (
        f"dataset {name!r} is not prepared in {str(folder)!r} and cannot be downloaded from here; "
        f"give the folder of a prepared copy with --data_dir, or use --dataset=mnist_5k"
    )
    assert not folder.exists()  # nothing is left behind
    assert capfd.readouterr() == ("", "")


@pytest.mark.compile
def test_host_which_never_answers_ends_within_seconds(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _use_proxy(monkeypatch, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(DatasetUnavailableError, match="cannot be downloaded from here"):
            load_dataset("cifar10", data_dir=str(tmp_path))
        assert time.monotonic() - start < 15


@pytest.mark.usefixtures("offline")
def test_set_without_a_registered_download_is_not_attempted(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DatasetUnavailableError, match="TFDS knows no download for it") as caught:
        load_dataset("tiny_aevb_digits", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.compile
@pytest.mark.usefixtures("offline")
def test_files_placed_by_hand_need_no_network(
    tmp_path: pathlib.Path, real_data: pathlib.Path
) -> None:
    shutil.copytree(real_data / "mnist", tmp_path / "downloads" / "manual")
    data = load_dataset("mnist", data_dir=str(tmp_path))
    folder = str(real_data / "tensorflow_datasets")
    assert data.record == load_dataset("mnist", data_dir=folder).record


@pytest.mark.usefixtures("offline")
def test_wrong_file_placed_by_hand_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (manual / f"{part}-ubyte.gz").write_bytes(gzip.compress(b"not MNIST"))
    with pytest.raises(ValueError, match=r"could not be prepared in .* wrong checksum") as caught:
        load_dataset("mnist", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("fashon_mnist", "image set; did you mean fashion_mnist or moving_mnist?"),
        ("mnist5k", "did you mean mnist_5k or mnist?"),
        ("frey_faces", "did you mean frey_face or forest_fires?"),
        ("pictures.txt", "or a TensorFlow Datasets image set"),
        ("", "or a TensorFlow Datasets image set"),
        ("a\nb", "or a TensorFlow Datasets image set"),
    ],
)
def test_unknown_name_is_answered_with_near_names(name: str, end: str) -> None:
    with pytest.raises(ValueError, match=r"^`dataset` is ") as caught:
        load_dataset(name)
    message = str(caught.value)
    assert message.startswith(f"`dataset` is {name!r}; expected mnist_5k, frey_face, ")
    assert message.endswith(end)
    assert "\n" not in message


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("titanic", "has no feature `image` of one fixed size"),
        ("imagenet2012", "has no feature `image` of one fixed size"),
        ("mnist:9.9.9", "TFDS says: .* cannot be loaded at version 9.9.9"),
        ("emnist/nothing", "TFDS says: .* BuilderConfig nothing not found"),
    ],
)
def test_sets_which_will_not_do_are_refused(
    tmp_path: pathlib.Path, name: str, pattern: str
) -> None:
    with pytest.raises(ValueError, match=pattern) as caught:
        load_dataset(name, data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


def _pairs(x: np.ndarray, labels: np.ndarray | None) -> Counter[tuple[bytes, int]]:
    assert labels is not None
    return Counter((row.tobytes(), int(y)) for row, y in zip(x, labels, strict=True))


@pytest.mark.compile
def test_real_mnist_is_the_original_files(real_data: pathlib.Path) -> None:
    data = load_dataset("mnist", data_dir=str(real_data / "tensorflow_datasets"))
    assert [len(s.x) for s in (data.train, data.validation, data.test)] == [55_000, 5000, 10_000]
    assert (data.scale, data.image_shape) == (255.0, (28, 28))

    def idx(name: str, header: int) -> np.ndarray:
        content = gzip.decompress((real_data / "mnist" / name).read_bytes())
        return np.frombuffer(content, np.uint8, offset=header)

    for part, splits in (("train", (data.train, data.validation)), ("t10k", (data.test,))):
        pixels = idx(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
        labels = idx(f"{part}-labels-idx1-ubyte.gz", 8)
        assert sum((_pairs(split.x, split.labels) for split in splits), Counter()) == _pairs(
            pixels, labels
        )


@pytest.mark.compile
def test_real_binarized_mnist_is_the_static_binarisation(real_data: pathlib.Path) -> None:
    data = load_dataset("binarized_mnist", data_dir=str(real_data / "tensorflow_datasets"))
    assert data.scale == 1.0
    assert data.record["already_binary"]
    packed = np.load(real_data / "binarized_mnist_packed.npz")
    for name, split in (("train", data.train), ("valid", data.validation), ("test", data.test)):
        read = np.packbits(split.x, axis=1)
        assert sorted(map(bytes, read)) == sorted(map(bytes, packed[name]))
