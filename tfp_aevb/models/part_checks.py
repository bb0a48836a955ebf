"""The parts of a model: checked when it is built, and written to and read from .keras files."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions import kinds
from tfp_aevb.distributions.kinds import bare
from tfp_aevb.distributions.noise import equal_rows
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.flows import Softmax
from tfp_aevb.layers.learned_priors import VampPrior
from tfp_aevb.layers.priors import Prior
from tfp_aevb.training.layer_calls import layers_that_draw, recorded_layers, without_parts
from tfp_aevb.utils.keras_versions import refuse_variables_of_other_keras
from tfp_aevb.utils.seeds import as_seed
from tfp_aevb.utils.variables import distinct, whole, without


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
    check_precision("prior", prior)


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
    check_precision(name, distribution)


def check_precision(name: str, distribution: tfd.Distribution) -> None:
    """Raises a `ValueError` if a parameter of a part's distribution is a float but no float32."""
    todo, seen = [distribution], set()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, tfd.Distribution | tfb.Bijector):
            todo += tf.nest.flatten([part.dtype, list(part.parameters.values())])
            continue
        is_array = isinstance(part, tf.Tensor | tf.Variable | np.ndarray)
        dtype = part.dtype if is_array else part
        if isinstance(dtype, tf.DType | np.dtype):
            dtype = tf.as_dtype(dtype)
            if dtype.is_floating and dtype != tf.float32:
                raise ValueError(_ADVICE.format(f"the {name}'s distribution is of {dtype.name}"))


_ADVICE = (
    "{}, where distributions are float32 here; give it float32 parameters, as by "
    "`tf.cast(net(z), tf.float32)` or a last layer of `dtype='float32'`"
)


@contextlib.contextmanager
def explained_precision(name: str) -> Iterator[None]:
    """Turns an error about floats of several kinds, while a part is called, into one line."""
    try:
        yield
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        text = str(error)
        kinds = ("bfloat16", "float16", "half", "float64", "double")
        found = next((kind for kind in kinds if kind in text), None)
        if found is None or "are float32 here" in text:
            raise
        raise ValueError(_ADVICE.format(f"the {name} mixes {found} and float32")) from error


def check_pseudo_inputs(prior: VampPrior, event_shape: tuple[int, ...]) -> None:
    """Raises a `ValueError` if the prior's pseudo-inputs have another shape than datapoints."""
    if prior.event_shape != event_shape:
        raise ValueError(
            f"the prior's pseudo-inputs have shape {list(prior.event_shape)}, the "
            f"decoder's datapoints {list(event_shape)}; they must be the same"
        )


def check_same_latents(posterior: tfd.Distribution, latent_dim: int) -> None:
    """Raises a `ValueError` if q(z|x) is of other latents than p(z)."""
    if posterior.event_shape != [latent_dim]:
        raise ValueError(
            f"the encoder's latents have shape {posterior.event_shape}, "
            f"the prior's ({latent_dim},); they must be the same"
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

    Raises:
        ValueError: if a part makes variables at each call, or has one of another Keras or made
            outside of the strategy.
    """
    with tf.GradientTape() as tape, recorded_layers() as layers, _made_variables() as made:
        evaluate()
    captured_layers = without_parts(layers, model)
    if made or captured_layers:  # a template makes them at its first call
        with recorded_layers() as later, _made_variables() as made:
            evaluate()
        made += layers_that_draw(without_parts(later, model, captured_layers))
    if made:
        names = ", ".join(dict.fromkeys(new.name for new in made))
        raise ValueError(
            f"the model makes new variables or random layers at each call ({names:.80}); make "
            "layers, templates and variables outside of the functions that are its parts, and use "
            "them inside"
        )
    if captured_layers:
        model.captured_layers = captured_layers
    # What is frozen stays so.
    captured = without(distinct(map(whole, tape.watched_variables())), model.variables)
    refuse_variables_of_other_keras(captured)
    _check_made_under_strategy(captured)
    if captured:
        model.captured_variables = captured


@contextlib.contextmanager
def _made_variables() -> Iterator[list[tf.Variable]]:
    """Gives a list of the variables that are made inside."""
    made: list[tf.Variable] = []

    def recording(make: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
        made.append(make(**kwargs))
        return made[-1]

    with tf.variable_creator_scope(recording):
        yield made


def _check_made_under_strategy(variables: Sequence[tf.Variable]) -> None:
    """Raises a `ValueError` if a strategy has no copy of one of `variables` on each device."""
    several = tf.distribute.has_strategy() and not isinstance(
        tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy
    )
    for variable in variables:
        if several and not isinstance(variable, tf.distribute.DistributedValues):
            raise ValueError(
                f"variable {variable.name!r}, which the model uses, was made outside of the "
                "strategy; make it inside `strategy.scope()`, as the model"
            )


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
    inner = bare(distribution)
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
    inner = bare(distribution)
    while isinstance(inner, kinds.Independent | kinds.Sample):
        inner = bare(inner.distribution)
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
