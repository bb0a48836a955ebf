"""What a user gives to the models' constructors, to `EarlyStopping` and to scikit-learn's face."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

import tfp_aevb
from tests.gives.data import X
from tests.gives.table import Table
from tfp_aevb import AEVB, FullVB, JointAEVB, MonteCarloEM, WakeSleep, layers
from tfp_aevb.models import monte_carlo_em
from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.sklearn import AEVBTransformer
from tfp_aevb.training.loops import Minibatch

SGD = tf_keras.optimizers.SGD


def trained(made: AEVB) -> Any:
    """What an update makes of a model, and its bound."""
    made.compile(SGD(0.05), run_eagerly=True)
    rows, number = tf.range(len(X)), tf.constant(float(len(X)))
    num_data = tf.constant(float(made.num_data or len(X)))
    seed, step = tf.constant([0, made.seed]), tf.constant(0, tf.int64)
    batch = Minibatch(tf.constant(X), tf.ones(len(X)), number, num_data, 1, seed, rows, step)
    loss, bound, gradients = made.losses_and_gradients(batch)
    made.apply_gradients(gradients)
    return [v.numpy() for v in made.variables], loss, list(bound), made.name


def encoder(units: int = 4) -> layers.DiagonalGaussianPosterior:
    return layers.DiagonalGaussianPosterior(2, (units,))


def decoder(units: int = 4) -> layers.BernoulliLikelihood:
    return layers.BernoulliLikelihood(6, (units,))


def making(cls: type[AEVB], *parts: str, **plain: Any) -> Any:
    """Makes a model of small parts with one argument changed, and trains it."""

    def call(**options: Any) -> Any:
        tf_keras.utils.set_random_seed(1)
        small = {
            "prior": layers.StandardNormalPrior(2),
            "encoder": encoder(),
            "decoder": decoder(),
        }
        return trained(cls(**{**{name: small[name] for name in parts}, **plain, **options}))

    return call


ALL = ("prior", "encoder", "decoder")
WIDE = tfd.MultivariateNormalDiag(tf.zeros(2), 3.0 * tf.ones(2))


def add_parts(table: Table, *, has_encoder: bool = True) -> None:
    """Adds the rows of the parts of a model."""
    table.differs("prior", "a `tfd.Distribution`", {"prior": WIDE})
    table.refuses("prior", "a number", {"prior": 3}, "")
    table.differs("decoder", "another layer", lambda: {"decoder": decoder(5)})
    table.refuses(
        "decoder",
        "a network that returns no distribution",
        lambda: {"decoder": tf_keras.layers.Dense(6)},
        "",
    )
    if has_encoder:
        table.differs("encoder", "another layer", lambda: {"encoder": encoder(5)})
        table.refuses(
            "encoder",
            "of another number of latents",
            lambda: {"encoder": layers.DiagonalGaussianPosterior(3, (4,))},
            "the encoder's latents have shape (3,)",
        )


def add_common(table: Table) -> None:
    """Adds the rows of what all models take."""
    table.differs("num_samples", "3", {"num_samples": 3})
    table.refuses("num_samples", "0", {"num_samples": 0}, "`num_samples` must be a whole number")
    table.differs("seed", "1", {"seed": 1})
    table.refuses("objective", "another text", {"objective": "bound"}, "`objective` must be one of")
    table.refuses("kwargs", "`colour=3`", {"colour": 3}, "")


def add_prior_of_parameters(table: Table) -> None:
    table.differs("parameter_prior", "'normal'", {"parameter_prior": "normal"})
    table.refuses(
        "parameter_prior",
        "'laplace'",
        {"parameter_prior": "laplace"},
        "`parameter_prior` must be None or 'normal'",
    )


aevb = Table("AEVB", AEVB, making(AEVB, *ALL))
add_parts(aevb)
add_common(aevb)
add_prior_of_parameters(aevb)
aevb.differs("objective", "'sgvb_a'", {"objective": "sgvb_a"})
aevb.refuses("objective", "'vimco' with one draw", {"objective": "vimco"}, "")
aevb.warns(
    "objective", "'iwae' with one draw", {"objective": "iwae"}, "objective 'iwae' with one draw"
)
_renyi = {"objective": "renyi", "num_samples": 3}
aevb.differs("renyi_alpha", "0.2, of 'renyi'", {**_renyi, "renyi_alpha": 0.2}, _renyi)
aevb.refuses(
    "renyi_alpha",
    "0.2, of another objective",
    {"renyi_alpha": 0.2},
    "`alpha` has no effect with objective",
)
_divergence = {"objective": "f_divergence", "num_samples": 3}
aevb.differs(
    "divergence",
    "'kl_reverse', of 'f_divergence'",
    {**_divergence, "divergence": "kl_reverse"},
    _divergence,
)
aevb.refuses(
    "divergence",
    "'kl_reverse', of another objective",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)
aevb.differs("kl_weight", "2", {"kl_weight": 2.0})
aevb.differs("kl_warmup_steps", "5", {"kl_warmup_steps": 5})
aevb.differs("free_bits", "3", {"free_bits": 3.0})
for name in ("kl_weight", "kl_warmup_steps", "free_bits"):
    aevb.refuses(name, "-1", {name: -1}, f"`{name}` must be at least 0")
    aevb.refuses(
        name,
        "2, of 'iwae'",
        {name: 2, "objective": "iwae", "num_samples": 2},
        "`kl_weight`, `kl_warmup_steps` and `free_bits` need objective",
    )
aevb.differs(
    "num_data",
    "5, with a `parameter_prior`",
    {"num_data": 5, "parameter_prior": "normal"},
    {"parameter_prior": "normal"},
)
aevb.refuses("num_data", "0", {"num_data": 0}, "`num_data` must be a positive number")
aevb.differs("kwargs", "`name`", {"name": "mine"})

wake_sleep = Table("WakeSleep", WakeSleep, making(WakeSleep, *ALL))
add_parts(wake_sleep)
add_common(wake_sleep)
add_prior_of_parameters(wake_sleep)
wake_sleep.refuses("objective", "'iwae'", {"objective": "iwae"}, "`objective` must be one of")
for name, value in {"kl_weight": 2.0, "kl_warmup_steps": 5, "free_bits": 3.0}.items():
    wake_sleep.refuses(name, f"{value:g}", {name: value}, "WakeSleep takes no `kl_weight`")
wake_sleep.refuses(
    "renyi_alpha", "0.2", {"renyi_alpha": 0.2}, "`alpha` has no effect with objective"
)
wake_sleep.refuses(
    "divergence",
    "'kl_reverse'",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)
wake_sleep.refuses("num_data", "0", {"num_data": 0}, "`num_data` must be a positive number")

full_vb = Table("FullVB", FullVB, making(FullVB, *ALL))
add_parts(full_vb)
add_common(full_vb)
full_vb.differs("num_data", "5", {"num_data": 5})
full_vb.differs("shared_draw", "True", {"shared_draw": True})
_shared = {"shared_draw": True}
full_vb.differs(
    "sampled_parameter_kl",
    "True, of shared draws",
    {**_shared, "sampled_parameter_kl": True},
    _shared,
)
full_vb.refuses("sampled_parameter_kl", "True, of others", {"sampled_parameter_kl": True}, "")
full_vb.differs("initial_stddev", "0.5", {"initial_stddev": 0.5})
full_vb.refuses("initial_stddev", "0", {"initial_stddev": 0.0}, "`initial_stddev` must be")
full_vb.differs("variational_layers", "[1]", {"variational_layers": [1]})
full_vb.refuses(
    "variational_layers", "[7]", {"variational_layers": [7]}, "`variational_layers` must"
)
full_vb.refuses("parameter_prior", "'normal'", {"parameter_prior": "normal"}, "")
for name, value in {"kl_weight": 2.0, "kl_warmup_steps": 5, "free_bits": 3.0}.items():
    full_vb.refuses(name, f"{value:g}", {name: value}, "FullVB takes no `kl_weight`")
full_vb.refuses("renyi_alpha", "0.2", {"renyi_alpha": 0.2}, "`alpha` has no effect with objective")
full_vb.refuses(
    "divergence",
    "'kl_reverse'",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)


def without_encoder(**options: Any) -> Any:
    """Monte Carlo EM, whose q(z|x) is not what is tried here."""

    def anything(_: Any, count: tf.Tensor, size: int, **__: Any) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(tf.zeros([count, size]), tf.ones([size]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monte_carlo_em, "fit_free_posterior", anything)
        return making(MonteCarloEM, "prior", "decoder", num_data=20)(**options)


em = Table("MonteCarloEM", MonteCarloEM, without_encoder)
add_parts(em, has_encoder=False)
add_common(em)
add_prior_of_parameters(em)
em.refuses("num_data", "0", {"num_data": 0}, "`num_data` must be a positive number")
for name in ("leapfrog_steps", "e_step_updates", "m_step_updates"):
    em.differs(name, "2", {name: 2})
    em.refuses(name, "0", {name: 0}, f"`{name}` must be positive")
em.differs("fresh_chains", "True", {"fresh_chains": True})
em.refuses("encoder", "a layer", lambda: {"encoder": encoder()}, "")
for name, value in {"kl_weight": 2.0, "kl_warmup_steps": 5, "free_bits": 3.0}.items():
    em.refuses(name, f"{value:g}", {name: value}, "MonteCarloEM takes no `kl_weight`")
em.refuses("renyi_alpha", "0.2", {"renyi_alpha": 0.2}, "`alpha` has no effect with objective")
em.refuses(
    "divergence",
    "'kl_reverse'",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)

ablated = Table("AblatedAEVB", AblatedAEVB, making(AblatedAEVB, *ALL))
add_parts(ablated)
add_prior_of_parameters(ablated)
ablated.differs("sampled", "True", {"sampled": True})
ablated.differs("regularised", "True", {"regularised": True})
ablated.differs(
    "num_samples", "3, where z is drawn", {"sampled": True, "num_samples": 3}, {"sampled": True}
)
ablated.refuses(
    "num_samples", "3, where z is not drawn", {"num_samples": 3}, "`num_samples` is for"
)
ablated.differs("seed", "1, where z is drawn", {"sampled": True, "seed": 1}, {"sampled": True})
ablated.refuses("objective", "'sgvb_a'", {"objective": "sgvb_a"}, "`objective` must be 'sgvb_b'")
ablated.refuses("num_data", "0", {"num_data": 0}, "`num_data` must be a positive number")
for name, value in {"kl_weight": 2.0, "kl_warmup_steps": 5, "free_bits": 3.0}.items():
    ablated.refuses(name, f"{value:g}", {name: value}, "AblatedAEVB takes no `kl_weight`")
ablated.refuses("renyi_alpha", "0.2", {"renyi_alpha": 0.2}, "`alpha` has no effect with objective")
ablated.refuses(
    "divergence",
    "'kl_reverse'",
    {"divergence": "kl_reverse"},
    "`divergence` has no effect with objective",
)
ablated.refuses("kwargs", "`colour=3`", {"colour": 3}, "")

# Joint distributions.

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


def jointly(width: int = 2, **options: Any) -> Any:
    """The bound of four rows."""
    plain = {"joint": joint(), "encoder": q_of("b", "u", "z")}
    made = JointAEVB(**{**plain, **options})
    return made.elbo(ROWS[:, : made.event_shape[0]], num_samples=2, seed=1).numpy(), width


structured = Table("JointAEVB", JointAEVB, jointly)
structured.differs("joint", "another", lambda: {"joint": joint(2.0)})
structured.refuses("joint", "a plain distribution", {"joint": WIDE}, "`joint` must be a `tfd.Joint")
structured.differs("encoder", "another", {"encoder": q_of("b", "u", "z", scale=2.0)})
structured.refuses("encoder", "one that lacks a latent", {"encoder": q_of("b", "z")}, "")
_both = {"encoder": q_of("b", "z"), "observed": ["x", "u"]}
structured.differs("observed", "two parts", _both)
structured.refuses("observed", "no part of the joint", {"observed": "y"}, "")
structured.differs(
    "observed",
    "the same two the other way round: the order of columns",
    {**_both, "observed": ["u", "x"]},
    _both,
)
structured.differs("given", "u", {"encoder": q_of("b", "z"), "given": ["u"]}, _both)
structured.refuses("given", "no part of the joint", {"given": ["y"]}, "")
structured.differs("partly_observed", "u", {"partly_observed": ["u"]})
structured.refuses(
    "partly_observed",
    "u, with `kl_weight`",
    {"partly_observed": ["u"], "kl_weight": 2.0},
    "`partly_observed` takes no",
)
_theta = {"encoder": q_of("u", "z"), "global_latents": ["b"], "num_data": 4}
structured.differs("global_latents", "b", _theta)
structured.refuses("global_latents", "no part of the joint", {"global_latents": ["y"]}, "")
structured.differs("num_data", "8, with global latents", {**_theta, "num_data": 8}, _theta)
structured.differs("objective", "'iwae'", {"objective": "stl"}, {"objective": "score_function"})
structured.refuses("objective", "another text", {"objective": "far"}, "`objective` must be one of")
structured.refuses("kwargs", "`colour=3`", {"colour": 3}, "")
structured.without = {
    "prior",
    "decoder",
    "renyi_alpha",
    "divergence",
    "kl_weight",
    "free_bits",
    "kl_warmup_steps",
    "parameter_prior",
    "seed",
    "num_samples",
}

# Callbacks and scikit-learn.


def stopped(**options: Any) -> Any:
    made = tfp_aevb.EarlyStopping(**options)
    model = AEVB(layers.StandardNormalPrior(2), encoder(), decoder())
    model.compile(SGD(0.0), run_eagerly=True)
    return len(model.fit(X, epochs=5, validation_data=X, callbacks=[made], verbose=0).epoch)


stopping = Table("EarlyStopping", tfp_aevb.EarlyStopping, stopped)
stopping.differs("patience", "1, or 2", {"patience": 1}, {"patience": 2})
stopping.refuses("patience", "0", {"patience": 0}, "`patience` must be at least 1")
stopping.refuses(
    "monitor", "what is not reported", {"monitor": "accuracy"}, "EarlyStopping(monitor"
)
stopping.refuses("mode", "'min' of a bound", {"mode": "min"}, "EarlyStopping(monitor")
stopping.differs(
    "kwargs", "`start_from_epoch=3`", {"patience": 1, "start_from_epoch": 3}, {"patience": 1}
)
stopping.refuses("kwargs", "`colour=3`", {"colour": 3}, "")


def transformed(**options: Any) -> Any:
    plain = {
        "max_epochs": 1,
        "hidden_units": (3,),
        "batch_size": 20,
        "n_importance_samples": 2,
        "random_state": 0,
        "likelihood": "bernoulli",
    }
    tf.config.run_functions_eagerly(True)  # quicker than to compile so little
    try:
        made = AEVBTransformer(**{**plain, **options}).fit(X)
        return made.transform(X), made.score_samples(X[:2])
    finally:
        tf.config.run_functions_eagerly(False)


transformer = Table("AEVBTransformer", AEVBTransformer, transformed)
for name, value in {
    "n_components": 3,
    "hidden_units": (4,),
    "activation": "relu",
    "likelihood": "gaussian",
    "learning_rate": 0.1,
    "batch_size": 10,
    "max_epochs": 2,
    "n_importance_samples": 3,
    "random_state": 1,
}.items():
    transformer.differs(name, f"{value!r}", {name: value})
transformer.refuses("likelihood", "'cauchy'", {"likelihood": "cauchy"}, "likelihood must be one of")
for name in ("n_components", "batch_size", "max_epochs", "n_importance_samples"):
    transformer.refuses(name, "0", {name: 0}, f"{name} must be")
transformer.refuses("learning_rate", "0", {"learning_rate": 0.0}, "learning_rate must be")
