"""From a run's settings to its model, optimizer and observations."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import tf_keras

from tfp_aevb import layers
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.models.wake_sleep import WakeSleep
from tfp_aevb.objectives import Objective, as_objective
from tfp_aevb.runs.settings.choices import ABLATIONS, FLOWS
from tfp_aevb.runs.settings.config import TrainConfig, parse_variance

INIT_STDDEV = {"variance": 0.1, "stddev": 0.01, "glorot": None}


def build_model(
    config: TrainConfig,
    event_shape: Sequence[int],
    num_data: int | None,
    record: Mapping[str, Any] | None = None,
) -> AEVB:
    """Returns the compiled model of a run; its first parameters depend on `config.seed` alone.

    Args:
        config: the settings.
        event_shape: of one datapoint.
        num_data: size of the training set, which is N unless the config says otherwise; `None` if
            it has no known end.
        record: of the data: tables have their columns in it, convolutions need the images' shape.

    Raises:
        ValueError: if the network is for images and the data are none.
    """
    tf_keras.utils.set_random_seed(config.seed)
    columns, image_shape = (dict(record or {}).get(n, ()) for n in ("columns", "image_shape"))
    network: dict[str, Any] = {
        "hidden_units": config.hidden_units,
        "activation": config.activation,
        "init_stddev": INIT_STDDEV[config.init],
        "dtype": config.precision,
    }
    parts = {"prior": _prior(config, event_shape, network)}
    own_encoder, own_decoder = _own_networks(config, columns, image_shape, network)
    if config.method != "mcem":
        parts["encoder"] = _posterior(config, {**network, **own_encoder})
    if config.likelihood == "mixed":
        parts["decoder"] = layers.MixedLikelihood(columns, **network)
    else:
        own_decoder["allow_missing"] = config.missing != "refuse"
        parts["decoder"] = _likelihood(config, event_shape, {**network, **own_decoder})
    model_class, options = _method(config)
    model = model_class(
        **parts,
        objective=_objective(config),
        num_samples=config.num_samples,
        num_data=config.num_data or num_data,
        seed=config.seed,
        **options,
    )
    model.compile(build_optimizer(config), jit_compile=config.xla, ema_momentum=config.ema_momentum)
    return model


def _objective(config: TrainConfig) -> Objective:
    options: dict[str, dict[str, Any]] = {
        "renyi": {"alpha": config.renyi_alpha},
        "f_divergence": {"divergence": config.divergence},
    }
    return as_objective(config.objective, **options.get(config.objective, {}))


def build_optimizer(config: TrainConfig) -> tf_keras.optimizers.Optimizer:
    """Returns the optimizer; Adagrad with an accumulator from 0, as the paper's step sizes need."""
    options: dict[str, Any] = {
        "learning_rate": _learning_rate(config),
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    if config.optimizer == "adagrad":
        return tf_keras.optimizers.Adagrad(initial_accumulator_value=0.0, **options)
    optimizers = {
        "adam": tf_keras.optimizers.Adam,
        "rmsprop": tf_keras.optimizers.RMSprop,
        "sgd": tf_keras.optimizers.SGD,
    }
    return optimizers[config.optimizer](**options)


def _learning_rate(config: TrainConfig) -> Any:
    schedules = tf_keras.optimizers.schedules
    rate, steps = config.learning_rate, config.learning_rate_decay_steps
    if config.learning_rate_schedule == "cosine":
        return schedules.CosineDecay(rate, steps)
    if config.learning_rate_schedule == "exponential":
        return schedules.ExponentialDecay(rate, steps, decay_rate=0.1)
    return rate


def _method(config: TrainConfig) -> tuple[type[AEVB], dict[str, Any]]:
    """Returns the class of model that the method fits, and the options that are its own."""
    if config.method == "full_vb":
        return FullVB, {
            "shared_draw": config.parameter_draws == "shared",
            "sampled_parameter_kl": config.parameter_kl == "sampled",
        }
    parameter_prior = "normal" if config.estimation == "map" else None
    if config.method == "mcem":
        return MonteCarloEM, {
            "parameter_prior": parameter_prior,
            "leapfrog_steps": config.leapfrog_steps,
            "e_step_updates": config.e_step_updates,
            "m_step_updates": config.m_step_updates,
            "fresh_chains": config.chains == "fresh",
        }
    if config.method in ABLATIONS:
        sampled, regularised = ABLATIONS[config.method]
        return AblatedAEVB, {
            "parameter_prior": parameter_prior,
            "sampled": sampled,
            "regularised": regularised,
        }
    if config.method == "wake_sleep":
        return WakeSleep, {"parameter_prior": parameter_prior}
    return AEVB, {
        "parameter_prior": parameter_prior,
        "kl_weight": config.kl_weight,
        "kl_warmup_steps": config.kl_warmup_steps,
        "free_bits": config.free_bits,
    }


def _prior(config: TrainConfig, event_shape: Sequence[int], network: dict) -> tf_keras.layers.Layer:
    if config.upper_latent_dims:
        return layers.HierarchicalPrior(_levels(config), **_upper(config, network))
    if config.prior == "mixture":
        return layers.GaussianMixturePrior(config.latent_dim, config.prior_components)
    if config.prior == "vamp":
        return layers.VampPrior(
            config.latent_dim, event_shape, config.prior_components, config.support
        )
    if config.prior == "flow":
        options = {name: network[name] for name in ("activation", "init_stddev", "dtype")}
        return layers.FlowPrior(config.latent_dim, num_steps=config.flow_steps, **options)
    priors = {
        "standard_normal": layers.StandardNormalPrior,
        "diagonal_normal": layers.DiagonalNormalPrior,
        "uniform": layers.UniformPrior,
        "exponential": layers.ExponentialPrior,
        "log_normal": layers.LogNormalPrior,
        "dirichlet": layers.DirichletPrior,
    }
    return priors[config.prior](config.latent_dim)


def _levels(config: TrainConfig) -> tuple[int, ...]:
    """Dimensions of z1, z2, ..., z1 next to the data."""
    return (config.latent_dim, *config.upper_latent_dims)


def _upper(config: TrainConfig, network: dict) -> dict[str, Any]:
    return {**network, "hidden_units": config.upper_hidden_units}


def _own_networks(
    config: TrainConfig, columns: Sequence[Any], image_shape: Sequence[int], network: dict
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what the encoder and the decoder have in place of an MLP, as their arguments."""
    if columns:
        # The table's own units may need more digits than the network's precision has.
        def encoder(size: int) -> tf_keras.Sequential:
            inputs = layers.TableInputs(columns, dtype="float32")
            return tf_keras.Sequential([inputs, layers.MLP(size, **network)])

        return {"network": encoder, "dtype": "float32"}, {}
    if config.upper_latent_dims:
        # The data depend on the lowest level alone.
        return {}, {"network": partial(layers.MLP, num_inputs=config.latent_dim, **network)}
    if config.missing == "mask":

        def masked(size: int) -> tf_keras.Sequential:
            inputs = layers.ObservedInputs(dtype=config.precision)
            return tf_keras.Sequential([inputs, layers.MLP(size, **network)])

        return {"network": masked}, {}
    if config.network == "mlp":
        return {}, {}
    if not image_shape:
        raise ValueError(f"--network=conv needs images; {config.dataset} has none")
    options = {"image_shape": image_shape, **network}
    return (
        {"network": partial(layers.ConvEncoder, **options)},
        {"network": partial(layers.ConvDecoder, **options)},
    )


def _posterior(config: TrainConfig, network: dict) -> tf_keras.layers.Layer:
    if config.upper_latent_dims:
        return layers.HierarchicalPosterior(
            _levels(config), upper_hidden_units=config.upper_hidden_units, **network
        )
    if config.posterior in FLOWS:
        return layers.FlowPosterior(
            config.latent_dim, config.posterior, config.flow_steps, **network
        )
    if config.posterior == "low_rank":
        return layers.LowRankGaussianPosterior(config.latent_dim, config.rank, **network)
    if config.posterior == "full":
        return layers.FullCovarianceGaussianPosterior(config.latent_dim, **network)
    if config.posterior == "diagonal":
        return layers.DiagonalGaussianPosterior(config.latent_dim, **network)
    return layers.ConstrainedPosterior(config.latent_dim, config.posterior, **network)


def _likelihood(
    config: TrainConfig, event_shape: Sequence[int], network: dict
) -> tf_keras.layers.Layer:
    if config.likelihood == "bernoulli":
        return layers.BernoulliLikelihood(
            event_shape, allow_grey=config.allow_grey_bernoulli, **network
        )
    if config.likelihood == "categorical":
        return layers.CategoricalLikelihood(event_shape, config.categories, **network)
    if config.likelihood in ("gaussian", "gaussian_sigmoid"):
        mean: Any = "sigmoid" if config.likelihood == "gaussian_sigmoid" else "linear"
        variance: Any = parse_variance(config.decoder_variance)
        return layers.GaussianLikelihood(event_shape, mean=mean, variance=variance, **network)
    likelihoods = {
        "continuous_bernoulli": layers.ContinuousBernoulliLikelihood,
        "student_t": layers.StudentTLikelihood,
        "beta": layers.BetaLikelihood,
        "discretized_logistic": layers.DiscretizedLogisticLikelihood,
        "poisson": layers.PoissonLikelihood,
        "negative_binomial": layers.NegativeBinomialLikelihood,
        "zero_inflated_poisson": layers.ZeroInflatedPoissonLikelihood,
        "zero_inflated_negative_binomial": layers.ZeroInflatedNegativeBinomialLikelihood,
    }
    return likelihoods[config.likelihood](event_shape, **network)
