"""Runs an experiment of the paper: trains what its figure needs, draws it and writes its numbers.

Runs that are done are skipped and interrupted ones resumed: the same command again goes on.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results

# Module and function of each experiment, its data sets, and the flags it takes besides.
FIGURES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "2": (
        "figure2",
        "run_figure2",
        ("mnist", "binarized_mnist", "frey_face"),
        ("latent_dims", "methods", "init"),
    ),
    "3": ("figure3", "run_figure3", ("mnist", "binarized_mnist"), ("methods",)),
    "4": ("figure4", "run_figure4", ("mnist", "binarized_mnist", "frey_face"), ()),
    "5": (
        "figure5",
        "run_figure5",
        ("mnist", "binarized_mnist", "frey_face"),
        ("latent_dims",),
    ),
    "full_vb": ("full_vb", "run_full_vb", ("mnist", "binarized_mnist"), ()),
    "gradient_variance": (
        "gradient_variance",
        "run_gradient_variance",
        ("mnist", "binarized_mnist"),
        ("latent_dims",),
    ),
    "imputation": ("imputation", "run_imputation", ("mnist", "binarized_mnist"), ("latent_dims",)),
    "regularisation": (
        "regularisation",
        "run_regularisation",
        ("mnist", "frey_face"),
        ("latent_dims",),
    ),
}
METHODS = ("aevb", "wake_sleep", "mcem")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `reproduce`."""
    flags.DEFINE_string("workdir", None, "folder of the experiment (required)", flag_values=values)
    flags.DEFINE_enum(
        "figure",
        None,
        tuple(FIGURES),
        "the paper's figure; full_vb: full variational Bayes against ML and MAP; "
        "gradient_variance: of the estimators A, B and the score function; regularisation: PCA, "
        "auto-encoders and the VAE, on grey images (required)",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "dataset",
        "mnist",
        ("mnist", "binarized_mnist", "frey_face"),
        "data; mnist is binarised statically from its own draw (regularisation: not at all, "
        "imputation: anew at each use), "
        "binarized_mnist is Larochelle's",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train", flag_values=values)
    flags.DEFINE_integer(
        "samples", 10_000_000, "training samples of each curve", lower_bound=100, flag_values=values
    )
    flags.DEFINE_list(
        "latent_dim",
        None,
        "figures 2, 5, gradient_variance, imputation and regularisation: Nz, e.g. 3,20; default: "
        "the paper's; imputation 50, regularisation 2",
        flag_values=values,
    )
    flags.DEFINE_list(
        "methods",
        None,
        "figures 2 and 3: of aevb, wake_sleep and (figure 3) mcem; default: all",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "init",
        "variance",
        ("variance", "stddev"),
        "figure 2: the paper's N(0, 0.01), read as a variance or as a standard deviation",
        flag_values=values,
    )
    flags.DEFINE_float(
        "learning_rate",
        None,
        "Adagrad's step size; default: of 0.01, 0.02, 0.1 the one with the best training bound "
        "after 1000 updates, for each curve. Regularisation and imputation: Adam's; default: 0.001",
        lower_bound=1e-9,
        flag_values=values,
    )


def run(options: SimpleNamespace, results: Results) -> int:
    """Reproduces a figure; returns the exit code."""
    workdir = Path(flags_lib.require(options, "workdir"))
    figure = flags_lib.require(options, "figure")
    module, function, datasets, _ = FIGURES[figure]
    if options.dataset not in datasets:
        raise flags_lib.UsageError(
            f"--figure={figure} is of --dataset={' or '.join(datasets)}, got {options.dataset}"
        )
    arguments = _arguments(options, figure)

    from tfp_aevb.commands.runtime import start

    start()
    import importlib

    from tfp_aevb.runs.callbacks import Interrupted

    experiment = getattr(importlib.import_module(f"tfp_aevb.reproduction.{module}"), function)
    try:
        paths = experiment(
            options.dataset,
            options.samples,
            workdir,
            data_dir=options.data_dir,
            step_size=options.learning_rate,
            **arguments,
        )
    except Interrupted as stop:
        print(f"tfp_aevb: {stop}", file=sys.stderr)
        return stop.exit_code
    results.files(*paths)
    return 0


def _arguments(options: SimpleNamespace, figure: str) -> dict[str, Any]:
    """Returns the arguments that not all experiments have, as far as they were given."""
    given: dict[str, Any] = {}
    if options.latent_dim:
        given["latent_dims"] = flags_lib.whole_numbers(options, "latent_dim")
        if min(given["latent_dims"]) < 1:
            raise flags_lib.UsageError(f"--latent_dim must be positive, got {options.latent_dim}")
    if options.methods:
        allowed = METHODS if figure == "3" else METHODS[:2]
        unknown = sorted(set(options.methods) - set(allowed))
        if unknown:
            raise flags_lib.UsageError(
                f"--methods must be of {', '.join(allowed)}; got {unknown[0]!r}"
            )
        given["methods"] = tuple(options.methods)
    if options.init != "variance":
        given["init"] = options.init
    names = {"latent_dims": "latent_dim", "methods": "methods", "init": "init"}
    for argument in set(given) - set(FIGURES[figure][3]):
        raise flags_lib.UsageError(f"--figure={figure} does not take --{names[argument]}")
    return given
