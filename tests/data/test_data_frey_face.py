"""Tests of tfp_aevb.data.frey_face."""

import functools
import http.server
import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.io

from tfp_aevb.data import load_dataset
from tfp_aevb.data.frey_face import frey_face_dataset_builder as frey
from tfp_aevb.data.frey_face.rawface import read_rawface
from tfp_aevb.data.tfds_download import DatasetUnavailableError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (1965, 28, 20)).astype(np.uint8)


def _write(path: pathlib.Path, images: np.ndarray) -> pathlib.Path:
    """Writes the layout of the original: one image a column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"ff": images.reshape(len(images), -1).T})
    return path


def test_rawface_columns_become_images(tmp_path: pathlib.Path, images: np.ndarray) -> None:
    assert (read_rawface(_write(tmp_path / "a.mat", images)) == images).all()


@pytest.mark.compile
def test_prepared_set_and_raw_file_give_the_same_splits(
    tmp_path: pathlib.Path, images: np.ndarray
) -> None:
    raw_dir, prepared_dir = tmp_path / "raw", tmp_path / "prepared"
    _write(raw_dir / "frey_rawface.mat", images)
    raw = load_dataset("frey_face", data_dir=str(raw_dir))
    assert list(raw_dir.iterdir()) == [raw_dir / "frey_rawface.mat"]  # nothing is written there

    manual = _write(prepared_dir / "downloads" / "manual" / "frey_rawface.mat", images)
    by_hand = load_dataset("frey_face", data_dir=str(prepared_dir))
    frey.Builder(data_dir=prepared_dir).download_and_prepare()
    manual.unlink()
    prepared = load_dataset("frey_face", data_dir=str(prepared_dir))

    assert raw.record["sha256"] == by_hand.record["sha256"] == prepared.record["sha256"]
    assert raw.record["source"] == by_hand.record["source"] == "frey_rawface.mat"
    assert prepared.record["source"] == "tensorflow_datasets frey_face/1.0.0"
    parts = (prepared.train, prepared.validation, prepared.test)
    assert [len(split.x) for split in parts] == [1565, 200, 200]
    assert (prepared.scale, prepared.image_shape) == (255.0, (28, 20))
    read = [row.tobytes() for split in parts for row in split.x]
    assert sorted(read) == sorted(image.tobytes() for image in images)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Writes no log."""


@pytest.fixture
def served(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A folder behind a web server on this machine, where the builder looks for its file."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(frey, "URL", f"http://127.0.0.1:{server.server_port}/frey_rawface.mat")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.mark.compile
def test_reachable_file_is_downloaded_and_prepared(
    served: pathlib.Path,
    tmp_path: pathlib.Path,
    images: np.ndarray,
    capfd: pytest.CaptureFixture[str],
) -> None:
    raw = _write(served / "frey_rawface.mat", images)
    data = load_dataset("frey_face", data_dir=str(tmp_path / "new"))
    assert data.record["source"] == "tensorflow_datasets frey_face/1.0.0"
    assert data.record["sha256"] == load_dataset("frey_face", data_dir=str(served)).record["sha256"]
    assert capfd.readouterr().out == ""  # TFDS's own lines go to stderr
    raw.unlink()
    again = load_dataset("frey_face", data_dir=str(tmp_path / "new"))
    assert again.record == data.record


def test_file_gone_from_its_address_is_unavailable(
    served: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(DatasetUnavailableError, match="cannot be downloaded from here"):
        load_dataset("frey_face", data_dir=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_other_file_at_its_address_is_refused(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (served / "frey_rawface.mat").write_bytes(b"<html>moved</html>" * 9)
    with pytest.raises(ValueError, match=r"could not be prepared in .* cannot be read") as caught:
        load_dataset("frey_face", data_dir=str(tmp_path / "new"))
    assert "\n" not in str(caught.value)


def test_builder_is_described(tmp_path: pathlib.Path) -> None:
    builder = frey.Builder(data_dir=tmp_path)
    assert builder.name == "frey_face"
    assert "Frey Face" in builder.info.description
    assert "1312.6114" in builder.info.citation
    assert builder.url_infos == {}  # no unverified checksum


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ({"faces": np.zeros((560, 1965), np.uint8)}, "holds nothing under 'ff'"),
        ({"ff": np.zeros((1965, 560), np.uint8)}, r"holds uint8 \(1965, 560\) under 'ff'"),
        ({"ff": np.zeros((560, 1965))}, r"holds float64 \(560, 1965\) under 'ff'"),
        ({"ff": "text"}, "under 'ff'; expected uint8"),
    ],
)
def test_other_arrays_are_refused(
    tmp_path: pathlib.Path, content: dict[str, object], pattern: str
) -> None:
    path = tmp_path / "frey_rawface.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(ValueError, match=pattern) as caught:
        load_dataset("frey_face", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "frey_rawface.mat" in str(caught.value)


def test_damaged_files_are_refused_in_one_line(tmp_path: pathlib.Path, images: np.ndarray) -> None:
    path = _write(tmp_path / "frey_rawface.mat", images)
    whole = path.read_bytes()
    html = b"<html><body>moved</body></html>"
    for content in (b"", html, html * 99, whole[:100], whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read|under 'ff'") as caught:
            load_dataset("frey_face", data_dir=str(tmp_path))
        assert "\n" not in str(caught.value)


def test_real_faces_are_read_in_their_shape(real_data: pathlib.Path) -> None:
    data = load_dataset("frey_face", data_dir=str(real_data))
    assert [len(s.x) for s in (data.train, data.validation, data.test)] == [1565, 200, 200]
    faces = data.train.x.reshape(-1, 28, 20) / data.scale
    # Neighbouring pixels of a face are alike in both directions only in the right layout.
    for axis in (1, 2):
        assert np.abs(np.diff(faces, axis=axis)).mean() < 0.08
