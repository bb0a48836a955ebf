"""An AEVB model whose p(z) p(x|z) is a TFP joint distribution over several parts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_aevb.data.host_arrays import as_datapoints
from tfp_aevb.data.observations import Observations
from tfp_aevb.layers.missing import fill_missing, takes_missing
from tfp_aevb.models.aevb import AEVB, ModelSample
from tfp_aevb.models.joint.arrange import arranged
from tfp_aevb.models.joint.distributions import (
    AsFloats,
    JointPosterior,
    LatentPrior,
    ObservedParts,
    WithGlobals,
    known_latents,
)
from tfp_aevb.models.joint.flat import Leaves, Name
from tfp_aevb.models.joint.global_latents import GlobalPosterior
from tfp_aevb.models.joint.joint_checks import check_encoder, check_model, check_rows
from tfp_aevb.models.joint.leaves import Joint, Values
from tfp_aevb.models.joint.unconstrained_latents import Supports
from tfp_aevb.models.model_inputs import as_latents, with_event_shape
from tfp_aevb.models.part_checks import check_distribution
from tfp_aevb.objectives import (
    OBJECTIVES,
    SGVBA,
    Bound,
    Objective,
    StickingTheLanding,
    as_objective,
)
from tfp_aevb.utils.counts import check_count
from tfp_aevb.utils.keras_versions import refuse_other_keras
from tfp_aevb.utils.seeds import as_seed
from tfp_aevb.utils.variables import without

KL_DRAWS = 10
MEAN_DRAWS = 100  # of discrete latents, for reconstructions


class JointAEVB(AEVB):
    """An `AEVB` model of several latents, nested or dependent, written as a joint distribution.

    Inside, all latents are one vector z [J], laid end to end in the joint's order: whatever works
    with an `AEVB` model works with this one. `split_latents` takes z apart. Parts that are joint
    distributions themselves are nested dicts there.

    Where several parts are observed a datapoint is a row [D]: their values, flattened, laid end to
    end in the order that `observed` states. Data may be given by name all the same, as a dict of
    arrays [N, *event], a tuple of arrays in this order, a DataFrame whose columns are the parts, or
    batches of such (`tf.data`, TFDS, generators); `split_observed` takes rows apart.

    Examples, with any layers that return distributions; two stochastic layers:

        top = tfp_aevb.DiagonalGaussianPosterior(3, [20])
        bottom = tfp_aevb.BernoulliLikelihood(12, [20])
        up = tfp_aevb.DiagonalGaussianPosterior(3, [20])
        further_up = tfp_aevb.DiagonalGaussianPosterior(2, [20])
        joint = tfd.JointDistributionNamed({
            "z2": tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)),
            "z1": lambda z2: top(z2),
            "x": lambda z1: bottom(z1),
        })
        model = tfp_aevb.JointAEVB(joint, lambda x: tfd.JointDistributionNamed({
            "z1": up(x), "z2": lambda z1: further_up(z1),
        }))
        model.compile("adam")
        model.fit(x, epochs=2)  # [N, 12]

    and two observed parts, counts [N, 3] and one covariate u [N], whose density does not count:

        rates = tf_keras.layers.Dense(3)
        encoder = tfp_aevb.DiagonalGaussianPosterior(2, [20])
        joint = tfd.JointDistributionNamed({
            "u": tfd.Normal(0.0, 1.0),
            "z": tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)),
            "counts": lambda z, u: tfd.Independent(
                tfd.Poisson(log_rate=rates(tf.concat([z, u[..., tf.newaxis]], -1))), 1
            ),
        })
        model = tfp_aevb.JointAEVB(
            joint,
            lambda parts: encoder(
                tf.concat([tf.math.log1p(parts["counts"]), parts["u"][..., tf.newaxis]], -1)
            ),
            observed=["counts", "u"],  # a row is [count, count, count, u]
            given=["u"],
        )
        model.compile("adam")
        model.fit({"u": u, "counts": counts}, epochs=2)
        model.fit(np.concatenate([counts, u[:, np.newaxis]], axis=1), epochs=2)  # the same data
        draws = model.split_observed(model.sample(5, given={"u": 0.5}))  # draws["counts"] [5, 3]

    The joint's functions see values [n, *event]. So do those of the encoder's joint: L draws for B
    datapoints are [L, B, *event] to them, or [L * B, *event], or one draw after the other, the
    first that they take. Those of AutoBatched joints see one datapoint, without a batch, for which
    a Keras network needs `net(z[tf.newaxis])[0]`; layers of this package are not for them.

    Partly observed latents: their values are data too, one more part each behind the observed ones
    of x [D], NaN where a datapoint's is not known. Such a datapoint has the ordinary bound, on
    log p(x); one whose z1 is known has E[log p(x, z1, z2) - log q(z2|x, z1)], a bound on
    log p(x, z1), which `importance_log_prob` estimates there; its `kl` is all but E[log p(x|z)].
    The encoder sees the observed parts alone: q draws an unknown latent given those before it in
    q, known or drawn, so that partly observed ones are best first. A known one does not train its
    own q.

    Global latents theta are shared by all datapoints and get a Gaussian q(theta), independent in
    each element, in their prior's support; what is a variable beside them is a point estimate. The
    bound per datapoint takes KL(q(theta) || p(theta)) / N off (paper, Appendix F). They are last in
    z; prediction (`sample`, `importance_log_prob`) averages over q(theta).

    Latents that are positive, bounded or on a simplex need a q with their support; samplers move
    them in R^K by TFP's `experimental_default_event_space_bijector` of each part. Latents that are
    integers need an objective without reparameterised draws: `vimco`, `rws` or `score_function`.

    An observed part whose distribution says `allows_missing`, as that of a likelihood layer with
    `allow_missing=True` does, may have NaN, which it marginalises, unless another part depends on
    it; the encoder sees 0 there, unless it says `allows_missing` too.

    Args:
        joint: any `tfd.JointDistribution*` of one datapoint. Its variables are trained, those of
            networks that its functions call too.
        encoder: from x [B, ...event] to q(z|x): a joint distribution over the latents by the same
            names (of batch shape [B]), or one distribution with event shape [J]. Where several
            parts are observed it is called with a dict of them. It leaves out global latents.
        observed: the observed part or parts: names, or places in a sequential joint, in the order
            in which they lie in a row of the data.
        given: observed parts u whose density does not count: p(z|u) p(x|z, u), for latents may
            depend on them. `reconstruct` holds the u of its datapoints, `sample` takes `given`. One
            that is not in `observed` has the place in a row that the joint gives it.
        partly_observed: latents that are known for some datapoints. The encoder must then return a
            joint distribution, and the KL term, in which the known ones' log density is, has no
            weight.
        global_latents: latents that all datapoints share; they depend on no other parts but each
            other. `num_data` is needed to evaluate before `fit`.
        **kwargs: see `AEVB`; `objective` is `sgvb_a` unless stated, for few joints have a KL
            divergence in closed form. Global latents need `sgvb_a` or `stl`; `parameter_prior` is
            of the point estimates beside them, and leaves q(theta) alone.

    Raises:
        ValueError: if the parts do not fit each other, a latent depends on an observed part that is
            not given, or the encoder's distribution lacks a latent or does not have its support.
    """

    def __init__(
        self,
        joint: tfd.JointDistribution,
        encoder: Callable[[Any], tfd.Distribution],
        *,
        observed: Name | Sequence[Name] = "x",
        given: Sequence[Name] = (),
        partly_observed: Sequence[Name] = (),
        global_latents: Sequence[Name] = (),
        objective: str | Objective = "sgvb_a",
        **kwargs,
    ) -> None:
        if not isinstance(joint, tfd.JointDistribution):
            raise ValueError(
                "`joint` must be a `tfd.JointDistribution*`, as `tfd.JointDistributionNamed`, got "
                f"{type(joint).__name__}; of one latent use AEVB"
            )
        refuse_other_keras("the encoder", encoder)
        roles = map(_names, (observed, given, partly_observed, global_latents))
        parts = Joint(joint, *roles)
        check_model(parts)
        options = {"alpha": kwargs.pop("renyi_alpha", None)}
        options["divergence"] = kwargs.pop("divergence", None)
        objective = as_objective(objective, **options)
        if global_latents and not isinstance(objective, SGVBA | StickingTheLanding):
            raise ValueError(
                f"`global_latents` need objective 'sgvb_a' or 'stl', got {objective.name!r}"
            )
        if parts.discrete and objective.needs_reparameterized_q:
            fitting = [n for n, kind in OBJECTIVES.items() if not kind.needs_reparameterized_q]
            raise ValueError(
                f"latent {parts.discrete[0]!r} is discrete and has no reparameterised draws, which "
                f"objective {objective.name!r} needs; use one of {fitting}, or sum it "
                "out, for instance with `tfd.MixtureSameFamily`"
            )
        weights = {"kl_weight": 1.0, "kl_warmup_steps": 0, "free_bits": 0.0}
        if partly_observed and any(kwargs.get(name, one) != one for name, one in weights.items()):
            raise ValueError(
                "`partly_observed` takes no `kl_weight`, `kl_warmup_steps` or `free_bits`: the "
                "KL term holds the log density of known latents, which are data; leave them out"
            )
        theta = GlobalPosterior(parts) if global_latents else None
        supports = Supports(parts)
        several = len(parts.data.leaves) > 1

        def decode(z: tf.Tensor) -> tfd.Distribution:
            if several:
                return ObservedParts(parts, z)
            return parts.conditionals(parts.latent.split(z))[parts.observed.leaves[0]]

        def encode(x: tf.Tensor) -> tfd.Distribution:
            data = parts.data.split(x) if several else {parts.observed.leaves[0]: x}
            if parts.marginalised and not takes_missing(encoder):
                data = {leaf: fill_missing(value) for leaf, value in data.items()}
            seen = parts.observed.named(data)
            posterior = encoder(seen if len(seen) > 1 else seen[parts.observed.names[0]])
            if isinstance(posterior, tfd.JointDistribution):
                known = known_latents(parts, x)
                posterior = JointPosterior(posterior, parts, x, known, self._layout)
            elif partly_observed:
                raise ValueError(
                    "`partly_observed` needs an encoder that returns a joint distribution, got "
                    f"{type(posterior).__name__}; name its parts by `tfd.JointDistributionNamed`"
                )
            elif parts.discrete:
                check_distribution("encoder", posterior)
                posterior = posterior if posterior.dtype.is_floating else AsFloats(posterior, x)
            if theta is None:
                return posterior
            check_distribution("encoder", posterior)
            return WithGlobals(posterior, theta, x)

        # Before the base class, which evaluates the bound.
        self._joint_parts, self._layout = parts, "together"
        self._theta, self._supports = theta, supports
        self._vectorized = bool(getattr(joint, "use_vectorized_map", False))
        super().__init__(
            lambda: LatentPrior(parts, theta, supports),
            encode,
            decode,
            objective=objective,
            **kwargs,
        )

    def _check_supports(self, posterior: tfd.Distribution) -> None:
        local = posterior.local if isinstance(posterior, WithGlobals) else posterior
        factors = local.factors() if isinstance(local, JointPosterior) else {}
        check_encoder(self._supports, self._joint_parts, factors, local)
        if factors:
            rows = self._joint_parts.sample([2], tf.constant([0, 3]))
            posterior = self.encoder(self._joint_parts.data.concat(rows))
            local = posterior.local if isinstance(posterior, WithGlobals) else posterior
            self._layout = local.find_layout()

    @property
    def suits_xla(self) -> bool:
        """Not where TensorFlow vectorises the joint: XLA would compile each block of updates anew.

        So it is for most gradients through `tf.vectorized_map`, for instance those of `matvec`.
        """
        return not self._vectorized

    @property
    def allows_missing(self) -> bool:
        """Whether data may have NaN: partly observed latents, or parts that marginalise it."""
        return bool(self._joint_parts.may_be_missing)

    @property
    def needs_num_data(self) -> bool:
        """Whether the loss depends on N."""
        return self._theta is not None or super().needs_num_data

    @property
    def global_posterior(self) -> dict[Name, Any]:
        """q(theta) of the global latents by name, nested as these are: distributions.

        They have `sample`, `log_prob`, `mean`, `stddev` and `quantile`; see `global_summary`.
        """
        if self._theta is None:
            return {}
        return self._theta.parts.named(self._theta.distributions)

    def global_summary(self, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> dict[Name, Any]:
        """Returns `GlobalSummary(mean, stddev, quantiles)` of each global latent by name.

        Each is in the latent's own space, element by element, as NumPy arrays [*event]; names are
        nested as those of `global_posterior` are. Where there is no formula they are those of
        10,000 draws with a fixed seed.

        Raises:
            ValueError: if a quantile is not a probability between 0 and 1.
        """
        if self._theta is None:
            return {}
        return self._theta.parts.named(self._theta.summaries(quantiles))

    def prior_given(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(z|u), batch shape [B], where latents depend on given parts; otherwise p(z)."""
        if not self._joint_parts.has_conditional_prior:
            return self.prior_distribution()
        return LatentPrior(self._joint_parts, self._theta, self._supports, self._given_in(x))

    def decode_given(self, z: tf.Tensor, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z, u) for `z` [B, J] and the given parts u of `x` [B, D]."""
        if not self._joint_parts.given.leaves:
            with self._guard():
                return self.decoder(z)
        return ObservedParts(self._joint_parts, z, self._given_in(x))

    def sample(
        self,
        num_samples: int,
        seed: int | tf.Tensor | None = None,
        given: Values | None = None,
    ) -> tf.Tensor:
        """Draws x [num_samples, ...event]; `given` as in `sample_with_latents`."""
        return self.sample_with_latents(num_samples, seed, given).x

    def sample_with_latents(
        self,
        num_samples: int,
        seed: int | tf.Tensor | None = None,
        given: Values | None = None,
    ) -> ModelSample:
        """Draws (z, x) from p(z|u) p(x|z, u), and gives the means of p(x|z, u) beside.

        Args:
            num_samples: n.
            seed: int or [2] int32.
            given: u: the values of all given parts by name, each [*event] or [n, *event]; without
                them u is drawn from the joint too.

        Raises:
            ValueError: if `given` has other parts than the model's, or other shapes.
        """
        parts = self._joint_parts
        check_count("num_samples", num_samples)
        if not parts.given.leaves:
            if given is not None:
                raise ValueError("the model has no given parts; leave `given` out")
            return super().sample_with_latents(num_samples, seed)
        seeds = tf.unstack(tfp.random.split_seed(as_seed(seed), n=3))
        if given is None:
            drawn = parts.sample([num_samples], seeds[2])
            u = {leaf: drawn[leaf] for leaf in parts.given.leaves}
        else:
            u = parts.given.rows(given, num_samples)
        z = LatentPrior(parts, self._theta, self._supports, u).sample(seed=seeds[0])
        likelihood = ObservedParts(parts, z, u)
        return ModelSample(z, likelihood.sample(seed=seeds[1]), likelihood.mean())

    def _given_in(self, x: tf.Tensor) -> Leaves:
        """Returns the given parts' leaves in `x` [B, D]."""
        data = self._joint_parts.data.split(self.arrange(x))
        return {leaf: data[leaf] for leaf in self._joint_parts.given.leaves}

    def split_latents(self, z: tf.Tensor) -> Values:
        """Returns the latents by name, each [..., *event], of `z` [..., J]."""
        latent = self._joint_parts.latent
        return latent.named(latent.split(as_latents(z, self.latent_dim, 1)))

    def split_observed(self, x: tf.Tensor) -> Values:
        """Returns the observed parts by name, and latents that are partly, of `x` [..., D]."""
        data = self._joint_parts.data
        return data.named(data.split(self.arrange(x)))

    def log_joint(self, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Returns log p(x, z) [L, B] in nats for `z` [L, B, J].

        Raises:
            NotImplementedError: if latents are global or partly observed.
        """
        if self._theta or self._joint_parts.partly_observed.names:
            raise NotImplementedError(
                "log p(x, z) is not known for all of z where latents are global or partly "
                "observed; use `importance_log_prob`"
            )
        return super().log_joint(x, z)

    def arrange(self, x: Any) -> Any:
        """Returns data given by their parts as rows [N, D]: see the class, and `split_observed`.

        Rows are returned as they are. All methods that take data do this by themselves.

        Raises:
            ValueError: if a name is unknown or missing, or a shape is not that of its part.
        """
        rows = arranged(self._joint_parts.data, x)
        if rows is not x and isinstance(rows, np.ndarray):
            check_rows(self._joint_parts, rows)
        return rows

    def check_observations(self, x: Observations) -> None:
        """Raises a `ValueError` unless `x` has this model's shape, and NaN where it may have."""
        if x.event_shape == self.event_shape:
            check_rows(self._joint_parts, x.x)
        elif len(self._joint_parts.data.leaves) > 1:
            widths = {n: c.stop - c.start for n, c in self._joint_parts.data.columns().items()}
            raise ValueError(
                f"a row of this model has {self.event_shape[0]} numbers, those of its parts "
                f"{widths} laid end to end, got {list(x.event_shape)}; give such rows, or a dict "
                "of arrays by these names"
            )
        super().check_observations(x)

    def _datapoints(self, x: tf.Tensor) -> tf.Tensor:
        # NaN where it may not be is refused by the name of its part.
        x = with_event_shape(as_datapoints(self.arrange(x), True), self.event_shape)
        if tf.executing_eagerly():
            check_rows(self._joint_parts, x.numpy())
        return x

    def _mean_given(self, posterior: tfd.Distribution, loc: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """As `AEVB`'s; with discrete latents p(x|z)'s means are averaged over draws of q(z|x)."""
        if not self._joint_parts.discrete:
            return super()._mean_given(posterior, loc, x)
        z = posterior.sample(MEAN_DRAWS, seed=as_seed(0))  # [S, B, J]
        flat_x = tf.tile(x, [MEAN_DRAWS] + [1] * (x.shape.rank - 1))
        means = self.decode_given(tf.reshape(z, [-1, self.latent_dim]), flat_x).mean()
        return tf.reduce_mean(tf.reshape(means, [MEAN_DRAWS, -1, *self.event_shape]), axis=0)

    @property
    def penalised_variables(self) -> list[tf.Variable]:
        """All but those of q(theta), whose prior is in the bound."""
        own = self._theta.variables if self._theta else []
        return without(self.trainable_variables, own)

    def _posterior(self, x: tf.Tensor) -> tfd.Distribution:
        with self._guard():
            return self.encoder(x)  # NaN and all: it tells which latents are known

    def _bound_given(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_data: tf.Tensor | float | None,
        num_samples: int | tf.Tensor | None = None,
    ) -> Bound:
        """As `AEVB`'s; with global latents `kl` holds their share, KL(q(theta) || p(theta)) / N."""
        if self._theta is None:
            return super()._bound_given(x, seed, num_data, num_samples)
        if num_data is None:
            raise ValueError("the bound needs N: give the model `num_data`, or fit it first")
        seeds = tf.unstack(tfp.random.split_seed(seed, n=2))
        data = super()._bound_given(x, seeds[0], num_data, num_samples)
        share = self._theta.kl(KL_DRAWS, seeds[1]) / num_data
        return Bound(data.elbo - share, data.reconstruction, data.kl + share)


def _names(role: Name | Sequence[Name]) -> list[Name]:
    """Returns one name, or several, as a list.

    Raises:
        ValueError: if it is a set.
    """
    if isinstance(role, set | frozenset):
        raise ValueError(
            f"a set of parts has no order, got {role}; give a list, in the data's order"
        )
    return [role] if isinstance(role, str | int) else list(role)
