"""SavedModels of AEVB models, which serve with TensorFlow alone."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.saved_model import save_context

from tfp_aevb.evaluation.importance import importance_log_prob
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.utils.files import (
    remove_strays,
    sync_folder,
    sync_tree,
    temporary_beside,
    write_json,
    writing,
)
from tfp_aevb.utils.graphs import graph_function

# SavedModels keep files of other libraries in `assets.extra`; this one tells ours from others'.
MARKER = Path("assets.extra", "tfp_aevb.json")
DEFAULT_SIGNATURE = "encode"


def export_saved_model(model: AEVB, directory: str | os.PathLike) -> None:
    """Writes a SavedModel that loads in a process with `tensorflow` and nothing else.

    It is written beside `directory` and moved into place when complete. The signatures, each also a
    method of the loaded object, take and return float32 tensors, for any number B of datapoints:

    - `encode`, also `serving_default`: x [B, ...event] -> `loc`, `stddev` [B, J] of q(z|x).
    - `decode`: z [B, J] -> `mean` [B, ...event] of p(x|z).
    - `reconstruct`: x -> `mean` [B, ...event] of p(x|z) at z = the mean of q(z|x).
    - `sample`: num_samples, seed -> `z` [n, J], `x` [n, ...event], `mean` [n, ...event] of p(x|z).
    - `elbo`: x, num_samples, seed -> `elbo`, `reconstruction`, `kl` [B] nats: the evidence lower
      bound, whatever the model's objective.
    - `log_prob`: x, num_samples, seed -> `log_prob` [B] nats, `effective_sample_size` [B]; see
      `importance_log_prob`.
    - `global_latents`, of a `JointAEVB` that has some: nothing -> `NAME_mean`, `NAME_stddev`
      [*event] of q(theta) for each; the names of nested ones are joined by `/`.

    `num_samples` is an int32 scalar and `seed` [2] int32. The draws are those of the live model
    without XLA, on the same kind of device.

    Args:
        model: the model; its parts may be layers, or callables with variables of any kind.
        directory: where to write. A SavedModel of this function is replaced, an empty folder too.

    Raises:
        ValueError: if `directory` holds anything else, or if the model uses a resource that is
            not a variable, which cannot be saved.
        WriteError: if the disk fails; an old SavedModel is as it was.
    """
    path = Path(directory).resolve()
    _check_replaceable(path)
    endpoints = _endpoints(model)
    # In the context that TensorFlow saves in: it would trace them once more otherwise.
    with save_context.save_context(tf.saved_model.SaveOptions()):
        functions = {name: endpoint.get_concrete_function() for name, endpoint in endpoints.items()}
    module = tf.Module(name="aevb")
    # The model itself is not attached: Keras would save its own functions and metadata with it.
    module.model_variables = _captured_variables(functions)
    for name, endpoint in endpoints.items():
        setattr(module, name, endpoint)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_away(path)
        temporary = temporary_beside(path)
    try:
        signatures = {"serving_default": functions[DEFAULT_SIGNATURE], **functions}
        with writing(path), _native_errors():
            tf.saved_model.save(module, temporary, signatures=signatures)
        (temporary / MARKER).parent.mkdir()
        write_json(
            temporary / MARKER,
            {"event_shape": list(model.event_shape), "latent_dim": model.latent_dim},
        )
        with writing(path):
            sync_tree(temporary)
            _move_into_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _native_errors() -> Iterator[None]:
    """Turns an error of TensorFlow's own file operations into the `OSError` behind it."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2]  # behind the temporary file's name
        number = next((n for n in errno.errorcode if os.strerror(n) == reason), 0)
        raise OSError(number, reason) from error


def _endpoints(model: AEVB) -> dict[str, Any]:
    """Returns the functions to serve: name -> `tf.function` with an input signature."""
    x_spec = tf.TensorSpec([None, *model.event_shape], tf.float32, name="x")
    z_spec = tf.TensorSpec([None, model.latent_dim], tf.float32, name="z")
    draw_specs = [
        tf.TensorSpec([], tf.int32, name="num_samples"),
        tf.TensorSpec([2], tf.int32, name="seed"),
    ]

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        loc, stddev = posterior_moments(model.encode(x))
        return {"loc": loc, "stddev": stddev}

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": model.decode(z).mean()}

    def reconstruct(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": model.reconstruct(x)}

    def sample(num_samples: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return model.sample_with_latents(num_samples, seed)._asdict()

    def elbo(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        _assert_positive(num_samples)
        return model.evidence_bound(x, seed, num_samples)._asdict()

    def log_prob(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        _assert_positive(num_samples)
        estimate = importance_log_prob(model, x, num_samples, seed)
        return {
            "log_prob": estimate.log_prob,
            "effective_sample_size": estimate.effective_sample_size,
        }

    specs: dict[Callable, Sequence[tf.TensorSpec]] = {
        encode: [x_spec],
        decode: [z_spec],
        reconstruct: [x_spec],
        sample: draw_specs,
        elbo: [x_spec, *draw_specs],
        log_prob: [x_spec, *draw_specs],
    }
    factors = dict(_flat_names(getattr(model, "global_posterior", {})))

    def global_latents() -> dict[str, tf.Tensor]:
        means = {f"{name}_mean": tf.identity(q.mean()) for name, q in factors.items()}
        return means | {f"{name}_stddev": tf.identity(q.stddev()) for name, q in factors.items()}

    if factors:
        specs[global_latents] = []
    return {
        function.__name__: graph_function(function, input_signature=signature)
        for function, signature in specs.items()
    }


def _flat_names(values: dict, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested dicts, by their names joined by `/`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat_names(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", value


def _assert_positive(num_samples: tf.Tensor) -> None:
    tf.debugging.assert_positive(num_samples, message="`num_samples` must be at least 1")


def _captured_variables(functions: dict[str, Any]) -> list[tf.Variable]:
    """Returns the variables that the concrete functions read, whether or not the model has them."""
    variables = {v.ref(): v for function in functions.values() for v in function.graph.variables}
    handles = {id(variable.handle) for variable in variables.values()}
    for name, function in functions.items():
        for tensor in function.captured_inputs:
            if tensor.dtype == tf.resource and id(tensor) not in handles:
                raise ValueError(
                    f"`{name}` of the model uses a TensorFlow resource that is not a variable, "
                    "such as a lookup table or an iterator, which cannot be exported; use "
                    "variables and constants only"
                )
    return sorted(variables.values(), key=lambda variable: variable.name)


def _check_replaceable(path: Path) -> None:
    if not path.exists() or (path / MARKER).is_file():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise ValueError(
            f"{path} exists and is not a SavedModel written by tfp_aevb; choose another folder or "
            "delete it"
        )


def _clear_away(path: Path) -> None:
    """Undoes or ends what a process that was killed here has left."""
    remove_strays(path.parent, f"{path.name}.")
    retired = _retired(path)
    if retired.exists() and not path.exists():
        retired.rename(path)
    shutil.rmtree(retired, ignore_errors=True)


def _move_into_place(temporary: Path, path: Path) -> None:
    if path.exists():
        path.rename(_retired(path))
    temporary.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(_retired(path), ignore_errors=True)


def _retired(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
