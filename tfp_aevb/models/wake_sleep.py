"""The wake-sleep algorithm (Hinton et al., 1995), the paper's online competitor."""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tensorflow_probability import distributions as tfd

from tfp_aevb.distributions.noise import device_seed, own_rows, uniform_like
from tfp_aevb.layers.missing import ObservedElements
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.objectives import Bound
from tfp_aevb.training.loops import Minibatch
from tfp_aevb.utils.graphs import call_part


@tf_keras.saving.register_keras_serializable(PACKAGE)
class WakeSleep(AEVB):
    """The model of `AEVB`, fitted by wake-sleep (Section 5).

    Wake phase: z ~ q(z|x) for the data, and the generative parameters ascend log p(x, z).
    Sleep phase: (z, x) ~ p(z) p(x|z), as many as there are data in the minibatch and with the gaps
    these have, and the recognition parameters ascend log q(z|x). Both phases take one optimizer
    step together; their parameters are disjoint. The two aims are not one bound: `loss` is minus
    their sum, while `elbo`, `reconstruction` and `kl` are those of the lower bound at the wake
    phase's draws.

    Arguments and errors are those of `AEVB`.
    """

    _paper_only = True

    def training_loss(self, batch: Minibatch) -> tuple[tf.Tensor, Bound]:
        """Returns minus the two phases' aims, in nats per datapoint, and the lower bound."""
        wake_seed, z_seed, x_seed = tf.unstack(tfp.random.split_seed(batch.seed, n=3))
        # For reporting only: training differentiates neither it nor through its draws of z, which
        # are the wake phase's (XLA computes them once).
        bound = self.bound(batch.x, wake_seed)
        log_joint = self._wake(batch.x, wake_seed)
        log_posterior = self._sleep(batch.x, z_seed, x_seed)
        return self.minibatch_loss(log_joint + log_posterior, batch), bound

    def _wake(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the mean of log p(x, z) [B] over draws from q(z|x)."""
        posterior = self._posterior(x)
        z = posterior.sample(self.num_samples, seed=device_seed(posterior, seed))
        z = tf.stop_gradient(z)  # [L, B, J]
        return tf.reduce_mean(self.log_joint(x, z), axis=0)

    def _sleep(self, data: tf.Tensor, z_seed: tf.Tensor, x_seed: tf.Tensor) -> tf.Tensor:
        """Returns log q(z|x) [B] at draws from the generative model, as many as there are data."""
        prior, count = self.prior_distribution(), tf.shape(data)[0]
        z = tf.stop_gradient(own_rows(lambda n: prior.sample(n, seed=z_seed), count))
        likelihood = call_part(self.decoder, z)
        pixels = _bernoulli_means(likelihood)
        if pixels is not None:
            x = tf.cast(uniform_like(pixels, x_seed) < pixels, pixels.dtype)
        else:  # no noise by row: each device decodes the minibatch's dreams
            x = own_rows(
                lambda n: call_part(self.decoder, prior.sample(n, seed=z_seed)).sample(seed=x_seed),
                count,
            )
        if self.allows_missing:  # the draws get the data's gaps: q is to know what these look like
            x = tf.where(tf.math.is_nan(data), data, x)
        return self._posterior(tf.stop_gradient(x)).log_prob(z)


def _bernoulli_means(likelihood: tfd.Distribution) -> tf.Tensor | None:
    """Returns the means of independent Bernoulli elements, `None` of anything else."""
    inner = getattr(likelihood, "tensor_distribution", likelihood)
    if not isinstance(inner, tfd.Independent | ObservedElements):
        return None
    elements = inner.distribution
    return elements.probs_parameter() if isinstance(elements, tfd.Bernoulli) else None
