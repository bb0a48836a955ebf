"""Probes on codes that tell everything, and on codes that tell nothing."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tests.helpers import assert_one_line
from tfp_aevb.evaluation import representation
from tfp_aevb.evaluation.representation import (
    Accuracy,
    Labelled,
    chance,
    compare,
    principal_components,
    probe,
    table,
    write_table,
)

SPLITS = ("train", "validation", "test")
SIZES = (300, 100, 400)


def labelled(separation: float, seed: int = 0, classes: int = 3) -> list[Labelled]:
    """Features of 4 dimensions whose classes' means are `separation` standard deviations apart."""
    rng = np.random.default_rng(seed)
    means = separation * np.eye(classes, 4)
    labels = [rng.integers(0, classes, size) for size in SIZES]
    return [Labelled(means[y] + rng.normal(size=[len(y), 4]), y) for y in labels]


def test_separable_codes_are_read_without_an_error() -> None:
    for row in probe("codes", *labelled(20.0)):
        assert (row.validation, row.test, row.standard_error) == (1.0, 1.0, 0.0)


def test_labels_that_do_not_depend_on_the_codes_are_read_by_chance() -> None:
    for seed in range(3):
        rows = list(probe("codes", *labelled(0.0, seed)))
        assert [row.classifier for row in rows] == ["linear probe", "k-NN"]
        for row in rows:
            assert abs(row.test - 1 / 3) < 4.0 * row.standard_error
            assert row.standard_error == pytest.approx(np.sqrt(row.test * (1 - row.test) / 400))


def test_overlapping_classes_are_read_as_well_as_they_can_be() -> None:
    # Two classes 2 deviations apart: the best rule is right with probability Phi(1) = 0.8413.
    rng = np.random.default_rng(0)
    data = []
    for size in (2000, 500, 20000):
        y = rng.integers(0, 2, size)
        data.append(Labelled(np.stack([2.0 * y + rng.normal(size=size)], axis=1), y))
    linear, nearest = probe("codes", *data)
    assert abs(linear.test - 0.8413) < 4.0 * linear.standard_error + 0.001
    assert nearest.test < linear.test


def test_settings_are_chosen_on_the_validation_split() -> None:
    data = labelled(1.5)
    scores = {}
    for k in representation.NEIGHBOURS:
        model = KNeighborsClassifier(k).fit(*data[0])
        scores[k] = (model.score(*data[1]), model.score(*data[2]))
    best = max(scores, key=lambda k: scores[k][0])
    assert len({round(score[0], 6) for score in scores.values()}) > 2
    _, row = probe("codes", *data)
    assert (row.setting, row.validation, row.test) == (f"k = {best}", *scores[best])


def test_the_linear_probe_does_not_depend_on_the_scale_of_a_dimension_and_neighbours_do() -> None:
    data = labelled(1.5)
    scaled = [Labelled(d.x * [1e-3, 1e-3, 1e-3, 1.0], d.labels) for d in data]
    (linear, nearest), (other, far) = probe("codes", *data), probe("codes", *scaled)
    assert linear.test == pytest.approx(other.test, abs=0.003)
    assert far.test < nearest.test - 0.1  # the fourth dimension is noise


def test_chance_is_the_largest_class_of_the_training_labels() -> None:
    labels = [np.array([2, 2, 1]), np.array([2, 1]), np.array([2, 1, 1, 1])]
    row = chance(*(Labelled(np.zeros([len(y), 1]), y) for y in labels))
    assert (row.setting, row.validation, row.test) == ("2", 0.5, 0.25)


def test_components_are_those_of_the_training_data() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=[50, 6]) @ rng.normal(size=[6, 6]) + 3.0, rng.normal(size=[9, 6])
    found = principal_components(train, [test], 2)
    centre = train.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
    for scores, x in zip(found, (train, test), strict=True):
        expected = (x - centre) @ vectors[:, ::-1][:, :2]
        np.testing.assert_allclose(np.abs(scores), np.abs(expected), rtol=1e-6, atol=1e-9)
    assert principal_components(train[:3], [test], 20)[0].shape == (3, 3)


def test_the_comparison_has_codes_pca_of_their_dimension_and_pixels() -> None:
    data = labelled(3.0)
    pixels = {name: d.x for name, d in zip(SPLITS, data, strict=True)}
    latents = {name: d.x[:, :2] for name, d in zip(SPLITS, data, strict=True)}
    labels = {name: d.labels for name, d in zip(SPLITS, data, strict=True)}
    rows = list(compare(latents, pixels, labels))
    assert [(row.representation, row.dimension) for row in rows] == [
        ("none", 0),
        *[("latent means", 2)] * 2,
        *[("PCA", 2)] * 2,
        *[("pixels", 4)] * 2,
    ]
    components = principal_components(pixels["train"], [pixels[n] for n in SPLITS[1:]], 2)
    direct = probe("PCA", *map(Labelled, components, labels.values()))
    assert rows[3:5] == list(direct)
    assert rows[5:] == list(probe("pixels", *data))


def test_one_class_is_refused() -> None:
    data = [Labelled(d.x, np.zeros(len(d.x), int)) for d in labelled(1.0)]
    assert_one_line(lambda: list(probe("codes", *data)), ValueError, "codes", "one class")


def test_the_table_and_the_csv_hold_each_row(tmp_path: Path) -> None:
    rows = [Accuracy("latent means", 20, "k-NN", "k = 5", 0.9, 0.87654321, 0.0123456)]
    assert table(rows).splitlines()[1].split() == [
        *("latent", "means", "20", "k-NN", "k", "=", "5", "0.9000", "0.8765", "0.0123")
    ]
    write_table(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert {name: type(getattr(rows[0], name))(value) for name, value in row.items()} == rows[
        0
    ]._asdict()
