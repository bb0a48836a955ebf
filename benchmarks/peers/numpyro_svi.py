"""NumPyro: SVI with the analytic KL, its updates in one jitted `lax.scan` over an epoch.

log p(x) is `RenyiELBO(alpha=0)` of single images, whose particles are vectorised, in one jitted
`lax.map` over the images.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, RenyiELBO, TraceMeanField_ELBO
from numpyro.optim import optax_to_numpyro

from benchmarks.peers import common
from benchmarks.peers.jax_optax import optimizer_of


def parts(settings: common.Settings) -> tuple[Any, Any]:
    """Returns the model and the guide, functions of x [B, D]."""
    weights = common.initial_weights(settings)
    latent_dim = settings["latent_dim"]

    def layer(name: str, inputs: jax.Array) -> jax.Array:
        kernel = getattr(weights, name)
        bias = numpyro.param(f"{name}_bias", jnp.zeros(kernel.shape[1]))
        return inputs @ numpyro.param(name, jnp.asarray(kernel)) + bias

    def model(x: jax.Array) -> None:
        with numpyro.plate("data", len(x)):
            prior = dist.Normal(jnp.zeros(latent_dim), jnp.ones(latent_dim)).to_event(1)
            z = numpyro.sample("z", prior)
            logits = layer("logits", jnp.tanh(layer("decoder", z)))
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        heads = layer("heads", jnp.tanh(layer("encoder", x)))
        mean, log_variance = jnp.split(heads, 2, axis=-1)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Normal(mean, jnp.exp(0.5 * log_variance)).to_event(1))

    return model, guide


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    images = jnp.asarray(common.load_images(settings))
    optimizer = optax_to_numpyro(optimizer_of(settings))
    svi = SVI(*parts(settings), optimizer, loss=TraceMeanField_ELBO())

    @partial(jax.jit, donate_argnums=(0,))
    def run_epoch(state: Any, images: jax.Array, rows: jax.Array) -> Any:
        def step(state: Any, batch: jax.Array) -> Any:
            return svi.update(state, images[batch].astype(jnp.float32))

        state, losses = jax.lax.scan(step, state, rows)
        return state, losses.mean()

    key = jax.random.key(settings["seed"])
    state = svi.init(key, images[: settings["batch_size"]].astype(jnp.float32))
    epoch = 0
    while True:
        state, loss = run_epoch(state, images, jnp.asarray(common.epoch_rows(settings, epoch)))
        epoch += 1
        if timer.epoch_done(-float(loss) / settings["batch_size"]):
            return timer.result()


def evaluate(settings: common.Settings) -> dict[str, Any]:
    images = jnp.asarray(common.evaluation_images(settings))
    model, guide = parts(settings)
    estimator = RenyiELBO(alpha=0, num_particles=settings["num_samples"])
    svi = SVI(model, guide, optimizer_of({**settings, "optimizer": "adam"}), loss=estimator)
    parameters = svi.get_params(svi.init(jax.random.key(settings["seed"]), images[:1]))

    @jax.jit
    def log_prob(key: jax.Array, images: jax.Array) -> jax.Array:
        def single(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
            key, x = inputs
            return -estimator.loss(key, parameters, model, guide, x[jnp.newaxis])

        return jax.lax.map(single, (jax.random.split(key, len(images)), images))

    return common.time_evaluation(
        settings, lambda: log_prob(jax.random.key(settings["seed"]), images).mean()
    )


if __name__ == "__main__":
    common.main(["numpyro", "jax"], train=train, evaluate=evaluate)
