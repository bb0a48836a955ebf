"""An AEVB model whose p(z) p(x|z) is a TFP joint distribution over several parts."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.model import AEVB
from tfp_aevb.structured.distributions import (
    JointPosterior,
    LatentPrior,
    ObservedParts,
    log_probs,
)
from tfp_aevb.structured.parts import Joint, Name, Values


class JointAEVB(AEVB):
    """An `AEVB` model of several latents, nested or dependent, written as a joint distribution.

    Inside, all latents are one vector z [J], laid end to end in the joint's order: whatever works
    with an `AEVB` model works with this one. `split_latents` takes z apart.

    For instance, two stochastic layers:

        joint = tfd.JointDistributionNamed({
            "z2": tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)),
            "z1": lambda z2: top(z2),  # a network that returns a distribution
            "x": lambda z1: bottom(z1),
        })
        model = JointAEVB(joint, lambda x: tfd.JointDistributionNamed({
            "z1": up(x), "z2": lambda z1: further_up(z1),
        }))

    Args:
        joint: any `tfd.JointDistribution*` of one datapoint. Its variables are trained, those of
            networks that its functions call too.
        encoder: from x [B, ...event] to q(z|x): a joint distribution over the latents by the same
            names (of batch shape [B]), or one distribution with event shape [J]. Where several
            parts are observed it is called with a dict of them.
        observed: the observed part or parts: names, or places in a sequential joint. Several make
            x one vector [D], laid end to end.
        given: observed parts whose density does not count: p(x|z, u) for u given.
        **kwargs: see `AEVB`; `objective` is `sgvb_a` unless stated, for few joints have a KL
            divergence in closed form.

    Raises:
        ValueError: if the parts do not fit each other, a latent is discrete or depends on an
            observed part, or an encoder's distribution lacks a latent.
    """

    def __init__(
        self,
        joint: tfd.JointDistribution,
        encoder: Callable[[Any], tfd.Distribution],
        *,
        observed: Name | Sequence[Name] = "x",
        given: Sequence[Name] = (),
        objective: str = "sgvb_a",
        **kwargs,
    ) -> None:
        names = [observed] if isinstance(observed, str | int) else list(observed)
        parts = Joint(joint, names, given)
        several = len(parts.observed.names) > 1

        def decode(z: tf.Tensor) -> tfd.Distribution:
            if several:
                return ObservedParts(parts, z)
            return parts.distributions(parts.latent.split(z))[names[0]]

        def encode(x: tf.Tensor) -> tfd.Distribution:
            posterior = encoder(parts.observed.split(x) if several else x)
            if isinstance(posterior, tfd.JointDistribution):
                return JointPosterior(posterior, parts.latent, x)
            return posterior

        _check(parts)
        vectorized = bool(getattr(joint, "use_vectorized_map", False))
        super().__init__(lambda: LatentPrior(parts), encode, decode, objective=objective, **kwargs)
        self._joint_parts = parts
        self._vectorized = vectorized

    @property
    def suits_xla(self) -> bool:
        """Not where TensorFlow vectorises the joint: XLA would compile each block of updates anew.

        So it is for most gradients through `tf.vectorized_map`, for instance those of `matvec`.
        """
        return not self._vectorized

    def split_latents(self, z: tf.Tensor) -> Values:
        """Returns the latents by name, each [..., *event], of `z` [..., J]."""
        return self._joint_parts.latent.split(z)

    def split_observed(self, x: tf.Tensor) -> Values:
        """Returns the observed parts by name, each [..., *event], of `x` [..., D]."""
        return self._joint_parts.observed.split(x)


def _check(joint: Joint) -> None:
    """Raises unless each part has one density a datapoint, and the latents' come before x.

    They are taken at one draw, for two draws of the observed parts.
    """
    drawn = [joint.sample([1], tf.constant([seed, 1])) for seed in (0, 1)]
    z = {name: drawn[0][name] for name in joint.latent.names}
    x = [{name: draw[name] for name in joint.observed.names} for draw in drawn]
    densities = [log_probs(joint.distributions({**z, **part}), {**z, **part}) for part in x]
    for name in joint.latent.names:
        if (densities[0][name].numpy() != densities[1][name].numpy()).any():
            raise ValueError(
                f"latent {name!r} depends on an observed part; write the model so that the latents "
                "come first: p(z) p(x|z)"
            )
