"""Files that are written whole or not at all. Does not import TensorFlow."""

import contextlib
import csv
import errno
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOENT: "its folder is gone; bring it back",
}


class WriteError(OSError):
    """A file could not be written; what stood in its place is as it was."""


def from_home(path: str | os.PathLike) -> Path:
    """Returns `path` with a leading `~` or `~user` made a home folder; as it is for no user."""
    return Path(os.path.expanduser(path))


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` on a temporary file beside `path`, syncs it and moves it into place.

    Raises:
        WriteError: if the file cannot be written; the message says why and what to do.
    """
    temporary = temporary_beside(path)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `WriteError` that names `path`, the reason and the remedy."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk")
        raise WriteError(f"{path} cannot be written: {reason}; {remedy}") from error


def temporary_beside(path: Path) -> Path:
    """Returns the name under which this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def is_temporary(path: Path) -> bool:
    """Whether `path` is what `temporary_beside` returns."""
    return re.fullmatch(r"\..+\.\d+", path.name) is not None


def remove_strays(folder: Path, name: str = "") -> None:
    """Removes what processes that were killed have left half written in `folder`.

    Args:
        folder: where to look; need not exist.
        name: of the only file to think of; any by default.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not is_temporary(path) or not path.name.startswith(f".{name}"):
            continue
        if not _is_alive(int(path.suffix[1:])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return pid != os.getpid()


def sync_folder(folder: Path) -> None:
    """Makes what has been renamed in `folder` last, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Makes all that is written below `folder` last."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def write_text(path: Path, text: str) -> None:
    """Writes `text` atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a header and rows as a .csv file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Writes `value` atomically as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: expected a JSON object")
    return value
