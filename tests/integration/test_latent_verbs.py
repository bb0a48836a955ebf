"""`encode`, `represent`, `diagnose` and `figures --interpolations` on a finished run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.runs import TINY, assert_refused, command, copy_of, tree
from tfp_aevb.evaluation.scores import score
from tfp_aevb.runs.finish import load_run, load_run_data, load_run_split
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate

VERBS = ("encode", "represent", "diagnose")


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on data that are no images and have no labels, with a mixture prior."""
    folder = tmp_path_factory.mktemp("unlabelled")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=[40, 7]))
    arguments = (f"--dataset={folder / 'x.npy'}", *TINY, "--likelihood=gaussian")
    more = ("--prior=mixture", "--objective=sgvb_a")
    assert command("train", f"--workdir={folder / 'run'}", *arguments, *more) == 0
    return folder / "run"


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_encode_writes_codes_and_labels(split: str, trained: Path, tmp_path, capsys) -> None:
    paths = {suffix: tmp_path / f"codes.{suffix}" for suffix in ("npz", "csv")}
    before = tree(trained)
    for path in paths.values():
        arguments = (f"--workdir={trained}", f"--output={path}", f"--split={split}", "--seed=3")
        assert command("encode", *arguments) == 0
    config, run, _ = load_run(trained)
    data = getattr(load_run_data(config, run), split)
    count = len(data.x)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{path}: {count} datapoints, 2 latents" for path in paths.values()]
    found = arrays_in(paths["npz"])
    assert found["loc"].shape == found["stddev"].shape == (count, 2)
    assert (found["stddev"] > 0.0).all()
    np.testing.assert_array_equal(found["labels"], data.labels)
    with paths["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == data.labels.tolist()
    for name in ("loc", "stddev"):
        table = [[row[f"{name}_{j}"] for j in range(2)] for row in rows]
        np.testing.assert_array_equal(np.array(table, np.float32), found[name])
    assert tree(trained) == before


@pytest.mark.run
def test_encode_does_not_divide_counts(tmp_path: Path) -> None:
    x = np.random.default_rng(0).poisson(5.0, (30, 4))
    np.save(tmp_path / "counts.npy", x)
    config = TrainConfig(
        dataset=str(tmp_path / "counts.npy"),
        likelihood="poisson",
        hidden_units=(4,),
        latent_dim=2,
        batch_size=10,
        steps=2,
        xla=False,
        progress=False,
        tensorboard_images=False,
    )
    train_and_evaluate(config, tmp_path / "run", only_train=True)
    arguments = (f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'codes.npz'}")
    assert command("encode", *arguments, f"--input={config.dataset}") == 0
    expected = load_run(tmp_path / "run")[2].encode(x.astype(np.float32)).mean()
    np.testing.assert_allclose(arrays_in(tmp_path / "codes.npz")["loc"], expected, rtol=1e-4)


@pytest.mark.run
def test_encode_reads_a_file_as_the_run_s_data(trained: Path, tmp_path: Path, capsys) -> None:
    config, run, model = load_run(trained)
    x = load_run_split(config, run, "test").x.reshape(-1, 4, 5)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x.astype(np.int64), labels=np.arange(len(x)))
    outputs = [tmp_path / f"{name}.npz" for name in ("split", "npy", "npz")]
    sources = ("--split=test", f"--input={tmp_path / 'x.npy'}", f"--input={tmp_path / 'x.npz'}")
    for output, source in zip(outputs, sources, strict=True):
        assert command("encode", f"--workdir={trained}", f"--output={output}", source) == 0
    split, npy, npz = map(arrays_in, outputs)
    for name in ("loc", "stddev"):
        np.testing.assert_array_equal(npy[name], split[name])
        np.testing.assert_array_equal(npz[name], split[name])
    assert "labels" not in npy
    np.testing.assert_array_equal(npz["labels"], np.arange(len(x)))
    np.save(tmp_path / "binary.npy", x > 127)
    np.save(tmp_path / "bytes.npy", (x > 127).astype(np.uint8))
    arguments = (f"--workdir={trained}", f"--output={outputs[0]}")
    # Black pictures, or binarised ones? They are not guessed at.
    capsys.readouterr()
    dark = f"--input={tmp_path / 'bytes.npy'}"
    assert_refused(capsys, "encode", *arguments, dark, naming=("0 and 1", "save", "bool"))
    assert command("encode", *arguments, f"--input={tmp_path / 'binary.npy'}") == 0
    binary = (x.reshape(len(x), -1) > 127).astype(np.float32)
    np.testing.assert_allclose(
        arrays_in(outputs[0])["loc"], model.encode(binary).mean(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    ("source", "naming"),
    [
        ("--input=none.npy", ("none.npy", "not a file")),
        ("--input={wide}", ("[20]", "[21]")),
        ("--input={text}", ("--input", "cannot be read")),
        ("--input={wide} --split=test", ("--input", "--split")),
        ("--split=all", ("--split", "validation")),
        ("--output={folder}/codes.txt", ("--output", ".npz or .csv")),
        ("--output={folder}/none/codes.npz", ("--output", "no folder")),
    ],
)
def test_encode_refuses_in_one_line(
    source: str, naming: tuple[str, ...], trained: Path, tmp_path: Path, capsys
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros([3, 21], np.uint8))
    (tmp_path / "text.npy").write_text("none")
    before = tree(tmp_path)
    places = {"wide": tmp_path / "wide.npy", "text": tmp_path / "text.npy", "folder": tmp_path}
    arguments = source.format(**places).split()
    output = f"--output={tmp_path / 'codes.csv'}"
    assert_refused(capsys, "encode", f"--workdir={trained}", output, *arguments, naming=naming)
    assert tree(tmp_path) == before


def test_encode_needs_an_output(trained: Path, capsys) -> None:
    assert_refused(capsys, "encode", f"--workdir={trained}", naming=("--output is required",))


@pytest.mark.run
def test_represent_prints_and_writes_one_table(trained: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "table.csv"
    before = tree(trained)
    arguments = (f"--workdir={trained}", f"--output={output}", "--num_train=30")
    assert command("represent", *arguments) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["representation", "dim", "classifier"]
    with output.open() as file:
        rows = list(csv.DictReader(file))
    names = ["none", *["latent means"] * 2, *["PCA"] * 2, *["pixels"] * 2]
    assert [row["representation"] for row in rows] == names
    assert [int(row["dimension"]) for row in rows] == [0, 2, 2, 2, 2, 20, 20]
    for line, row in zip(lines, rows, strict=True):
        assert line.startswith(row["representation"])
        assert line.split()[-2:] == [f"{float(row[n]):.4f}" for n in ("test", "standard_error")]
        assert round(6 * float(row["test"]), 6) in range(7)  # of 6 test images
    assert tree(trained) == before


def test_represent_names_missing_labels(unlabelled: Path, capsys) -> None:
    arguments = (f"--workdir={unlabelled}",)
    assert_refused(capsys, "represent", *arguments, naming=("has no labels", "train split"))


@pytest.mark.run
def test_diagnose_prints_writes_and_draws(trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = tree(workdir)
    arguments = (f"--workdir={workdir}", "--split=train", "--num_datapoints=40", "--seed=3")
    assert command("diagnose", *arguments, "--num_samples=4", "--num_refined=5") == 0
    out = capsys.readouterr().out
    new = {name: content for name, content in tree(workdir).items() if name not in before}
    assert sorted(new) == ["diagnostics.json", "figures/diagnostics.png"]
    assert out.splitlines()[-2:] == [str(workdir / name) for name in new]
    picture = tf.io.decode_png(new["figures/diagnostics.png"]).numpy()
    assert picture.std() > 0.0
    found = json.loads(new["diagnostics.json"])
    assert (found["split"], found["seed"], found["datapoints"]) == ("train", 3, 40)
    assert found["aggregate_posterior"]["draws"] == [40, 40]
    assert len(found["kl_per_dimension"]) == len(found["variance_of_posterior_means"]) == 2
    config, run, model = load_run(workdir)
    elbo = score(model, load_run_split(config, run, "train")[:40], "elbo", 4, seed=3)
    assert found["elbo"]["mean"] == pytest.approx(elbo.mean, rel=1e-5)
    rate, distortion = found["rate"]["mean"], found["distortion"]["mean"]
    assert rate + distortion == pytest.approx(-elbo.mean, rel=1e-5)
    assert sum(found["kl_per_dimension"]) == pytest.approx(rate, rel=1e-4)
    gaps = found["gaps"]
    total = gaps["log_prob"]["mean"] - gaps["elbo"]["mean"]
    parts = gaps["amortisation"]["mean"] + gaps["approximation"]["mean"]
    assert parts == pytest.approx(total, abs=1e-9)
    assert f"{rate:.3f}" in out
    for line in found["advice"]:
        assert line in out


@pytest.mark.run
def test_diagnose_is_a_function_of_the_seed(trained: Path, tmp_path: Path) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    texts = []
    for seed in (1, 1, 2):
        assert command("diagnose", f"--workdir={workdir}", f"--seed={seed}", "--num_refined=3") == 0
        texts.append((workdir / "diagnostics.json").read_text())
    assert texts[0] == texts[1]
    first, other = json.loads(texts[0]), json.loads(texts[2])
    assert first["rate"] != other["rate"]
    assert first["aggregate_posterior"]["mmd2"] != other["aggregate_posterior"]["mmd2"]
    assert first["gaps"]["log_prob"] != other["gaps"]["log_prob"]


@pytest.mark.run
def test_diagnose_says_what_a_mixture_prior_leaves_undefined(
    unlabelled: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(unlabelled, tmp_path / "run")
    assert command("diagnose", f"--workdir={workdir}", "--num_refined=0", "--format=svg") == 0
    lines = capsys.readouterr().out.splitlines()
    for start, reason in (
        ("KL of a latent", "not defined: "),
        ("amortisation", "`num_refined` is 0"),
    ):
        (line,) = [line for line in lines if line.startswith(start)]
        assert reason in line
    assert (workdir / "figures" / "diagnostics.svg").read_bytes().startswith(b"<?xml")
    assert json.loads((workdir / "diagnostics.json").read_text())["kl_per_dimension"] is None


@pytest.mark.run
@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_draws_interpolations_when_asked(
    file_format: str, start: bytes, trained: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    arguments = (f"--workdir={workdir}", "--interpolations=3", f"--format={file_format}")
    assert command("figures", *arguments, "--dpi=60") == 0
    path = workdir / "figures" / f"interpolations.{file_format}"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert path.read_bytes().startswith(start)


@pytest.mark.run
def test_interpolations_that_cannot_be_drawn_are_refused(
    trained: Path, unlabelled: Path, tmp_path: Path, capsys
) -> None:
    for run, number, naming in (
        (trained, 4, ("--interpolations=4", "8 test images", "at most 3")),
        (unlabelled, 1, ("does not hold images",)),
    ):
        workdir = copy_of(run, tmp_path / run.parent.name)
        arguments = (f"--workdir={workdir}", f"--interpolations={number}")
        assert_refused(capsys, "figures", *arguments, naming=naming)
        assert not (workdir / "figures" / "interpolations.png").exists()


def more_for(verb: str, folder: Path) -> tuple[str, ...]:
    return (f"--output={folder / 'out.npz'}",) if verb == "encode" else ()


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_without_a_run_is_refused(verb: str, tmp_path: Path, capsys) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        arguments = (f"--workdir={folder}", *more_for(verb, tmp_path))
        assert_refused(capsys, verb, *arguments, naming=(str(folder), "holds no run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("verb", VERBS)
def test_missing_data_are_named(verb: str, trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    config = (workdir / "config.json").read_text()
    (workdir / "config.json").write_text(config.replace("tiny.npz", "gone.npz"))
    arguments = (f"--workdir={workdir}", *more_for(verb, tmp_path))
    assert_refused(capsys, verb, *arguments, naming=("gone.npz", "does not exist"))
