"""Preparing sets of TensorFlow Datasets (TFDS) without hanging when there is no network."""

import contextlib
import pathlib
import sys
import threading
import time
import urllib.parse
from typing import Any

from tfp_aevb.data import arrays

_PROBE_SECONDS = 5.0


class DatasetUnavailableError(ValueError):
    """The set is not prepared on this machine and cannot be downloaded from it."""


def prepare(builder: Any, name: str, urls: list[str]) -> None:
    """Downloads and prepares, or fails within seconds when a host does not answer.

    TFDS itself retries for minutes without a network, and leaves temporary folders behind.

    Args:
        builder: the TFDS builder of a set which is not prepared.
        name: the set's name in messages.
        urls: what it downloads. Files already in TFDS's manual or download folder need no
            network.

    Raises:
        DatasetUnavailableError: a host does not answer, or there is nothing to download.
        ValueError: the download or the preparation failed.
    """
    import tensorflow_datasets as tfds

    root = str(builder.data_dir_root)
    lacking = f"dataset {name!r} is not prepared in {root!r} and"
    advice = "give the folder of a prepared copy with --data_dir, or use --dataset=mnist_5k"
    if not urls:
        raise DatasetUnavailableError(f"{lacking} TFDS knows no download for it; {advice}")
    missing = [url for url in urls if not _is_local(builder, url)]
    if missing and not _reachable(missing):
        raise DatasetUnavailableError(f"{lacking} cannot be downloaded from here; {advice}")
    tfds.display_progress_bar(bool(missing))
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # TFDS prints what it does
            builder.download_and_prepare(download_config=config)
    except Exception as error:  # network, disk, checksums: third-party code on foreign files
        raise ValueError(
            f"dataset {name!r} could not be prepared in {root!r}: {arrays.one_line(error)}"
        ) from error


def _is_local(builder: Any, url: str) -> bool:
    """Whether the file behind `url` is in TFDS's manual folder or its download cache."""
    from tensorflow_datasets.core.download import resource

    info = (builder.url_infos or {}).get(url)
    if info is None:
        return False
    downloads = pathlib.Path(builder.data_dir_root) / "downloads"
    cached = resource.get_dl_fname(url, info.checksum)
    names = [downloads / cached, downloads / builder.name / cached]
    if info.filename:
        names.append(downloads / "manual" / info.filename)
    return any(path.exists() for path in names)


def _reachable(urls: list[str]) -> bool:
    """Whether one URL of each host answers, through the proxy settings TFDS would use.

    Threads, because a name look-up ignores socket timeouts.
    """
    import requests

    answered: set[str] = set()

    def probe(url: str) -> None:
        try:
            with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
                if response.ok:
                    answered.add(url)
        except (OSError, ValueError):  # requests' errors are OSErrors; ValueError: no such scheme
            return

    hosts = {urllib.parse.urlsplit(url).netloc: url for url in urls}
    threads = [threading.Thread(target=probe, args=(u,), daemon=True) for u in hosts.values()]
    deadline = time.monotonic() + _PROBE_SECONDS + 1
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return answered == set(hosts.values())
