"""Times training beside the peers: `python -m benchmarks.training`. See README.md.

Sets up the environments, runs every program in rounds, prints a table for each optimiser and writes
`training-OPTIMIZER.md`, `.csv` and `.jsonl` (each single run) into the output folder.
"""

import argparse
import sys

from benchmarks import runner, table
from benchmarks.runner import Program

REFERENCE = "tfp_aevb"
# Nats; everyone starts from the same weights, so that only noise and rounding differ.
BOUND_TOLERANCE = 3.0

COLUMNS = (
    table.Column("images_per_second", "images/s"),
    table.Column("bound", "bound, nats", decimals=1, ratio=False),
    table.Column("startup_seconds", "start-up, s", decimals=1),
    table.Column("peak_bytes", "peak memory, MB", scale=1e6),
)

PROGRAMS = (
    Program(REFERENCE, "tfp_aevb", "ours"),
    Program("tfp_aevb-command", "tfp_aevb", "ours_cli"),
    Program("pytorch", "pytorch", "pytorch"),
    Program("pytorch-compile", "pytorch", "pytorch", {"mode": "default"}),
    Program("pytorch-max-autotune", "pytorch", "pytorch", {"mode": "max-autotune"}),
    Program("pytorch-example", "pytorch", "pytorch_example"),
    Program("pyro", "pyro", "pyro_svi", {"jit": False}),
    Program("pyro-jit", "pyro", "pyro_svi", {"jit": True}),
    Program("numpyro", "numpyro", "numpyro_svi"),
    Program("jax-optax", "jax", "jax_optax"),
    *(
        Program(
            f"{name}{'-jit' if jit else ''}",
            environment,
            module,
            {**library, "jit": jit, "steps_per_execution": 50},
        )
        for name, environment, module, library in (
            ("keras", "keras", "keras_vae", {"library": "keras"}),
            ("tf_keras", "keras", "keras_vae", {"library": "tf_keras"}),
            ("tfp-layers", "tfp_layers", "tfp_layers", {}),
        )
        for jit in (False, True)
    ),
    # As these libraries come: one update for each step of Python.
    Program(
        "tf_keras-stock",
        "keras",
        "keras_vae",
        {"library": "tf_keras", "jit": False, "steps_per_execution": 1},
    ),
    Program(
        "tfp-layers-stock", "tfp_layers", "tfp_layers", {"jit": False, "steps_per_execution": 1}
    ),
    Program("pythae", "pythae", "pythae_vae"),
    Program("limit-torch", "pytorch", "limit_torch"),
    Program("limit-tensorflow", "tfp_aevb", "limit_tensorflow", {"jit": False}),
    Program("limit-xla", "tfp_aevb", "limit_tensorflow", {"jit": True}),
)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runner.add_arguments(parser, PROGRAMS)
    parser.add_argument("--optimizers", default="adam,adagrad", help="default: %(default)s")
    arguments = parser.parse_args()
    optimizers = arguments.optimizers.split(",")
    if not set(optimizers) <= {"adam", "adagrad"}:
        parser.error(f"`--optimizers` must be among adam, adagrad, got {arguments.optimizers!r}")
    try:
        chosen, settings, execute = runner.prepare(arguments, PROGRAMS)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for optimizer in optimizers:
        common = {**settings, "task": "train", "optimizer": optimizer}
        records = runner.run_rounds(
            [(program, common) for program in chosen], arguments.rounds, execute, arguments.seed
        )
        path = arguments.output / f"training-{optimizer}"
        kept = runner.keep(records, path.with_suffix(".jsonl"))
        print(f"\nTraining with {optimizer}, medians of {arguments.rounds} rounds\n")
        print(table.write(path, kept, COLUMNS, REFERENCE, BOUND_TOLERANCE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
