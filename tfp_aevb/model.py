"""The auto-encoding variational Bayes model (paper, Section 3 and Algorithm 1)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.graphs import call_part
from tfp_aevb.layers.learned_priors import VampPrior
from tfp_aevb.layers.missing import fill_missing, takes_missing
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.layers.noise import device_seed
from tfp_aevb.model_parts import (
    check_distribution,
    check_latent_support,
    check_prior,
    deserialize_part,
    own_captured_variables,
    posterior_moments,
    serialize_part,
)
from tfp_aevb.objectives import (
    EVIDENCE_OBJECTIVES,
    OBJECTIVES,
    PAPER_OBJECTIVES,
    Bound,
    KLWeight,
    LogLikelihood,
    evidence_bound,
    minibatch_bound,
)
from tfp_aevb.training.fused import FusedModel
from tfp_aevb.training.loops import Minibatch
from tfp_aevb.training.observations import Observations
from tfp_aevb.training.random import as_seed

ConditionalDistribution = Callable[[tf.Tensor], tfd.Distribution]


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
        objective: `sgvb_b` (analytic KL), `sgvb_a` (all terms sampled), `score_function`, or one of
            the others of `tfp_aevb.objectives`: `stl`, `iwae`, `dreg`, `vimco`, `rws`, `renyi`,
            `f_divergence`.
        num_samples: L (or K), samples of z for each datapoint while training and evaluating.
        renyi_alpha: of `renyi`.
        divergence: of `f_divergence`, see `tfp_aevb.objectives.f_divergence`.
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

    _parts: tuple[str, ...] = ("prior", "encoder", "decoder")
    # Whether only the paper's estimators suit the model, and the KL term only as it is.
    _paper_only = False

    def __init__(
        self,
        prior: tfd.Distribution | Callable[[], tfd.Distribution],
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        *,
        objective: str = "sgvb_b",
        num_samples: int = 1,
        renyi_alpha: float = 0.5,
        divergence: str = "kl_forward",
        kl_weight: float = 1.0,
        kl_warmup_steps: int = 0,
        free_bits: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        choices = PAPER_OBJECTIVES if self._paper_only else tuple(OBJECTIVES)
        if objective not in choices:
            raise ValueError(f"`objective` must be one of {sorted(choices)}, got {objective!r}")
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be positive, got {num_samples}")
        given = {"renyi_alpha": renyi_alpha, "divergence": divergence}
        for name, default in _unused_options(objective).items():
            if given[name] != default:
                raise ValueError(
                    f"`{name}` is for objective {_OPTIONS[name][0]!r}, not {objective!r}; "
                    "leave it out"
                )
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.objective = objective
        self.num_samples = num_samples
        self.renyi_alpha = renyi_alpha
        self.divergence = divergence
        self._kl = KLWeight(kl_weight, kl_warmup_steps, free_bits)
        self._kl.check(objective)
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
        likelihood = self.decoder(tf.zeros([1, self.latent_dim]))
        check_distribution("decoder", likelihood)
        parts = (self.decoder, likelihood)
        self._allows_missing = any(getattr(part, "allows_missing", False) for part in parts)
        self.event_shape = tuple(likelihood.event_shape.as_list())
        if isinstance(self.prior, VampPrior) and self.prior.event_shape != self.event_shape:
            raise ValueError(
                f"the prior's pseudo-inputs have shape {list(self.prior.event_shape)}, the "
                f"decoder's datapoints {list(self.event_shape)}; they must be the same"
            )
        self._fills_missing = self.allows_missing and not takes_missing(self.encoder)
        posterior = self.encoder(tf.zeros([1, *self.event_shape]))
        check_distribution("encoder", posterior)
        if posterior.event_shape != [self.latent_dim]:
            raise ValueError(
                f"the encoder's latents have shape {posterior.event_shape}, "
                f"the prior's ({self.latent_dim},); they must be the same"
            )
        self._check_supports(posterior)
        # Checks the objective too: a missing KL is better known before training than after.
        x = tf.zeros([1, *self.event_shape])
        own_captured_variables(self, lambda: self._bound_given(x, as_seed(0), 1.0))
        self.build((None, *self.event_shape))

    def _check_supports(self, posterior: tfd.Distribution) -> None:
        check_latent_support(self.prior, self.encoder)

    def prior_distribution(self) -> tfd.Distribution:
        """Returns p(z), event shape [J]."""
        if isinstance(self.prior, VampPrior):
            return self.prior.given(self._posterior)
        return self.prior if isinstance(self.prior, tfd.Distribution) else call_part(self.prior)

    def prior_given(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(z), batch shape []; or for u in `x` [B, ...event] p(z|u), batch shape [B]."""
        return self.prior_distribution()

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x) for `x` [B, ...event]: batch shape [B], event shape [J]."""
        return self._posterior(self._datapoints(x))

    def _posterior(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x); an encoder that does not take NaN sees 0 in its place."""
        return call_part(self.encoder, fill_missing(x) if self._fills_missing else x)

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z) for `z` [B, J]: batch shape [B], event shape `event_shape`."""
        return call_part(self.decoder, tf.convert_to_tensor(z, tf.float32))

    def decode_given(self, z: tf.Tensor, x: tf.Tensor) -> tfd.Distribution:
        """Returns `decode(z)`, or p(x|z, u) where the model has it, for u in `x` [B, ...event]."""
        return call_part(self.decoder, z)

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
        return self.log_likelihood(x, z) + self.prior_given(x).log_prob(z)

    def _fold(self, decoder: ConditionalDistribution, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Folds the sample axis into the batch around `decoder`, so that any network will do."""
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
        return self._bound_given(x, seed, self.known_num_data, num_samples)

    def evidence_bound(
        self, x: tf.Tensor, seed: tf.Tensor, num_samples: int | tf.Tensor | None = None
    ) -> Bound:
        """Estimates the evidence lower bound (Eq. 2) at `x`: by `bound`, if that estimates it."""
        if self.ascends_evidence:
            return self.bound(x, seed, num_samples)
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
        own_options: dict[str, dict[str, Any]] = {
            "renyi": {"alpha": self.renyi_alpha},
            "f_divergence": {"divergence": self.divergence},
        }
        return OBJECTIVES[self.objective](
            posterior,
            self.prior_given(x),
            log_likelihood,
            self.num_samples if num_samples is None else num_samples,
            device_seed(posterior, seed),
            **own_options.get(self.objective, {}),
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
        return loss + minibatch_bound(more, 1.0, batch.weights, batch.size)

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
        return self.evidence_bound(self._datapoints(x), as_seed(seed), num_samples).elbo

    def sample(self, num_samples: int, seed: int | tf.Tensor | None = None) -> tf.Tensor:
        """Draws x from p(z) p(x|z): [num_samples, ...event]."""
        return self.sample_with_latents(num_samples, seed).x

    def sample_with_latents(
        self, num_samples: int, seed: int | tf.Tensor | None = None
    ) -> ModelSample:
        """Draws (z, x) from p(z) p(x|z), and gives the means of p(x|z) beside."""
        seeds = tfp.random.split_seed(as_seed(seed), n=2)
        z = self.prior_distribution().sample(num_samples, seed=seeds[0])
        likelihood = self.predictive(z, tf.random.experimental.stateless_fold_in(seeds[0], 1))
        return ModelSample(z, likelihood.sample(seed=seeds[1]), likelihood.mean())

    def predictive(self, z: tf.Tensor, seed: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z) for `z` [B, J], its own parameters drawn where they are random."""
        del seed
        return call_part(self.decoder, z)

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
        return self.objective in EVIDENCE_OBJECTIVES

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
        if x.event_shape != self.event_shape:
            raise ValueError(
                f"the model's datapoints have shape {list(self.event_shape)}, "
                f"got {list(x.event_shape)}; reshape the data to [N, ...event]"
            )
        if x.allow_missing and not self.allows_missing and np.isnan(x.x).any():
            raise ValueError(
                f"`x` has NaN values, which {type(self.decoder).__name__} does not marginalise; "
                "remove or impute them, or give the likelihood `allow_missing=True`"
            )
        x.check_support(getattr(self.decoder, "support", "real"))
        if hasattr(self.decoder, "check_values"):
            self.decoder.check_values(x.x)

    def _datapoints(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        if not x.shape[1:].is_compatible_with(self.event_shape):
            raise ValueError(
                f"`x` must have shape [B, {', '.join(map(str, self.event_shape))}], got {x.shape}"
            )
        return x

    def get_config(self) -> dict:
        """Returns the constructor's arguments, its parts serialised.

        Raises:
            TypeError: if a part is not a registered Keras object.
        """
        return {
            **{name: serialize_part(name, getattr(self, name)) for name in self._parts},
            "name": self.name,
            "objective": self.objective,
            "num_samples": self.num_samples,
            "renyi_alpha": self.renyi_alpha,
            "divergence": self.divergence,
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
        # Files of earlier versions may have options that had no effect, which are refused now.
        unused = _unused_options(config.get("objective", ""))
        found = {name: unused.get(name, value) for name, value in config.items()}
        return cls(**{**found, **parts})


# Option -> the objective that it is of, and its default.
_OPTIONS = {"renyi_alpha": ("renyi", 0.5), "divergence": ("f_divergence", "kl_forward")}


def _unused_options(objective: str) -> dict[str, Any]:
    """Returns the options that an objective does not take, with their defaults."""
    return {name: default for name, (owner, default) in _OPTIONS.items() if owner != objective}
