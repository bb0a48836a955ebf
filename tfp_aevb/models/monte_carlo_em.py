"""Monte Carlo EM, the paper's competitor without an encoder."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tfp_aevb.data.observations import Observations, is_array
from tfp_aevb.distributions.hamiltonian import hamiltonian_update
from tfp_aevb.distributions.noise import DiagonalGaussian
from tfp_aevb.layers.networks import PACKAGE
from tfp_aevb.models.aevb import AEVB, ConditionalDistribution
from tfp_aevb.models.free_posterior import fit_free_posterior
from tfp_aevb.objectives import Bound
from tfp_aevb.training.loops import Minibatch
from tfp_aevb.utils.graphs import graph_function
from tfp_aevb.utils.seeds import as_seed

TARGET_ACCEPTANCE = 0.9
FIRST_STEP_SIZE = 0.3
# Of a step size's logarithm, for each unit of acceptance off the target. It falls with the root of
# the number of epochs: a chain whose step size kept following its state would miss the posterior.
FIRST_GAIN = 1.0
MOMENTS_GAIN = 0.1


@tf_keras.saving.register_keras_serializable(PACKAGE)
class MonteCarloEM(AEVB):
    """A latent-variable model p(z) p(x|z) fitted by Monte Carlo EM (Appendix E).

    Each minibatch has an E-step: Hamiltonian Monte Carlo on log p(z) + log p(x|z) draws one z for
    each datapoint. An M-step follows: `m_step_updates` updates of the generative parameters ascend
    log p(x, z) at these draws. Each datapoint has a step size of its own, tuned to 90% acceptance,
    and a chain of its own, whose state is kept from visit to visit or drawn afresh from the prior.
    Pixels that are binarised dynamically are the same for an E-step and its M-step, and others at
    the next visit: a chain that is kept then begins at a draw for other pixels.

    It trains on one device, on an array of `num_data` rows. There is no encoder: `encode` and all
    that needs q(z|x) fit a Gaussian to each datapoint (`fit_free_posterior`), which costs hundreds
    of passes through the decoder. While training, the bound is that of a Gaussian with running
    moments of the datapoint's chain.

    Args:
        prior: p(z) over all of R^J.
        decoder: p(x|z).
        num_data: N.
        leapfrog_steps: of each Hamiltonian Monte Carlo update.
        e_step_updates: Hamiltonian Monte Carlo updates in an E-step.
        m_step_updates: parameter updates in an M-step.
        fresh_chains: start each E-step at draws from the prior.
        **kwargs: `objective`, `num_samples` (of the bound), `parameter_prior`, `seed`; see `AEVB`.

    Raises:
        ValueError: if a number is not positive, or the prior is not over all of R^J.
    """

    _parts = ("prior", "decoder")
    _paper_only = True

    def __init__(
        self,
        prior: Any,
        decoder: ConditionalDistribution,
        *,
        num_data: int,
        leapfrog_steps: int = 10,
        e_step_updates: int = 1,
        m_step_updates: int = 5,
        fresh_chains: bool = False,
        **kwargs,
    ) -> None:
        if "encoder" in kwargs:
            raise TypeError(
                "MonteCarloEM takes no `encoder`: it draws from the posterior itself; leave it out"
            )
        counts = {
            "leapfrog_steps": leapfrog_steps,
            "e_step_updates": e_step_updates,
            "m_step_updates": m_step_updates,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"`{name}` must be positive, got {value}")
        self._leapfrog_steps = leapfrog_steps
        self._e_step_updates = e_step_updates
        self._fresh_chains = fresh_chains
        super().__init__(prior, self._free_posterior, decoder, num_data=num_data, **kwargs)
        self.updates_per_batch = m_step_updates

    def _build_parts(self) -> None:
        prior = self.prior_distribution()
        support = prior.experimental_default_event_space_bijector()
        if not isinstance(support, tfp.bijectors.Identity):
            raise ValueError(
                f"Monte Carlo EM needs a prior over all of R^J, got {prior}; change variables so "
                "that z is unconstrained"
            )
        shape = [self.num_data, int(prior.event_shape[0])]
        # The state of each datapoint's chain, its step size, and running moments of its draws.
        self.chains = self._state("chains", prior.sample(shape[0], seed=as_seed(self.seed)))
        self.log_step_sizes = self._state(
            "log_step_sizes", tf.fill(shape[:1], tf.math.log(FIRST_STEP_SIZE))
        )
        self.chain_means = self._state("chain_means", tf.zeros(shape))
        self.chain_variances = self._state("chain_variances", tf.ones(shape))
        super()._build_parts()

    def _posterior(self, x: tf.Tensor) -> tfp.distributions.Distribution:
        return self.encoder(x)  # NaN and all: it is fitted to the density, which leaves them out

    @staticmethod
    def _state(name: str, value: tf.Tensor) -> tf.Variable:
        return tf.Variable(value, trainable=False, name=name)

    def _free_posterior(self, x: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns q(z|x), in the place of an encoder; its noise depends on the seed alone."""

        def parameters(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            q = fit_free_posterior(
                lambda z: self.log_joint(x, z),
                tf.shape(x)[0],
                self.latent_dim,
                seed=as_seed(self.seed),
            )
            return q.mean(), q.stddev()

        if tf.executing_eagerly():
            parameters = graph_function(parameters)  # a loop of hundreds of steps
        return DiagonalGaussian(*parameters(x))

    def fit(self, x: Any = None, *args, **kwargs) -> tf_keras.callbacks.History:
        """Trains the model as `FusedModel.fit`, on an array of at most `num_data` rows."""
        if not is_array(x) or self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "Monte Carlo EM keeps a chain for each row: fit it to an array, on one device"
            )
        if len(x) > self.chains.shape[0]:
            raise ValueError(
                f"the model has chains for `num_data` = {self.num_data} rows, got {len(x)}; make "
                "it with the data's number of rows"
            )
        return super().fit(x, *args, **kwargs)

    def train_on_batch(self, *args, **kwargs) -> Any:
        """Is refused: a batch does not say which chains are its rows'."""
        raise NotImplementedError(
            "Monte Carlo EM keeps a chain for each row of an array, and a batch does not say which "
            "are its rows'; use `fit`"
        )

    def stated_num_data(self, x: Observations) -> float | None:
        """Returns `num_data`, the number of chains, but for rows with weights, whose sum is N."""
        return self.num_data if x.weights is None else None

    @property
    def known_num_data(self) -> float | None:
        """N: as the rows last given to `fit` tell it, before that `num_data`."""
        return self._fitted_num_data or self.num_data

    def losses_and_gradients(self, batch: Minibatch) -> tuple[tf.Tensor, Bound, list[tf.Tensor]]:
        """Makes the minibatch's E-step when one is due, then as `FusedModel`."""
        due = self.optimizer.iterations % self.updates_per_batch == 0
        tf.cond(due, lambda: self._e_step(batch), lambda: None)
        return super().losses_and_gradients(batch)

    def _e_step(self, batch: Minibatch) -> None:
        start_seed, seed = tf.unstack(tfp.random.split_seed(batch.seed, n=2))
        chains, log_step_sizes, means, variances = (
            tf.gather(state, batch.rows)
            for state in (self.chains, self.log_step_sizes, self.chain_means, self.chain_variances)
        )
        updates = tf.cast(self.optimizer.iterations, tf.float32)
        num_rows = batch.num_data if batch.total_weight is None else self.chains.shape[0]
        epochs = updates * batch.size / (self.updates_per_batch * num_rows)
        gain = FIRST_GAIN * tf.math.rsqrt(1.0 + epochs)
        if self._fresh_chains:
            start = self.prior_distribution().sample(tf.shape(chains)[0], seed=start_seed)
        else:
            start = chains

        def update(i: tf.Tensor, z: tf.Tensor, log_step_size: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # The parameters and the pixels may have changed: no results are handed on.
            z, acceptance, _ = hamiltonian_update(
                lambda z: self.log_joint(batch.x, z[tf.newaxis])[0],  # [B, J] -> [B]
                z,
                tf.exp(log_step_size)[:, tf.newaxis],
                self._leapfrog_steps,
                tf.random.experimental.stateless_fold_in(seed, i),
            )
            return i + 1, z, log_step_size + gain * (acceptance - TARGET_ACCEPTANCE)

        _, z, new_log_step_sizes = tf.while_loop(
            lambda i, *_: i < self._e_step_updates, update, [tf.constant(0), start, log_step_sizes]
        )
        changes = (
            (self.chains, z - chains),
            (self.log_step_sizes, new_log_step_sizes - log_step_sizes),
            (self.chain_means, MOMENTS_GAIN * (z - means)),
            (self.chain_variances, MOMENTS_GAIN * (tf.square(z - means) - variances)),
        )
        for state, change in changes:
            # Places behind a short minibatch hold its rows again: they add nothing to them.
            real = batch.weights if batch.is_real is None else batch.is_real
            real = tf.reshape(real, [-1] + [1] * (change.shape.rank - 1))
            state.scatter_add(tf.IndexedSlices(real * change, batch.rows))

    def training_loss(self, batch: Minibatch) -> tuple[tf.Tensor, Bound]:
        """Returns minus log p(x, z) at the chains' draws, nats per datapoint, and a lower bound."""
        if batch.rows is None:  # evaluation, of datapoints that have no chain
            return super().training_loss(batch)
        z = tf.gather(self.chains, batch.rows)
        log_joint = self.log_joint(batch.x, z[tf.newaxis])[0]
        posterior = DiagonalGaussian(
            tf.gather(self.chain_means, batch.rows),
            tf.sqrt(tf.gather(self.chain_variances, batch.rows)),
        )
        bound = self.objective.estimate(
            posterior,
            self.prior_distribution(),
            lambda z: self.log_likelihood(batch.x, z),
            self.num_samples,
            batch.seed,
        )
        return self.minibatch_loss(log_joint, batch), bound

    def loss_of_evaluation(self, loss: tf.Tensor, bound: Bound, batch: Minibatch) -> tf.Tensor:
        """Returns the loss with the bound in the place of log p(x, z)."""
        z = tf.gather(self.chains, batch.rows)
        more = self.log_joint(batch.x, z[tf.newaxis])[0] - bound.elbo
        return loss + batch.mean(more)

    def get_config(self) -> dict:
        """Returns the constructor's arguments, its parts serialised."""
        return {
            **super().get_config(),
            "leapfrog_steps": self._leapfrog_steps,
            "e_step_updates": self._e_step_updates,
            "m_step_updates": self.updates_per_batch,
            "fresh_chains": self._fresh_chains,
        }
