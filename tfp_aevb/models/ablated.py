"""Auto-encoding variational Bayes without its noise, without its KL term, or without both."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import device_seed
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.models.aevb import AEVB, ConditionalDistribution, posterior_moments
from tfp_aevb.objectives import SGVBB, Bound, LogLikelihood, analytic_kl, as_objective


@tf_keras.saving.register_keras_serializable(PACKAGE)
class AblatedAEVB(AEVB):
    """The model of `AEVB` without its noise, or without its KL term as a regulariser (Section 2.3).

    The bound is minus a KL term, "a regularizer", plus an expected reconstruction.

    | sampled | regularised | what is ascended |
    |---|---|---|
    | no | no | log p(x given the mean of q): a plain auto-encoder |
    | yes | no | E_q[ log p(x given z) ] |
    | no | yes | log p(x given the mean of q) - KL(q, p) |
    | yes | yes | the lower bound, Eq. 7, as `AEVB` |

    `fit` and `evaluate` report what is ascended as `elbo`, in nats per datapoint, and `loss` is
    minus it. Unless both are on, THAT `elbo` IS NO BOUND ON log p(x): it may lie above, and it says
    nothing of how good a model of the data this is. `kl` is KL(q, p) in closed form whether it is
    ascended or not. The method `elbo` and all that evaluates a model give the evidence lower bound
    (Eq. 2), z drawn and the KL term kept.

    Args:
        prior: p(z). Without the KL term nothing is learned about its parameters.
        encoder: q(z|x). With neither noise nor KL term only its means are learned.
        decoder: p(x|z). With a fixed variance c its reconstruction term is minus the squared error
            over 2 c, and a constant.
        sampled: draw z from q(z|x); otherwise z is its mean, whatever `num_samples` is.
        regularised: keep the KL term.
        **kwargs: of `AEVB`.

    Raises:
        ValueError: if `objective` is not `sgvb_b`: a sampled KL at the mean would not be one.
    """

    _paper_only = True

    def __init__(
        self,
        prior: tfd.Distribution | Callable[[], tfd.Distribution],
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        *,
        sampled: bool = False,
        regularised: bool = False,
        **kwargs,
    ) -> None:
        objective = as_objective(kwargs.get("objective", "sgvb_b"))
        if not isinstance(objective, SGVBB):
            raise ValueError(
                "`objective` must be 'sgvb_b' for an ablated model, got "
                f"{objective.name!r}; its KL term is in closed form"
            )
        if not sampled and kwargs.get("num_samples", 1) != 1:
            raise ValueError(
                "`num_samples` is for `sampled=True`: z is the mean of q here; leave it out, got "
                f"{kwargs['num_samples']}"
            )
        self.sampled = sampled
        self.regularised = regularised
        super().__init__(prior, encoder, decoder, **kwargs)

    @property
    def ascends_evidence(self) -> bool:
        """Whether nothing is left out."""
        return self.sampled and self.regularised

    def _estimate_bound(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_samples: int | tf.Tensor | None,
        log_likelihood: LogLikelihood,
    ) -> Bound:
        """Returns what is ascended, the reconstruction term and the KL, each [B] in nats."""
        posterior = self._posterior(x)
        kl = analytic_kl(posterior, self.prior_distribution())
        if self.sampled:
            count = self.num_samples if num_samples is None else num_samples
            z = posterior.sample(count, seed=device_seed(posterior, seed))  # [L, B, J]
        else:
            z = posterior_moments(posterior)[0][tf.newaxis]  # [1, B, J]
        reconstruction = tf.reduce_mean(log_likelihood(z), axis=0)
        aim = reconstruction - kl if self.regularised else reconstruction
        return Bound(aim, reconstruction, kl)

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "AEVB":
        """As `AEVB`'s; of files of earlier versions draws that had no effect are left out."""
        return super().from_config(
            config if config["sampled"] else {**config, "num_samples": 1}, custom_objects
        )

    def get_config(self) -> dict:
        """Returns the constructor's arguments, its parts serialised."""
        return {
            **super().get_config(),
            "sampled": self.sampled,
            "regularised": self.regularised,
        }
