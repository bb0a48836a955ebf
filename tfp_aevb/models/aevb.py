"""The auto-encoding variational Bayes model (paper, Section 3 and Algorithm 1)."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.host_arrays import as_datapoints
from tfp_aevb.data.observations import Observations
from tfp_aevb.distributions.noise import device_seed
from tfp_aevb.layers.learned_priors import VampPrior
from tfp_aevb.layers.missing import fill_missing, takes_missing
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.models.model_inputs import (
    as_latents,
    check_data,
    check_draws,
    unfolded,
    with_event_shape,
)
from tfp_aevb.models.part_checks import (
    check_distribution,
    check_latent_support,
    check_prior,
    check_pseudo_inputs,
    check_same_latents,
    deserialize_part,
    explained_precision,
    own_captured_variables,
    posterior_moments,
    serialize_part,
    values_of,
)
from tfp_aevb.objectives import (
    SGVBA,
    SGVBB,
    Bound,
    KLWeight,
    LogLikelihood,
    Objective,
    ScoreFunction,
    as_objective,
    evidence_bound,
)
from tfp_aevb.training.cells import cell_rows
from tfp_aevb.training.fused import FusedModel
from tfp_aevb.training.layer_calls import can_wait, one_thread_at_a_time
from tfp_aevb.training.loops import Minibatch
from tfp_aevb.utils.counts import check_count
from tfp_aevb.utils.graphs import call_part
from tfp_aevb.utils.keras_versions import kind_of, refuse_other_keras
from tfp_aevb.utils.seeds import as_seed

ConditionalDistribution = Callable[[tf.Tensor], tfd.Distribution]
# Those that suit the models of the paper's other algorithms.
PAPER_OBJECTIVES = (SGVBA, SGVBB, ScoreFunction)


class ModelSample(NamedTuple):
    """Ancestral draws: `z` [n, J], `x` [n, ...event] and the `mean` of p(x|z)."""

    z: tf.Tensor
    x: tf.Tensor
    mean: tf.Tensor


@tf_keras.saving.register_keras_serializable(PACKAGE)
class AEVB(FusedModel):
    """A latent-variable model p(z) p(x|z) and a recognition model q(z|x), fitted together.

    `fit` maximises the evidence lower bound by SGVB (Algorithm 1). All values are nats per
    datapoint; `elbo` is the bound and `loss` is minus the (penalised) bound.

    Args:
        prior: p(z): a layer of `tfp_aevb.layers`, a `tfd.Distribution`, or a callable without
            arguments that returns one, with event shape [J].
        encoder: q(z|x): a layer, tf_keras model or callable from x [B, ...event] to a
            distribution with batch shape [B] and event shape [J].
        decoder: p(x|z): the same from z [B, J] to a distribution over x. If either says that it
            `allows_missing`, as a likelihood layer may and `ObservedElements` does, x may have NaN,
            for which the encoder sees 0, unless a layer in it says so too (`ObservedInputs`).
        objective: `sgvb_b` (analytic KL), `sgvb_a` (all terms sampled), `score_function`, one of
            the other shorthands of `tfp_aevb.objectives.OBJECTIVES` (`stl`, `iwae`, `dreg`,
            `vimco`, `rws`, `renyi`, `f_divergence`), or an `Objective`, such as
            `Renyi(alpha=0.25)` or one of your own.
        num_samples: L (or K), samples of z for each datapoint while training and evaluating.
        renyi_alpha: alpha of the shorthand `renyi`.
        divergence: that of the shorthand `f_divergence`, see `tfp_aevb.objectives.f_divergence`.
        kl_weight: beta: training ascends reconstruction - beta KL (Higgins et al., 2017). What is
            reported as `elbo` is the bound all the same, and `loss` minus it, of training and
            validation data alike.
        kl_warmup_steps: updates over which the weight rises from 0 to `kl_weight`.
        free_bits: nats of each datapoint's KL that cost nothing: max(KL, free_bits) is weighted.
        parameter_prior, num_data, seed: see `FusedModel`.

    Raises:
        ValueError: if the parts do not fit each other, or an option is not known or does not suit
            the objective.
        NotImplementedError: if `sgvb_b` has no closed-form KL for these distributions.
    """

    # Held while a part is called that threads may not call at the same time.
    _one_thread: contextlib.AbstractContextManager = contextlib.nullcontext()
    _parts: tuple[str, ...] = ("prior", "encoder", "decoder")
    _traced = (*FusedModel._traced, "objective", "num_samples")
    # Whether only the paper's estimators suit the model, and the KL term only as it is.
    _paper_only = False

    def __init__(
        self,
        prior: tfd.Distribution | Callable[[], tfd.Distribution],
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        *,
        objective: str | Objective = "sgvb_b",
        num_samples: int = 1,
        renyi_alpha: float | None = None,
        divergence: str | None = None,
        kl_weight: float = 1.0,
        kl_warmup_steps: int = 0,
        free_bits: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        for name, part in (
            ("the prior", prior),
            ("the encoder", encoder),
            ("the decoder", decoder),
        ):
            refuse_other_keras(name, part)
            if not callable(part) and not (part is prior and isinstance(part, tfd.Distribution)):
                raise TypeError(
                    f"{name} must be a layer or a function that returns a `tfd.Distribution`, got "
                    f"{kind_of(part)}"
                )
        chosen = as_objective(objective, alpha=renyi_alpha, divergence=divergence)
        if self._paper_only and not isinstance(chosen, PAPER_OBJECTIVES):
            names = sorted(paper().name for paper in PAPER_OBJECTIVES)
            raise ValueError(f"`objective` must be one of {names}, got {chosen.name!r}")
        check_count("num_samples", num_samples)
        if num_samples == 1 and objective in ("iwae", "dreg", "renyi"):
            warnings.warn(
                f"objective {objective!r} with one draw ascends the evidence lower bound and no "
                "tighter one: give `num_samples` above 1",
                stacklevel=2,
            )
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.objective = chosen
        self.num_samples = num_samples
        chosen.check(num_samples)
        self._kl = KLWeight(kl_weight, kl_warmup_steps, free_bits)
        self._kl.check(chosen)
        if self._paper_only and not self._kl.is_one:
            raise ValueError(
                f"{type(self).__name__} takes no `kl_weight`, `kl_warmup_steps` or `free_bits`; "
                "use AEVB"
            )
        self._build_parts()

    def _build_parts(self) -> None:
        """Creates all variables, and checks that the parts fit each other."""
        if isinstance(self.prior, VampPrior):
            self.latent_dim = self.prior.latent_dim
        else:
            prior = self.prior_distribution()
            check_prior(prior)
            self.latent_dim = int(prior.event_shape[0])
        with explained_precision("decoder"):
            likelihood = self.decoder(tf.zeros([1, self.latent_dim]))
        check_distribution("decoder", likelihood)
        self._values_of_x = getattr(self.decoder, "support", values_of(likelihood))
        parts = (self.decoder, likelihood)
        self._allows_missing = any(getattr(part, "allows_missing", False) for part in parts)
        self.event_shape = tuple(likelihood.event_shape.as_list())
        if isinstance(self.prior, VampPrior):
            check_pseudo_inputs(self.prior, self.event_shape)
        self._fills_missing = self.allows_missing and not takes_missing(self.encoder)
        with explained_precision("encoder"):
            posterior = self.encoder(tf.zeros([1, *self.event_shape]))
        check_distribution("encoder", posterior)
        check_same_latents(posterior, self.latent_dim)
        self._check_supports(posterior)
        # Checks the objective too: a missing KL is better known before training than after.
        x = tf.zeros([1, *self.event_shape])
        own_captured_variables(self, lambda: self._bound_given(x, as_seed(0), 1.0))
        self._one_thread = one_thread_at_a_time(self)
        self.build((None, *self.event_shape))

    def _check_supports(self, posterior: tfd.Distribution) -> None:
        check_latent_support(self.prior, self.encoder)

    def prior_distribution(self) -> tfd.Distribution:
        """Returns p(z), event shape [J]."""
        if isinstance(self.prior, VampPrior):
            return self.prior.given(self._posterior)
        return self.prior if isinstance(self.prior, tfd.Distribution) else self._call(self.prior)

    def prior_given(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(z), batch shape []; or for u in `x` [B, ...event] p(z|u), batch shape [B]."""
        return self.prior_distribution()

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x) for `x` [B, ...event]: batch shape [B], event shape [J]."""
        return self._posterior(self._datapoints(x))

    def _posterior(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x); an encoder that does not take NaN sees 0 in its place."""
        return self._call(self.encoder, fill_missing(x) if self._fills_missing else x)

    def _call(self, part: Callable, *args: Any) -> Any:
        with self._guard():
            return call_part(part, *args)

    def _guard(self) -> contextlib.AbstractContextManager:
        return self._one_thread if can_wait() else contextlib.nullcontext()

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z) for `z` [..., B, J]: batch shape [..., B], event shape `event_shape`.

        Raises:
            ValueError: if `z` has another J, or no batch.
        """
        z = as_latents(z, self.latent_dim)
        if z.shape.rank == 2:
            return self._call(self.decoder, z)
        # Networks take [B, J] alone: further dimensions are folded into the batch.
        return unfolded(self._call(self.decoder, tf.reshape(z, [-1, self.latent_dim])), z)

    def decode_given(self, z: tf.Tensor, x: tf.Tensor) -> tfd.Distribution:
        """Returns `decode(z)`, or p(x|z, u) where the model has it, for u in `x` [B, ...event]."""
        return self._call(self.decoder, z)

    def log_likelihood(
        self, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns log p(x|z) [L, B] in nats for `x` [B, ...event] and `z` [L, B, J].

        `seed` is for models whose p(x|z) has random parameters; this one does not use it.
        """
        del seed
        return self._fold(self.decode, x, z)

    def log_joint(self, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Returns log p(x, z) = log p(x|z) + log p(z) [L, B] in nats for `z` [L, B, J]."""
        z = as_latents(z, self.latent_dim)
        return self.log_likelihood(x, z) + self.prior_given(x).log_prob(z)

    def _fold(self, decoder: ConditionalDistribution, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Folds the sample axis into the batch around `decoder`, so that any network will do."""
        x = with_event_shape(tf.cast(self.arrange(x), tf.float32), self.event_shape)
        z = as_latents(z, self.latent_dim)
        check_draws(z, x)
        num_samples = tf.shape(z)[0] if z.shape[0] is None else z.shape[0]
        flat_z = tf.reshape(z, [-1, self.latent_dim])  # [L * B, J]
        flat_x = tf.tile(x, [num_samples] + [1] * (x.shape.rank - 1))
        return tf.reshape(decoder(flat_z).log_prob(flat_x), [num_samples, -1])

    def bound(
        self, x: tf.Tensor, seed: tf.Tensor, num_samples: int | tf.Tensor | None = None
    ) -> Bound:
        """Estimates what the model's objective ascends at `x` [B, ...event]: see `objectives`.

        Raises:
            ValueError: if it depends on N, which is not known: neither `num_data` is given nor
                `fit` was called.
        """
        x = self._datapoints(x)
        return self._bound_given(x, as_seed(seed), self._num_data_at_call(), num_samples)

    def evidence_bound(
        self, x: tf.Tensor, seed: tf.Tensor, num_samples: int | tf.Tensor | None = None
    ) -> Bound:
        """Estimates the evidence lower bound (Eq. 2) at `x`: by `bound`, if that estimates it."""
        if self.ascends_evidence:
            return self.bound(x, seed, num_samples)
        x, seed = self._datapoints(x), as_seed(seed)
        posterior = self._posterior(x)
        return evidence_bound(
            posterior,
            self.prior_given(x),
            lambda z: self.log_likelihood(x, z),
            self.num_samples if num_samples is None else num_samples,
            device_seed(posterior, seed),
        )

    def _bound_given(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_data: tf.Tensor | float | None,
        num_samples: int | tf.Tensor | None = None,
    ) -> Bound:
        """Estimates the bound at `x`, where it depends on N for this N."""
        del num_data
        return self._estimate_bound(x, seed, num_samples, lambda z: self.log_likelihood(x, z))

    def _estimate_bound(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_samples: int | tf.Tensor | None,
        log_likelihood: LogLikelihood,
    ) -> Bound:
        posterior = self._posterior(x)
        return self.objective.estimate(
            posterior,
            self.prior_given(x),
            log_likelihood,
            self.num_samples if num_samples is None else num_samples,
            device_seed(posterior, seed),
        )

    def training_loss(self, batch: Minibatch) -> tuple[tf.Tensor, Bound]:
        """Returns the loss, its KL term weighted while training, and the bound: `FusedModel`."""
        bound = self._bound_given(batch.x, batch.seed, batch.num_data)
        aim = bound.elbo if batch.step is None else self._kl.aim(bound, batch.step)
        return self.minibatch_loss(aim, batch), bound

    def loss_of_evaluation(self, loss: tf.Tensor, bound: Bound, batch: Minibatch) -> tf.Tensor:
        """Returns the loss with the bound itself in it, whose KL term has its own weight.

        With one that rises in training it could not be compared with that of another epoch.
        """
        if self._kl.is_one:
            return loss
        more = self._kl.aim(bound, batch.step) - bound.elbo
        return loss + batch.mean(more)

    def elbo(
        self, x: tf.Tensor, num_samples: int | None = None, seed: int | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Estimates the evidence lower bound (Eq. 2), one value per datapoint.

        So it is for every objective, while `fit` and `evaluate` report what the objective ascends:
        L_K for `iwae`, `dreg`, `vimco`, `rws` and `f_divergence`, Renyi's bound for `renyi`.

        Args:
            x: [B, ...event].
            num_samples: L; by default the model's.
            seed: int or [2] int32; by default a fresh one.

        Returns:
            [B], nats.
        """
        if num_samples is not None:
            check_count("num_samples", num_samples)
        x = self._datapoints(x)
        if tf.executing_eagerly() and len(x):
            self.check_observations(Observations(x.numpy(), allow_missing=self.allows_missing))
        return self.evidence_bound(x, as_seed(seed), num_samples).elbo

    def sample(self, num_samples: int, seed: int | tf.Tensor | None = None) -> tf.Tensor:
        """Draws x from p(z) p(x|z): [num_samples, ...event]."""
        return self.sample_with_latents(num_samples, seed).x

    def sample_with_latents(
        self, num_samples: int, seed: int | tf.Tensor | None = None
    ) -> ModelSample:
        """Draws (z, x) from p(z) p(x|z), and gives the means of p(x|z) beside."""
        check_count("num_samples", num_samples)
        seeds = tfp.random.split_seed(as_seed(seed), n=2)
        z = self.prior_distribution().sample(num_samples, seed=seeds[0])
        likelihood = self.predictive(z, tf.random.experimental.stateless_fold_in(seeds[0], 1))
        return ModelSample(z, likelihood.sample(seed=seeds[1]), likelihood.mean())

    def predictive(self, z: tf.Tensor, seed: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z) for `z` [B, J], its own parameters drawn where they are random."""
        del seed
        return self._call(self.decoder, z)

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) at z = the mean of q(z|x): [B, ...event]."""
        x = self._datapoints(x)
        posterior = self._posterior(x)
        return self._mean_given(posterior, posterior_moments(posterior)[0], x)

    def _mean_given(self, posterior: tfd.Distribution, loc: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) at z = `loc`, the mean of q(z|x)."""
        return self.decode_given(loc, x).mean()

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns `reconstruct(inputs)`, without random draws."""
        del training
        return self.reconstruct(inputs)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Returns what `predict` collects: the mean and standard deviation of q(z|x), and p(x|z)'s.

        Keys: `loc` and `stddev` [B, J], `reconstruction` [B, ...event].
        """
        x = self._datapoints(tf_keras.utils.unpack_x_y_sample_weight(data)[0])
        posterior = self._posterior(x)
        loc, stddev = posterior_moments(posterior)
        return {"loc": loc, "stddev": stddev, "reconstruction": self._mean_given(posterior, loc, x)}

    @property
    def ascends_evidence(self) -> bool:
        """Whether `bound` estimates the evidence lower bound (Eq. 2)."""
        return self.objective.ascends_evidence

    @property
    def cell_rows(self) -> int:
        """Rows that evaluation computes at once."""
        return cell_rows(self.event_shape, self.num_samples)

    @property
    def kl_warmup_steps(self) -> int:
        """Updates over which the KL term's weight rises."""
        return self._kl.warmup_steps

    @property
    def allows_missing(self) -> bool:
        """Whether p(x|z) marginalises elements that are NaN: it, or the decoder, says so."""
        return self._allows_missing

    def check_observations(self, x: Observations) -> None:
        """Raises a `ValueError` unless `x` has this model's event shape and support."""
        check_data(x, self.event_shape, self.decoder, self._values_of_x, self.allows_missing)

    def _datapoints(self, x: tf.Tensor) -> tf.Tensor:
        x = as_datapoints(self.arrange(x), self.allows_missing)
        return with_event_shape(x, self.event_shape)

    def get_config(self) -> dict:
        """Returns the constructor's arguments, its parts serialised.

        Raises:
            TypeError: if a part is not a registered Keras object.
        """
        return {
            **{name: serialize_part(name, getattr(self, name)) for name in self._parts},
            "name": self.name,
            "objective": tf_keras.saving.serialize_keras_object(self.objective),
            "num_samples": self.num_samples,
            "kl_weight": self._kl.weight,
            "kl_warmup_steps": self._kl.warmup_steps,
            "free_bits": self._kl.free_bits,
            "parameter_prior": self.parameter_prior,
            "num_data": self.num_data,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "AEVB":
        """Creates the model from `get_config`'s arguments.

        Raises:
            ValueError: if a part is not a layer: a config may name any function, to be called.
        """
        del custom_objects
        parts = {name: deserialize_part(name, config[name]) for name in cls._parts}
        return cls(**{**config, **parts, **_objective_from_config(config)})


def _objective_from_config(config: dict) -> dict[str, Any]:
    """Returns the objective, and no options of others, from a configuration of any version."""
    options = {"renyi": "renyi_alpha", "f_divergence": "divergence"}
    objective = config["objective"]
    if isinstance(objective, str):  # version 0.1, which wrote the options of all objectives
        kept = options.get(objective)
        return {name: config.get(name) if name == kept else None for name in options.values()}
    found = tf_keras.saving.deserialize_keras_object(objective)
    if not isinstance(found, Objective):
        raise ValueError(f"the objective of the config is none but {found!r:.80}")
    return {"objective": found}
