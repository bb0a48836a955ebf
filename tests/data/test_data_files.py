"""Tests of tfp_aevb.data.array_files: the user's own arrays."""

import io
import os
import pathlib
import zipfile
from typing import Any

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.data import load_dataset

GREY = np.arange(60 * 6, dtype=np.uint8).reshape(60, 2, 3)


def _npy(path: pathlib.Path, array: np.ndarray, pickle: bool = False) -> str:
    np.save(path, array, allow_pickle=pickle)
    return str(path)


def _refused(name: str, pattern: str) -> None:
    """Loading fails with one line that names the file and matches `pattern`."""
    with pytest.raises(ValueError, match=pattern) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)
    assert os.path.basename(name) in str(caught.value)


def test_npy_of_pixels_is_split_and_flattened(tmp_path: pathlib.Path) -> None:
    data = load_dataset(_npy(tmp_path / "a.npy", GREY))
    assert [len(s.x) for s in (data.train, data.validation, data.test)] == [48, 6, 6]
    assert (data.scale, data.event_shape, data.image_shape) == (255.0, (6,), (2, 3))
    rows = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert rows.dtype == np.uint8
    assert sorted(rows.tolist()) == sorted(GREY.reshape(60, 6).tolist())
    assert data.train.labels is None


@pytest.mark.parametrize(
    ("array", "dtype", "scale"),
    [
        (GREY % 2, np.uint8, 1.0),
        (GREY % 2 == 0, np.uint8, 1.0),
        (GREY.astype(np.int64), np.uint8, 255.0),
        (GREY.astype(">u2"), np.uint8, 255.0),
        (GREY / 255, np.float32, 1.0),
        (GREY.astype(np.float16), np.float32, 1.0),
        (np.asfortranarray(GREY), np.uint8, 255.0),
    ],
)
def test_dtypes_become_uint8_or_float32(
    tmp_path: pathlib.Path, array: np.ndarray, dtype: type, scale: float
) -> None:
    data = load_dataset(_npy(tmp_path / "a.npy", array))
    rows = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert rows.dtype == dtype
    assert data.scale == scale
    expected: np.ndarray = array.reshape(60, 6).astype(dtype)
    assert sorted(rows.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((7,), ()), ((4, 5), (4, 5)), ((4, 5, 1), (4, 5)), ((4, 5, 3), (4, 5, 3)), ((4, 5, 2), ())],
)
def test_image_shape_is_what_can_be_drawn(
    tmp_path: pathlib.Path, shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> None:
    data = load_dataset(_npy(tmp_path / "a.npy", np.ones((5, *shape), np.float32)))
    assert data.image_shape == image_shape
    assert data.event_shape == (int(np.prod(shape)),)


@pytest.mark.parametrize("names", [("", "", "", "labels_"), ("x_", "x_", "x_", "y_")])
def test_npz_splits_and_labels_are_kept(tmp_path: pathlib.Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.npz"
    valid = "val" if names[0] else "validation"
    arrays: dict[str, Any] = {
        names[0] + "train": GREY[:50],
        names[1] + valid: GREY[50:54],
        names[2] + "test": GREY[54:],
        names[3] + "train": np.arange(50),
        names[3] + "test": np.arange(6)[:, None],
    }
    np.savez_compressed(path, **arrays)
    data = load_dataset(str(path))
    assert (data.train.x == GREY[:50].reshape(50, 6)).all()
    assert (data.validation.x == GREY[50:54].reshape(4, 6)).all()
    assert (data.test.x == GREY[54:].reshape(6, 6)).all()
    assert data.train.labels is not None
    assert data.test.labels is not None
    assert data.train.labels.tolist() == list(range(50))
    assert data.test.labels.tolist() == list(range(6))
    assert data.validation.labels is None


def test_npz_missing_splits_come_from_train_with_their_labels(tmp_path: pathlib.Path) -> None:
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    np.savez(tmp_path / "a.npz", train=x, labels_train=np.arange(100))
    data = load_dataset(str(tmp_path / "a.npz"))
    assert [len(s.x) for s in (data.train, data.validation, data.test)] == [80, 10, 10]
    for split in (data.train, data.validation, data.test):
        assert split.labels is not None
        assert (split.x[:, 0] == 2 * split.labels).all()


def test_missing_file_is_file_not_found(tmp_path: pathlib.Path) -> None:
    name = str(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset(name)
    assert str(caught.value) == f"dataset file {name!r} does not exist; check the path"


@pytest.mark.parametrize(
    ("array", "pattern"),
    [
        (np.array([[1, None]] * 5, object), "dtype 'object' is not supported"),
        (np.array([["a", "b"]] * 5), "dtype '<U1' is not supported"),
        (np.array([[b"a"]] * 5), "is not supported"),
        (np.ones((5, 2), complex), "dtype 'complex128' is not supported"),
        (np.zeros((5, 2), "M8[s]"), "is not supported"),
        (np.zeros((5, 2), [("a", "f4")]), "is not supported"),
        (np.zeros((5, 2), [("a", object)]), "is not supported"),
        (np.ones(5), r"shape \(5,\) has 1 axes; expected at least 2"),
        (np.float64(1), r"shape \(\) has 0 axes"),
        (np.ones((0, 4)), r"shape \(0, 4\) is empty"),
        (np.ones((4, 0)), r"shape \(4, 0\) is empty"),
        (np.array([[1.0, np.nan]] * 5), "NaN, infinity"),
        (np.array([[1.0, -np.inf]] * 5), "NaN, infinity"),
        (np.array([[1.0, 1e300]] * 5), "beyond float32"),
        (np.array([[0, 256]] * 5), "integers run from 0 to 256; expected 0 to 255"),
        (np.array([[-1, 5]] * 5, np.int8), "integers run from -1 to 5"),
        (np.ones((2, 4)), "2 train examples are too few"),
    ],
)
def test_unfit_arrays_are_refused_in_one_line(
    tmp_path: pathlib.Path, array: np.ndarray, pattern: str
) -> None:
    _refused(_npy(tmp_path / "a.npy", array, pickle=True), pattern)
    np.savez(tmp_path / "a.npz", train=array)
    _refused(str(tmp_path / "a.npz"), pattern)


@pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
        ({"test": GREY}, r"holds arrays \['test'\]; expected `train`"),
        ({"train": GREY, "vaild": GREY}, r"holds arrays \['train', 'vaild'\]; expected `train`"),
        ({"train": GREY, "x_train": GREY}, "two arrays for train"),
        ({"train": GREY, "test": GREY[:, :1]}, r"test: examples are uint8 of shape \(1, 3\)"),
        ({"train": GREY, "test": GREY.reshape(60, 6)}, r"of shape \(6,\), those of train"),
        ({"train": GREY, "test": GREY / 2}, "examples are float32"),
        ({"train": GREY, "labels_train": np.arange(59)}, "expected one label an example"),
        ({"train": GREY, "labels_train": np.zeros((60, 10), int)}, "expected one label"),
        ({"train": GREY, "labels_train": np.zeros(60)}, "dtype 'float64' is not supported for"),
        ({"train": GREY, "labels_train": np.array(["a"] * 60)}, "is not supported"),
        ({"train": GREY, "labels_test": np.arange(60)}, "labels of test but no examples"),
        ({"train": GREY[:1], "test": GREY}, "1 train examples are too few .* at least 2"),
    ],
)
def test_npz_arrays_which_make_no_data_set_are_refused(
    tmp_path: pathlib.Path, arrays: dict[str, Any], pattern: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    _refused(str(tmp_path / "a.npz"), pattern)


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x03\x00"]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_of_another_kind_are_refused(
    tmp_path: pathlib.Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    _refused(str(path), "is damaged|cannot be read")


def test_folder_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.npy").mkdir()
    _refused(str(tmp_path / "a.npy"), "is not a file")


def _header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 10**6), (3, 4), (-4, -4), (-1, 4)])
def test_forged_header_is_refused_without_allocating(
    tmp_path: pathlib.Path, shape: tuple[int, ...]
) -> None:
    content = _header(shape) + b"\0" * 64
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    _refused(str(path), "is damaged .its header declares shape")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.npy", content)
    _refused(str(tmp_path / "a.npz"), "train is damaged .its header declares shape")


def test_every_truncation_is_refused(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "whole.npy", GREY)
    np.savez_compressed(tmp_path / "whole.npz", train=GREY)
    for suffix in (".npy", ".npz"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        cut = tmp_path / f"cut{suffix}"
        for length in range(0, len(whole), 7):
            cut.write_bytes(whole[:length])
            _refused(str(cut), "is damaged|cannot be read|holds arrays")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_flipped_bits_give_data_or_one_line(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "whole.npy", GREY)
    np.savez_compressed(tmp_path / "whole.npz", train=GREY)
    rng = np.random.RandomState(0)
    messages = []
    for suffix in (".npy", ".npz"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        path = tmp_path / f"flipped{suffix}"
        for _ in range(300):
            content = bytearray(whole)
            content[rng.randint(len(whole))] ^= 1 << rng.randint(8)
            path.write_bytes(content)
            try:
                load_dataset(str(path))
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > 200
    assert not [message for message in messages if "\n" in message]


def test_counts_may_be_above_255(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "n.npz", x_train=[[300, 2]] * 9, x_val=[[1, 2]], x_test=[[5, 900]])
    data = load_dataset(str(tmp_path / "n.npz"), pixels=False)
    np.testing.assert_array_equal(data.train.x[0], [300, 2])
    np.testing.assert_array_equal(data.test.x[0], [5, 900])
    assert (data.scale, data.record["scale"]) == (1.0, 1.0)
    path = str(tmp_path / "n.npz")
    assert_one_line(lambda: load_dataset(path), ValueError, "0 to 255", "floats")
    np.savez(tmp_path / "m.npz", x=[[2**24 + 1, 0]] * 9)
    path = str(tmp_path / "m.npz")
    assert_one_line(lambda: load_dataset(path, pixels=False), ValueError, "float32")


def test_what_encode_takes_can_be_trained_on(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.eye(20), labels=np.arange(20))
    data = load_dataset(str(tmp_path / "x.npz"))
    assert sum(len(s.x) for s in (data.train, data.validation, data.test)) == 20
    np.testing.assert_array_equal(data.train.x.argmax(axis=1), data.train.labels)
    np.savez(tmp_path / "two.npz", x=np.eye(20), train=np.eye(20))
    path = str(tmp_path / "two.npz")
    assert_one_line(lambda: load_dataset(path), ValueError, "two arrays for train")


def test_how_integers_are_read_is_said(tmp_path: pathlib.Path) -> None:
    def note(x: object, **options) -> str:
        np.save(tmp_path / "x.npy", x)
        (line,) = load_dataset(str(tmp_path / "x.npy"), **options).notes
        return line

    dark = np.arange(170).reshape(10, 17) % 17
    assert "0 to 16" in note(dark)
    assert "divided by 255" in note(dark)
    assert "zeros and ones" in note(dark % 2)
    assert "counts" in note(dark, pixels=False)
    assert "as they are" in note(dark / 16.0)
    assert_one_line(lambda: note(dark, binarize="threshold"), ValueError, "all training values 0")
