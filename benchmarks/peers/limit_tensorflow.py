"""The limit, by TensorFlow: the products and one pass of the optimiser, nothing else.

In a compiled loop over updates; by TensorFlow's own kernels (oneDNN), or by XLA, which is what ours
is compiled with.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from benchmarks import floor
from benchmarks.peers import common

CHUNKS = (250, 500, 1000, 2500)
UPDATES = 50  # in one call


def operands(products: list[floor.Product]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns the factors of each product."""
    return [
        (
            tf.random.stateless_normal([product.rows, product.inner], [0, 1]),
            tf.random.stateless_normal([product.inner, product.columns], [0, 2]),
        )
        for product in products
    ]


def optimizer_pass(settings: common.Settings) -> Callable[[], None]:
    """Returns one pass over all parameters by TensorFlow's fused kernel."""
    size = [floor.parameters(settings)]
    value, first, second = (tf.Variable(tf.ones(size)) for _ in range(3))
    gradient = tf.Variable(tf.fill(size, 1e-3))
    rate, eps = common.LEARNING_RATE[settings["optimizer"]], common.EPSILON

    def adam() -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=value.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=0.5,
            beta2_power=0.5,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            epsilon=eps,
            grad=gradient,
        )

    def adagrad() -> None:
        tf.raw_ops.ResourceApplyAdagradV2(
            var=value.handle, accum=first.handle, lr=rate, epsilon=eps, grad=gradient
        )

    return {"adam": adam, "adagrad": adagrad}[settings["optimizer"]]


def train(settings: common.Settings) -> dict[str, Any]:
    factors = operands(floor.training_products(settings))
    outputs = [tf.Variable(tf.zeros([left.shape[0], right.shape[1]])) for left, right in factors]
    optimize = optimizer_pass(settings)

    @tf.function(jit_compile=settings["jit"])
    def steps() -> tf.Tensor:
        def step(i: tf.Tensor, *lefts: tf.Tensor) -> list[tf.Tensor]:
            optimize()
            touched = [i + 1]
            for left, (_, right), output in zip(lefts, factors, outputs, strict=True):
                product = tf.matmul(left, right)
                output.assign(product)
                # One element changes with the step, lest the product be taken out of the loop.
                touched.append(tf.tensor_scatter_nd_update(left, [[0, 0]], [product[0, 0]]))
            return touched

        start = [tf.constant(0), *(left for left, _ in factors)]
        done, *_ = tf.while_loop(lambda i, *_: i < UPDATES, step, start, parallel_iterations=1)
        return done

    return common.time_steps(settings, lambda: steps().numpy(), UPDATES * settings["batch_size"])


def evaluate(settings: common.Settings) -> dict[str, Any]:
    encoder, decoder = floor.evaluation_products(settings)
    encoder_factors = operands([p._replace(rows=settings["images"]) for p in encoder])
    (_, w1), (_, w2) = operands([p._replace(rows=1) for p in decoder])
    total = settings["images"] * settings["num_samples"]

    @tf.function(jit_compile=settings["jit"])
    def decode(z: tf.Tensor, w1: tf.Tensor, w2: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.math.softplus(tf.matmul(tf.matmul(z, w1), w2)), axis=-1)

    samples = {rows: tf.random.normal([rows, settings["latent_dim"]]) for rows in CHUNKS}
    samples = {rows: z for rows, z in samples.items() if rows <= total} or {
        total: tf.random.normal([total, settings["latent_dim"]])
    }
    best = min(
        samples, key=lambda rows: common.seconds_of(lambda: decode(samples[rows], w1, w2)) / rows
    )
    log_weights = tf.random.normal([settings["num_samples"], settings["images"]])

    def estimate() -> float:
        for left, right in encoder_factors:
            tf.matmul(left, right)
        for _ in range(-(-total // best)):
            decode(samples[best], w1, w2)
        return float(tf.reduce_mean(tf.reduce_logsumexp(log_weights, axis=0)))

    result = common.time_evaluation(settings, estimate)
    return {**result, "bound": None, "remark": f"{best} samples at a time"}


def rates(settings: common.Settings) -> dict[str, Any]:
    """Measures the machine: operations and bytes per second at their best, by either compiler."""
    del settings
    operations, traffic = 0.0, 0.0
    for jit in (False, True):
        multiply = tf.function(tf.matmul, jit_compile=jit)
        for rows, inner, columns in ((784, 100, 500), (512,) * 3, (1024,) * 3, (2048,) * 3):
            a, b = tf.random.normal([rows, inner]), tf.random.normal([inner, columns])
            seconds = common.seconds_of(partial(multiply, a, b))
            operations = max(operations, 2 * rows * inner * columns / seconds)
        add = tf.function(tf.add, jit_compile=jit)
        for size in (2**18, 2**20, 2**22, 2**25):  # floats; the small ones stay in the caches
            a, b = tf.zeros([size]), tf.ones([size])
            seconds = common.seconds_of(partial(add, a, b))
            traffic = max(traffic, 3 * floor.FLOAT * size / seconds)
    return {"operations_per_second": operations, "bytes_per_second": traffic}


if __name__ == "__main__":
    common.main(["tensorflow"], train=train, evaluate=evaluate, rates=rates)
