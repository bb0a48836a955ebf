"""Coverage-guided fuzzing by atheris, where it is installed (`pip install atheris`)."""

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults import seeds
from tests.faults.processes import forked
from tests.faults.record import Row
from tfp_aevb.runs.metrics import COLUMNS
from tfp_aevb.runs.settings.config import TrainConfig

SECONDS = 3600.0


def guided(tries: int, seed: int, folder: Path) -> list[Row]:
    """The targets of `inputs` that read bytes, `tries` inputs in all."""
    if importlib.util.find_spec("atheris") is None:
        raise SystemExit("atheris is not installed; `fuzz` works without")
    corpora = whole_files()
    rows = []
    for name, files in corpora.items():
        row = Row(f"hostile {name}, guided by coverage", "a result or one line")
        corpus = folder / name.replace(" ", "_")
        corpus.mkdir()
        for number, content in enumerate(files):
            (corpus / str(number)).write_bytes(content)
        count = tries // len(corpora)
        outcome = forked(partial(_fuzz, name, count, seed, folder, corpus), timeout=SECONDS)
        row.tries = count
        covered = [line for line in outcome.stderr.splitlines() if "cov:" in line]
        row.note(covered[-1] if covered else outcome.line)
        if outcome.code != 0:
            row.err(outcome.stderr[-1500:])
        rows.append(row)
    return rows


def whole_files() -> dict[str, list[bytes]]:
    """Target -> files that are as they should be, to start from."""
    data = {"event_shape": [20], "image_shape": [4, 5], "split_sizes": {"train": 9}}
    config = {"config": TrainConfig().to_dict(), "data": data}
    row = ",".join(str(10 + i) for i in range(len(COLUMNS)))
    return {
        "npy": [seeds.npy(seeds.GREY), seeds.npy(seeds.GREY / 9.0)],
        "npz": [seeds.npz(train=seeds.GREY, labels_train=np.arange(12))],
        "config.json": [json.dumps(config).encode()],
        "metrics.csv": [f"{','.join(COLUMNS)}\n{row}\n".encode()],
        "flag file": [b"--steps=3\n--latent_dim=2\n# a comment\n--noxla\n"],
    }


def _fuzz(name: str, tries: int, seed: int, folder: Path, corpus: Path) -> int:
    import atheris

    for loaded in [module for module in sys.modules if module.startswith("tfp_aevb")]:
        del sys.modules[loaded]
    with atheris.instrument_imports(include=["tfp_aevb"]):
        from tests.faults.inputs import outcome_of, targets

        _, read = targets(folder)[name]

    def one(content: bytes) -> Any:
        if problem := outcome_of(read, content):
            raise RuntimeError(f"{problem}\n    input {content!r:.300}")

    options = [f"-runs={tries}", f"-seed={seed + 1}", "-max_len=2000", "-rss_limit_mb=6000"]
    atheris.Setup(["guided", *options, str(corpus)], one)
    atheris.Fuzz()
    return 0
