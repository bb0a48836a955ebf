"""The settings of a run, one field each, with what is known of it. Does not import TensorFlow."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.runs.settings.choices import (
    ABLATIONS,
    DIVERGENCES,
    FLOWS,
    LIKELIHOODS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
)
from tfp_aevb.runs.settings.effects import (
    DRAWS_OF_Z,
    ENCODER,
    POINT_ESTIMATES,
    TFDS_STREAM,
    UPPER_LEVELS,
    OnlyIf,
    chosen,
)

METHODS = ("aevb", "wake_sleep", "mcem", "full_vb", *ABLATIONS)


def _setting(
    default: Any,
    help_text: str,
    choices: tuple = (),
    lower: float | None = None,
    *,
    group: str = "basic",
    resumable: bool = False,
    only_if: OnlyIf | None = None,
) -> Any:
    """Returns a field with its metadata.

    Args:
        default: its value unless given.
        help_text: what it means, for `--help`.
        choices: the values allowed; empty for any.
        lower: the least value allowed.
        group: under which `--help` lists it.
        resumable: whether a resumed run may have another value, which changes no result.
        only_if: where it has an effect; elsewhere another value than the default is refused.
    """
    metadata = {
        "help": help_text,
        "choices": choices,
        "lower": lower,
        "group": group,
        "resumable": resumable,
        "only_if": only_if,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Everything that determines a run; `TrainConfig` checks it."""

    # basic
    dataset: str = _setting(
        "mnist_5k",
        "mnist_5k (embedded, no download), frey_face, the name of a TFDS image set or the folder "
        "of a prepared one, a .npy or .npz file, a .csv table (with --likelihood=mixed), or "
        "module:function for a stream of your own",
    )
    likelihood: str = _setting(
        "bernoulli",
        "p(x|z); gaussian_sigmoid has its means in (0, 1), as the paper's Frey Face model; "
        "discretized_logistic is for 8-bit pixels, categorical for codes 0, 1, ..., poisson to "
        "zero_inflated_negative_binomial for counts (integers in files are then not divided by "
        "255); mixed is a table's, each column of its own kind, missing cells marginalised",
        LIKELIHOODS,
    )
    binarize: str | None = _setting(
        None,
        "none, threshold, static (drawn once) or dynamic (drawn at each use); default: dynamic for "
        "a Bernoulli likelihood, else none",
        ("none", "threshold", "static", "dynamic"),
    )
    latent_dim: int = _setting(20, "dimension of z", lower=1)
    hidden_units: tuple[int, ...] = _setting(
        (500,), "hidden layers' widths, of encoder and decoder, e.g. 500 or 200,200; may be empty"
    )
    steps: int = _setting(20_000, "total number of updates", lower=1, resumable=True)
    batch_size: int = _setting(100, "M, datapoints in a minibatch", lower=1)
    seed: int = _setting(0, "seed of initialisation, order, noise and binarisation", lower=0)
    progress: bool = _setting(True, "show progress", resumable=True)
    # model
    network: str = _setting(
        "mlp",
        "mlp, or conv: of images, with two convolutions (32 and 64 filters, stride 2) between them "
        "and the hidden layers, in encoder and decoder",
        ("mlp", "conv"),
        group="model",
    )
    activation: str = _setting(
        "tanh",
        "activation of the hidden layers",
        ("tanh", "relu", "elu", "softplus"),
        group="model",
    )
    prior: str = _setting(
        "standard_normal",
        "p(z); vamp is the mixture of q(z|u) at learned datapoints u, flow a RealNVP; the last "
        "four are for unit, positive or simplex latents",
        tuple(PRIORS),
        group="model",
    )
    prior_components: int = _setting(
        10,
        "components of a mixture or vamp prior",
        lower=1,
        group="model",
        only_if=chosen(prior=("mixture", "vamp")),
    )
    posterior: str = _setting(
        "diagonal",
        "q(z|x): a Gaussian by its covariance (diagonal, full, low_rank); a flow of a diagonal one "
        "(iaf, realnvp, spline); or z in (0, 1) (unit), positive, or on the simplex",
        tuple(POSTERIORS),
        group="model",
        only_if=ENCODER,
    )
    rank: int = _setting(
        2,
        "rank of a low_rank posterior",
        lower=1,
        group="model",
        only_if=chosen(posterior=("low_rank",)),
    )
    flow_steps: int = _setting(
        2,
        "number of steps of a flow, in the posterior or the prior",
        lower=1,
        group="model",
        only_if=chosen(posterior=FLOWS, prior=("flow",)),
    )
    upper_latent_dims: tuple[int, ...] = _setting(
        (),
        "dimensions of further stochastic layers above z, e.g. 50: each the Gaussian prior of the "
        "one below, and inferred from it",
        group="model",
    )
    upper_hidden_units: tuple[int, ...] = _setting(
        (100, 100),
        "hidden layers' widths between stochastic layers",
        group="model",
        only_if=UPPER_LEVELS,
    )
    decoder_variance: str = _setting(
        "per_pixel",
        "variance of a Gaussian p(x|z): per_pixel (from z), global (per pixel), scalar, or a "
        "number to fix it",
        group="model",
        only_if=chosen(likelihood=("gaussian", "gaussian_sigmoid")),
    )
    categories: int = _setting(
        256,
        "K of a categorical p(x|z), whose codes are 0 to K - 1",
        lower=2,
        group="model",
        only_if=chosen(likelihood=("categorical",)),
    )
    init: str = _setting(
        "variance",
        "start of all parameters: N(0, 0.01) read as variance or stddev, or glorot",
        ("variance", "stddev", "glorot"),
        group="model",
    )
    output_bias: str = _setting(
        "init",
        "the decoder's last biases start as all parameters do (init), or where p(x|z) has the mean "
        "of the training data (data)",
        ("init", "data"),
        group="model",
    )
    warm_start: str | None = _setting(
        None,
        "start from the parameters of the run in this folder, which must be of the same model and, "
        "of a table, the same columns with the same means and deviations: to go on with another "
        "objective, optimizer or data; --init and --output_bias have no effect then",
        group="model",
    )
    # objective
    objective: str = _setting(
        "sgvb_b",
        "estimator of the bound: sgvb_a (all sampled), sgvb_b (analytic KL), score_function, stl "
        "(sticking the landing); or of a tighter one from num_samples draws: iwae, dreg (doubly "
        "reparameterised), vimco, rws (reweighted wake-sleep), renyi, f_divergence (by which q "
        "descends a divergence from p(z|x))",
        OBJECTIVES,
        group="objective",
    )
    num_samples: int = _setting(
        1, "L or K, samples of z for each datapoint", lower=1, group="objective", only_if=DRAWS_OF_Z
    )
    renyi_alpha: float = _setting(
        0.5,
        "alpha of objective renyi: from 0 (iwae) to 1",
        lower=0.0,
        group="objective",
        only_if=chosen(objective=("renyi",)),
    )
    divergence: str = _setting(
        "kl_forward",
        "divergence of objective f_divergence: KL(p, q) (kl_forward), KL(q, p) (kl_reverse) or "
        "another one of tfp.vi",
        DIVERGENCES,
        group="objective",
        only_if=chosen(objective=("f_divergence",)),
    )
    kl_weight: float = _setting(
        1.0,
        "training ascends reconstruction - kl_weight KL; validation never does",
        lower=0.0,
        group="objective",
    )
    kl_warmup_steps: int = _setting(
        0, "updates until the KL has its full weight", lower=0, group="objective"
    )
    free_bits: float = _setting(
        0.0,
        "nats of each datapoint's KL that cost nothing in training",
        lower=0.0,
        group="objective",
    )
    estimation: str = _setting(
        "map",
        "map (N(0, I) prior on all parameters) or ml",
        ("map", "ml"),
        group="objective",
        only_if=POINT_ESTIMATES,
    )
    # optimiser
    optimizer: str = _setting(
        "adagrad",
        "adagrad starts its accumulator at 0, as the paper's step sizes need",
        ("adagrad", "adam", "rmsprop", "sgd"),
        group="optimiser",
    )
    learning_rate: float = _setting(
        0.02, "step size; the paper: 0.01, 0.02 or 0.1", lower=0.0, group="optimiser"
    )
    learning_rate_schedule: str = _setting(
        "constant",
        "course of the step size over learning_rate_decay_steps: constant, cosine (to 0), or "
        "exponential (to a tenth, and further)",
        ("constant", "cosine", "exponential"),
        group="optimiser",
    )
    learning_rate_decay_steps: int = _setting(
        20_000,
        "length of a schedule that is not constant, in updates",
        lower=1,
        group="optimiser",
        only_if=chosen(learning_rate_schedule=("cosine", "exponential")),
    )
    weight_decay: float = _setting(
        0.0,
        "decay of all parameters, decoupled from the gradient (AdamW for adam)",
        lower=0.0,
        group="optimiser",
    )
    clip_norm: float = _setting(
        0.0, "scale a gradient down to this global norm; 0: never", lower=0.0, group="optimiser"
    )
    ema_momentum: float = _setting(
        0.0,
        "evaluate and export an exponential moving average of the parameters, e.g. 0.999; 0: the "
        "parameters",
        lower=0.0,
        group="optimiser",
    )
    patience: int = _setting(
        0,
        "stop after so many intervals of eval_every without a better bound on eval_split, counted "
        "when the KL has its full weight; 0: never",
        lower=0,
        group="optimiser",
        resumable=True,
    )
    nan_policy: str = _setting(
        "stop",
        "at a NaN or infinite bound: stop, or restore the last checkpoint and go on with other "
        "noise (at most 3 times)",
        ("stop", "restore"),
        group="optimiser",
        resumable=True,
    )
    # data
    columns: str | None = _setting(
        None,
        "kinds of a table's columns, name:kind,..., of real, binary, count and categorical; by "
        "default binary with two different values, count for whole numbers from 0 whose variance "
        "is at least their mean, real for other numbers, categorical for text",
        group="data",
        only_if=chosen(likelihood=("mixed",)),
    )
    data_dir: str | None = _setting(
        None,
        "folder of prepared TFDS sets or of files placed by hand; default: TFDS's own",
        group="data",
        resumable=True,
    )
    num_train: int = _setting(
        0, "use the first so many training examples; 0: all", lower=0, group="data"
    )
    train_on_validation: bool = _setting(
        False,
        "train on the validation examples too (num_train does not count them), for a last run when "
        "the settings are chosen; needs eval_split=test",
        group="data",
    )
    num_data: int = _setting(
        0,
        "N, how many different datapoints there are; 0: as many as the training split has, or on "
        "an endless stream the number used so far",
        lower=0,
        group="data",
    )
    stream: bool = _setting(
        False,
        "read a TFDS set's training images as they are needed, not into memory first",
        group="data",
    )
    shuffle_buffer: int = _setting(
        50_000,
        "stream: images among which the next one is drawn",
        lower=1,
        group="data",
        only_if=TFDS_STREAM,
    )
    allow_grey_bernoulli: bool = _setting(
        False,
        "accept grey pixels under a Bernoulli likelihood, although the bound is then not one",
        group="data",
        only_if=chosen(likelihood=("bernoulli",)),
    )
    missing: str = _setting(
        "refuse",
        "NaN in arrays: refuse it, or marginalise it (bounds are on log p of what is observed) and "
        "show the encoder 0 for it (zero), or 0 with a mask beside the data (mask); cells of a "
        "table are always marginalised",
        ("refuse", "zero", "mask"),
        group="data",
    )
    eval_split: str = _setting(
        "validation",
        "data followed while training, in metrics.csv",
        ("validation", "test"),
        group="data",
    )
    eval_every: int = _setting(
        500, "updates between validations (rows of metrics.csv)", lower=1, group="data"
    )
    checkpoint_secs: float = _setting(
        30.0, "seconds between checkpoints", lower=0.0, group="data", resumable=True
    )
    tensorboard_images: bool = _setting(
        True, "write image grids to TensorBoard", group="data", resumable=True
    )
    # devices
    strategy: str = _setting(
        "auto",
        "devices: one, mirrored (all GPUs of this machine), multi_worker (those that TF_CONFIG "
        "lists), or auto, which takes what there is",
        ("auto", "one", "mirrored", "multi_worker"),
        group="devices",
        resumable=True,
    )
    xla: bool = _setting(True, "compile the training loop with XLA", group="devices")
    precision: str = _setting(
        "float32",
        "precision of the networks; distributions are float32",
        ("float32", "mixed_bfloat16"),
        group="devices",
    )
    tf32: bool = _setting(
        False, "let GPUs round the factors of matrix products to TensorFloat-32", group="devices"
    )
    # the paper's other methods
    method: str = _setting(
        "aevb",
        "learning algorithm: aevb, wake_sleep, mcem (Monte Carlo EM, without an encoder), full_vb "
        "(a posterior over the decoder's parameters too); or aevb without a part of it, to compare "
        "(its elbo is then no bound): autoencoder (z is q's mean, no KL term), no_kl (z is drawn, "
        "no KL term), mean_only (z is q's mean, with the KL term)",
        METHODS,
        group="the paper's other methods",
    )
    parameter_draws: str = _setting(
        "per_datapoint",
        "full_vb: draw the parameters for each datapoint, or shared by a minibatch",
        ("per_datapoint", "shared"),
        group="the paper's other methods",
        only_if=chosen(method=("full_vb",)),
    )
    parameter_kl: str = _setting(
        "analytic",
        "full_vb: the parameters' term of the bound, in closed form or sampled (shared draws only)",
        ("analytic", "sampled"),
        group="the paper's other methods",
        only_if=chosen(method=("full_vb",)),
    )
    chains: str = _setting(
        "persistent",
        "mcem: each datapoint's chain goes on from visit to visit, or starts afresh from the prior",
        ("persistent", "fresh"),
        group="the paper's other methods",
        only_if=chosen(method=("mcem",)),
    )
    leapfrog_steps: int = _setting(
        10,
        "mcem: steps of each Hamiltonian Monte Carlo update",
        lower=1,
        group="the paper's other methods",
        only_if=chosen(method=("mcem",)),
    )
    e_step_updates: int = _setting(
        1,
        "mcem: Hamiltonian Monte Carlo updates in an E-step",
        lower=1,
        group="the paper's other methods",
        only_if=chosen(method=("mcem",)),
    )
    m_step_updates: int = _setting(
        5,
        "mcem: parameter updates in an M-step",
        lower=1,
        group="the paper's other methods",
        only_if=chosen(method=("mcem",)),
    )

    @property
    def is_streamed(self) -> bool:
        """Whether the training data are read as they are needed."""
        return self.stream or is_function_name(self.dataset)
