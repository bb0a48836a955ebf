"""`evaluate`, `figures`, `sample` and `export` on a finished run, and what they refuse."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.runs import assert_refused, command, copy_of, tree
from tfp_aevb.evaluation.scores import score
from tfp_aevb.runs.finish import load_run, load_run_split

VERBS = ("evaluate", "figures", "sample", "export")


def values_in(path: Path, column: str) -> np.ndarray:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(len(rows)))
    return np.array([float(row[column]) for row in rows])


@pytest.mark.run
@pytest.mark.parametrize(
    ("estimator", "num_samples"), [("elbo", 1), ("importance", 7), ("hmc", 10), ("ais", 2)]
)
def test_evaluate_prints_the_mean_and_writes_each_value(
    estimator: str, num_samples: int, trained: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "scores.csv"
    arguments = (f"--workdir={trained}", f"--estimator={estimator}", f"--output={output}")
    more = (f"--num_samples={num_samples}", "--split=train", "--seed=3", "--num_datapoints=45")
    assert command("evaluate", *arguments, *more) == 0
    header, row, *diagnostics = capsys.readouterr().out.splitlines()
    config, run, model = load_run(trained)
    x = load_run_split(config, run, "train")[:45]
    scores = score(model, x, estimator, num_samples, seed=3)
    assert row.split() == [
        *(estimator, str(num_samples), f"{scores.mean:.3f}", "+-"),
        *(f"{scores.half_width:.3f}", "45"),
    ]
    words = [f"{estimator}: {scores.diagnostics}"] * bool(scores.diagnostics)
    assert diagnostics == [*words, *scores.notes]
    assert header.split() == ["estimator", "samples", "nats", "95%", "datapoints"]
    np.testing.assert_allclose(values_in(output, estimator), scores.values, rtol=1e-8)


def test_evaluate_takes_several_estimators_in_one_table(trained: Path, tmp_path, capsys) -> None:
    output = tmp_path / "scores.csv"
    arguments = (f"--workdir={trained}", "--estimator=elbo,importance", "--num_samples=3")
    assert command("evaluate", *arguments, f"--output={output}") == 0
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.split()[0] for line in lines]
    assert first_words[:4] == ["estimator", "elbo", "importance", "importance:"]
    assert output.read_text().splitlines()[0] == "row,elbo,importance"
    assert command("evaluate", *arguments, "--estimator=elbo,magic") == 2
    assert "'magic'" in capsys.readouterr().err


def test_evaluate_depends_on_its_seed(trained: Path, capsys) -> None:
    rows = []
    for seed in (0, 1):
        assert command("evaluate", f"--workdir={trained}", f"--seed={seed}") == 0
        rows.append(capsys.readouterr().out)
    assert rows[0] != rows[1]


def test_one_datapoint_has_no_interval(trained: Path, capsys) -> None:
    assert command("evaluate", f"--workdir={trained}", "--num_datapoints=1") == 0
    assert capsys.readouterr().out.split()[-1] == "1"


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize(
    ("file_format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_figures_are_drawn_again_in_each_format(
    file_format: str, start: bytes, trained: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    for path in (workdir / "figures").iterdir():
        path.unlink()
    assert command("figures", f"--workdir={workdir}", f"--format={file_format}") == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(printed) == sorted((workdir / "figures").iterdir())
    assert len(printed) == 6
    assert all(path.suffix == f".{file_format}" for path in printed)
    assert all(path.read_bytes().startswith(start) for path in printed)


@pytest.mark.run
def test_figures_of_the_run_are_those_of_the_verb(trained: Path, tmp_path: Path) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    assert command("figures", f"--workdir={workdir}") == 0
    assert tree(workdir / "figures") == tree(trained / "figures")
    assert command("figures", f"--workdir={workdir}", "--dpi=75") == 0
    sizes = [
        tf.io.decode_png((folder / "figures" / "samples.png").read_bytes()).shape[1]
        for folder in (trained, workdir)
    ]
    assert abs(sizes[0] - 2 * sizes[1]) <= 2


def test_samples_are_a_function_of_the_seed(trained: Path, tmp_path: Path, capsys) -> None:
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        arguments = (f"--workdir={trained}", f"--output={path}", f"--seed={seed}", "--num=400")
        assert command("sample", *arguments) == 0
        assert capsys.readouterr().out == f"{path}\n"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with np.load(paths[0]) as first, np.load(paths[2]) as other:
        assert sorted(first.files) == ["mean", "x", "z"]
        z, x, mean = first["z"], first["x"], first["mean"]
        assert not np.array_equal(z, other["z"])
    assert (z.shape, x.shape, mean.shape) == ((400, 2), (400, 20), (400, 20))
    assert set(np.unique(x)) == {0.0, 1.0}
    assert abs(z.mean()) < 5.0 / np.sqrt(800)
    assert abs(x.mean() - mean.mean()) < 5.0 * 0.5 / np.sqrt(8000)
    _, _, model = load_run(trained)
    np.testing.assert_allclose(mean, model.decode(z).mean(), rtol=1e-5)


def test_samples_are_drawn_as_a_picture(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    assert command("sample", f"--workdir={trained}", f"--output={path}", "--num=9") == 0
    picture = tf.io.decode_png(path.read_bytes()).numpy()
    assert picture.std() > 0.0
    before = path.read_bytes()
    assert command("sample", f"--workdir={trained}", f"--output={path}", "--num=9") == 0
    assert path.read_bytes() == before


@pytest.mark.run
def test_export_serves_the_newest_checkpoint(trained: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "model"
    assert command("export", f"--workdir={trained}", f"--output={output}") == 0
    assert capsys.readouterr().out == f"{output}\n"
    _, _, model = load_run(trained)
    x = np.random.default_rng(0).integers(0, 2, (3, 20)).astype(np.float32)
    for folder in (output, trained / "saved_model"):
        served = tf.saved_model.load(str(folder)).signatures["encode"](x=tf.constant(x))
        np.testing.assert_allclose(served["loc"], model.encode(x).mean(), rtol=1e-5, atol=1e-7)


def test_export_goes_to_the_run_unless_told(trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    before = tree(workdir).keys()
    assert command("export", f"--workdir={workdir}") == 0
    assert capsys.readouterr().out == f"{workdir / 'saved_model'}\n"
    assert tree(workdir).keys() == before


def more_for(verb: str, folder: Path) -> tuple[str, ...]:
    return (f"--output={folder / 'out.npz'}",) if verb == "sample" else ()


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_without_a_run_is_refused(verb: str, tmp_path: Path, capsys) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        arguments = (f"--workdir={folder}", *more_for(verb, tmp_path))
        assert_refused(capsys, verb, *arguments, naming=(str(folder), "holds no run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        '{"config": ',
        "[1, 2]",
        "{}",
        '{"config": {}, "data": {}}',
        '{"config": {"latent_dim": 2.5}, "data": {}}',
        '{"config": {"latent_dim": "two"}, "data": {}}',
        '{"config": {"hidden_units": 5}, "data": {}}',
        '{"config": {"latent_dims": 2}, "data": {}}',
        "\udcff\udc80",
    ],
)
def test_a_damaged_config_is_refused(content: str, trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    (workdir / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    before = tree(workdir)
    assert_refused(
        capsys,
        "evaluate",
        f"--workdir={workdir}",
        naming=(f"{workdir / 'config.json'} is damaged",),
    )
    assert tree(workdir) == before


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_refuses_a_damaged_config(
    verb: str, trained: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    (workdir / "config.json").write_text("{")
    arguments = (f"--workdir={workdir}", *more_for(verb, tmp_path))
    assert_refused(capsys, verb, *arguments, naming=("config.json is damaged",))


@pytest.mark.parametrize("verb", ["evaluate", "figures"])
def test_missing_data_are_named(verb: str, trained: Path, tmp_path: Path, capsys) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    config = (workdir / "config.json").read_text()
    (workdir / "config.json").write_text(config.replace("tiny.npz", "gone.npz"))
    assert_refused(capsys, verb, f"--workdir={workdir}", naming=("gone.npz", "does not exist"))


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("place", ["/proc/none/out", "{file}/out", "{file}"])
@pytest.mark.parametrize(
    ("verb", "suffix"),
    [("evaluate", ".csv"), ("sample", ".npz"), ("sample", ".png"), ("export", "")],
)
def test_an_output_that_cannot_be_written_is_named(
    verb: str, suffix: str, place: str, trained: Path, data_file: Path, tmp_path: Path, capsys
) -> None:
    if place == "{file}":  # a folder where a file should be, and the other way round
        output = data_file if verb == "export" else tmp_path / f"folder{suffix}"
        if verb != "export":
            output.mkdir()
    else:
        output = Path(place.format(file=data_file) + suffix)
    before = data_file.read_bytes()
    arguments = (f"--workdir={trained}", f"--output={output}")
    assert_refused(capsys, verb, *arguments, naming=(str(output.parent),))
    assert data_file.read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_evaluate_checks_its_output_before_it_scores(
    trained: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfp_aevb.evaluation.scores.score", lambda *_: pytest.fail("scored"))
    output = tmp_path / "missing" / "scores.csv"
    arguments = (f"--workdir={trained}", f"--output={output}")
    assert_refused(capsys, "evaluate", *arguments, naming=("--output", str(output.parent)))


def test_a_picture_of_data_without_an_image_shape_is_refused(
    trained: Path, tmp_path: Path, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    config = (workdir / "config.json").read_text()
    flat = config[: config.index('"image_shape": [')] + '"image_shape": []}}'
    (workdir / "config.json").write_text(flat)
    arguments = (f"--workdir={workdir}", f"--output={tmp_path / 'x.png'}")
    assert_refused(capsys, "sample", *arguments, naming=("not trained on images", ".npz"))


@pytest.mark.run
def test_seeds_beyond_32_bits_work(trained: Path, tmp_path: Path) -> None:
    workdir = copy_of(trained, tmp_path / "run")
    for verb in ("figures", "evaluate"):
        assert command(verb, f"--workdir={workdir}", f"--seed={2**40}") == 0
