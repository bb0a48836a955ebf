"""Model files and configs that try to run code when they are read: none does."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tf_keras

from tests.helpers import small_model
from tfp_aevb.models.aevb import AEVB


def lambda_layer(mark: Path) -> tf_keras.layers.Layer:
    """A layer whose code leaves a mark when it is called."""
    return tf_keras.layers.Lambda(lambda x, p=str(mark): open(p, "w") and x)


def hostile_parts(mark: Path) -> dict[str, Any]:
    """Configs in an encoder's place, in Keras' formats of today and of before."""
    layer = lambda_layer(mark)
    legacy = {"class_name": "Lambda", "config": layer.get_config()}
    return {
        "lambda": tf_keras.saving.serialize_keras_object(layer),
        "legacy lambda": legacy,
        "nested lambda": {
            "module": "tf_keras",
            "class_name": "Sequential",
            "config": {"name": "s", "layers": [legacy]},
            "registered_name": None,
        },
        "function of os": {
            "module": "os", "class_name": "mkdir", "config": str(mark), "registered_name": None,
        },
        "class of subprocess": {
            "module": "subprocess",
            "class_name": "Popen",
            "config": {"args": ["touch", str(mark)]},
            "registered_name": "Popen",
        },
        "eval": {
            "module": "builtins",
            "class_name": "function",
            "config": "eval",
            "registered_name": "function",
        },
    }  # fmt: skip


NAMES = ("lambda", "legacy lambda", "nested lambda", "function of os", "class of subprocess",
         "eval")  # fmt: skip


def refused(read: Callable[[], Any], mark: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        read()
    assert not mark.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_config_that_would_run_code_is_refused(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    part = hostile_parts(mark)[name]
    config = {**small_model().get_config(), "encoder": part}
    refused(lambda: AEVB.from_config(config), mark)


@pytest.mark.parametrize("name", NAMES)
def test_a_keras_file_that_would_run_code_is_refused(name: str, tmp_path: Path) -> None:
    mark, path, forged = tmp_path / "mark", tmp_path / "m.keras", tmp_path / "forged.keras"
    small_model().save(path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(forged, "w") as archive:
        for member in whole.namelist():
            content = whole.read(member)
            if member == "config.json":
                described = json.loads(content)
                described["config"]["encoder"] = hostile_parts(mark)[name]
                content = json.dumps(described, default=str).encode()
            archive.writestr(member, content)
    refused(lambda: tf_keras.models.load_model(forged), mark)


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    mark, model = tmp_path / "mark", small_model()
    config = {"optimizer": hostile_parts(mark)[name], "jit_compile": False}
    refused(lambda: model.compile_from_config(config), mark)


def test_a_model_that_was_not_compiled_is_saved_and_loaded(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "m.keras")
    loaded = tf_keras.models.load_model(tmp_path / "m.keras")
    for mine, theirs in zip(model.variables, loaded.variables, strict=True):
        assert (mine.numpy() == theirs.numpy()).all()
