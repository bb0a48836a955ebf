"""Reads labels off a run's latent means, beside PCA of the same dimension and the pixels."""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results

SPLITS = ("train", "validation", "test")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `represent`."""
    flags_lib.define_run(values)
    flags.DEFINE_integer(
        "num_train",
        5000,
        "fit the classifiers to the first so many training examples; their settings are chosen on "
        "the validation split, and the accuracies are those on the test split",
        lower_bound=2,
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer(
        "seed", 0, "seed of dynamic binarisation", lower_bound=0, flag_values=values
    )
    flags.DEFINE_string("output", None, "also write the table to this .csv", flag_values=values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Fits and measures the classifiers; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    if options.output:
        flags_lib.check_output(options.output, (".csv",))

    from tfp_aevb.commands.runtime import start

    start()
    from pathlib import Path

    import numpy as np

    from tfp_aevb.data.observations import Observations
    from tfp_aevb.evaluation import codes, representation
    from tfp_aevb.runs.data import as_seen
    from tfp_aevb.runs.finish import load_run, load_run_data

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    dataset = load_run_data(config, run_dir, options.data_dir)
    latents, pixels, labels = {}, {}, {}
    for name in SPLITS:
        split = getattr(dataset, name)
        if split.labels is None:
            raise ValueError(
                f"--workdir {workdir}: {config.dataset} has no labels of its {name} split, and "
                "these are what is read off the codes; use a run on labelled data"
            )
        count = min(len(split.x), options.num_train) if name == "train" else len(split.x)
        labels[name] = split.labels[:count]
        pixels[name] = as_seen(split, dataset, count, options.seed)
        if np.isnan(pixels[name]).any():
            raise ValueError(
                f"--workdir {workdir}: values of its {name} split are missing, and the classifiers "
                "beside it cannot do without; use `encode`, and classifiers of your own"
            )
        latents[name] = codes.encode_all(model, Observations(pixels[name])).loc
    rows = list(representation.compare(latents, pixels, labels))
    results.line(representation.table(rows))
    results.add(accuracies=[row._asdict() for row in rows])
    if options.output:
        representation.write_table(rows, Path(options.output))
        results.add(files=[options.output])
    return 0
