"""The settings of a run: one frozen, validated record. Does not import TensorFlow."""

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Any

from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.runs.settings.choices import (
    DIVERGENCES,
    LIKELIHOODS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
    support,
)
from tfp_aevb.runs.settings.rules import ABLATIONS, check_together, unused
from tfp_aevb.utils.files import from_home

# Settings that may differ when a run is resumed: they do not change what is computed.
RESUMABLE = (
    "steps",
    "patience",
    "data_dir",
    "checkpoint_secs",
    "progress",
    "tensorboard_images",
    "nan_policy",
    "strategy",
)

TUPLES = ("hidden_units", "upper_latent_dims", "upper_hidden_units")
MAX_SEED = 2**32 - 1
KINDS = {
    tuple: "whole numbers",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
METHODS = ("aevb", "wake_sleep", "mcem", "full_vb", *ABLATIONS)


def _setting(default: Any, help_text: str, choices: tuple = (), lower: float | None = None) -> Any:
    metadata = {"help": help_text, "choices": choices, "lower": lower}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run; each field is a flag of `train`.

    Raises:
        ValueError: one line naming the setting, the value and what is allowed.
    """

    dataset: str = _setting(
        "mnist_5k",
        "mnist_5k (embedded, no download), frey_face, the name of a TFDS image set or the folder "
        "of a prepared one, a .npy or .npz file, a .csv table (with --likelihood=mixed), or "
        "module:function for a stream of your own",
    )
    columns: str | None = _setting(
        None,
        "kinds of a table's columns, name:kind,..., of real, binary, count and categorical; by "
        "default binary with two different values, count for whole numbers from 0 whose variance "
        "is at least their mean, real for other numbers, categorical for text",
    )
    num_train: int = _setting(0, "use the first so many training examples; 0: all", lower=0)
    train_on_validation: bool = _setting(
        False,
        "train on the validation examples too (num_train does not count them), for a last run when "
        "the settings are chosen; needs eval_split=test",
    )
    data_dir: str | None = _setting(
        None, "folder of prepared TFDS sets or of files placed by hand; default: TFDS's own"
    )
    stream: bool = _setting(
        False, "read a TFDS set's training images as they are needed, not into memory first"
    )
    shuffle_buffer: int = _setting(
        50_000, "stream: images among which the next one is drawn", lower=1
    )
    num_data: int = _setting(
        0,
        "N, how many different datapoints there are; 0: as many as the training split has, or on "
        "an endless stream the number used so far",
        lower=0,
    )
    binarize: str | None = _setting(
        None,
        "none, threshold, static (drawn once) or dynamic (drawn at each use); default: dynamic for "
        "a Bernoulli likelihood, else none",
        ("none", "threshold", "static", "dynamic"),
    )
    allow_grey_bernoulli: bool = _setting(
        False, "accept grey pixels under a Bernoulli likelihood, although the bound is then not one"
    )
    likelihood: str = _setting(
        "bernoulli",
        "p(x|z); gaussian_sigmoid has its means in (0, 1), as the paper's Frey Face model; "
        "discretized_logistic is for 8-bit pixels, categorical for codes 0, 1, ..., poisson to "
        "zero_inflated_negative_binomial for counts (integers in files are then not divided by "
        "255); mixed is a table's, each column of its own kind, missing cells marginalised",
        LIKELIHOODS,
    )
    missing: str = _setting(
        "refuse",
        "NaN in arrays: refuse it, or marginalise it (bounds are on log p of what is observed) and "
        "show the encoder 0 for it (zero), or 0 with a mask beside the data (mask); cells of a "
        "table are always marginalised",
        ("refuse", "zero", "mask"),
    )
    categories: int = _setting(
        256, "K of a categorical p(x|z), whose codes are 0 to K - 1", lower=2
    )
    decoder_variance: str = _setting(
        "per_pixel",
        "variance of a Gaussian p(x|z): per_pixel (from z), global (per pixel), scalar, or a "
        "number to fix it",
    )
    prior: str = _setting(
        "standard_normal",
        "p(z); vamp is the mixture of q(z|u) at learned datapoints u, flow a RealNVP; the last "
        "four are for unit, positive or simplex latents",
        tuple(PRIORS),
    )
    prior_components: int = _setting(10, "components of a mixture or vamp prior", lower=1)
    posterior: str = _setting(
        "diagonal",
        "q(z|x): a Gaussian by its covariance (diagonal, full, low_rank); a flow of a diagonal one "
        "(iaf, realnvp, spline); or z in (0, 1) (unit), positive, or on the simplex",
        tuple(POSTERIORS),
    )
    rank: int = _setting(2, "rank of a low_rank posterior", lower=1)
    flow_steps: int = _setting(
        2, "number of steps of a flow, in the posterior or the prior", lower=1
    )
    latent_dim: int = _setting(20, "dimension of z", lower=1)
    upper_latent_dims: tuple[int, ...] = _setting(
        (),
        "dimensions of further stochastic layers above z, e.g. 50: each the Gaussian prior of the "
        "one below, and inferred from it",
    )
    upper_hidden_units: tuple[int, ...] = _setting(
        (100, 100), "hidden layers' widths between stochastic layers"
    )
    hidden_units: tuple[int, ...] = _setting(
        (500,), "hidden layers' widths, of encoder and decoder, e.g. 500 or 200,200; may be empty"
    )
    network: str = _setting(
        "mlp",
        "mlp, or conv: of images, with two convolutions (32 and 64 filters, stride 2) between them "
        "and the hidden layers, in encoder and decoder",
        ("mlp", "conv"),
    )
    activation: str = _setting(
        "tanh", "activation of the hidden layers", ("tanh", "relu", "elu", "softplus")
    )
    init: str = _setting(
        "variance",
        "start of all parameters: N(0, 0.01) read as variance or stddev, or glorot",
        ("variance", "stddev", "glorot"),
    )
    output_bias: str = _setting(
        "init",
        "the decoder's last biases start as all parameters do (init), or where p(x|z) has the mean "
        "of the training data (data)",
        ("init", "data"),
    )
    warm_start: str | None = _setting(
        None,
        "start from the parameters of the run in this folder, which must be of the same model and, "
        "of a table, the same columns with the same means and deviations: to go on with another "
        "objective, optimizer or data; --init and --output_bias have no effect then",
    )
    method: str = _setting(
        "aevb",
        "learning algorithm: aevb, wake_sleep, mcem (Monte Carlo EM, without an encoder), full_vb "
        "(a posterior over the decoder's parameters too); or aevb without a part of it, to compare "
        "(its elbo is then no bound): autoencoder (z is q's mean, no KL term), no_kl (z is drawn, "
        "no KL term), mean_only (z is q's mean, with the KL term)",
        METHODS,
    )
    parameter_draws: str = _setting(
        "per_datapoint",
        "full_vb: draw the parameters for each datapoint, or shared by a minibatch",
        ("per_datapoint", "shared"),
    )
    parameter_kl: str = _setting(
        "analytic",
        "full_vb: the parameters' term of the bound, in closed form or sampled (shared draws only)",
        ("analytic", "sampled"),
    )
    chains: str = _setting(
        "persistent",
        "mcem: each datapoint's chain goes on from visit to visit, or starts afresh from the prior",
        ("persistent", "fresh"),
    )
    leapfrog_steps: int = _setting(
        10, "mcem: steps of each Hamiltonian Monte Carlo update", lower=1
    )
    e_step_updates: int = _setting(1, "mcem: Hamiltonian Monte Carlo updates in an E-step", lower=1)
    m_step_updates: int = _setting(5, "mcem: parameter updates in an M-step", lower=1)
    objective: str = _setting(
        "sgvb_b",
        "estimator of the bound: sgvb_a (all sampled), sgvb_b (analytic KL), score_function, stl "
        "(sticking the landing); or of a tighter one from num_samples draws: iwae, dreg (doubly "
        "reparameterised), vimco, rws (reweighted wake-sleep), renyi, f_divergence (by which q "
        "descends a divergence from p(z|x))",
        OBJECTIVES,
    )
    num_samples: int = _setting(1, "L or K, samples of z for each datapoint", lower=1)
    renyi_alpha: float = _setting(0.5, "alpha of objective renyi: from 0 (iwae) to 1", lower=0.0)
    divergence: str = _setting(
        "kl_forward",
        "divergence of objective f_divergence: KL(p, q) (kl_forward), KL(q, p) (kl_reverse) or "
        "another one of tfp.vi",
        DIVERGENCES,
    )
    kl_weight: float = _setting(
        1.0, "training ascends reconstruction - kl_weight KL; validation never does", lower=0.0
    )
    kl_warmup_steps: int = _setting(0, "updates until the KL has its full weight", lower=0)
    free_bits: float = _setting(
        0.0, "nats of each datapoint's KL that cost nothing in training", lower=0.0
    )
    estimation: str = _setting("map", "map (N(0, I) prior on all parameters) or ml", ("map", "ml"))
    optimizer: str = _setting(
        "adagrad",
        "adagrad starts its accumulator at 0, as the paper's step sizes need",
        ("adagrad", "adam", "rmsprop", "sgd"),
    )
    learning_rate: float = _setting(0.02, "step size; the paper: 0.01, 0.02 or 0.1", lower=0.0)
    learning_rate_schedule: str = _setting(
        "constant",
        "course of the step size over learning_rate_decay_steps: constant, cosine (to 0), or "
        "exponential (to a tenth, and further)",
        ("constant", "cosine", "exponential"),
    )
    learning_rate_decay_steps: int = _setting(
        20_000, "length of a schedule that is not constant, in updates", lower=1
    )
    weight_decay: float = _setting(
        0.0, "decay of all parameters, decoupled from the gradient (AdamW for adam)", lower=0.0
    )
    clip_norm: float = _setting(
        0.0, "scale a gradient down to this global norm; 0: never", lower=0.0
    )
    ema_momentum: float = _setting(
        0.0,
        "evaluate and export an exponential moving average of the parameters, e.g. 0.999; 0: the "
        "parameters",
        lower=0.0,
    )
    batch_size: int = _setting(100, "M, datapoints in a minibatch", lower=1)
    steps: int = _setting(20_000, "total number of updates", lower=1)
    patience: int = _setting(
        0,
        "stop after so many intervals of eval_every without a better bound on eval_split, counted "
        "when the KL has its full weight; 0: never",
        lower=0,
    )
    seed: int = _setting(0, "seed of initialisation, order, noise and binarisation", lower=0)
    precision: str = _setting(
        "float32",
        "precision of the networks; distributions are float32",
        ("float32", "mixed_bfloat16"),
    )
    tf32: bool = _setting(False, "let GPUs round the factors of matrix products to TensorFloat-32")
    strategy: str = _setting(
        "auto",
        "devices: one, mirrored (all GPUs of this machine), multi_worker (those that TF_CONFIG "
        "lists), or auto, which takes what there is",
        ("auto", "one", "mirrored", "multi_worker"),
    )
    xla: bool = _setting(True, "compile the training loop with XLA")
    eval_split: str = _setting(
        "validation", "data followed while training, in metrics.csv", ("validation", "test")
    )
    eval_every: int = _setting(500, "updates between validations (rows of metrics.csv)", lower=1)
    checkpoint_secs: float = _setting(30.0, "seconds between checkpoints", lower=0.0)
    nan_policy: str = _setting(
        "stop",
        "at a NaN or infinite bound: stop, or restore the last checkpoint and go on with other "
        "noise (at most 3 times)",
        ("stop", "restore"),
    )
    tensorboard_images: bool = _setting(True, "write image grids to TensorBoard")
    progress: bool = _setting(True, "show progress")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))
        for name in TUPLES:
            if any(number < 1 for number in getattr(self, name)):
                raise ValueError(f"--{name} must be positive, got {list(getattr(self, name))}")
        if self.learning_rate == 0.0:
            raise ValueError("--learning_rate must be positive, got 0")
        if self.seed > MAX_SEED:
            raise ValueError(f"--seed must be at most {MAX_SEED}, got {self.seed}")
        parse_variance(self.decoder_variance)
        path = from_home(self.dataset)  # to be found from any folder later
        is_file = path.suffix.lower() in (".npy", ".npz", ".csv")
        if is_file or (path / "dataset_info.json").is_file():
            object.__setattr__(self, "dataset", str(path.absolute()))
        if self.warm_start:
            object.__setattr__(self, "warm_start", str(from_home(self.warm_start).absolute()))
        bernoulli = self.likelihood == "bernoulli"
        if self.binarize is None:
            object.__setattr__(self, "binarize", "dynamic" if bernoulli else "none")
        check_together(self)

    @property
    def support(self) -> str:
        """The values an element of the data may take: see `Likelihood`."""
        return support(self)

    @property
    def reads_pixels(self) -> bool:
        """Whether integers in files are pixels, to be divided by 255, not counts or codes."""
        return not self.support.startswith(("counts", "codes"))

    @property
    def is_streamed(self) -> bool:
        """Whether the training data are read as they are needed."""
        return self.stream or is_function_name(self.dataset)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain JSON types."""
        values = dataclasses.asdict(self)
        return {**values, **{name: list(values[name]) for name in TUPLES}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Creates the config from `to_dict`'s result.

        Runs of earlier versions may hold settings that had no effect, which are refused now: they
        take their defaults.

        Raises:
            ValueError: if a setting is unknown or not valid.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown setting {name!r}{hint}")
        lists = {name: tuple(values[name]) for name in TUPLES if isinstance(values.get(name), list)}
        given = {**values, **lists}
        defaults = {name: field.default for name, field in fields.items()}
        for name in unused({**defaults, **given}):
            _check_value(fields[name], given.pop(name, defaults[name]))
        return cls(**given)

    def differences(self, other: "TrainConfig") -> list[str]:
        """Names the settings in which a run of `other` could not be gone on with as this one."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if name not in RESUMABLE and mine[name] != theirs[name]]


def _check_value(field: dataclasses.Field, value: Any) -> None:
    choices, lower = field.metadata["choices"], field.metadata["lower"]
    if not _has_type(value, field.default):
        expected = KINDS.get(type(field.default), "text")
        raise ValueError(f"--{field.name} must be {expected}, got {value!r}")
    if choices and value is not None and value not in choices:
        raise ValueError(f"--{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if lower is not None and not (lower <= value < math.inf):
        raise ValueError(f"--{field.name} must be at least {lower:g}, got {value}")


def _has_type(value: Any, default: Any) -> bool:
    """Whether `value` is of the kind of a setting's default."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    if isinstance(default, float):
        return isinstance(value, float | int)
    if default is None:
        return value is None or isinstance(value, str)
    return isinstance(value, type(default))


def parse_variance(text: str) -> str | float:
    """Returns `per_pixel`, `global`, `scalar`, or the number in `text`.

    Raises:
        ValueError: if `text` is none of these, or not positive and finite.
    """
    if text in ("per_pixel", "global", "scalar"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise ValueError(
            f"--decoder_variance must be per_pixel, global, scalar or a positive number, got {text}"
        )
    return value
