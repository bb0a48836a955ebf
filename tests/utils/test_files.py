"""Tests of tfp_aevb.utils.files."""

import errno
import os
from pathlib import Path

import pytest

from tests.helpers import assert_one_line
from tfp_aevb.utils.files import (
    WriteError,
    read_json,
    remove_strays,
    write_atomically,
    write_json,
    write_text,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, None, "é"]}
    write_text(tmp_path / "a.txt", "first\n")
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write(file) -> None:
        file.write(b"half of the n")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_atomically(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_the_file_is_whole_before_it_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    seen = []

    def write(file) -> None:
        file.write(b"new")
        seen.append(path.exists())

    write_atomically(path, write)
    assert seen == [False]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_damaged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert_one_line(lambda: read_json(path), ValueError, str(path), "damaged")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert_one_line(lambda: read_json(path), FileNotFoundError, str(path))


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        (errno.ENOSPC, ("No space left on device", "free some space")),
        (errno.EROFS, ("Read-only file system", "make it writable")),
        (errno.EIO, ("Input/output error", "check the disk")),
    ],
)
def test_a_disk_that_fails_is_one_line_with_the_remedy(
    code: int, parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    assert_one_line(lambda: write_text(path, "new"), WriteError, str(path), *parts)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.txt"
    assert_one_line(lambda: write_text(path, "x"), WriteError, str(path), "its folder is gone")


def test_strays_are_those_of_dead_processes_and_of_the_name(tmp_path: Path) -> None:
    dead = 4194305  # beyond Linux' largest process number
    names = [f".a.txt.{dead}", f".b.txt.{dead}", f".a.txt.{os.getppid()}", f"a.txt.{dead}", ".a"]
    for name in names:
        (tmp_path / name).touch()
    remove_strays(tmp_path, "a.txt.")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])
    remove_strays(tmp_path / "none")
