"""Full variational Bayes: a posterior over the generative parameters too (paper, Appendix F).

log p(X) = KL(q(theta) || p(theta|X)) + L(phi; X) (Eq. 13), with L bounded below in turn by the
variational bound of each datapoint (Eq. 14 to 16). Written per datapoint, in nats, the estimate is

    f / N = log p_theta(x|z) + log p(z) - log q(z|x) + ( log p(theta) - log q(theta) ) / N

with theta = mu + sigma * zeta (Eq. 19, 23): N multiplies the data's terms only (Eq. 21).
"""

import math
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tfp_aevb.distributions.noise import normal_rows, shared_normal
from tfp_aevb.layers.base import NetworkDistribution
from tfp_aevb.layers.networks import MLP, PACKAGE, bounded_log_variance
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.part_checks import check_prior
from tfp_aevb.objectives import Bound
from tfp_aevb.objectives.sums import total
from tfp_aevb.utils.seeds import as_seed


@tf_keras.saving.register_keras_serializable(PACKAGE)
class FullVB(AEVB):
    """An `AEVB` model with q(theta) over the decoder's parameters (Algorithm 2, Appendix F).

    q(theta) is a diagonal Gaussian whose means are the decoder's own variables; the prior is
    N(0, I). Prediction averages over theta: `sample` and `importance_log_prob` draw one for each z.
    `decode`, `reconstruct` and Hamiltonian Monte Carlo take theta at its mean. The encoder's
    parameters are point estimates, and those of the decoder's layers that are not
    `variational_layers`.

    Args:
        prior: p(z), without parameters.
        encoder: q(z|x).
        decoder: p(x|z): a likelihood layer of this package.
        shared_draw: one theta for a whole minibatch, instead of one for each datapoint, in training
            and in what `fit` and Keras' `evaluate` report. `evidence_bound` and the scores built on
            it draw one for each datapoint all the same: intervals over datapoints hold then.
        sampled_parameter_kl: estimate the theta term with the draw (Eq. 21) instead of in closed
            form (F.1, Eq. 24); needs `shared_draw`.
        initial_stddev: sigma at the start.
        variational_layers: which of the decoder's dense layers have a q(theta), 0 the first and -1
            the last, to which a likelihood's own parameters belong; the weights of the others are
            point estimates. By default all.
        **kwargs: `objective`, `num_samples`, `num_data`, `seed`, see `AEVB`. `num_data` (N) is
            needed to evaluate before `fit`.

    Raises:
        ValueError: if the prior has parameters, or the decoder is not of this package.
    """

    _paper_only = True

    def __init__(
        self,
        prior: tfp.distributions.Distribution,
        encoder: tf_keras.layers.Layer,
        decoder: NetworkDistribution,
        *,
        shared_draw: bool = False,
        sampled_parameter_kl: bool = False,
        initial_stddev: float = 0.01,
        variational_layers: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        if kwargs.get("parameter_prior") is not None:
            raise ValueError("full variational Bayes has its own `parameter_prior`; leave it out")
        if not isinstance(decoder, NetworkDistribution):
            raise ValueError(
                "full variational Bayes needs a likelihood layer of tfp_aevb as decoder, got "
                f"{type(decoder).__name__}"
            )
        if not isinstance(decoder.network, MLP):
            raise ValueError(
                "full variational Bayes draws the weights of an `MLP`; the decoder's network is a "
                f"{type(decoder.network).__name__}"
            )
        if getattr(prior, "trainable_variables", ()):
            raise ValueError(f"full variational Bayes needs a prior without parameters: {prior}")
        if not 0.0 < initial_stddev < math.inf:
            raise ValueError(f"`initial_stddev` must be positive, got {initial_stddev}")
        if sampled_parameter_kl and not shared_draw:
            raise ValueError("`sampled_parameter_kl` needs `shared_draw`")
        self._initial_stddev = initial_stddev
        self._variational_layers = None if variational_layers is None else [*variational_layers]
        self._shared_draw = shared_draw
        self._sampled_parameter_kl = sampled_parameter_kl
        super().__init__(prior, encoder, decoder, **kwargs)

    def _build_parts(self) -> None:
        prior = self.prior_distribution()
        check_prior(prior)
        self.decoder(tf.zeros([1, prior.event_shape[0]]))
        num_layers = len(self._likelihood.network.network_weights) // 2
        layers = range(num_layers) if self._variational_layers is None else self._variational_layers
        if not layers or not all(-num_layers <= layer < num_layers for layer in layers):
            raise ValueError(
                f"`variational_layers` must be numbers from {-num_layers} to {num_layers - 1}, got "
                f"{list(layers)}"
            )
        chosen = {layer % num_layers for layer in layers}
        self._is_variational = tuple(
            min(i // 2, num_layers - 1) in chosen for i in range(len(self._likelihood.parameters))
        )
        start = tf_keras.initializers.Constant(2.0 * tf.math.log(self._initial_stddev).numpy())
        self.theta_log_variances = [
            self.add_weight(f"theta_log_variance_{i}", mean.shape, initializer=start)
            for i, mean in enumerate(self._likelihood.parameters)
            if self._is_variational[i]
        ]
        super()._build_parts()

    @property
    def _likelihood(self) -> NetworkDistribution:
        assert isinstance(self.decoder, NetworkDistribution)  # checked at the start
        return self.decoder

    @property
    def needs_num_data(self) -> bool:
        """Whether the loss depends on N: it does."""
        return True

    def parameter_kl(self) -> tf.Tensor:
        """Returns KL(q(theta) || p(theta)) in closed form (Eq. 24), scalar, nats.

        -1/2 sum{ 1 + log sigma^2 - mu^2 - sigma^2 }, over all of theta.
        """
        terms = []
        for mean, log_variance in self._theta():
            if log_variance is None:
                continue
            terms.append(1.0 + log_variance - tf.square(mean) - tf.exp(log_variance))
        return -0.5 * tf.add_n([total(term) for term in terms])

    def draw_parameters(self, seed: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Draws theta ~ q(theta) (Eq. 19).

        Returns:
            theta, in the order of `decoder.parameters`; and log q(theta) - log p(theta) at it,
            scalar, nats.
        """
        theta, terms = [], []
        seeds = tf.unstack(tfp.random.split_seed(seed, n=len(self._likelihood.parameters)))
        for (mean, log_variance), part_seed in zip(self._theta(), seeds, strict=True):
            if log_variance is None:
                theta.append(tf.convert_to_tensor(mean))
                continue
            zeta = shared_normal(mean.shape, part_seed)
            theta.append(mean + tf.exp(0.5 * log_variance) * zeta)
            terms.append(tf.square(theta[-1]) - tf.square(zeta) - log_variance)
        return theta, 0.5 * tf.add_n([total(term) for term in terms])

    def log_likelihood(
        self, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns log p_theta(x|z) [L, B] in nats, each with a theta ~ q(theta) of its own.

        Without a seed theta is at its mean.
        """
        if seed is None:
            return super().log_likelihood(x, z)
        return self._fold(
            lambda flat_z: self._decode_with_own_draws(flat_z, tf.shape(z), seed), x, z
        )

    def _shared_log_likelihood(self, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns log p_theta(x|z) [L, B] in nats, all with one theta ~ q(theta)."""
        theta, _ = self.draw_parameters(seed)
        return self._fold(lambda flat_z: self._likelihood.apply(theta, flat_z), x, z)

    def predictive(self, z: tf.Tensor, seed: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns p_theta(x|z) for `z` [B, J], with a theta ~ q(theta) for each."""
        return self._decode_with_own_draws(z, tf.stack([1, tf.shape(z)[0]]), seed)

    def _decode_with_own_draws(
        self, flat_z: tf.Tensor, shape: tf.Tensor, seed: tf.Tensor
    ) -> tfp.distributions.Distribution:
        """Returns p_theta(x|z) with a theta of its own for each row of `flat_z` [L * B, J].

        A row of a dense layer's outputs is then N(h mu, h^2 sigma^2), independent between outputs
        and rows: drawing the outputs is the same as drawing theta, and far cheaper.
        """
        network = self._likelihood.network
        theta = list(self._theta())
        seeds = tf.unstack(tfp.random.split_seed(seed, n=len(theta)))
        hidden = flat_z[:, : network.num_inputs]
        last = len(network.network_weights) - 2
        for i in range(0, last + 2, 2):
            (kernel, kernel_log_variance), (bias, bias_log_variance) = theta[i], theta[i + 1]
            mean = tf.matmul(hidden, kernel) + bias
            if kernel_log_variance is not None:
                variance = tf.matmul(tf.square(hidden), tf.exp(kernel_log_variance))
                variance += tf.exp(bias_log_variance)
                zeta = normal_rows(shape[:1], shape[1:2], tf.shape(mean)[1:], seeds[i])
                mean += tf.sqrt(variance) * tf.reshape(zeta, tf.shape(mean))
            hidden = mean
            if i < last:
                hidden = network.activate(hidden)
        own = []
        for (mean, log_variance), part_seed in zip(
            theta[last + 2 :], seeds[last + 2 :], strict=True
        ):
            if log_variance is None:
                own.append(mean)
                continue
            event = tf.shape(tf.reshape(mean, [-1]))
            zeta = tf.reshape(normal_rows(shape[:1], shape[1:2], event, part_seed), [-1, event[0]])
            own.append(mean + tf.exp(0.5 * log_variance) * zeta)  # [L * B, size]
        return self._likelihood.distribution(hidden, *own)

    def _bound_given(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_data: tf.Tensor | float | None,
        num_samples: int | tf.Tensor | None = None,
    ) -> Bound:
        """Estimates the full variational bound at `x`, per datapoint (Eq. 22; F.1).

        `kl` holds KL(q(z|x) || p(z)) and the theta term's share, 1/N of it.
        """
        return self._full_bound(x, seed, num_data, num_samples, self._shared_draw)

    def evidence_bound(
        self, x: tf.Tensor, seed: tf.Tensor, num_samples: int | tf.Tensor | None = None
    ) -> Bound:
        """Estimates what `bound` does, each row with a theta of its own, whatever `shared_draw`."""
        x, num_data = self._datapoints(x), self._num_data_at_call()
        return self._full_bound(x, as_seed(seed), num_data, num_samples, False)

    def _full_bound(
        self,
        x: tf.Tensor,
        seed: tf.Tensor,
        num_data: tf.Tensor | float | None,
        num_samples: int | tf.Tensor | None,
        shared: bool,
    ) -> Bound:
        if num_data is None:
            raise ValueError("the bound needs N: give the model `num_data`, or fit it first")
        z_seed, theta_seed = tf.unstack(tfp.random.split_seed(seed, n=2))
        density = self._shared_log_likelihood if shared else self.log_likelihood
        data = self._estimate_bound(x, z_seed, num_samples, lambda z: density(x, z, theta_seed))
        if shared and self._sampled_parameter_kl:
            _, theta_term = self.draw_parameters(theta_seed)
        else:
            theta_term = self.parameter_kl()
        share = theta_term / num_data
        return Bound(data.elbo - share, data.reconstruction, data.kl + share)

    def _theta(self) -> list[tuple[tf.Tensor, tf.Tensor | None]]:
        """Means and log-variances of q(theta), in the order of `decoder.parameters`.

        Point estimates have no log-variance.
        """
        log_variances = map(bounded_log_variance, self.theta_log_variances)
        return [
            (tf.cast(mean, tf.float32), next(log_variances) if self._is_variational[i] else None)
            for i, mean in enumerate(self._likelihood.parameters)
        ]

    def get_config(self) -> dict:
        """Returns the constructor's arguments, its parts serialised."""
        config = super().get_config()
        del config["parameter_prior"]
        return {
            **config,
            "shared_draw": self._shared_draw,
            "sampled_parameter_kl": self._sampled_parameter_kl,
            "initial_stddev": self._initial_stddev,
            "variational_layers": self._variational_layers,
        }
