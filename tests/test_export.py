import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import DATA_DIM, LATENT_DIM, assert_one_line, binary_data, small_model
from tfp_aevb import layers
from tfp_aevb.evaluation import importance_log_prob
from tfp_aevb.export import export_saved_model
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.utils.files import WriteError

tfd = tfp.distributions
SEED = np.array([3, 7], np.int32)
NATS = {"elbo", "reconstruction", "kl", "log_prob"}


def _gaussian_model() -> AEVB:
    """Returns a model of everything that is not the default: mixed precision and images too."""
    dtype = "mixed_bfloat16"
    return small_model(
        layers.GaussianMixturePrior(LATENT_DIM, 3),
        layers.FullCovarianceGaussianPosterior(LATENT_DIM, (5,), dtype=dtype),
        layers.GaussianLikelihood((3, 2), (5,), mean="sigmoid", variance="global", dtype=dtype),
        objective="sgvb_a",
        num_samples=2,
    )


def _callables() -> AEVB:
    """Returns a model of plain callables, whose variables nothing tracks."""
    kernel = tf.Variable(tf.random.stateless_normal([DATA_DIM, LATENT_DIM], [1, 2]))
    logits = tf.Variable(tf.random.stateless_normal([LATENT_DIM, DATA_DIM], [1, 3]))
    scale = tf.constant([0.5, 2.0])
    prior_loc = tf.Variable([0.1, -0.2])
    return AEVB(
        lambda: tfd.MultivariateNormalDiag(prior_loc + 0.0, tf.ones([LATENT_DIM])),
        lambda x: tfd.MultivariateNormalDiag(tf.tanh(tf.matmul(x, kernel)), scale),
        lambda z: tfd.Independent(tfd.ContinuousBernoulli(logits=tf.matmul(z, logits)), 1),
        objective="score_function",
    )


def _diagonal_prior() -> AEVB:
    prior = layers.DiagonalNormalPrior(LATENT_DIM)
    prior.loc.assign([0.3, -0.4])
    return small_model(prior, decoder=layers.ContinuousBernoulliLikelihood(DATA_DIM, (5, 4)))


MODELS = {
    "default": small_model,
    "gaussian": _gaussian_model,
    "callables": _callables,
    "diagonal_prior": _diagonal_prior,
}


@pytest.fixture(scope="module", params=list(MODELS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AEVB, Any, Path]:
    model = MODELS[request.param]()
    path = tmp_path_factory.mktemp(request.param) / "saved_model"
    export_saved_model(model, path)
    return model, tf.saved_model.load(path), path


def _data(model: AEVB, num_data: int) -> tf.Tensor:
    return tf.constant(binary_data(num_data).reshape([num_data, *model.event_shape]))


def _inputs(model: AEVB, signature: str, num_data: int) -> dict[str, tf.Tensor]:
    draws = {"num_samples": tf.constant(5), "seed": SEED}
    if signature == "sample":
        return draws
    if signature == "decode":
        return {"z": tf.random.stateless_normal([num_data, model.latent_dim], SEED)}
    x = {"x": _data(model, num_data)}
    return {**x, **draws} if signature in ("elbo", "log_prob") else x


def _encode(model: AEVB, x: tf.Tensor) -> dict[str, tf.Tensor]:
    posterior = model.encode(x)
    return {"loc": posterior.mean(), "stddev": posterior.stddev()}


def _log_prob(model: AEVB, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    estimate = importance_log_prob(model, **inputs)._asdict()
    del estimate["standard_error"]
    return estimate


LIVE: dict[str, Callable] = {
    "encode": _encode,
    "serving_default": _encode,
    "decode": lambda model, z: {"mean": model.decode(z).mean()},
    "reconstruct": lambda model, x: {"mean": model.reconstruct(x)},
    "sample": lambda model, num_samples, seed: model.sample_with_latents(5, seed)._asdict(),
    "elbo": lambda model, x, num_samples, seed: model.bound(x, seed, 5)._asdict(),
    "log_prob": _log_prob,
}


def _expected(model: AEVB, signature: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    live = LIVE[signature]
    # In bfloat16 a graph fuses operations that eager execution rounds one by one.
    if getattr(model.encoder, "compute_dtype", "float32") == "bfloat16":
        live = tf.function(live)
    return live(model, **inputs)


def _assert_same_outputs(outputs: dict[str, Any], expected: dict[str, Any]) -> None:
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        rtol, atol = (1e-5, 1e-6) if name in NATS else (0.0, 1e-5)
        np.testing.assert_allclose(value, expected[name], rtol, atol, err_msg=name)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize("num_data", [1, 7])
@pytest.mark.parametrize("signature", list(LIVE))
def test_signature_gives_the_live_models_values(
    exported: tuple[AEVB, Any, Path], signature: str, num_data: int
) -> None:
    model, loaded, _ = exported
    inputs = _inputs(model, signature, num_data)
    expected = _expected(model, signature, inputs)
    _assert_same_outputs(loaded.signatures[signature](**inputs), expected)
    method = "encode" if signature == "serving_default" else signature
    _assert_same_outputs(getattr(loaded, method)(**inputs), expected)


def test_served_number_of_samples_and_seed_are_heeded(exported: tuple[AEVB, Any, Path]) -> None:
    model, loaded, _ = exported
    x, other_seed = _data(model, 2), SEED + 1
    for num_samples in (1, 600):  # more than one chunk
        expected = importance_log_prob(model, x, tf.constant(num_samples), other_seed)
        outputs = loaded.log_prob(x, num_samples, other_seed)
        tolerance = 1e-4 if "bfloat16" in str(getattr(model.encoder, "compute_dtype", "")) else 1e-5
        np.testing.assert_allclose(outputs["log_prob"], expected.log_prob, tolerance)
    assert loaded.sample(3, SEED)["z"].shape[0] == 3
    assert not np.isclose(loaded.sample(3, SEED)["z"], loaded.sample(3, other_seed)["z"]).any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="`num_samples` must be at least 1"):
        loaded.log_prob(x, 0, SEED)


SERVE = """
import sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
inputs, outputs = dict(np.load(sys.argv[2])), {}
for key in {key.rsplit("/", 1)[0] for key in inputs}:
    signature = loaded.signatures[key.split("/")[0]]
    arguments = {name: inputs[f"{key}/{name}"] for name in signature.structured_input_signature[1]}
    for name, value in signature(**{k: tf.constant(v) for k, v in arguments.items()}).items():
        outputs[f"{key}/{name}"] = value.numpy()
np.savez(sys.argv[3], **outputs)
for package in ("tensorflow_probability", "tf_keras", "tfp_aevb"):
    assert package not in sys.modules, package
"""


@pytest.mark.compile
@pytest.mark.parametrize("exported", ["default", "gaussian"], indirect=True)
def test_every_signature_serves_where_only_tensorflow_is_imported(
    exported: tuple[AEVB, Any, Path], tmp_path: Path
) -> None:
    model, _, path = exported
    inputs, expected = {}, {}
    for signature in LIVE:
        for num_data in (1, 7):
            key = f"{signature}/{num_data}"
            arguments = _inputs(model, signature, num_data)
            inputs |= {f"{key}/{name}": np.asarray(value) for name, value in arguments.items()}
            outputs = _expected(model, signature, arguments)
            expected |= {f"{key}/{name}": value.numpy() for name, value in outputs.items()}
    np.savez(tmp_path / "inputs.npz", **inputs)
    command = [sys.executable, "-c", SERVE, path, tmp_path / "inputs.npz", tmp_path / "out.npz"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    served = dict(np.load(tmp_path / "out.npz", allow_pickle=False))
    assert served.keys() == expected.keys()
    for key, value in served.items():
        name = key.rsplit("/", 1)[1]
        _assert_same_outputs({name: value}, {name: expected[key]})


def _assert_serves(path: Path, model: AEVB) -> None:
    loaded, x = tf.saved_model.load(path), _data(model, 2)
    np.testing.assert_allclose(loaded.encode(x)["loc"], model.encode(x).mean(), atol=1e-5)


def test_only_the_models_parameters_are_saved(tmp_path: Path) -> None:
    model = small_model()
    export_saved_model(model, tmp_path / "saved_model")
    loaded = tf.saved_model.load(tmp_path / "saved_model")
    saved = sorted(variable.name for variable in loaded.model_variables)
    assert saved == sorted(variable.name for variable in model.trainable_variables)
    assert not (tmp_path / "saved_model" / "keras_metadata.pb").exists()


@pytest.mark.compile
def test_saved_model_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "saved_model"
    first, second = small_model(weight_seed=1), small_model(weight_seed=2)
    for model in (first, second):
        export_saved_model(model, path)
        _assert_serves(path, model)
    assert [entry.name for entry in path.parent.iterdir()] == ["saved_model"]


@pytest.mark.compile
def test_failed_export_leaves_the_old_saved_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "saved_model"
    model = small_model(weight_seed=1)
    export_saved_model(model, path)
    save = tf.saved_model.save

    def save_then_fail(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save_then_fail)
    with pytest.raises(OSError, match="no space"):
        export_saved_model(small_model(weight_seed=2), path)
    _assert_serves(path, model)
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    tf.saved_model.save(tf.Module(), folder)  # a SavedModel, but not of this package
    file.write_text("precious")
    before = sorted(folder.rglob("*"))
    for path in (folder, file):
        assert_one_line(
            lambda path=path: export_saved_model(small_model(), path),
            ValueError,
            str(path),
            "not a SavedModel written by tfp_aevb",
        )
    assert sorted(folder.rglob("*")) == before
    assert file.read_text() == "precious"


def test_empty_folder_is_written_to(tmp_path: Path) -> None:
    model = small_model()
    export_saved_model(model, tmp_path)
    _assert_serves(tmp_path, model)


def test_lookup_table_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    pairs = tf.lookup.KeyValueTensorInitializer([0, 1], [-1.0, 1.0])
    table = tf.lookup.StaticHashTable(pairs, 0.0)

    def encoder(x: tf.Tensor) -> tfd.Distribution:
        loc = table.lookup(tf.cast(x, tf.int32))[:, :LATENT_DIM]
        return tfd.MultivariateNormalDiag(loc, tf.ones([LATENT_DIM]))

    model = small_model(encoder=encoder)
    assert_one_line(
        lambda: export_saved_model(model, tmp_path / "saved_model"),
        ValueError,
        "`encode`",
        "lookup table",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.compile
def test_an_export_killed_between_its_two_moves_loses_nothing(tmp_path: Path) -> None:
    path, retired = tmp_path / "saved_model", tmp_path / ".saved_model.old"
    first, second = small_model(weight_seed=1), small_model(weight_seed=2)
    export_saved_model(first, path)
    path.rename(retired)  # as if killed behind the first move
    (tmp_path / ".saved_model.4194305").mkdir()
    export_saved_model(second, path)
    _assert_serves(path, second)
    shutil.copytree(path, retired)  # as if killed before the old one was removed
    export_saved_model(first, path)
    _assert_serves(path, first)
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]


def test_an_export_that_fails_brings_back_what_a_killed_one_had_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "saved_model", small_model(weight_seed=1)
    export_saved_model(model, path)
    path.rename(tmp_path / ".saved_model.old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", fail)
        with pytest.raises(OSError, match="no space"):
            export_saved_model(model, path)
    _assert_serves(path, model)


@pytest.mark.compile(but_first=True)
@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("No space left on device", "free some space"),
        ("File too large", "raise the limit of a file's size"),
        ("Something else", "check the disk"),
    ],
)
def test_a_disk_that_fails_native_code_is_one_line_with_a_remedy(
    reason: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, f"/x/.a.7/saved_model.pb; {reason}")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    path = tmp_path / "saved_model"
    parts = (f"{path} cannot be written: {reason}; ", remedy)
    assert_one_line(lambda: export_saved_model(small_model(), path), WriteError, *parts)
    assert list(tmp_path.iterdir()) == []
