"""The folder of a run: what is in it, and whom it belongs to. Does not import TensorFlow."""

import fcntl
import os
import socket
from pathlib import Path
from typing import Any

from tfp_aevb.data.columns import as_columns
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.utils.files import (
    from_home,
    is_temporary,
    read_json,
    remove_strays,
    write_json,
    write_text,
    writing,
)


class Workdir:
    """Paths of a run's files, and the checks that keep two runs apart.

    Args:
        path: the folder; made by `claim`.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = from_home(path)
        self.config = self.path / "config.json"
        self.flags = self.path / "flags.txt"
        self.metrics = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.saved_model = self.path / "saved_model"
        self.summary = self.path / "summary.json"

    def check_config(self, config: TrainConfig) -> bool:
        """Returns whether there is a run of `config` to resume; touches nothing.

        Raises:
            ValueError: if the folder holds something else, or a run with other settings.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"--workdir {self.path} is a file; give a folder")
        if not self.config.exists():
            if self.path.exists() and not all(map(_is_ours, self.path.iterdir())):
                raise ValueError(
                    f"--workdir {self.path} is not empty and not a run of tfp_aevb; "
                    "give a new or empty folder"
                )
            return False
        saved, _ = self.read()
        names = config.differences(saved)
        if names:
            mine, theirs = config.to_dict(), saved.to_dict()
            changes = ", ".join(f"{name}={theirs[name]} (now {mine[name]})" for name in names)
            raise ValueError(
                f"--workdir {self.path} holds a run with {changes}; use its flags to resume it, or "
                "another --workdir"
            )
        return True

    def claim(self) -> "WorkdirLock":
        """Makes the folder, locks it for this process and removes what killed ones left half done.

        Raises:
            OSError: if the folder cannot be made or written to.
            ValueError: if another process is using it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = WorkdirLock(self.path / ".lock")
            for folder in (self.path, self.checkpoints, self.figures):
                remove_strays(folder)
            return lock
        except OSError as error:
            raise OSError(f"--workdir {self.path} cannot be written to: {error.strerror}") from None

    def check_present(self) -> None:
        """Raises a `WriteError` if the folder has vanished: what is missing would be made again."""
        with writing(self.path):
            self.config.stat()

    def write_config(self, config: TrainConfig, data: dict[str, Any]) -> None:
        """Records the settings and the data of the run, as JSON and as a flag file."""
        write_json(self.config, {"config": config.to_dict(), "data": data})
        write_text(self.flags, flag_file(config))

    def read(self) -> tuple[TrainConfig, dict[str, Any]]:
        """Returns the run's settings and its record of the data.

        Raises:
            FileNotFoundError: if the folder holds no run.
            ValueError: if `config.json` is damaged.
        """
        if not self.config.exists():
            raise FileNotFoundError(
                f"--workdir {self.path} holds no run (no config.json); train one first"
            )
        record = read_json(self.config)
        data: Any = record.get("data")
        if not isinstance(record.get("config"), dict) or not _is_data_record(data):
            raise ValueError(f"{self.config} is damaged: expected `config` and `data`")
        try:
            if "columns" in data and len(as_columns(data["columns"])) != data["event_shape"][0]:
                raise ValueError("`columns` and `event_shape` do not fit each other")
            return TrainConfig.from_dict(record["config"]), data
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.config} is damaged: {error}") from None


def _is_ours(path: Path) -> bool:
    """Whether a run that was killed before it had its settings can have left `path`."""
    return path.name == ".lock" or is_temporary(path)


def _is_data_record(data: Any) -> bool:
    """Whether `data` has what building a run's model needs of its record of the data."""
    try:
        sizes = dict(data["split_sizes"])
        if sizes["train"] is None:  # a stream without an end
            sizes["train"] = 1
        numbers = (*data["event_shape"], *data["image_shape"], *sizes.values())
        return all(type(number) is int for number in numbers)
    except (AttributeError, KeyError, TypeError):
        return False


class WorkdirLock:
    """An advisory lock that ends with its process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise ValueError(
                f"--workdir {path.parent} is in use by {owner}; wait or stop it"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Gives the folder free."""
        self._file.close()


def flag_file(config: TrainConfig) -> str:
    """Returns the settings as a file for `--flagfile`."""
    lines = []
    for name, value in config.to_dict().items():
        if isinstance(value, bool):
            lines.append(f"--{name}" if value else f"--no{name}")
        elif isinstance(value, list):
            lines.append(f"--{name}={','.join(map(str, value))}")
        elif value is not None:
            lines.append(f"--{name}={value}")
    return "\n".join(lines) + "\n"
