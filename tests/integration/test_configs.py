"""The experiments of `configs/`: each parses from any folder and trains."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import REPOSITORY, command, metric_rows
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands import train
from tfp_aevb.data import load_dataset
from tfp_aevb.data.dataset import Dataset
from tfp_aevb.layers import MLP
from tfp_aevb.runs.build import build_model
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir

CONFIGS = sorted((REPOSITORY / "configs").glob("*.flags"))
SHAPES = {"frey_face": (28, 20)}
FASTER = (
    *("--steps=2", "--eval_every=1", "--hidden_units=8", "--noxla", "--noprogress"),
    "--notensorboard_images",
)


def config_in(path: Path) -> TrainConfig:
    values = flags_lib.new_flags()
    train.define_flags(values)
    return flags_lib.train_config(flags_lib.parse(values, [f"--flagfile={path}"]))


def test_there_is_a_config_for_each_experiment() -> None:
    names = {"fashion_mnist", "frey_face", "frey_face_2d", "mnist", "mnist_2d", "mnist_5k"}
    names |= {"burda_iwae", "burda_two_layers", "burda_vae", "vamp_prior"}
    assert names <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_the_same_from_any_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = config_in(path.relative_to(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    assert config_in(path) == config


def test_the_two_dimensional_configs_differ_from_the_others_in_little() -> None:
    for name, changes in (("mnist", {"latent_dim", "steps"}), ("frey_face", {"latent_dim"})):
        config, flat = (
            config_in(REPOSITORY / "configs" / f"{stem}.flags") for stem in (name, f"{name}_2d")
        )
        mine, theirs = config.to_dict(), flat.to_dict()
        assert {key for key in mine if mine[key] != theirs[key]} == changes
        assert flat.latent_dim == 2


def test_the_paper_s_settings() -> None:
    mnist, frey = (config_in(REPOSITORY / "configs" / f"{n}.flags") for n in ("mnist", "frey_face"))
    for config, units in ((mnist, 500), (frey, 200)):
        assert config.hidden_units == (units,)
        assert (config.activation, config.batch_size, config.num_samples) == ("tanh", 100, 1)
        assert (config.objective, config.estimation, config.optimizer) == (
            *("sgvb_b", "map", "adagrad"),
        )
        assert config.learning_rate in (0.01, 0.02, 0.1)
    assert mnist.likelihood == "bernoulli"
    assert (frey.likelihood, frey.decoder_variance) == ("gaussian_sigmoid", "per_pixel")


def test_burda_s_two_layers_are_of_the_paper_s_widths() -> None:
    model = build_model(config_in(REPOSITORY / "configs" / "burda_two_layers.flags"), [784], 60_000)

    def widths(network: MLP) -> tuple[int, ...]:
        kernels = network.network_weights[::2]
        return (kernels[0].shape[0], *(kernel.shape[1] for kernel in kernels))

    # x-200-200-100-100-100-50 both ways, mean and log variance of each Gaussian.
    assert widths(model.encoder.network) == (784, 200, 200, 2 * 100)
    assert [widths(step) for step in model.encoder.steps] == [(100, 100, 100, 2 * 50)]
    assert [widths(step) for step in model.prior.steps] == [(50, 100, 100, 2 * 100)]
    assert widths(model.decoder.network) == (100, 200, 200, 784)
    assert model.latent_dim == 100 + 50
    networks = (model.encoder.network, model.decoder.network)
    for network in (*networks, *model.encoder.steps, *model.prior.steps):
        assert (network.activation, network.init_stddev) == ("tanh", None)


def test_the_default_config_is_that_of_train() -> None:
    assert config_in(REPOSITORY / "configs" / "mnist_5k.flags") == TrainConfig()


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (230, *SHAPES.get(config.dataset, (28, 28)))).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)

    def load_images(name: str, data_dir: str | None, **kwargs) -> Dataset:
        del data_dir
        dataset = load_dataset(str(tmp_path / "images.npy"), **kwargs)
        return dataclasses.replace(dataset, name=name)

    ending = {"bounds_nats_per_datapoint": {}, "samples_seen": 0, "images_per_second": 0, "seed": 0}
    ending |= {"notes": [], "diverged": False}
    monkeypatch.setattr("tfp_aevb.runs.data.load_dataset", load_images)
    monkeypatch.setattr("tfp_aevb.runs.train.finish", lambda *_: ending)
    arguments = (f"--flagfile={path}", f"--workdir={tmp_path / 'run'}", *FASTER)
    assert command("train", *arguments) == 0
    rows = metric_rows(tmp_path / "run")
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    trained, _ = Workdir(tmp_path / "run").read()
    assert sorted(trained.differences(config)) == ["eval_every", "hidden_units", "xla"]
