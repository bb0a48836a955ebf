from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.helpers import (
    assert_one_line,
    assert_same_arrays,
    binary_data,
    compiled,
    fresh_model,
    small_model,
    weights_of,
)
from tfp_aevb import Stream, layers
from tfp_aevb.data.observations import Observations, read_values
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.training.batches import Block
from tfp_aevb.training.cells import CELL, ArrayCells
from tfp_aevb.training.fused import METRICS, NonFiniteBoundError
from tfp_aevb.utils.seeds import step_seeds

tfd = tfp.distributions
X = binary_data()  # 25 rows: batches of 4 make 7 steps, the last of 1 datapoint
GREY = Observations(
    np.random.default_rng(1).integers(0, 256, [25, 6]).astype(np.uint8),
    scale=255.0,
    dynamic_binarization=True,
)


def _frozen(**kwargs) -> AEVB:
    return compiled(small_model(**kwargs), tf_keras.optimizers.SGD(0.0))


def _sgd(rate: float) -> tf_keras.optimizers.Optimizer:
    return tf_keras.optimizers.SGD(rate)


def _fit(model: tf_keras.Model, x=X, epochs: int = 1, **kwargs) -> dict:
    kwargs = {"verbose": 0, "epochs": epochs} | ({"batch_size": 4} if x is X else {}) | kwargs
    return model.fit(x, **kwargs).history


def _by_hand(model: tf_keras.Model, x: Observations, batch_size: int, purpose: str, first: int = 0):
    """The datapoint averages of one pass in row order, from the bound and the steps' seeds."""
    parts = []
    for i, start in enumerate(range(0, len(x), batch_size)):
        seeds = step_seeds(model.seed, purpose, first + i)
        rows = np.arange(start, start + batch_size)
        values = x.x[np.where(rows < len(x), rows, 0)]
        batch = read_values(values, x.scale, x.dynamic_binarization, seeds.binarization)
        bound = tf.stack(model.bound(batch, seeds.noise), axis=-1).numpy()
        parts.append(bound[: min(batch_size, len(x) - start)])
    return dict(zip(METRICS[1:], np.concatenate(parts).astype(np.float64).mean(0), strict=True))


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("x", "objective"),
    [(Observations(X), "sgvb_a"), (GREY, "sgvb_b"), (GREY, "score_function")],
    ids=["sgvb_a", "sgvb_b dynamic", "score_function dynamic"],
)
def test_epoch_metrics_are_exact_averages_over_datapoints(x: Observations, objective: str) -> None:
    model = _frozen(objective=objective, num_samples=2, seed=5)
    history = _fit(model, x, batch_size=10, epochs=2, shuffle=False)
    for epoch in range(2):
        for name, value in _by_hand(model, x, 10, "train", 3 * epoch).items():
            # The KL is a difference of numbers of a few nats.
            assert history[name][epoch] == pytest.approx(value, rel=1e-6, abs=1e-6), name
        assert history["loss"][epoch] == pytest.approx(-history["elbo"][epoch], rel=1e-6)


@pytest.mark.parametrize("x", [Observations(X), GREY], ids=["binary", "dynamic"])
def test_evaluate_gives_exact_averages_over_datapoints(x: Observations) -> None:
    model = _frozen(seed=5)
    result = model.evaluate(x, batch_size=10, verbose=0, return_dict=True)
    for name, value in _by_hand(model, x, CELL, "evaluate").items():
        assert result[name] == pytest.approx(value, rel=1e-6), name
    assert result == model.evaluate(x, batch_size=10, verbose=0, return_dict=True)


def test_the_kl_of_fit_is_the_mean_analytic_kl() -> None:
    model = fresh_model(0.0)
    kl = tfd.kl_divergence(model.encode(X), model.prior_distribution()).numpy()
    history = _fit(model, epochs=2, validation_data=X[:7])
    np.testing.assert_allclose(history["kl"], kl.mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(history["val_kl"], kl[:7].mean(dtype=np.float64), rtol=1e-6)


def test_one_step_of_sgd_follows_the_gradient_of_the_mean_bound() -> None:
    model, rate = fresh_model(0.1), 0.1
    before = weights_of(model)
    with tf.GradientTape() as tape:
        bound = model.bound(tf.constant(X), step_seeds(model.seed, "train", 0).noise)
        mean = tf.reduce_mean(bound.elbo)
    gradients = tape.gradient(mean, model.trainable_variables)
    _fit(model, batch_size=25, shuffle=False)
    for old, gradient, new in zip(before, gradients, weights_of(model), strict=True):
        np.testing.assert_allclose(new - old, rate * gradient, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("num_data", [None, 1000])
def test_map_adds_the_weights_prior_to_the_loss(num_data: int | None) -> None:
    model = _frozen(parameter_prior="normal", num_data=num_data)
    squares = sum(np.square(w, dtype=np.float64).sum() for w in weights_of(model))
    history = _fit(model, validation_data=X[:7])
    # N is the number of datapoints given to `fit`, in validation too.
    penalty = squares / (2.0 * (num_data or 25))
    assert history["loss"][0] + history["elbo"][0] == pytest.approx(penalty, rel=1e-3)
    assert history["val_loss"][0] + history["val_elbo"][0] == pytest.approx(penalty, rel=1e-3)


def test_map_adds_the_weight_decay_to_the_step() -> None:
    models = fresh_model(1.0), compiled(small_model(parameter_prior="normal"), _sgd(1.0))
    before = weights_of(models[0])
    for model in models:
        _fit(model, batch_size=25)
    for old, ml, map_ in zip(before, *map(weights_of, models), strict=True):
        np.testing.assert_allclose(ml - map_, old / 25.0, rtol=2e-3, atol=1e-6)


def test_map_on_a_stream_needs_num_data() -> None:
    stream = tf.data.Dataset.from_tensor_slices(X).batch(5)
    model = _frozen(parameter_prior="normal")
    assert_one_line(lambda: _fit(model, stream), ValueError, "`num_data`")
    model.num_data = 25
    history = _fit(model, stream)
    rows = _fit(_frozen(parameter_prior="normal"), batch_size=5, shuffle=False)
    assert history["loss"][0] == pytest.approx(rows["loss"][0], rel=1e-6)


@pytest.mark.compile
def test_results_do_not_depend_on_steps_per_execution() -> None:
    runs = []
    for steps_per_execution in (1, 7, None):
        optimizer = tf_keras.optimizers.Adam(0.01)
        model = compiled(small_model(), optimizer, steps_per_execution=steps_per_execution)
        history = _fit(model, epochs=3, validation_data=X[:9], validation_batch_size=2)
        assert model.optimizer.iterations == 21
        runs.append((history, weights_of(model)))
    for history, weights in runs[1:]:
        assert history == runs[0][0]
        assert_same_arrays(weights, runs[0][1])


@pytest.mark.compile
def test_two_fits_are_one_longer_fit() -> None:
    whole, parts = (compiled(small_model(), tf_keras.optimizers.Adam(0.01)) for _ in range(2))
    history = _fit(whole, epochs=4)
    halves = [_fit(parts, epochs=2), _fit(parts, epochs=2)]
    assert_same_arrays(weights_of(whole), weights_of(parts))
    for name in METRICS:
        assert history[name] == halves[0][name] + halves[1][name]


def test_runs_depend_on_the_seed_alone() -> None:
    runs = []
    for seed, model_seed in ((1, 0), (2, 0), (1, 1)):
        model = compiled(small_model(seed=1)) if model_seed else fresh_model()
        tf.random.set_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state must not matter
        _fit(model)
        runs.append(weights_of(model))
    assert_same_arrays(runs[0], runs[1])
    assert any((a != b).any() for a, b in zip(runs[0], runs[2], strict=True))


def test_training_raises_the_bound() -> None:
    model = fresh_model(0.3)
    before = model.evaluate(X, verbose=0, return_dict=True)["elbo"]
    _fit(model, epochs=60)
    assert model.evaluate(X, verbose=0, return_dict=True)["elbo"] > before + 0.2


def _unknown(x: np.ndarray = X, batch_size: int = 4) -> tf.data.Dataset:
    stream = tf.data.Dataset.from_tensor_slices(x).batch(batch_size).filter(lambda _: True)
    assert stream.cardinality() == tf.data.UNKNOWN_CARDINALITY
    return stream


@pytest.mark.compile
@pytest.mark.parametrize("steps_per_execution", [None, 4])
def test_streams_of_unknown_length_are_trained_on_to_their_end(steps_per_execution) -> None:
    model = compiled(small_model(), steps_per_execution=steps_per_execution)
    history = _fit(model, _unknown(), epochs=3)
    assert model.optimizer.iterations == 21
    assert len(history["loss"]) == 3
    rows = _fit(fresh_model(), epochs=3, shuffle=False)
    assert rows["elbo"] == pytest.approx(history["elbo"], rel=1e-6)


def test_streams_of_unknown_length_follow_a_fit_that_found_its_block_size() -> None:
    model = compiled(small_model())
    _fit(model, epochs=2, validation_data=_unknown(X[:9]))
    _fit(model, _unknown(), epochs=2)
    assert model.optimizer.iterations == 28
    assert model.evaluate(_unknown(), verbose=0) == pytest.approx(
        model.evaluate(X, batch_size=4, verbose=0), rel=1e-6
    )


def test_a_stream_trains_as_the_array_in_row_order() -> None:
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(4)
    histories, weights = [], []
    for x, options in ((X, {"batch_size": 4, "shuffle": False}), (dataset, {})):
        model = fresh_model()
        histories.append(_fit(model, x, epochs=2, **options))
        weights.append(weights_of(model))
    for name in METRICS:
        assert histories[0][name] == pytest.approx(histories[1][name], rel=1e-6)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


class Frame:
    """What pandas' DataFrame has of an array."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape = values, values.shape

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._values, dtype)

    def __len__(self) -> int:
        return len(self._values)


def test_a_data_frame_trains_and_validates_as_its_array() -> None:
    x, histories, weights = binary_data(25), [], []
    for data in (x, Frame(x)):
        model = fresh_model()
        history = model.fit(data, batch_size=10, epochs=2, verbose=0, validation_data=data)
        assert int(model.optimizer.iterations.numpy()) == 6
        histories.append(history.history)
        weights.append(weights_of(model))
    assert histories[0] == histories[1]
    assert_same_arrays(*weights)


def test_endless_streams_take_steps_per_epoch() -> None:
    model = fresh_model()
    stream = tf.data.Dataset.from_tensor_slices(X).repeat().batch(4)
    history = _fit(model, stream, epochs=2, steps_per_epoch=5)
    assert model.optimizer.iterations == 10
    assert len(history["loss"]) == 2


def test_padding_does_not_reach_the_bound_where_zeros_have_no_density() -> None:
    class Positive(tf_keras.layers.Layer):
        def build(self, input_shape) -> None:
            self.kernel = self.add_weight("kernel", [2, 6], initializer="random_normal")
            super().build(input_shape)

        def call(self, z: tf.Tensor) -> tfd.Distribution:
            return tfd.Independent(tfd.LogNormal(tf.matmul(z, self.kernel), 1.0), 1)

    x = np.exp(np.random.default_rng(2).normal(size=[7, 6])).astype(np.float32)
    model = compiled(small_model(decoder=Positive()))
    _fit(model, tf.data.Dataset.from_tensor_slices(x).batch(4), epochs=2)
    _fit(model, x, batch_size=4)
    assert np.isfinite(model.evaluate(x, verbose=0)).all()
    assert all(np.isfinite(w).all() for w in weights_of(model))


def _diverging() -> tf_keras.Model:
    return small_model(decoder=layers.GaussianLikelihood(6, (5,), variance=1.0))


def _finite_updates(model: tf_keras.Model, rate: float) -> int:
    for step in range(100):
        with tf.GradientTape() as tape:
            x = tf.constant(X[5 * (step % 5) : 5 * (step % 5) + 5])
            seed = step_seeds(model.seed, "train", step).noise
            loss = -tf.reduce_mean(model.bound(x, seed).elbo)
        if not np.isfinite(loss):
            return step
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(rate * gradient)
    raise AssertionError("the model does not diverge")


@pytest.mark.compile
@pytest.mark.parametrize(("rate", "steps_per_execution"), [(3.0, 7), (1e20, 1)])
def test_a_diverging_model_stops_at_the_step(rate: float, steps_per_execution: int) -> None:
    expected = _finite_updates(_diverging(), rate)
    model = compiled(_diverging(), _sgd(rate), steps_per_execution=steps_per_execution)
    with pytest.raises(NonFiniteBoundError) as caught:
        _fit(model, batch_size=5, epochs=50, shuffle=False)
    assert caught.value.step == expected
    assert f"became NaN or infinite at step {expected + 1};" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evaluating_a_broken_model_is_refused() -> None:
    model = fresh_model()
    model.trainable_variables[0].assign(tf.fill(model.trainable_variables[0].shape, np.nan))
    assert_one_line(lambda: model.evaluate(X, verbose=0), NonFiniteBoundError, "evaluation")


def test_validation_follows_each_epoch_and_equals_evaluate() -> None:
    model = fresh_model()
    history = _fit(model, epochs=2, validation_data=X[:9], validation_batch_size=4)
    result = model.evaluate(X[:9], batch_size=4, verbose=0, return_dict=True)
    assert {name: history[f"val_{name}"][-1] for name in METRICS} == result


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x, x),
        lambda x: Observations(x),
        lambda x: tf.data.Dataset.from_tensor_slices(x).batch(4),
        lambda x: tf.data.Dataset.from_tensor_slices((x, x)).batch(4),
    ],
    ids=["tuple", "observations", "stream", "labelled stream"],
)
def test_validation_data_in_every_form(form: Callable) -> None:
    histories = []
    for data in (X[:9], form(X[:9])):
        options = {} if isinstance(data, tf.data.Dataset) else {"validation_batch_size": 4}
        histories.append(_fit(fresh_model(), validation_data=data, **options))
    assert histories[0]["val_elbo"] == pytest.approx(histories[1]["val_elbo"], rel=1e-6)


def test_validation_split_holds_out_the_last_rows() -> None:
    runs = []
    for x, options in ((X, {"validation_split": 0.2}), (X[:20], {"validation_data": X[20:]})):
        model = fresh_model()
        runs.append((_fit(model, x, batch_size=4, **options), weights_of(model)))
    assert runs[0][0] == runs[1][0]
    assert_same_arrays(runs[0][1], runs[1][1])


def test_a_stream_cannot_be_evaluated_on() -> None:
    stream = Stream(lambda *_: [X], num_data=25)
    for action in (lambda: _fit(fresh_model(), validation_data=stream),
                   lambda: fresh_model().evaluate(stream)):  # fmt: skip
        assert_one_line(action, ValueError, "`Stream`", "training")


@pytest.mark.parametrize("split", [-0.5, 1.0, 1.5])
def test_a_bad_validation_split_is_refused(split: float) -> None:
    assert_one_line(
        lambda: _fit(fresh_model(), validation_split=split), ValueError, "`validation_split`"
    )


def test_validation_split_of_a_stream_is_refused() -> None:
    stream = tf.data.Dataset.from_tensor_slices(X).batch(4)
    assert_one_line(
        lambda: _fit(fresh_model(), stream, validation_split=0.5), ValueError, "`validation_split`"
    )


@pytest.mark.compile
def test_a_new_model_evaluates_in_blocks_and_trains_in_its_own(monkeypatch) -> None:
    steps: list[int] = []
    next_block = ArrayCells.next_block

    def spy(*args) -> Block:
        block = next_block(*args)
        steps.append(block.num_batches)
        return block

    monkeypatch.setattr(ArrayCells, "next_block", spy)
    model = compiled(small_model())
    result = model.evaluate(np.tile(X, [16, 1]), batch_size=1, verbose=0)
    assert sum(steps) == 400
    assert len(steps) < 20
    assert model._steps_per_execution.numpy() == 1
    single = compiled(small_model(), steps_per_execution=1)
    assert single.evaluate(np.tile(X, [16, 1]), batch_size=1, verbose=0) == result
    assert steps[-400:] == [1] * 400


def test_evaluating_in_a_callback_leaves_training_alone() -> None:
    model, seen = fresh_model(), []
    history, alone = _fit(model, epochs=3, validation_data=X[:9]), weights_of(model)
    callback = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(model.evaluate(X[:5], verbose=0))
    )
    watched = _fit(fresh_model(), epochs=3, validation_data=X[:9], callbacks=[callback])
    assert len(seen) == 3
    assert watched == history
    assert_same_arrays(alone, weights_of(model))


@pytest.mark.parametrize("argument", ["loss", "metrics", "loss_weights"])
def test_compile_refuses_losses_and_metrics(argument: str) -> None:
    assert_one_line(lambda: compiled(small_model(), **{argument: "mse"}), ValueError, argument)


def test_eager_training_needs_no_other_argument() -> None:
    eager, compiled_without_xla = small_model(), compiled(small_model(), "sgd")
    eager.compile("sgd", run_eagerly=True)
    assert not eager.jit_compile
    assert _fit(eager)["loss"] == pytest.approx(_fit(compiled_without_xla)["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("argument", "value"), [("parameter_prior", "laplace"), ("num_data", 0), ("num_data", -5)]
)
def test_bad_options_are_refused(argument: str, value) -> None:
    assert_one_line(
        lambda: small_model(**{argument: value}), ValueError, f"`{argument}`", str(value)
    )


def test_an_infinite_weight_that_the_bound_does_not_show_is_named() -> None:
    _assert_infinite_weight_is_named(fresh_model())


def _assert_infinite_weight_is_named(model: AEVB) -> None:
    bias = next(v for v in model.trainable_variables if v.shape.rank == 1)
    value = bias.numpy()
    value[0] = np.inf  # its unit is saturated: tanh gives 1, its gradient 0
    bias.assign(value)
    with pytest.raises(NonFiniteBoundError, match="a parameter became NaN or infinite at step"):
        model.fit(binary_data(), batch_size=5, epochs=2, verbose=0)


def test_an_infinite_weight_is_named_on_two_devices(two_devices: tf.distribute.Strategy) -> None:
    with two_devices.scope():
        model = compiled(small_model())
    _assert_infinite_weight_is_named(model)
