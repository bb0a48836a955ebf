"""The paper's settings (Section 5), and the runs that Figures 2, 4 and 5 share."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from tfp_aevb.reproduction.runs import choose_step_size, ensure_run
from tfp_aevb.runs.settings.config import TrainConfig

BATCH = 100
SEED = 0

MNIST = TrainConfig(dataset="mnist", binarize="static", hidden_units=(500,))
FREY_FACE = TrainConfig(
    dataset="frey_face",
    binarize="none",
    likelihood="gaussian_sigmoid",
    hidden_units=(200,),
)
#: What each data set is trained with but for the method and Nz.
DATASETS = {
    "mnist": MNIST,
    "binarized_mnist": dataclasses.replace(MNIST, dataset="binarized_mnist"),
    "frey_face": FREY_FACE,
}
TRAIN_SIZES = {"mnist": 55_000, "binarized_mnist": 50_000, "frey_face": 1_565}


def updates_for(dataset: str, samples: int) -> int:
    """Returns the updates that use at least so many training samples.

    An epoch's last minibatch holds what is left of the data; of a data set whose size is not known
    here, all are taken to be whole.
    """
    size = TRAIN_SIZES.get(dataset, BATCH)
    return -(-samples * -(-size // BATCH) // size)


class PaperRun(NamedTuple):
    """A finished run.

    Attributes:
        path: its folder.
        summary: what its `summary.json` holds.
        pilots: the training bound of each step size tried, nats; empty if it was given.
    """

    path: Path
    summary: dict[str, Any]
    pilots: dict[str, float]


def paper_run(
    dataset: str,
    method: str,
    latent_dim: int,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    step_size: float | None = None,
    init: str = "variance",
) -> PaperRun:
    """Trains a model with the paper's settings; skipped when done, resumed when interrupted.

    Args:
        dataset: a key of `DATASETS`.
        method: of `runs.METHODS`.
        latent_dim: Nz.
        samples: training samples.
        workdir: of the experiment; figures in the same one share their runs.
        data_dir: as for `train`.
        step_size: Adagrad's; by default chosen by the paper's rule.
        init: how the paper's N(0, 0.01) is read, see `TrainConfig`.
    """
    points = max(1, samples // BATCH)  # counted without smaller minibatches, for round numbers
    config = dataclasses.replace(
        DATASETS[dataset],
        latent_dim=latent_dim,
        method=method,
        init=init,
        data_dir=data_dir,
        steps=updates_for(dataset, samples),
        seed=SEED,
        eval_split="test",
        eval_every=max(1, min(points // 10, max(500, points // 200))),  # up to 200 points
        tensorboard_images=False,
    )
    suffix = "" if init == "variance" else f"-init-{init}"
    folder = workdir / dataset / f"{method}-nz{latent_dim}{suffix}"
    pilots: dict[str, float] = {}
    if step_size is None:
        step_size, pilots = choose_step_size(config, folder)
    config = dataclasses.replace(config, learning_rate=step_size)
    return PaperRun(folder / "run", ensure_run(config, folder / "run"), pilots)
