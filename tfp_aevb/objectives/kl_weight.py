"""The weight of the KL term while training, which the reported bound never has."""

import math
from typing import NamedTuple

import tensorflow as tf

from tfp_aevb.objectives.objective import Objective
from tfp_aevb.objectives.sgvb import Bound


class KLWeight(NamedTuple):
    """What training ascends in the bound's place: reconstruction - weight max(KL, free_bits).

    Attributes:
        weight: beta (Higgins et al., 2017).
        warmup_steps: updates over which the weight rises from 0 to `weight`.
        free_bits: nats of each datapoint's KL that cost nothing.
    """

    weight: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0

    @property
    def is_one(self) -> bool:
        """Whether training ascends the bound itself."""
        return self == KLWeight()

    def check(self, objective: Objective) -> None:
        """Raises a `ValueError` if a number is not valid, or does not suit the objective."""
        names = ("kl_weight", "kl_warmup_steps", "free_bits")
        for name, value in zip(names, self, strict=True):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"`{name}` must be at least 0, got {value}")
        if not self.is_one and not objective.weighs_kl:
            raise ValueError(
                "`kl_weight`, `kl_warmup_steps` and `free_bits` need objective 'sgvb_a' or "
                f"'sgvb_b', got {objective.name!r}"
            )
        if self.free_bits and not objective.has_closed_form_kl:
            raise ValueError("`free_bits` needs the KL in closed form: objective 'sgvb_b'")

    def aim(self, bound: Bound, step: tf.Tensor) -> tf.Tensor:
        """Returns what the update number `step`, from 0, ascends: [B] in nats."""
        if self.is_one:
            return bound.elbo
        weight = tf.constant(self.weight)
        if self.warmup_steps:
            weight *= tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / self.warmup_steps)
        kl = tf.maximum(bound.kl, self.free_bits) if self.free_bits else bound.kl
        return bound.reconstruction - weight * kl
