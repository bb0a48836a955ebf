"""Weights of datapoints: a weight w counts a row w times, in training and in what is reported."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.helpers import (
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    small_model,
    weights_of,
)
from tfp_aevb import Stream, layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.models.wake_sleep import WakeSleep

X = binary_data()  # 25 rows
W = np.arange(25) % 4  # 0 for seven of them
REPEATED = np.repeat(X, W, axis=0)  # 36 rows
NUM_DATA = 36


def _parts() -> tuple:
    tf_keras.utils.set_random_seed(1)
    return (
        layers.StandardNormalPrior(2),
        layers.DiagonalGaussianPosterior(2, (5,)),
        layers.BernoulliLikelihood(6, (5,)),
    )


def _without_noise(rate: float = 0.1, **kwargs) -> AEVB:
    """A model whose bound has no draws, so that repeated rows are equal terms of a sum."""
    model = AblatedAEVB(*_parts(), regularised=True, **kwargs)
    return compiled(model, tf_keras.optimizers.SGD(rate))


def _fit(model: AEVB, x, **kwargs) -> dict:
    return model.fit(x, **{"verbose": 0, "batch_size": 100, **kwargs}).history


def _assert_close(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-6, atol=1e-7, err_msg=name)


def _batches(size: int = 4, w: np.ndarray = W) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, X, w.astype(np.float32))).batch(size)


class _Sequence(tf_keras.utils.Sequence):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple:
        rows = slice(5 * index, 5 * index + 5)
        return X[rows], None, W[rows]


def _generator(target: bool) -> Iterator[tuple]:
    for i in range(0, 25, 5):
        yield X[i : i + 5], X[i : i + 5] if target else None, W[i : i + 5]


FORMS = {
    "array": lambda: (X, {"sample_weight": W}),
    "target": lambda: (X, {"y": X, "sample_weight": list(W)}),
    "observations": lambda: (Observations(X, weights=W), {}),
    "tf.data": lambda: (_batches(), {}),
    "no target": lambda: (_batches().map(lambda x, y, w: (x, None, w)), {}),
    "generator": lambda: (_generator(True), {}),
    "generator without target": lambda: (_generator(False), {}),
    "sequence": lambda: (_Sequence(), {}),
}


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prior", [None, "normal"])
def test_evaluate_counts_a_row_as_often_as_its_weight_says(form: str, prior: str | None) -> None:
    model = _without_noise(parameter_prior=prior, num_data=NUM_DATA)
    x, options = FORMS[form]()
    found = model.evaluate(x, verbose=0, return_dict=True, **options)
    _assert_close(found, model.evaluate(REPEATED, verbose=0, return_dict=True))


@pytest.mark.compile
@pytest.mark.parametrize("kwargs", [{}, {"parameter_prior": "normal"}], ids=["ml", "map"])
def test_full_batches_train_as_on_repeated_rows(kwargs: dict) -> None:
    weighted, repeated = _without_noise(**kwargs), _without_noise(**kwargs)
    history = _fit(weighted, X, sample_weight=W, epochs=3, validation_data=(X, None, W))
    expected = _fit(repeated, REPEATED, epochs=3, validation_data=REPEATED)
    _assert_close(history, expected)
    for a, b in zip(weights_of(weighted), weights_of(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.compile
@pytest.mark.parametrize("make", [lambda: compiled(small_model()), _without_noise])
def test_rows_of_weight_zero_are_as_if_they_were_not_there(make: Callable) -> None:
    x = np.where((W == 0)[:, np.newaxis], 1.0 - X, X)
    results = []
    for data, options in ((x, {"sample_weight": W > 0}), (X[W > 0], {})):
        model = make()
        history = _fit(model, data, batch_size=4, epochs=2, **options)
        results.append((history, weights_of(model), model.evaluate(data, verbose=0, **options)))
    assert results[0][0] == results[1][0]
    assert results[0][2] == results[1][2]
    assert_same_arrays(results[0][1], results[1][1])


@pytest.mark.compile
@pytest.mark.parametrize("kwargs", [{}, {"parameter_prior": "normal"}], ids=["ml", "map"])
def test_minibatches_report_the_weighted_means_of_the_whole(kwargs: dict) -> None:
    whole = _fit(_without_noise(0.0, **kwargs), REPEATED)
    _assert_close(_fit(_without_noise(0.0, **kwargs), X, batch_size=4, sample_weight=W), whole)
    streamed = _without_noise(0.0, num_data=NUM_DATA, **kwargs)
    _assert_close(_fit(streamed, _batches(), batch_size=None), whole)


@pytest.mark.compile
def test_minibatch_steps_of_an_epoch_add_up_to_the_weighted_gradient() -> None:
    """At small steps an epoch moves by the sum of its gradients, each of mean 0 off the whole's."""
    rate, w = 1e-4, np.where(W, W, 5)
    parts, whole = _without_noise(rate), _without_noise(rate)
    start = weights_of(parts)
    _fit(parts, X, batch_size=5, sample_weight=w)
    _fit(whole, np.repeat(X, w, axis=0), epochs=5)
    moves = [np.concatenate([(a - b).ravel() for a, b in zip(weights_of(m), start, strict=True)])
             for m in (parts, whole)]  # fmt: skip
    assert np.abs(moves[0] - moves[1]).max() < 5e-3 * np.abs(moves[1]).max()


@pytest.mark.compile
def test_weights_of_batches_are_taken_as_they_are() -> None:
    moves = []
    for factor in (1.0, 2.0):
        model = _without_noise()
        start = weights_of(model)
        history = _fit(model, _batches(25, factor * W), batch_size=None)
        moves.append([a - b for a, b in zip(weights_of(model), start, strict=True)])
    for a, b in zip(*moves, strict=True):
        np.testing.assert_allclose(2.0 * a, b, rtol=1e-4, atol=1e-7)
    _assert_close(history, _fit(_without_noise(), REPEATED))  # before the update


@pytest.mark.compile
def test_equal_weights_change_nothing_but_n() -> None:
    results = []
    for options in ({}, {"sample_weight": np.full(25, 3.0)}):
        model = compiled(small_model())
        results.append((_fit(model, X, batch_size=4, **options), weights_of(model)))
        assert model.known_num_data == (75.0 if options else 25)
    assert results[0][0] == results[1][0]
    assert_same_arrays(results[0][1], results[1][1])


@pytest.mark.compile
def test_full_variational_bayes_divides_by_the_sum_of_the_weights() -> None:
    model = compiled(FullVB(*_parts()), tf_keras.optimizers.SGD(0.0))
    history = _fit(model, X, batch_size=4, sample_weight=W)
    kl = model.encode(REPEATED).kl_divergence(model.prior_distribution()).numpy()
    expected = kl.mean(dtype=np.float64) + model.parameter_kl().numpy() / NUM_DATA
    np.testing.assert_allclose(history["kl"], expected, rtol=1e-6)
    assert model.known_num_data == NUM_DATA


@pytest.mark.compile
def test_wake_sleep_weights_both_phases() -> None:
    losses = []
    for w in (None, W):
        model = compiled(WakeSleep(*_parts()), tf_keras.optimizers.SGD(0.0))
        losses.append(_fit(model, X, sample_weight=w)["loss"][0])
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.compile
def test_monte_carlo_em_weights_the_m_step_and_not_the_chains() -> None:
    chains, weights = [], []
    for w in (None, np.arange(1, 26)):
        prior, _, decoder = _parts()
        model = compiled(MonteCarloEM(prior, decoder, num_data=25, m_step_updates=1))
        _fit(model, X, sample_weight=w, shuffle=False)
        chains.append([v.numpy() for v in (model.chains, model.chain_means, model.log_step_sizes)])
        weights.append(weights_of(model))
        assert model.known_num_data == (25 if w is None else 325)
    assert_same_arrays(*chains)
    assert any((a != b).any() for a, b in zip(*weights, strict=True))


@pytest.mark.compile
def test_what_does_not_count_may_be_an_outlier() -> None:
    """Its bound overflows float32, and 0 times infinity is NaN."""
    x = np.where((W == 0)[:, np.newaxis], 1e30, X).astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((x, x, W.astype(np.float32))).batch(4)
    for data, options in ((batches, {}), (x, {"sample_weight": W})):
        tf_keras.utils.set_random_seed(1)
        model = compiled(small_model(decoder=layers.GaussianLikelihood(6, (5,))))
        history = _fit(model, data, batch_size=None, **options)
        assert np.isfinite(history["elbo"]).all()
        assert all(np.isfinite(v).all() for v in weights_of(model))
        assert np.isfinite(model.evaluate(data, verbose=0, **options)).all()


@pytest.mark.compile
def test_a_validation_split_takes_its_weights_along() -> None:
    split, apart = _without_noise(), _without_noise()
    history = _fit(split, X, batch_size=4, sample_weight=W, validation_split=0.2)
    assert history == _fit(
        apart, X[:20], batch_size=4, sample_weight=W[:20], validation_data=(X[20:], X[20:], W[20:])
    )


@pytest.mark.compile
@pytest.mark.parametrize("data", ["array", "tf.data"])
def test_two_devices_weight_as_one_does(two_devices: tf.distribute.Strategy, data: str) -> None:
    results = []
    for strategy in (tf.distribute.get_strategy(), two_devices):
        with strategy.scope():
            model = compiled(small_model(parameter_prior="normal", num_data=NUM_DATA))
        x, options = FORMS[data]()
        size = 7 if data == "array" else None
        history = _fit(model, x, batch_size=size, validation_data=_batches(), **options)
        results.append((history, weights_of(model)))
    _assert_close(results[0][0], results[1][0])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        (-W, ("at least 0", "row 1")),
        (np.where(W == 3, np.nan, W), ("finite", "row 3")),
        (np.where(W == 3, np.inf, W), ("finite", "row 3")),
        (0 * W, ("all be 0",)),
        (W[:24], ("[25]", "[24]")),
        (W[:, np.newaxis], ("[25]", "[25, 1]")),
        (2.0, ("[25]",)),
        (["a"] * 25, ("numbers",)),
    ],
)
def test_bad_weights_are_refused(weights, parts: tuple[str, ...]) -> None:
    model = _without_noise()
    for action in (
        lambda: _fit(model, X, sample_weight=weights),
        lambda: model.evaluate(X, sample_weight=weights),
        lambda: _fit(model, X, validation_data=(X, X, weights)),
        lambda: Observations(X, weights=weights),
    ):
        assert_one_line(action, ValueError, "weights must", *parts)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("action", ["fit", "evaluate", "validation"])
def test_batches_that_never_count_are_refused(action: str) -> None:
    model, none = _without_noise(), _batches(4, 0 * W)
    actions = {
        "fit": lambda: _fit(model, none, batch_size=None),
        "evaluate": lambda: model.evaluate(none, verbose=0),
        "validation": lambda: _fit(model, X, validation_data=none),
    }
    assert_one_line(actions[action], ValueError, "weights must not all be 0")


def test_weights_beside_what_brings_its_own_are_refused() -> None:
    model = _without_noise()
    stream = Stream(lambda *_: [X], num_data=25)
    weighted = Observations(X, weights=W)
    for data, size in ((_batches(), None), (stream, 4)):
        assert_one_line(
            lambda x=data, size=size: _fit(model, x, batch_size=size, sample_weight=W),
            ValueError,
            "(x, x, w",
        )
    assert_one_line(lambda: _fit(model, weighted, sample_weight=W), ValueError, "already")


def test_there_are_no_classes_to_weight() -> None:
    assert_one_line(
        lambda: _fit(_without_noise(), X, class_weight={0: 1.0}), ValueError, "`sample_weight`"
    )


def test_weights_that_leave_the_prior_alone_are_warned_about() -> None:
    model = small_model(parameter_prior="normal")
    model.compile(tf_keras.optimizers.SGD(1e-3), jit_compile=False)
    with pytest.warns(UserWarning, match="add up to 1, which is N"):
        model.fit(X, sample_weight=np.full(len(X), 1.0 / len(X)), verbose=0)
    model = small_model(parameter_prior="normal", num_data=len(X))
    model.compile(tf_keras.optimizers.SGD(1e-3), jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, sample_weight=np.full(len(X), 1.0 / len(X)), verbose=0)


def test_validation_data_of_a_failed_fit_are_not_those_of_the_next() -> None:
    model = small_model()
    model.compile(tf_keras.optimizers.SGD(0.0), jit_compile=False)
    zeros = tf.data.Dataset.from_tensor_slices((X, X, np.zeros(25))).batch(5)
    with pytest.raises(ValueError, match="must not all be 0"):
        model.fit(X, validation_data=zeros, verbose=0)
    history = model.fit(X, validation_data=X[:7], verbose=0).history
    expected = model.evaluate(X[:7], verbose=0, return_dict=True)
    assert history["val_elbo"] == [pytest.approx(expected["elbo"], rel=1e-6)]
