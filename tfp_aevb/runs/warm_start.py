"""Starting a run from the parameters of another one, to train the same model by other means."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from tfp_aevb.data.columns import Column, as_columns
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.runs.finish import load_run
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir

# Settings that say which function the parameters are of.
MODEL_SETTINGS = (
    *("likelihood", "categories", "decoder_variance"),
    *("prior", "prior_components", "posterior", "rank", "flow_steps"),
    *("latent_dim", "upper_latent_dims", "upper_hidden_units", "hidden_units"),
    *("network", "activation"),
)


def start_from_run(model: AEVB, config: TrainConfig, record: dict[str, Any]) -> None:
    """Gives `model` the parameters of the run `config.warm_start`.

    They are those of its last checkpoint, or their average where it kept one.

    Args:
        model: of the settings `config`.
        config: the settings.
        record: of the data.

    Raises:
        FileNotFoundError: if the folder holds no run, or no checkpoint.
        ValueError: if its files are damaged, its model is another one, or its table has other
            columns or constants.
    """
    folder = Workdir(config.warm_start or "")
    if not folder.config.exists():
        raise FileNotFoundError(
            f"--warm_start {folder.path} holds no run (no config.json); give the --workdir of one"
        )
    saved, data = folder.read()
    mine, theirs = config.to_dict(), saved.to_dict()
    names = [name for name in MODEL_SETTINGS if mine[name] != theirs[name]]
    if config.method != saved.method and {"mcem", "full_vb"} & {config.method, saved.method}:
        names.append("method")  # these have parameters of their own
    if names:
        changes = ", ".join(f"{name}={theirs[name]} (now {mine[name]})" for name in names)
        raise ValueError(
            f"--warm_start {folder.path} is a run with {changes}; it must be of the same model"
        )
    if "columns" in record:
        _check_columns(folder.path, as_columns(data["columns"]), as_columns(record["columns"]))
    _, _, other = load_run(folder.path)
    given, own = other.trainable_variables, model.trainable_variables
    for a, b in itertools.zip_longest(given, own):
        if a is None or b is None or a.shape != b.shape:
            raise ValueError(
                f"--warm_start {folder.path} is a run on data of another shape, with other "
                "parameters; it must be of the same model"
            )
    for a, b in zip(given, own, strict=True):
        b.assign(a.numpy())
    model.restart_averages()


def _check_columns(path: Path, theirs: tuple[Column, ...], mine: tuple[Column, ...]) -> None:
    """Raises a `ValueError` unless all columns and their constants are the same."""
    for place, (a, b) in enumerate(zip(theirs, mine, strict=False), 1):
        for name, value in dataclasses.asdict(a).items():
            now = getattr(b, name)
            if value != now:
                raise ValueError(
                    f"--warm_start {path} is a run on another table: column {place} has "
                    f"{name}={value!r:.80} (now {now!r:.80}), and its parameters mean something "
                    "else; give the same table, or leave --warm_start out"
                )
