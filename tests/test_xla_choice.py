"""Whether XLA compiles is the model's choice, everywhere; what it cannot compile is one line."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tests.helpers import assert_one_line, binary_data, small_model
from tfp_aevb import AEVB, layers
from tfp_aevb.commands.main import main
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation import codes
from tfp_aevb.evaluation.examination import diagnose
from tfp_aevb.evaluation.scores import score
from tfp_aevb.imputation import impute
from tfp_aevb.runs import finish as results
from tfp_aevb.utils.graphs import xla_failure

X = binary_data(6)
GAPS = np.where(np.arange(6) < 2, np.nan, X)
ROWS = Observations(X)
COMPILING = ("evaluate", "encode", "diagnose", "impute", "represent", "report")
OTHERS = ("sample", "figures", "export")


def as_it_is(value: tf.Tensor) -> tf.Tensor:
    """The identity, in Python: XLA has nothing for it."""
    through = tf.numpy_function(lambda a: a, [value], tf.float32)
    return value + tf.stop_gradient(tf.ensure_shape(through, value.shape) - value)


def in_python() -> AEVB:
    """A model whose networks call Python."""
    weights = tf.Variable(tf.random.stateless_normal([2, 6], [0, 1]))

    def encode(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(as_it_is(x)[:, :2], tf.ones([2]))

    def decode(z: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=as_it_is(z @ weights)), 1)

    return AEVB(layers.StandardNormalPrior(2), encode, decode, objective="score_function")


class Unsuited(AEVB):
    """A model that says so."""

    suits_xla = False


def uses(model: AEVB) -> dict[str, Callable[[], object]]:
    """Everything that compiles what it computes with a model, made small."""
    few = {"num_samples": 2, "burn_in": 1, "num_draws": 2, "seed": 0}
    return {
        **{name: functools.partial(score, model, ROWS, name, 2, 0) for name in ("elbo", "ais")},
        "diagnose": lambda: diagnose(model, ROWS, num_refined=0, num_draws=4),
        "encode": lambda: codes.encode_all(model, ROWS),
        "impute": lambda: impute(model, GAPS, method="gibbs", **few),
    }


def keras_uses(model: AEVB) -> dict[str, Callable[[], object]]:
    """What Keras has a model do."""
    return {
        "fit": lambda: model.fit(X, verbose=0),
        "evaluate": lambda: model.evaluate(X, verbose=0),
        "predict": lambda: model.predict(X, verbose=0),
    }


@pytest.mark.compile
def test_without_xla_a_model_may_call_python_everywhere() -> None:
    model = in_python()
    model.compile(tf_keras.optimizers.SGD(1e-3), jit_compile=False)
    for use in {**uses(model), **keras_uses(model)}.values():
        use()


def test_a_model_that_xla_does_not_suit_is_compiled_without_it() -> None:
    model = in_python()
    model.__class__ = Unsuited
    assert not model.uses_xla
    for name in ("elbo", "encode", "diagnose"):
        uses(model)[name]()
    model.compile("sgd")
    assert not model.uses_xla
    model.compile("sgd", jit_compile=True)
    assert model.uses_xla


@pytest.mark.compile
def test_what_xla_cannot_compile_is_named_with_the_remedy() -> None:
    model, remedies = in_python(), ("`compile(jit_compile=False)`", "--noxla")
    for name in ("elbo", "encode"):
        assert_one_line(uses(model)[name], NotImplementedError, "PyFunc", *remedies)
    model.compile("sgd")
    for name in ("fit", "predict"):
        assert_one_line(keras_uses(model)[name], NotImplementedError, "PyFunc", *remedies)


@pytest.mark.compile
def test_the_line_is_the_same_under_a_strategy(two_devices: tf.distribute.Strategy) -> None:
    with two_devices.scope():
        model = small_model(decoder=Roundabout(6, (5,)))
        model.compile("sgd")
    assert_one_line(lambda: model.fit(X, verbose=0), NotImplementedError, "PyFunc", "--noxla")


class Roundabout(layers.BernoulliLikelihood):
    """A likelihood that calls Python."""

    def distribution(self, params: tf.Tensor, *own_parameters: tf.Tensor) -> tfd.Distribution:
        return super().distribution(as_it_is(params), *own_parameters)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("Detected unsupported operations when trying to compile graph g[] on XLA_CPU_JIT: "
         "AsString (No registered 'AsString' OpKernel for XLA_CPU_JIT devices), PrintV2 (No "
         "registered 'PrintV2' OpKernel for XLA_CPU_JIT devices)", "AsString and PrintV2, which"),
        ("Input 1 to node `a` with op Reshape must be a compile-time constant.\nmore", "Input 1"),
        ("Incompatible shapes: [2] vs. [3]", ""),
    ],
)  # fmt: skip
def test_errors_of_xla_are_told_from_others(message: str, named: str) -> None:
    assert named in xla_failure(message)
    assert bool(named) == bool(xla_failure(message))


def test_auto_is_the_default_and_anything_else_is_refused() -> None:
    model = small_model()
    model.compile("sgd", jit_compile="auto")
    assert model.uses_xla is True
    model.compile("sgd", jit_compile="auto", run_eagerly=True)
    assert model.uses_xla is False
    compile_with = lambda **k: lambda: model.compile("sgd", **k)  # noqa: E731
    assert_one_line(compile_with(jit_compile="never"), ValueError, "`jit_compile`", "'never'")
    assert_one_line(compile_with(steps_per_execution=0), ValueError, "`steps_per_execution`", "0")


def needed(verb: str) -> list[str]:
    """The flags without which a verb does not begin."""
    output = {"encode": "x.npz", "impute": "x.npz", "sample": "x.npz"}
    own = ["--task=missing_random"] if verb == "impute" else []
    return [f"--output={output[verb]}", *own] if verb in output else own


@pytest.mark.parametrize("verb", COMPILING)
@pytest.mark.parametrize(("flag", "xla"), [("--xla", True), ("--noxla", False), ("", None)])
def test_the_flag_of_a_verb_decides_and_else_the_run(
    verb: str, flag: str, xla: bool | None, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked = []

    def load_run(*arguments: object) -> None:
        asked.append(arguments)
        raise ValueError("enough")

    monkeypatch.setattr(results, "load_run", load_run)
    assert main([verb, "--workdir=w", *needed(verb), *([flag] if flag else [])]) == 1
    assert capsys.readouterr().err == "tfp_aevb: enough\n"
    assert asked == [("w", "last", xla)]


@pytest.mark.parametrize("verb", OTHERS)
def test_verbs_that_compile_nothing_refuse_to(verb: str, capsys) -> None:
    assert main([verb, "--workdir=w", *needed(verb), "--xla"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--xla" in line
    assert main([verb, "--workdir=w", *needed(verb), "--noxla"]) == 1  # there is no such run
    assert "--workdir w" in capsys.readouterr().err
