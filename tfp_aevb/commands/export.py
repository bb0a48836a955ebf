"""Writes the model of a run as a SavedModel that serves with TensorFlow alone."""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `export`."""
    flags_lib.define_run(values, compiles=False)
    flags.DEFINE_string(
        "output", None, "folder to write; default: saved_model in --workdir", flag_values=values
    )


def run(options: SimpleNamespace, results: Results) -> int:
    """Exports; returns the exit code."""
    flags_lib.check_without_xla(options)
    workdir = flags_lib.require(options, "workdir")

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.export import export_saved_model
    from tfp_aevb.runs.finish import load_run

    _, run_dir, model = load_run(workdir, options.checkpoint)
    output = options.output or run_dir.saved_model
    export_saved_model(model, output)
    results.files(output)
    return 0
