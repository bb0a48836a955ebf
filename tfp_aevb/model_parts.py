"""The parts of a model: checked when it is built, and written to and read from .keras files."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.flows import Softmax
from tfp_aevb.layers.noise import equal_rows
from tfp_aevb.layers.priors import Prior
from tfp_aevb.training.layer_calls import recorded_layers, without_parts
from tfp_aevb.training.random import as_seed


def serialize_part(name: str, part: Any) -> Any:
    """Returns the configuration of a model's `name`, for a .keras file.

    Raises:
        TypeError: if the part is no tf_keras layer.
    """
    if not isinstance(part, tf_keras.layers.Layer):
        raise TypeError(
            f"the {name} is a plain {type(part).__name__}, which a .keras file cannot hold; make "
            "it a tf_keras layer registered with `register_keras_serializable`, or use "
            "`tfp_aevb.export_saved_model`"
        )
    return tf_keras.saving.serialize_keras_object(part)


def deserialize_part(name: str, config: Any) -> tf_keras.layers.Layer:
    """Creates the part again.

    Raises:
        ValueError: if it is not a layer: a file may name any function, to be called.
    """
    part = tf_keras.saving.deserialize_keras_object(config)
    if not isinstance(part, tf_keras.layers.Layer):
        raise ValueError(f"the {name} of the config is no layer but {part!r:.80}")
    return part


def check_prior(prior: Any) -> None:
    """Raises a `ValueError` unless p(z) is a distribution with event shape [J]."""
    if isinstance(prior, tfd.JointDistribution):
        raise ValueError(
            f"the prior is a joint distribution, {prior.name}; use `tfp_aevb.JointAEVB`, whose "
            "joint has the latents and x"
        )
    if prior.event_shape.rank != 1:
        raise ValueError(f"the prior's event shape must be [J], got {prior.event_shape}")


def check_distribution(name: str, distribution: Any) -> None:
    """Raises a `ValueError` unless the part has returned a distribution of batch shape [B]."""
    if isinstance(distribution, tfd.JointDistribution):
        raise ValueError(
            f"the {name} has returned a joint distribution, {distribution.name}; use "
            "`tfp_aevb.JointAEVB`"
        )
    if not isinstance(distribution, tfd.Distribution):
        raise ValueError(
            f"the {name} must return a `tfd.Distribution`, got {type(distribution).__name__}"
        )
    shape: Sequence[int | None] = distribution.batch_shape
    if distribution.batch_shape.rank != 1:
        raise ValueError(
            f"the {name}'s distribution must have batch shape [B], got {shape} with event shape "
            f"{distribution.event_shape}; wrap it in `tfd.Independent`"
        )


def check_latent_support(prior: Any, encoder: Any) -> None:
    """Raises a `ValueError` if both are layers of this package, for latents of different kinds."""
    if not (isinstance(prior, Prior) and isinstance(encoder, NetworkDistribution)):
        return
    needed, given = prior.latent_support, encoder.latent_support
    if needed is not None and needed != given:
        raise ValueError(
            f"the prior's latents are {needed}, the encoder's {given}; choose both for the "
            "same latents"
        )


def own_captured_variables(model: Any, evaluate: Callable[[], Any]) -> None:
    """Makes layers and variables that plain callables close over the model's own.

    Args:
        model: the model.
        evaluate: calls all of its parts.
    """
    with tf.GradientTape() as tape, recorded_layers() as layers:
        evaluate()
    captured_layers = without_parts(layers, model)
    if captured_layers:
        model.captured_layers = captured_layers
    # What is frozen stays so. Under a strategy the tape sees a variable's parts on the devices.
    known = {
        id(part)
        for variable in model.variables
        for part in (variable, *getattr(variable, "values", ()))
    }
    captured = [v for v in tape.watched_variables() if id(v) not in known]
    if captured:
        model.captured_variables = captured


def posterior_moments(posterior: tfd.Distribution) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean and the standard deviation of q(z|x), each [B, J].

    Where TFP has no formula for them, as for most transformed distributions, they are those of
    1,000 draws with a fixed seed. A q of this package has the same noise for each row, so that the
    moments do not depend on the other rows.
    """
    try:
        return posterior.mean(), posterior.stddev()
    except NotImplementedError:
        with equal_rows():
            z = posterior.sample(1000, seed=as_seed(0))  # [1000, B, J]
        return tf.reduce_mean(z, axis=0), tf.math.reduce_std(z, axis=0)


class UnknownSupportError(NotImplementedError):
    """A latent is discrete, or does not say where it is."""


def support_bijector(distribution: tfd.Distribution) -> tfb.Bijector:
    """Returns TFP's bijector from all of R^K to where the distribution is.

    Raises:
        UnknownSupportError: if it is discrete, or does not say.
    """
    inner = getattr(distribution, "tensor_distribution", distribution)
    if isinstance(_elements(inner), tfd.Dirichlet | tfd.RelaxedOneHotCategorical):
        return Softmax()  # TFP's has another density
    try:
        found = inner.experimental_default_event_space_bijector()
    except UnknownSupportError:  # which says more
        raise
    except NotImplementedError:
        found = None
    if found is None or tf.nest.is_nested(found.inverse_event_shape(inner.event_shape)):
        raise UnknownSupportError(
            f"{inner.name} is discrete or does not say where it is; samplers need a bijector from "
            "all of R^K (`experimental_default_event_space_bijector`): use `importance_log_prob`"
        )
    return found


def check_simplex_density(name: str, posterior: tfd.Distribution) -> None:
    """Raises a `ValueError` if q, of latents with a Dirichlet prior, has a density of another kind.

    That of `tfb.SoftmaxCentered` is over the simplex's surface: the bound would be 1/2 log J high.
    """
    bijectors = [getattr(_elements(posterior), "bijector", None)]
    for bijector in bijectors:
        if isinstance(bijector, tfb.SoftmaxCentered):
            raise ValueError(
                f"the encoder's {name} is a `tfb.SoftmaxCentered`, whose density is not of the "
                "Dirichlet's kind; use `tfb.IteratedSigmoidCentered()`"
            )
        bijectors += tf.nest.flatten(getattr(bijector, "bijectors", ()))


def _elements(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns what a distribution of independent elements is made of."""
    inner = getattr(distribution, "tensor_distribution", distribution)
    while isinstance(inner, tfd.Independent | tfd.Sample):
        inner = inner.distribution
    return inner


def is_real(distribution: tfd.Distribution) -> bool:
    """Whether each element of the distribution may be any real number.

    Raises:
        UnknownSupportError: if it is discrete, or does not say.
    """
    bijector, event_shape = support_bijector(distribution), distribution.event_shape
    if bijector.inverse_event_shape(event_shape) != event_shape:
        return False
    shape = [50, *distribution.batch_shape, *event_shape]
    anywhere = 10.0 * tf.random.stateless_normal(shape, [0, 0], dtype=distribution.dtype)
    return bool(tf.reduce_all(tf.math.is_finite(bijector.inverse(anywhere))))
