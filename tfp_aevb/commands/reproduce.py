"""Runs an experiment of the paper: trains what its figure needs, draws it and writes its numbers.

Runs that are done are skipped and interrupted ones resumed: the same command again goes on.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `reproduce`."""
    flags.DEFINE_string("workdir", None, "folder of the experiment (required)", flag_values=values)
    flags.DEFINE_enum("figure", None, ("2",), "the paper's figure (required)", flag_values=values)
    flags.DEFINE_enum(
        "dataset",
        "mnist",
        ("mnist", "binarized_mnist", "frey_face"),
        "data; mnist is binarised statically from its own draw, binarized_mnist is Larochelle's",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train", flag_values=values)
    flags.DEFINE_integer(
        "samples", 10_000_000, "training samples of each curve", lower_bound=100, flag_values=values
    )
    flags.DEFINE_list(
        "latent_dim", None, "Nz of the curves, e.g. 3,20; default: the paper's", flag_values=values
    )
    flags.DEFINE_list("methods", ["aevb", "wake_sleep"], "of aevb, wake_sleep", flag_values=values)
    flags.DEFINE_float(
        "learning_rate",
        None,
        "Adagrad's step size; default: of 0.01, 0.02, 0.1 the one with the best training bound "
        "after 1000 updates, for each curve",
        lower_bound=1e-9,
        flag_values=values,
    )


def run(options: SimpleNamespace) -> int:
    """Reproduces a figure; returns the exit code."""
    workdir = Path(flags_lib.require(options, "workdir"))
    flags_lib.require(options, "figure")
    latent_dims = flags_lib.whole_numbers(options, "latent_dim") if options.latent_dim else None
    unknown = set(options.methods) - {"aevb", "wake_sleep"}
    if unknown:
        raise flags_lib.UsageError(f"--methods must be of aevb, wake_sleep; got {unknown.pop()!r}")

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.reproduction.figure2 import run_figure2
    from tfp_aevb.training.callbacks import Interrupted

    try:
        paths = run_figure2(
            options.dataset,
            options.samples,
            workdir,
            data_dir=options.data_dir,
            latent_dims=latent_dims,
            methods=tuple(options.methods),
            step_size=options.learning_rate,
        )
    except Interrupted as stop:
        print(f"tfp_aevb: {stop}", file=sys.stderr)
        return stop.exit_code
    for path in paths:
        print(path)
    return 0
