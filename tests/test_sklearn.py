"""Tests of tfp_aevb.sklearn: scikit-learn's own checks, and values against the model."""

import pickle

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.helpers import assert_one_line
from tfp_aevb.sklearn import AEVBTransformer

X = StandardScaler().fit_transform(load_iris().data).astype(np.float32)
QUICK = {"hidden_units": (8,), "max_epochs": 2, "n_importance_samples": 20, "random_state": 0}


@pytest.fixture(scope="module")
def fitted() -> AEVBTransformer:
    return AEVBTransformer(hidden_units=(20,), learning_rate=0.01, random_state=1).fit(X)


@pytest.mark.slow
@parametrize_with_checks([AEVBTransformer(**QUICK)])
def test_scikit_learn_s_own_checks_pass(estimator, check) -> None:
    check(estimator)


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


def test_it_is_a_step_of_a_pipeline_and_of_cross_validation() -> None:
    pipeline = make_pipeline(StandardScaler(), AEVBTransformer(**QUICK))
    scores = cross_val_score(pipeline, load_iris().data, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


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
