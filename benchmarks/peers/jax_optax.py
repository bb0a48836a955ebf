"""JAX and optax: one jitted `lax.scan` over the minibatches of an epoch; data on the device."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.peers import common


def bound(weights: list[jax.Array], x: jax.Array, key: jax.Array) -> jax.Array:
    """Returns the bound, averaged over the minibatch `x` [M, D], in nats."""
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    mean, log_variance = jnp.split(jnp.tanh(x @ w1 + b1) @ w2 + b2, 2, axis=-1)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    logits = jnp.tanh(z @ w3 + b3) @ w4 + b4
    # One pass; `optax.sigmoid_binary_cross_entropy` takes two log-sigmoids.
    reconstruction = (x * logits - jax.nn.softplus(logits)).sum()
    kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
    return (reconstruction - kl) / len(x)


def optimizer_of(settings: common.Settings) -> optax.GradientTransformation:
    """Returns optax's Adam or Adagrad."""
    name = settings["optimizer"]
    rate, eps = common.LEARNING_RATE[name], common.EPSILON
    if name == "adam":
        return optax.adam(rate, eps=eps)
    return optax.adagrad(rate, initial_accumulator_value=common.ACCUMULATOR, eps=eps)


def train(settings: common.Settings) -> dict[str, Any]:
    timer = common.EpochTimer(settings)
    images = jnp.asarray(common.load_images(settings))
    optimizer = optimizer_of(settings)
    weights = [jnp.asarray(weight) for weight in common.flat_weights(settings)]

    @partial(jax.jit, donate_argnums=(0,))
    def run_epoch(state: Any, images: jax.Array, rows: jax.Array, key: jax.Array) -> Any:
        def step(state: Any, inputs: Any) -> Any:
            weights, slots = state
            batch, key = inputs
            x = images[batch].astype(jnp.float32)
            loss, gradients = jax.value_and_grad(lambda w: -bound(w, x, key))(weights)
            updates, slots = optimizer.update(gradients, slots, weights)
            return (optax.apply_updates(weights, updates), slots), loss

        state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
        return state, losses.mean()

    state = weights, optimizer.init(weights)
    keys = jax.random.key(settings["seed"])
    epoch = 0
    while True:
        rows = jnp.asarray(common.epoch_rows(settings, epoch))
        state, loss = run_epoch(state, images, rows, jax.random.fold_in(keys, epoch))
        epoch += 1
        if timer.epoch_done(-float(loss)):
            return timer.result()


if __name__ == "__main__":
    common.main(["jax", "optax"], train=train)
