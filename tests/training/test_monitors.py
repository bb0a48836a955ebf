"""Callbacks given to `fit`: what they follow, which way, and when they are called."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfp_aevb
from tests.helpers import assert_one_line, binary_data, compiled, fresh_model, small_model
from tfp_aevb.layers import BernoulliLikelihood, StandardNormalPrior
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.runs import finish as results
from tfp_aevb.runs.metrics import read_rows
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.train import train_and_evaluate
from tfp_aevb.training.monitors import better, check_monitors, flat_callbacks

keras = tf_keras.callbacks
X = binary_data(20)
MAKERS = {
    "EarlyStopping": keras.EarlyStopping,
    "ModelCheckpoint": lambda **k: keras.ModelCheckpoint("x.keras", save_best_only=True, **k),
    "ReduceLROnPlateau": keras.ReduceLROnPlateau,
}


class Own(keras.EarlyStopping):
    """A subclass that keeps its mode to itself."""

    def __init__(self, what: str, *, lower: bool) -> None:
        super().__init__(what, mode="min" if lower else "max")


class Reporter(keras.Callback):
    """A callback that reports a quantity of its own."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        (logs if logs is not None else {})["val_log_prob"] = -1.0


def fit(*callbacks: Any, validated: bool = True, **options: Any) -> dict[str, list[float]]:
    """Trains for two epochs without moving."""
    held_out = {"validation_data": X} if validated else {}
    options = {"epochs": 2, "verbose": 0, "callbacks": list(callbacks), **held_out, **options}
    return fresh_model(0.0).fit(X, batch_size=10, **options).history


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("mode", ["auto", "min"])
@pytest.mark.parametrize("what", ["elbo", "val_elbo", "reconstruction", "val_reconstruction"])
def test_a_bound_is_never_kept_low(make: Any, mode: str, what: str) -> None:
    assert_one_line(
        lambda: fit(make(monitor=what, mode=mode)),
        ValueError,
        f'(monitor="{what}") would take the lowest for the best; give mode="max"',
    )


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("what", ["loss", "val_loss"])
def test_a_loss_is_never_kept_high(make: Any, what: str) -> None:
    line = 'would take the highest for the best; give mode="min"'
    assert_one_line(lambda: fit(make(monitor=what, mode="max")), ValueError, line)


def accepted(*callbacks: Any, validates: bool = True, **options: Any) -> bool:
    """Whether the callbacks are let through."""
    try:
        check_monitors(fresh_model(), validates, callbacks=list(callbacks), **options)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_right_way_is_let_through(make: Any) -> None:
    for what in ("elbo", "val_elbo", "reconstruction"):
        assert accepted(make(monitor=what, mode="max"))
    for what in ("loss", "val_loss"):
        assert accepted(make(monitor=what), make(monitor=what, mode="min"))
    for mode in ("auto", "min", "max"):  # neither is better for the KL term by itself
        assert accepted(make(monitor="val_kl", mode=mode))


def test_where_a_callback_is_given_does_not_matter() -> None:
    wrong, right = keras.EarlyStopping("val_elbo"), keras.EarlyStopping("val_loss")
    for given in (wrong, [wrong], [right, [wrong]], keras.CallbackList([right, wrong])):
        with pytest.raises(ValueError, match="lowest"):
            check_monitors(fresh_model(), True, callbacks=given)
    assert list(flat_callbacks(None)) == []
    assert not accepted(Own("val_elbo", lower=True))
    assert accepted(Own("val_elbo", lower=False))


def test_a_mode_set_later_counts_where_keras_reads_it_again() -> None:
    plateau = keras.ReduceLROnPlateau("val_elbo")
    plateau.mode = "max"
    assert accepted(plateau)
    plateau.mode = "min"
    assert not accepted(plateau)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("val_log_prob", "max"), ("log_likelihood", "max"), ("val_iwae_bound", "max"),
        ("val_elbo_100", "max"), ("negative_elbo", "min"), ("val_nll", "min"),
        ("reconstruction_error", "min"), ("val_reconstruction", "max"), ("val_kl", ""),
        ("accuracy", ""),
    ],
)  # fmt: skip
def test_the_names_tell_which_way_is_better(name: str, way: str) -> None:
    assert better(name) == way


def test_what_is_not_reported_is_refused_at_once() -> None:
    def line(callback: Any, *parts: str, **options: Any) -> None:
        assert_one_line(lambda: fit(callback, **options), ValueError, "would do nothing", *parts)

    names = "it reports loss, elbo, reconstruction, kl"
    line(keras.EarlyStopping("accuracy"), f"no accuracy; {names}, val_loss")
    line(keras.EarlyStopping(), "no val_loss without `validation_data`", names, validated=False)
    line(MAKERS["ModelCheckpoint"](), "no val_loss", validated=False)
    line(keras.ReduceLROnPlateau(), "no val_loss", validated=False)
    line(tfp_aevb.EarlyStopping(), "no val_elbo without `validation_data`", validated=False)
    line(keras.EarlyStopping(), "no val_loss", validation_freq=5)
    line(keras.EarlyStopping("val_los"), "no val_los; it reports", "val_loss")


def test_what_is_reported_otherwise_is_let_through() -> None:
    assert accepted(keras.ModelCheckpoint("x.keras"), validates=False)  # follows nothing
    assert accepted(keras.EarlyStopping(), validation_freq=5, epochs=5)
    assert accepted(keras.EarlyStopping("lr"), keras.LearningRateScheduler(lambda epoch: 0.1))
    assert accepted(Reporter(), keras.EarlyStopping("val_log_prob", mode="max"))
    assert not accepted(Reporter(), keras.EarlyStopping("val_log_prob"))
    own = keras.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(area=1.0))
    assert accepted(own, keras.EarlyStopping("area"))
    assert not accepted(keras.LambdaCallback(), keras.EarlyStopping("area"))


def test_validation_split_is_validation_data() -> None:
    assert len(fit(keras.EarlyStopping(), validated=False, validation_split=0.5)["val_loss"]) == 2


def test_ours_takes_the_way_of_what_it_follows() -> None:
    assert accepted(*(tfp_aevb.EarlyStopping(monitor=what) for what in ("val_elbo", "val_loss")))
    assert not accepted(tfp_aevb.EarlyStopping(monitor="val_loss", mode="max"))


def test_the_best_weights_come_back() -> None:
    """The bound rises at each epoch: training is not stopped, and ends with the last weights."""
    model = compiled(small_model(), tf_keras.optimizers.Adam(1e-2))
    stop = keras.EarlyStopping("val_elbo", mode="max", patience=1, restore_best_weights=True)
    history = model.fit(X, epochs=8, validation_data=X, callbacks=[stop], verbose=0).history
    bounds = history["val_elbo"]
    assert len(bounds) == 8
    assert model.evaluate(X, verbose=0, return_dict=True)["elbo"] == pytest.approx(max(bounds))


# When they are called.


class Count(keras.Callback):
    """Counts calls at updates, and notes the updates done."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seen.append(int(self.model.optimizer.iterations))


@pytest.mark.parametrize(("steps", "seen"), [(None, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6])])
def test_a_callback_of_updates_is_called_at_each(steps: int | None, seen: list[int]) -> None:
    model, count = compiled(small_model(), steps_per_execution=steps), Count()
    model._steps_per_execution.assign(steps or 64)  # as after a while of training
    model.fit(X, batch_size=5, epochs=1, verbose=0)
    model.optimizer.iterations.assign(0)
    model.fit(np.repeat(X, 2, axis=0)[:30], batch_size=5, callbacks=[count], verbose=0)
    assert count.seen == seen


def test_a_checkpoint_every_three_updates_is_written_at_three_and_six(tmp_path: Path) -> None:
    model = fresh_model()
    model._steps_per_execution.assign(64)
    path = str(tmp_path / "{batch}.weights.h5")
    save = keras.ModelCheckpoint(path, save_weights_only=True, save_freq=3)
    model.fit(np.tile(X, [2, 1])[:35], batch_size=5, callbacks=[save], verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.weights.h5", "6.weights.h5"]


def test_tensorboard_counts_updates(tmp_path: Path) -> None:
    model = fresh_model()
    board = keras.TensorBoard(str(tmp_path), update_freq=2, write_steps_per_second=True)
    model.fit(X, batch_size=5, epochs=1, callbacks=[board], verbose=0)
    (path,) = (tmp_path / "train").iterdir()
    steps = [
        event.step
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "batch_elbo"
    ]
    assert steps == [2, 4]


# One name, one quantity.


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    "options",
    [{"kl_weight": 4.0}, {"kl_warmup_steps": 50}, {"free_bits": 3.0},
     {"kl_weight": 0.5, "kl_warmup_steps": 3, "free_bits": 0.1, "parameter_prior": "normal"}],
)  # fmt: skip
def test_the_loss_is_minus_the_penalised_bound_of_either_data(options: dict[str, Any]) -> None:
    model = compiled(small_model(**options), tf_keras.optimizers.SGD(0.0))
    history = model.fit(X, batch_size=10, epochs=2, validation_data=X, verbose=0).history
    penalty = 0.0
    if "parameter_prior" in options:
        penalty = sum(float(tf.reduce_sum(v**2)) for v in model.trainable_variables) / (2 * len(X))
    for name in ("", "val_"):
        total = np.array(history[f"{name}loss"]) + history[f"{name}elbo"]
        np.testing.assert_allclose(total, penalty, rtol=1e-4, atol=1e-5)
    assert history["kl"] == pytest.approx(history["val_kl"])  # in closed form: no noise
    assert history["val_kl"][0] > 1e-3


@pytest.mark.compile
def test_the_loss_of_monte_carlo_em_is_minus_its_bound_too() -> None:
    model = MonteCarloEM(
        StandardNormalPrior(2), BernoulliLikelihood(6, (4,)), num_data=20, parameter_prior="normal"
    )
    compiled(model, tf_keras.optimizers.SGD(0.0))
    history = model.fit(X, batch_size=10, validation_data=X, verbose=0).history
    penalty = sum(float(tf.reduce_sum(v**2)) for v in model.trainable_variables) / (2 * len(X))
    for name in ("", "val_"):
        assert history[f"{name}loss"][0] + history[f"{name}elbo"][0] == pytest.approx(
            penalty, abs=1e-5
        )


# Callbacks of a run.


@pytest.mark.compile
@pytest.mark.parametrize("stop_at", [10, 13])
def test_a_callback_ends_a_run_where_it_says(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("draw_figures", "export_saved_model"):  # what takes long and is not asked for
        monkeypatch.setattr(results, name, lambda *_, **__: None)
    np.save(tmp_path / "x.npy", (binary_data(40) * 255).astype(np.uint8))
    config = TrainConfig(
        dataset=str(tmp_path / "x.npy"),
        binarize="threshold",
        hidden_units=(4,),
        latent_dim=2,
        steps=40,
        eval_every=5,
        batch_size=8,
        xla=False,
        progress=False,
        tensorboard_images=False,
    )

    class Stop(keras.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if int(self.model.optimizer.iterations) == stop_at:
                self.model.stop_training = True

    summary = train_and_evaluate(config, tmp_path / "run", callbacks=[Stop()])
    assert summary["steps"] == stop_at
    assert summary["stopped_because"] == f"a callback stopped it at step {stop_at}"
    summary = train_and_evaluate(config, tmp_path / "run")  # goes on
    assert (summary["steps"], summary["stopped_because"]) == (40, "--steps=40 are done")
    steps = [row["step"] for row in read_rows(tmp_path / "run" / "metrics.csv")]
    assert steps == list(range(5, 41, 5))


def test_a_run_refuses_a_callback_of_its_caller_s_as_fit_does(tmp_path: Path) -> None:
    config = TrainConfig(steps=2, num_train=20, hidden_units=(3,), xla=False, progress=False)
    wrong = [keras.EarlyStopping("val_elbo")]
    with pytest.raises(ValueError, match=re.escape('give mode="max"')):
        train_and_evaluate(config, tmp_path / "run", callbacks=wrong)
