"""How well labels can be read off codes: a linear probe and k nearest neighbours. No TensorFlow."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfp_aevb.utils.files import write_csv

# Inverse strengths of the probe's penalty, and numbers of neighbours, to choose from.
PENALTIES = (0.001, 0.01, 0.1, 1.0)
NEIGHBOURS = (1, 3, 5, 10, 20)


class Labelled(NamedTuple):
    """Features [N, D] of some datapoints, and their labels [N]."""

    x: np.ndarray
    labels: np.ndarray


class Accuracy(NamedTuple):
    """What a classifier reads off a representation.

    Attributes:
        representation: its name.
        dimension: D.
        classifier: `linear probe`, `k-NN`, or `largest class`, which is chance.
        setting: what was chosen on the validation split, in words.
        validation: accuracy on the validation split, by which it was chosen.
        test: accuracy on the test split.
        standard_error: of `test`, over datapoints: sqrt(a (1 - a) / N).
    """

    representation: str
    dimension: int
    classifier: str
    setting: str
    validation: float
    test: float
    standard_error: float


def probe(name: str, train: Labelled, validation: Labelled, test: Labelled) -> Iterator[Accuracy]:
    """Fits both classifiers to one representation and measures them.

    The linear probe is a logistic regression on features standardised by the training data's
    means and deviations. The neighbours are Euclidean, on features as they are: standardised, a
    latent that is off would count as much as one that is used.

    Args:
        name: of the representation.
        train: what the classifiers are fitted to.
        validation: what C and k are chosen on, the smaller where they tie.
        test: what is reported on.

    Yields:
        The linear probe's accuracy, then that of k nearest neighbours.

    Raises:
        ValueError: if there are fewer than two classes.
    """
    from sklearn import linear_model, neighbors, pipeline, preprocessing

    if len(np.unique(train.labels)) < 2:
        raise ValueError(f"{name}: the training labels have one class only; expected at least 2")

    def linear_probe(penalty: float) -> Any:
        return pipeline.make_pipeline(
            preprocessing.StandardScaler(),
            linear_model.LogisticRegression(C=penalty, max_iter=200),
        )

    def nearest(k: float) -> Any:
        return neighbors.KNeighborsClassifier(int(k), algorithm="brute")

    ks = [k for k in NEIGHBOURS if k <= len(train.x)]
    for classifier, symbol, make, choices in (
        ("linear probe", "C", linear_probe, PENALTIES),
        ("k-NN", "k", nearest, ks),
    ):
        chosen, validation_accuracy, accuracy = _choose(make, choices, train, validation, test)
        yield Accuracy(
            *(name, train.x.shape[1], classifier, f"{symbol} = {chosen:g}"),
            *(validation_accuracy, accuracy, _standard_error(accuracy, len(test.x))),
        )


def chance(train: Labelled, validation: Labelled, test: Labelled) -> Accuracy:
    """Returns the accuracy of the training data's largest class."""
    classes, counts = np.unique(train.labels, return_counts=True)
    largest = classes[counts.argmax()]
    on_validation, on_test = (float((d.labels == largest).mean()) for d in (validation, test))
    error = _standard_error(on_test, len(test.x))
    return Accuracy("none", 0, "largest class", f"{largest}", on_validation, on_test, error)


def principal_components(
    train: np.ndarray, others: Sequence[np.ndarray], dimension: int
) -> list[np.ndarray]:
    """Returns the scores of `train` and of `others` on the training data's first components.

    There are `dimension` of them, or as many as the data have.
    """
    from sklearn.decomposition import PCA

    count = min(dimension, *train.shape)
    pca = PCA(count, svd_solver="full").fit(train)
    return [pca.transform(x) for x in (train, *others)]


def table(rows: Sequence[Accuracy]) -> str:
    """Returns the accuracies as lines of text."""
    lines = [f"{'representation':<16}{'dim':>5}  {'classifier':<15}{'setting':<10}"
             f"{'validation':>10}{'test':>9}{'standard error':>16}"]  # fmt: skip
    for row in rows:
        lines.append(
            f"{row.representation:<16}{row.dimension:>5}  {row.classifier:<15}{row.setting:<10}"
            f"{row.validation:>10.4f}{row.test:>9.4f}{row.standard_error:>16.4f}"
        )
    return "\n".join(lines)


def write_table(rows: Sequence[Accuracy], path: Path) -> None:
    """Writes the accuracies as a .csv."""
    write_csv(path, Accuracy._fields, rows)


def compare(
    codes: Mapping[str, np.ndarray], pixels: Mapping[str, np.ndarray], labels: Mapping[str, Any]
) -> Iterator[Accuracy]:
    """Measures latent means beside principal components of the same dimension, and pixels.

    Args:
        codes: latent means [N, J] by split: train, validation, test.
        pixels: [N, D] by split.
        labels: [N] by split.

    Yields:
        The accuracies, chance first.
    """
    splits = ("train", "validation", "test")
    x = [pixels[name] for name in splits]
    components = principal_components(x[0], x[1:], codes["train"].shape[1])
    representations = {
        "latent means": [codes[name] for name in splits],
        "PCA": components,
        "pixels": x,
    }
    y = [labels[name] for name in splits]
    yield chance(*map(Labelled, x, y))
    for name, features in representations.items():
        yield from probe(name, *map(Labelled, features, y))


def _choose(
    make: Callable[[float], Any],
    choices: Sequence[float],
    train: Labelled,
    validation: Labelled,
    test: Labelled,
) -> tuple[float, float, float]:
    """Returns the choice that is best on validation, and its accuracies there and on test."""
    from sklearn.exceptions import ConvergenceWarning

    best: tuple[float, float, Any] = (0.0, -1.0, None)
    for choice in choices:
        model = make(choice)
        with warnings.catch_warnings():
            # A probe that has not converged is chosen, or not, by its accuracy like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train.x, train.labels)
        accuracy = float(model.score(validation.x, validation.labels))
        if accuracy > best[1]:
            best = choice, accuracy, model
    return best[0], best[1], float(best[2].score(test.x, test.labels))


def _standard_error(accuracy: float, count: int) -> float:
    return math.sqrt(accuracy * (1.0 - accuracy) / count)
