"""What a user gives to the objectives, distributions in and nats out."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.gives.table import Table
from tfp_aevb import objectives
from tfp_aevb.objectives import KLWeight

LOCS, SCALES = [[0.3, -0.2], [1.0, 0.5]], [0.7, 1.3]


def q(loc: Any = LOCS) -> tfd.Distribution:
    return tfd.MultivariateNormalDiag(loc, SCALES)


def shifted() -> tfd.Distribution:
    return tfd.MultivariateNormalDiag([[0.5, -0.2], [1.0, 0.5]], [0.7, 1.0])


def normal(scale: float = 1.0) -> tfd.Distribution:
    return tfd.MultivariateNormalDiag([0.0, 0.0], [scale, scale])


def log_likelihood(z: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(tf.square(z - 0.5), axis=-1)


def of(function: Any, **plain: Any) -> Any:
    """Calls an objective; returns the bound, and its gradients with respect to q's means."""

    def call(posterior: Any = None, **options: Any) -> Any:
        loc = tf.Variable(LOCS)
        made = posterior or q(loc)
        given = {
            "prior": normal(),
            "log_likelihood": log_likelihood,
            "num_samples": 2,
            "seed": (0, 1),
        }
        with tf.GradientTape() as tape:
            bound = function(posterior=made, **{**given, **plain, **options})
        gradient = tape.gradient(bound.elbo, loc)
        return [*bound, tf.zeros([]) if gradient is None else gradient]

    return call


FUNCTIONS = {
    "sgvb_a": objectives.sgvb_a,
    "sgvb_b": objectives.sgvb_b,
    "score_function": objectives.score_function,
    "stl": objectives.sticking_the_landing,
    "iwae": objectives.importance_weighted,
    "dreg": objectives.doubly_reparameterized,
    "vimco": objectives.vimco,
    "rws": objectives.reweighted_wake_sleep,
    "renyi": objectives.renyi,
    "f_divergence": objectives.f_divergence,
    "evidence_bound": objectives.evidence_bound,
}
for name, function in FUNCTIONS.items():
    table = Table(f"objectives.{function.__name__}", function, of(function))
    table.differs(
        "posterior", "another", lambda: {"posterior": shifted()}, lambda: {"posterior": q()}
    )
    table.differs("prior", "another", lambda: {"prior": normal(2.0)})
    table.differs("log_likelihood", "another", {"log_likelihood": lambda z: z[..., 0]})
    table.differs("num_samples", "3", {"num_samples": 3})
    table.refuses("num_samples", "0", {"num_samples": 0}, "`num_samples` must be")
    if name in ("vimco", "rws", "f_divergence"):
        table.refuses(
            "num_samples", "1", {"num_samples": 1}, f"objective '{name}' needs at least 2"
        )
    table.differs("seed", "another", {"seed": (0, 2)})
    table.agrees("seed", "3, twice", {"seed": 3}, {"seed": 3}, like="itself")
    table.differs("seed", "None, twice: fresh draws", {"seed": None}, {"seed": None})
    table.refuses("seed", "text", {"seed": "now"}, "`seed` must be")
    if name == "renyi":
        table.differs("alpha", "0.2, or 0.5", {"alpha": 0.2}, {"alpha": 0.5})
        table.refuses("alpha", "1.5", {"alpha": 1.5}, "`alpha` must be")
    if name == "f_divergence":
        table.differs(
            "divergence",
            "'kl_reverse', or 'kl_forward'",
            {"divergence": "kl_reverse"},
            {"divergence": "kl_forward"},
        )
        table.refuses("divergence", "another text", {"divergence": "far"}, "`divergence` must be")

chosen = Table(
    "objectives.as_objective",
    objectives.as_objective,
    lambda **o: repr(objectives.as_objective(**{"objective": "renyi", **o})),
)
chosen.differs("objective", "'iwae'", {"objective": "iwae"})
chosen.agrees("objective", "an objective", {"objective": objectives.Renyi()}, like="its shorthand")
chosen.refuses("objective", "another text", {"objective": "far"}, "`objective` must be one of")
chosen.refuses("objective", "a number", {"objective": 3}, "`objective` must be one of")
chosen.differs("options", "`alpha=0.2`", {"alpha": 0.2})
chosen.refuses("options", "`colour=3`", {"colour": 3}, "`colour` has no effect with objective")
analytic = Table(
    "objectives.analytic_kl",
    objectives.analytic_kl,
    lambda **o: objectives.analytic_kl(**{"posterior": q(), "prior": normal(), **o}),
)
analytic.differs("posterior", "another", lambda: {"posterior": shifted()})
analytic.differs("prior", "another", lambda: {"prior": normal(2.0)})
analytic.refuses(
    "prior",
    "one without a closed form",
    lambda: {"prior": tfd.Sample(tfd.Cauchy(0.0, 1.0), 2)},
    "objective 'sgvb_b' needs a closed-form KL",
)

TERMS = np.array([-1.0, -3.0], np.float32)
minibatch = Table(
    "objectives.minibatch_bound",
    objectives.minibatch_bound,
    lambda **o: objectives.minibatch_bound(**{"elbo": tf.constant(TERMS), "num_data": 10.0, **o}),
)
minibatch.differs("elbo", "other terms", lambda: {"elbo": tf.constant(2 * TERMS)})
minibatch.differs("num_data", "20", {"num_data": 20.0})
minibatch.differs("weights", "0 for the second", lambda: {"weights": tf.constant([1.0, 0.0])})
minibatch.differs("total_weight", "4", lambda: {"total_weight": tf.constant(4.0)})

penalty = Table(
    "objectives.negative_log_parameter_prior",
    objectives.negative_log_parameter_prior,
    lambda **o: objectives.negative_log_parameter_prior(
        **{"parameters": [tf.constant(TERMS)], **o}
    ),
)
penalty.differs("parameters", "others", lambda: {"parameters": 2 * [tf.constant(TERMS)]})


def weighted(**options: float) -> Any:
    weight = KLWeight(**options)
    weight.check(objectives.as_objective("sgvb_b"))
    return weight.aim(
        objectives.Bound(tf.constant(TERMS), tf.constant(TERMS + 2.0), tf.fill([2], 2.0)),
        tf.constant(1),
    )


weights = Table("objectives.KLWeight", KLWeight, weighted)
weights.differs("weight", "2", {"weight": 2.0})
weights.differs("warmup_steps", "5", {"warmup_steps": 5})
weights.differs("free_bits", "3", {"free_bits": 3.0})
weights.refuses("weight", "-1", {"weight": -1.0}, "`kl_weight` must be at least 0")
weights.refuses("warmup_steps", "-1", {"warmup_steps": -1}, "`kl_warmup_steps` must be at least 0")
weights.refuses("free_bits", "infinity", {"free_bits": float("inf")}, "`free_bits` must be")
