"""Tests of tfp_aevb.sklearn: scikit-learn's own checks, and values against the model."""

import pickle

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from docs.make_sklearn_checks import HEAD, PAGE, VERSION, checks, row
from tests.helpers import assert_one_line
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.sklearn import AEVBTransformer

X = StandardScaler().fit_transform(load_iris().data).astype(np.float32)
QUICK = {"hidden_units": (8,), "max_epochs": 2, "n_importance_samples": 20, "random_state": 0}


@pytest.fixture(scope="module")
def fitted() -> AEVBTransformer:
    return AEVBTransformer(hidden_units=(20,), learning_rate=0.01, random_state=1).fit(X)


PAGE_ROWS = PAGE.read_text().splitlines()
# Those that fit the model more than a few times.
SLOW = (
    *("check_estimators_dtypes", "check_pipeline_consistency"),
    *("check_transformer_data_not_an_array", "check_transformer_general"),
    *("check_transformer_general(readonly_memmap=True)", "check_transformer_preserve_dtypes"),
)
CHECKS = dict(checks())


def _ends_as_the_page_says(name: str) -> None:
    found = row(name, CHECKS[name])
    if VERSION in PAGE.read_text():
        assert found in PAGE_ROWS, "run `python docs/make_sklearn_checks.py`"
    assert "| failed |" not in found, found


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("name", [name for name in CHECKS if name not in SLOW])
def test_quick_checks_of_scikit_learn_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AEVB, "suits_xla", False)  # compiling would take most of the time
    _ends_as_the_page_says(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_all_checks_of_scikit_learn_pass_with_xla(name: str) -> None:
    _ends_as_the_page_says(name)


def test_the_page_has_all_checks_and_no_failure() -> None:
    cells = [line.split(" | ") for line in PAGE_ROWS if line.startswith("| check_")]
    assert {result for _, result, *_ in cells} <= {"passed", "skipped"}
    if VERSION in PAGE.read_text():
        assert PAGE.read_text().startswith(HEAD)
        assert [name.removeprefix("| ") for name, *_ in cells] == list(CHECKS)


def test_transform_gives_the_means_of_q_and_inverse_transform_those_of_p(fitted) -> None:
    z = fitted.transform(X)
    np.testing.assert_allclose(z, fitted.model_.encode(X).mean(), rtol=1e-4, atol=1e-6)
    expected = fitted.model_.decode(z).mean()
    np.testing.assert_allclose(fitted.inverse_transform(z), expected, rtol=1e-4, atol=1e-6)
    assert fitted.get_feature_names_out().tolist() == ["aevbtransformer0", "aevbtransformer1"]


def test_scores_are_log_p_x(fitted) -> None:
    # p(z) integrated on a grid: two latents.
    axis = np.linspace(-6.0, 6.0, 301, dtype=np.float32)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    rows = X[:5]
    log_joint = np.stack(
        [fitted.model_.log_joint(tf.constant(x[None]), tf.constant(z)).numpy()[:, 0] for x in rows]
    )
    exact = np.log(np.exp(log_joint.astype(np.float64)).sum(1)) + 2.0 * np.log(axis[1] - axis[0])
    many = AEVBTransformer(**{**fitted.get_params(), "n_importance_samples": 20_000})
    many.__setstate__({**fitted.__getstate__(), "n_importance_samples": 20_000})
    np.testing.assert_allclose(many.score_samples(rows), exact, atol=0.02)
    assert fitted.score(rows) == pytest.approx(fitted.score_samples(rows).mean())


def test_fitting_raises_the_bound_above_that_of_independent_columns(fitted) -> None:
    independent = -0.5 * np.log(2.0 * np.pi * np.e) * X.shape[1]  # standardised columns
    assert fitted.bound_[-1] > independent + 1.0
    assert len(fitted.bound_) == fitted.n_iter_ == 100


@pytest.mark.compile
def test_the_same_random_state_fits_the_same_model() -> None:
    ours, theirs = (AEVBTransformer(**QUICK).fit(X) for _ in range(2))
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    np.testing.assert_array_equal(ours.sample(3), theirs.sample(3))
    assert ours.sample(3).shape == (3, 4)


def test_fitting_leaves_numpy_s_own_stream_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    AEVBTransformer(**QUICK).fit(X)
    assert np.random.random() == expected  # noqa: NPY002


def test_a_pickled_model_scores_the_same(fitted) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.score_samples(X[:7]), fitted.score_samples(X[:7]))


@pytest.mark.compile
def test_cross_validation_prefers_the_model_that_is_trained() -> None:
    """Scores are mean log p(x) of the rows left out, of standardised columns."""
    means = []
    for epochs in (1, 150):
        step = AEVBTransformer(
            hidden_units=(20,), learning_rate=0.01, max_epochs=epochs, random_state=0
        )
        pipeline = make_pipeline(StandardScaler(), step)
        folds = KFold(2, shuffle=True, random_state=0)
        means.append(cross_val_score(pipeline, load_iris().data, cv=folds).mean())
    independent = -0.5 * np.log(2.0 * np.pi * np.e) * X.shape[1]
    assert means[0] < independent < means[1] - 1.0, means


@pytest.mark.compile
def test_a_pipeline_classifies_by_the_latents() -> None:
    """By chance it is a third of 50 flowers, with a standard error of 0.07."""
    step = AEVBTransformer(hidden_units=(20,), learning_rate=0.01, batch_size=20, random_state=0)
    pipeline = make_pipeline(StandardScaler(), step, LogisticRegression())
    flowers = load_iris()
    train, test = train_test_split(
        np.arange(150), test_size=50, stratify=flowers.target, random_state=0
    )
    pipeline.fit(flowers.data[train], flowers.target[train])
    assert pipeline.score(flowers.data[test], flowers.target[test]) > 0.7


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"likelihood": "poisson"}, ("likelihood", "'poisson'", "gaussian")),
        ({"likelihood": "bernoulli"}, ("Bernoulli",)),
        ({"n_components": 0}, ("0",)),
    ],
)
def test_wrong_settings_are_refused_in_one_line(arguments: dict, parts: tuple) -> None:
    assert_one_line(lambda: AEVBTransformer(**{**QUICK, **arguments}).fit(X), ValueError, *parts)
