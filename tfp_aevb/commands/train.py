"""Fits a latent-variable model and its recognition network by auto-encoding variational Bayes.

Ends with the test bound, pictures and a SavedModel in --workdir. The same command again resumes.
"""

import sys
from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `train`."""
    flags_lib.define_workdir(values)
    flags_lib.define_train_config(values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Trains; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    config = flags_lib.train_config(options)

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.runs.callbacks import Interrupted
    from tfp_aevb.runs.finish import bounds_table
    from tfp_aevb.runs.train import train_and_evaluate

    try:
        summary = train_and_evaluate(config, workdir)
    except Interrupted as stop:
        print(f"tfp_aevb: {stop}", file=sys.stderr)
        return stop.exit_code
    if not summary:
        return 0  # one of several workers; the first one reports
    results.line(bounds_table(summary["bounds_nats_per_datapoint"]))
    for note in summary["notes"][summary["diverged"] :]:  # that it diverged has been said
        results.line(note)
    results.line(
        f"{summary['samples_seen']:,} training samples, "
        f"{summary['images_per_second']:,.0f} images/s, seed {summary['seed']}"
    )
    results.line(f"pictures, SavedModel and summary.json: {workdir}")
    results.add(workdir=workdir, **summary)
    return 0
