"""What a user gives to the constructors of the models of one latent."""

from typing import Any

import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tests.gives.data import X
from tests.gives.table import Table
from tfp_aevb import AEVB, FullVB, MonteCarloEM, WakeSleep, layers
from tfp_aevb.models import monte_carlo_em
from tfp_aevb.models.ablated import AblatedAEVB
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


# What Keras says of an argument that it does not know.
UNKNOWN = "('Keyword argument not understood:', 'colour')"
ALL = ("prior", "encoder", "decoder")


def wide() -> tfd.Distribution:
    return tfd.MultivariateNormalDiag(tf.zeros(2), 3.0 * tf.ones(2))


def add_parts(table: Table, *, has_encoder: bool = True, needs_layer: str = "") -> None:
    """Adds the rows of the parts of a model."""
    table.differs("prior", "a `tfd.Distribution`", lambda: {"prior": wide()})
    for name in ("prior", "decoder", *(["encoder"] if has_encoder else [])):
        line = needs_layer if name == "decoder" else ""
        line = line or f"the {name} must be a layer or a function"
        table.refuses(name, "a number", {name: 3}, line)
    table.differs("decoder", "another layer", lambda: {"decoder": decoder(5)})
    table.refuses(
        "decoder",
        "a network that returns no distribution",
        lambda: {"decoder": tf_keras.layers.Dense(6)},
        needs_layer or "the decoder must return a `tfd.Distribution`",
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
    table.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)


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
aevb.refuses(
    "objective",
    "'vimco' with one draw",
    {"objective": "vimco"},
    "objective 'vimco' needs at least 2",
)
aevb.warns(
    "objective", "'iwae' with one draw", {"objective": "iwae"}, "objective 'iwae' with one draw"
)
RENYI = {"objective": "renyi", "num_samples": 3}
aevb.differs("renyi_alpha", "0.2, of 'renyi'", {**RENYI, "renyi_alpha": 0.2}, RENYI)
aevb.refuses(
    "renyi_alpha",
    "0.2, of another objective",
    {"renyi_alpha": 0.2},
    "`alpha` has no effect with objective",
)
DIVERGENCE = {"objective": "f_divergence", "num_samples": 3}
aevb.differs(
    "divergence",
    "'kl_reverse', of 'f_divergence'",
    {**DIVERGENCE, "divergence": "kl_reverse"},
    DIVERGENCE,
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
add_parts(full_vb, needs_layer="full variational Bayes needs a likelihood layer")
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
full_vb.refuses(
    "sampled_parameter_kl",
    "True, of others",
    {"sampled_parameter_kl": True},
    "`sampled_parameter_kl` needs",
)
full_vb.differs("initial_stddev", "0.5", {"initial_stddev": 0.5})
full_vb.refuses("initial_stddev", "0", {"initial_stddev": 0.0}, "`initial_stddev` must be")
full_vb.differs("variational_layers", "[1]", {"variational_layers": [1]})
full_vb.refuses(
    "variational_layers", "[7]", {"variational_layers": [7]}, "`variational_layers` must"
)
full_vb.refuses(
    "parameter_prior",
    "'normal'",
    {"parameter_prior": "normal"},
    "full variational Bayes has its own",
)
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
em.refuses("encoder", "a layer", lambda: {"encoder": encoder()}, "MonteCarloEM takes no `encoder`")
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
ablated.refuses("kwargs", "`colour=3`", {"colour": 3}, UNKNOWN)
