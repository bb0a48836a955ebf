"""Tests of the KL term's weight, warm-up and free bits, and of the objectives in training."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_one_line, binary_data, small_model
from tfp_aevb import FullVB, WakeSleep, layers
from tfp_aevb.objectives import OBJECTIVES
from tfp_aevb.training.loops import Minibatch

X = binary_data(40)
SEED = np.array([3, 7], np.int32)


def loss_at(model, step: int | None) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss of `X` as one minibatch, and the bound's two terms."""
    at = None if step is None else tf.constant(step, tf.int64)
    size, num_data = tf.constant(float(len(X))), tf.constant(1e3)
    batch = Minibatch(tf.constant(X), tf.ones(len(X)), size, num_data, 1, SEED, None, at)
    loss, bound = model.training_loss(batch)
    np.testing.assert_allclose(bound.elbo, bound.reconstruction - bound.kl, rtol=1e-6)
    return float(loss), bound.reconstruction.numpy(), bound.kl.numpy()


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("objective", ["sgvb_a", "sgvb_b"])
@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.01), (49, 0.5), (99, 1.0), (199, 2.0), (500, 2.0)]
)
def test_the_kl_s_weight_rises_to_its_full_value(objective: str, step: int, weight: float) -> None:
    model = small_model(objective=objective, kl_weight=2.0, kl_warmup_steps=200)
    loss, reconstruction, kl = loss_at(model, step)
    assert loss == pytest.approx(-(reconstruction - weight * kl).mean(), rel=1e-6)


def test_free_bits_are_nats_of_each_datapoint_that_cost_nothing() -> None:
    model = small_model()
    _, _, kl = loss_at(model, 0)
    bits = float(np.median(kl))
    loss, reconstruction, kl = loss_at(small_model(free_bits=bits), 0)
    expected = -(reconstruction - np.maximum(kl, bits)).mean()
    assert loss == pytest.approx(expected, rel=1e-6)
    assert abs(expected + (reconstruction - kl).mean()) > 1e-3


@pytest.mark.compile
def test_evaluation_has_the_bound_whatever_the_weight() -> None:
    model = small_model(kl_weight=3.0, kl_warmup_steps=100, free_bits=2.0)
    loss, reconstruction, kl = loss_at(model, None)
    assert loss == pytest.approx(-(reconstruction - kl).mean(), rel=1e-6)
    model.compile("adam")
    ours = model.evaluate(X, batch_size=10, verbose=0, return_dict=True)
    plain = small_model()
    plain.set_weights(model.get_weights())
    plain.compile("adam")
    theirs = plain.evaluate(X, batch_size=10, verbose=0, return_dict=True)
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - {"sgvb_a", "sgvb_b"}))
def test_a_weight_needs_an_objective_with_a_kl_term(objective: str) -> None:
    make = lambda: small_model(objective=objective, num_samples=2, kl_weight=0.5)  # noqa: E731
    assert_one_line(make, ValueError, "kl_weight", "sgvb_b", objective)


def test_free_bits_need_the_kl_in_closed_form() -> None:
    make = lambda: small_model(objective="sgvb_a", free_bits=1.0)  # noqa: E731
    assert_one_line(make, ValueError, "free_bits", "sgvb_b")


@pytest.mark.parametrize("option", ["kl_weight", "kl_warmup_steps", "free_bits"])
def test_negative_options_are_refused(option: str) -> None:
    assert_one_line(lambda: small_model(**{option: -1}), ValueError, option, "at least 0", "-1")


@pytest.mark.parametrize("model_class", [WakeSleep, FullVB])
def test_models_with_an_aim_of_their_own_take_neither_weight_nor_other_objectives(
    model_class,
) -> None:
    def make(**options) -> None:
        model_class(
            layers.StandardNormalPrior(2),
            layers.DiagonalGaussianPosterior(2, hidden_units=(3,)),
            layers.BernoulliLikelihood(6, hidden_units=(3,)),
            **options,
        )

    assert_one_line(lambda: make(kl_weight=0.5), ValueError, model_class.__name__, "kl_weight")
    assert_one_line(lambda: make(objective="iwae"), ValueError, "objective", "'iwae'", "sgvb_b")


@pytest.mark.compile
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_trains_in_the_compiled_loop(objective: str) -> None:
    model = small_model(objective=objective, num_samples=4, seed=1)
    model.compile("adam")
    model.optimizer.learning_rate = 0.02
    history = model.fit(X, batch_size=20, epochs=40, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert np.mean(history["elbo"][-5:]) > np.mean(history["elbo"][:5]) + 0.1
