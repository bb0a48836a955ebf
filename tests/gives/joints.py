"""What a user gives to `JointAEVB`."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.gives.models import DIVERGENCE, RENYI, SGD, UNKNOWN, wide
from tests.gives.table import Table
from tfp_aevb import JointAEVB

ROWS = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(4, 3)


def joint(scale: float = 1.0) -> tfd.JointDistribution:
    """u [1], w [1], z [1] and x [2] = b z + w + u + noise, b for all datapoints."""
    normal = lambda loc: tfd.Independent(tfd.Normal(loc, scale), 1)  # noqa: E731
    return tfd.JointDistributionNamed(
        {
            "b": tfd.Independent(tfd.Normal([0.5], 1.0), 1),
            "u": tfd.Independent(tfd.Normal([0.0], 1.0), 1),
            "z": tfd.Independent(tfd.Normal([0.0], 1.0), 1),
            "x": lambda z, u, b: normal(tf.concat([b * z + u, z], -1)),
        }
    )


def q(parts: Any) -> Any:
    """q of b, u and z as far as they are latents, of x or of {x, u}."""
    x = parts["x"] if isinstance(parts, dict) else parts
    one = lambda loc: tfd.Independent(tfd.Normal(loc, 1.0), 1)  # noqa: E731
    return {"b": one(x[:, :1]), "u": one(x[:, 1:]), "z": one(0.5 * x[:, :1])}


def q_of(*names: str, scale: float = 1.0) -> Any:
    def encoder(parts: Any) -> tfd.Distribution:
        every = q(parts)
        made = {name: every[name] for name in names}
        return (
            tfd.JointDistributionNamed(made)
            if scale == 1.0
            else tfd.JointDistributionNamed(
                {k: tfd.Independent(tfd.Normal(v.mean(), scale), 1) for k, v in made.items()}
            )
        )

    return encoder


# What makes a difference to training, not to the bound.
IN_TRAINING = {
    "num_samples",
    "seed",
    "kl_weight",
    "kl_warmup_steps",
    "free_bits",
    "parameter_prior",
    "renyi_alpha",
    "divergence",
}


def jointly(**options: Any) -> Any:
    """The bound of four rows; or the variable of q(z|x) after an update."""
    shift = tf.Variable([0.1])

    def encoder(parts: Any) -> tfd.Distribution:
        shifted = {"z": tfd.Independent(tfd.Normal(q(parts)["z"].mean() + shift, 1.0), 1)}
        return tfd.JointDistributionNamed(q(parts) | shifted)

    made = JointAEVB(**{"joint": joint(), "encoder": encoder, **options})
    if not IN_TRAINING & options.keys():
        return made.elbo(ROWS[:, : made.event_shape[0]], num_samples=2, seed=1).numpy()
    made.compile(SGD(0.05), run_eagerly=True)
    made.fit(ROWS[:, :2], verbose=0)
    return [variable.numpy() for variable in made.trainable_variables]


structured = Table("JointAEVB", JointAEVB, jointly)
structured.differs("joint", "another", lambda: {"joint": joint(2.0)})
structured.refuses(
    "joint", "a plain distribution", lambda: {"joint": wide()}, "`joint` must be a `tfd.Joint"
)
structured.differs("encoder", "another", {"encoder": q_of("b", "u", "z", scale=2.0)})
structured.refuses(
    "encoder", "one that lacks a latent", {"encoder": q_of("b", "z")}, "the encoder's joint has"
)
_both = {"encoder": q_of("b", "z"), "observed": ["x", "u"]}
structured.differs("observed", "two parts", _both)
structured.refuses(
    "observed", "no part of the joint", {"observed": "y"}, "the joint has no part 'y'"
)
structured.differs(
    "observed",
    "the same two the other way round: the order of columns",
    {**_both, "observed": ["u", "x"]},
    _both,
)
structured.differs("given", "u", {"encoder": q_of("b", "z"), "given": ["u"]}, _both)
structured.refuses("given", "no part of the joint", {"given": ["y"]}, "the joint has no part 'y'")
structured.differs("partly_observed", "u", {"partly_observed": ["u"]})
structured.refuses(
    "partly_observed",
    "u, with `kl_weight`",
    {"partly_observed": ["u"], "kl_weight": 2.0},
    "`partly_observed` takes no",
)
_theta = {"encoder": q_of("u", "z"), "global_latents": ["b"], "num_data": 4}
structured.differs("global_latents", "b", _theta)
structured.refuses(
    "global_latents", "no part of the joint", {"global_latents": ["y"]}, "the joint has no part 'y'"
)
structured.differs("num_data", "8, with global latents", {**_theta, "num_data": 8}, _theta)
structured.differs("objective", "'iwae'", {"objective": "stl"}, {"objective": "score_function"})
structured.refuses("objective", "another text", {"objective": "far"}, "`objective` must be one of")
structured.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)
structured.differs("num_samples", "3", {"num_samples": 3}, {"num_samples": 1})
structured.refuses("num_samples", "0", {"num_samples": 0}, "`num_samples` must be a whole number")
structured.differs("seed", "1", {"seed": 1}, {"seed": 0})
for name, value in {"kl_weight": 2.0, "kl_warmup_steps": 5}.items():
    structured.differs(name, f"{value:g}", {name: value}, {"seed": 0})
    structured.refuses(name, "-1", {name: -1}, f"`{name}` must be at least 0")
structured.refuses(
    "free_bits", "3, of 'sgvb_a'", {"free_bits": 3.0}, "`free_bits` needs the KL in closed form"
)
structured.refuses(
    "free_bits",
    "3, of 'sgvb_b' and several latents",
    {"objective": "sgvb_b", "free_bits": 3.0},
    "objective 'sgvb_b' needs a closed-form KL",
)
structured.differs("parameter_prior", "'normal'", {"parameter_prior": "normal"}, {"seed": 0})
structured.differs(
    "renyi_alpha", "0.2, of 'renyi'", {**RENYI, "renyi_alpha": 0.2}, {**RENYI, "seed": 0}
)
structured.refuses(
    "renyi_alpha",
    "0.2, of another objective",
    {"renyi_alpha": 0.2},
    "`alpha` has no effect with objective",
)
structured.differs(
    "divergence",
    "'kl_reverse', of 'f_divergence'",
    {**DIVERGENCE, "divergence": "kl_reverse"},
    {**DIVERGENCE, "seed": 0},
)
structured.refuses(
    "divergence",
    "'kl_reverse', of another objective",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)
structured.without = {"prior", "decoder"}  # parts of the joint


@functools.cache
def of_two_parts() -> JointAEVB:
    """A model of two observed parts, x [2] and u [1]."""
    made = JointAEVB(joint(), q_of("b", "z"), observed=["x", "u"])
    made.compile(SGD(0.05), run_eagerly=True)
    return made


def scored(x: Any = ROWS) -> Any:
    return of_two_parts().evaluate(x, verbose=0)


PARTS = {"x": ROWS[:, :2], "u": ROWS[:, 2:]}
by_name = Table("JointAEVB.evaluate", scored, scored)
by_name.agrees("x", "a dict of arrays by name", {"x": PARTS}, like="the columns in stated order")
by_name.agrees(
    "x", "a dict in another order", {"x": dict(reversed(PARTS.items()))}, like="the first"
)
by_name.agrees(
    "x",
    "a dataset of dicts",
    lambda: {"x": tf.data.Dataset.from_tensor_slices(PARTS).batch(4)},
    like="a dict",
)
by_name.differs("x", "columns in another order", {"x": ROWS[:, [2, 0, 1]]})
by_name.refuses(
    "x",
    "a dict that lacks a part",
    {"x": {"x": ROWS[:, :2]}},
    "`x` must have the parts ['x', 'u']: 'u'",
)
by_name.refuses(
    "x",
    "a dict with a further part",
    {"x": {**PARTS, "v": ROWS}},
    "`x` must have the parts ['x', 'u']: 'v'",
)
by_name.refuses("x", "another width", {"x": ROWS[:, :2]}, "a row of this model has 3 numbers")
by_name.refuses(
    "x",
    "parts of other lengths",
    {"x": {**PARTS, "u": ROWS[:2, 2:]}},
    "the parts must have as many rows",
)
