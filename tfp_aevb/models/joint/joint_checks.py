"""What a joint model, its encoder and its data must be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_aevb.models.joint.flat import leaves_of
from tfp_aevb.models.joint.leaves import Joint
from tfp_aevb.models.joint.unconstrained_latents import Supports
from tfp_aevb.models.part_checks import UnknownSupportError, check_simplex_density, is_real


def check_model(joint: Joint) -> None:
    """Raises unless each part has one density a datapoint, and those come first that have to.

    Densities are taken at one draw, for two draws of what must not change them.
    """
    drawn = [joint.sample([1], tf.constant([seed, 1])) for seed in (0, 1)]

    def changed(leaves: Sequence[int], fixed: Sequence[int]) -> list[int]:
        """Returns those of `leaves` whose density depends on others than `fixed`."""
        kept = {leaf: drawn[0][leaf] for leaf in fixed}
        first, second = (joint.log_probs({**draw, **kept}, range(len(draw))) for draw in drawn)
        return [leaf for leaf in leaves if (first[leaf].numpy() != second[leaf].numpy()).any()]

    latent, given, shared = joint.latent.leaves, joint.given.leaves, joint.shared.leaves
    for leaves, fixed, other, advice in (
        (
            latent,
            [*latent, *given],
            "an observed part",
            "the latents come first, p(z) p(x|z), or name that part in `given`",
        ),
        (shared, shared, "one that is not global", "the global latents come first"),
    ):
        for leaf in changed(leaves, fixed) if leaves else ():
            raise ValueError(
                f"latent {joint.name_of(leaf)!r} depends on {other}; write the model so that "
                f"{advice}"
            )
    joint.has_conditional_prior = bool(given and changed(latent, latent))

    def is_marginalised(leaf: int) -> bool:
        """Whether a part leaves NaN out, and no other's density depends on it."""
        part = getattr(conditionals[leaf], "tensor_distribution", conditionals[leaf])
        if not getattr(part, "allows_missing", False):
            return False
        others = [other for other in everything if other != leaf]
        return not changed(others, others)

    everything, conditionals = range(len(joint.dtypes)), joint.conditionals(drawn[0])
    joint.marginalised = [
        name
        for name in joint.observed.names
        if name not in joint.given.names
        and all(is_marginalised(leaf) for leaf in leaves_of({name: joint.places[name]}))
    ]


def check_encoder(
    supports: Supports, joint: Joint, factors: dict[int, tfd.Distribution], whole: Any
) -> None:
    """Raises a `ValueError` if q is over all of R where a local latent is not.

    So it does if a q on the simplex has a density of another kind than a Dirichlet's.

    Args:
        supports: of the latents.
        joint: the model.
        factors: q's part of each leaf, if it is a joint distribution.
        whole: q, if it is not.
    """
    for leaf in joint.local.leaves:
        if leaf not in supports.constrained and joint.dtypes[leaf].is_floating:
            continue
        bijector = "the prior's `experimental_default_event_space_bijector()`"
        if leaf in supports.on_simplex:
            check_simplex_density(f"latent {joint.name_of(leaf)!r}", factors.get(leaf, whole))
            bijector = "`tfb.IteratedSigmoidCentered()`"
        try:
            unbounded = is_real(factors.get(leaf, whole))
        except UnknownSupportError:
            continue
        if unbounded:
            raise ValueError(
                f"the encoder's latent {joint.name_of(leaf)!r} is over all reals, the model's is "
                "not; give q its support, for instance by `tfd.TransformedDistribution` with "
                f"{bijector}"
            )


def check_missing(joint: Joint, x: np.ndarray) -> None:
    """Raises a `ValueError` if `x` [N, ...event] has NaN where it may not."""
    rows = x.reshape([len(x), -1])
    for name, columns in joint.data.columns().items():
        missing = np.isnan(rows[:, columns])
        if name in joint.marginalised:
            continue
        if name in joint.partly_observed.names:
            wrong, advice = missing.any(1) & ~missing.all(1), "a latent is known whole or not"
        else:
            wrong = missing.any(1)
            which = f"only {joint.may_be_missing}" if joint.may_be_missing else "no part"
            advice = (
                f"{which} may be missing; remove or impute it, or use a likelihood layer with "
                "`allow_missing=True`"
            )
        if wrong.any():
            raise ValueError(f"{name!r} has NaN in row {wrong.argmax()}: {advice}")
