"""What training ascends, as an object: its estimator, and what it asks of q and of the draws."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.objectives.divergences import DIVERGENCES, f_divergence
from tfp_aevb.objectives.importance_weighted import (
    doubly_reparameterized,
    importance_weighted,
    renyi,
    reweighted_wake_sleep,
    sticking_the_landing,
    vimco,
)
from tfp_aevb.objectives.sgvb import Bound, LogLikelihood, score_function, sgvb_a, sgvb_b

PACKAGE = "tfp_aevb"  # under which classes are registered


@dataclasses.dataclass(frozen=True)
class Objective:
    """What `fit` ascends. Subclass it to bring an objective of your own.

    A subclass is a frozen dataclass of plain numbers and strings, registered by
    `tf_keras.saving.register_keras_serializable`, so that `.keras` files can hold it.

    Attributes:
        ascends_evidence: whether the value estimates the evidence lower bound (Eq. 2). If not,
            `elbo` and `evaluate` estimate that bound by an estimator of their own.
        weighs_kl: whether `kl_weight`, `kl_warmup_steps` and `free_bits` may change its KL term.
        has_closed_form_kl: whether its KL term has no sampling noise, as `free_bits` needs.
        needs_reparameterized_q: whether draws of q must be reparameterised.
        least_samples: the fewest draws of z for each datapoint that it can work with.
        name: its shorthand, for messages and the command line.

    Example:
        ```python
        @tf_keras.saving.register_keras_serializable("mine")
        @dataclasses.dataclass(frozen=True)
        class Tempered(tfp_aevb.objectives.Objective):
            temperature: float = 2.0

            def estimate(self, posterior, prior, log_likelihood, num_samples, seed):
                bound = tfp_aevb.sgvb_b(posterior, prior, log_likelihood, num_samples, seed)
                value = bound.reconstruction / self.temperature - bound.kl
                return bound._replace(elbo=value)
        ```
    """

    ascends_evidence: ClassVar[bool] = False
    weighs_kl: ClassVar[bool] = False
    has_closed_form_kl: ClassVar[bool] = False
    needs_reparameterized_q: ClassVar[bool] = True
    least_samples: ClassVar[int] = 1

    @abstractmethod
    def estimate(
        self,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        log_likelihood: LogLikelihood,
        num_samples: int | tf.Tensor,
        seed: tf.Tensor,
    ) -> Bound:
        """Estimates what is ascended; arguments and result are those of `sgvb_a`."""

    @property
    def name(self) -> str:
        """The shorthand of this class, or the class's name where it has none."""
        names = {objective: name for name, objective in OBJECTIVES.items()}
        return names.get(type(self), type(self).__name__)

    def describe(self, num_samples: int) -> str:
        """Says in words what is ascended with so many draws."""
        if self.ascends_evidence:
            return "the evidence lower bound"
        return f"what the objective {self.name} ascends"

    def check(self, num_samples: int | tf.Tensor) -> None:
        """Raises a `ValueError` if the objective cannot work with so few draws."""
        if isinstance(num_samples, int) and num_samples < self.least_samples:
            raise ValueError(
                f"objective {self.name!r} needs at least {self.least_samples} samples, got "
                f"{num_samples}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the fields, for a `.keras` file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        """Creates the objective from `get_config`'s result."""
        return cls(**config)


def _objective(cls: type) -> type:
    """Makes a class a frozen dataclass that `.keras` files can hold."""
    return tf_keras.saving.register_keras_serializable(PACKAGE)(
        dataclasses.dataclass(frozen=True)(cls)
    )


@_objective
class SGVBA(Objective):
    """The evidence lower bound with every term sampled; see `sgvb_a`."""

    ascends_evidence = True
    weighs_kl = True
    estimate = staticmethod(sgvb_a)


@_objective
class SGVBB(Objective):
    """The evidence lower bound with the KL term in closed form; see `sgvb_b`."""

    ascends_evidence = True
    weighs_kl = True
    has_closed_form_kl = True
    estimate = staticmethod(sgvb_b)


@_objective
class ScoreFunction(Objective):
    """The evidence lower bound, the gradient of q by the score function; see `score_function`."""

    ascends_evidence = True
    needs_reparameterized_q = False
    estimate = staticmethod(score_function)


@_objective
class StickingTheLanding(Objective):
    """The evidence lower bound, the gradient of q along z alone; see `sticking_the_landing`."""

    ascends_evidence = True
    estimate = staticmethod(sticking_the_landing)


class _ImportanceWeighted(Objective):
    def describe(self, num_samples: int) -> str:
        return f"L_{num_samples}"


@_objective
class IWAE(_ImportanceWeighted):
    """L_K, with the reparameterised gradient; see `importance_weighted`."""

    estimate = staticmethod(importance_weighted)


@_objective
class DReG(_ImportanceWeighted):
    """L_K, the gradient of q doubly reparameterised; see `doubly_reparameterized`."""

    estimate = staticmethod(doubly_reparameterized)


@_objective
class VIMCO(_ImportanceWeighted):
    """L_K, the gradient of q by the score function of each draw; see `vimco`."""

    needs_reparameterized_q = False
    least_samples = 2
    estimate = staticmethod(vimco)


@_objective
class ReweightedWakeSleep(_ImportanceWeighted):
    """L_K for p, the inclusive KL divergence for q; see `reweighted_wake_sleep`."""

    needs_reparameterized_q = False
    least_samples = 2
    estimate = staticmethod(reweighted_wake_sleep)


@_objective
class Renyi(Objective):
    """Renyi's bound (Li & Turner, 2016); see `renyi`.

    Attributes:
        alpha: from 0 (IWAE) to 1 (the evidence lower bound).
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"`alpha` of Renyi's bound must be in [0, 1], got {self.alpha}")

    def estimate(self, posterior, prior, log_likelihood, num_samples, seed):
        """Estimates Renyi's bound; arguments and result are those of `sgvb_a`."""
        return renyi(posterior, prior, log_likelihood, num_samples, seed, alpha=self.alpha)

    def describe(self, num_samples: int) -> str:
        return f"Renyi's bound (alpha {self.alpha:g}, {num_samples} samples)"


@_objective
class FDivergence(_ImportanceWeighted):
    """L_K for p, an f-divergence from p(z|x) for q; see `f_divergence`.

    Attributes:
        divergence: one of `tfp_aevb.objectives.divergences.DIVERGENCES`.
    """

    divergence: str = "kl_forward"
    least_samples: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.divergence not in DIVERGENCES:
            raise ValueError(
                f"`divergence` must be one of {', '.join(DIVERGENCES)}, got {self.divergence!r}"
            )

    def estimate(self, posterior, prior, log_likelihood, num_samples, seed):
        """Estimates L_K; arguments and result are those of `sgvb_a`."""
        return f_divergence(
            posterior, prior, log_likelihood, num_samples, seed, divergence=self.divergence
        )


#: The shorthand of each objective.
OBJECTIVES: dict[str, type[Objective]] = {
    "sgvb_a": SGVBA,
    "sgvb_b": SGVBB,
    "score_function": ScoreFunction,
    "stl": StickingTheLanding,
    "iwae": IWAE,
    "dreg": DReG,
    "vimco": VIMCO,
    "rws": ReweightedWakeSleep,
    "renyi": Renyi,
    "f_divergence": FDivergence,
}


def as_objective(objective: "str | Objective", **options: Any) -> Objective:
    """Returns the objective that a shorthand stands for; an `Objective` is returned as it is.

    Args:
        objective: a key of `OBJECTIVES`, or an objective.
        options: fields by name, `None` where not given.

    Raises:
        ValueError: if the shorthand is unknown, or an option is none of the objective's.
    """
    if not isinstance(objective, str | Objective):
        raise ValueError(
            f"`objective` must be one of {sorted(OBJECTIVES)} or a `tfp_aevb.objectives.Objective`,"
            f" got {objective!r}"
        )
    if isinstance(objective, str) and objective not in OBJECTIVES:
        raise ValueError(f"`objective` must be one of {sorted(OBJECTIVES)}, got {objective!r}")
    given = {name: value for name, value in options.items() if value is not None}
    known = (
        {f.name for f in dataclasses.fields(OBJECTIVES[objective])}
        if isinstance(objective, str)
        else set()
    )
    for name in given:
        if name not in known:
            raise ValueError(
                f"`{name}` has no effect with objective {getattr(objective, 'name', objective)!r}; "
                "leave it out"
            )
    return OBJECTIVES[objective](**given) if isinstance(objective, str) else objective
