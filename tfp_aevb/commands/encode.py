"""Encodes data with the model of a run: means and standard deviations of q(z|x), and labels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results

SPLITS = ("train", "validation", "test")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `encode`."""
    flags_lib.define_run(values)
    flags.DEFINE_enum(
        "split", None, SPLITS, "which of the run's data; default: test", flag_values=values
    )
    flags.DEFINE_string(
        "input",
        None,
        "encode this file instead: a .npy [N, ...], read as it is needed, or a .npz with x and "
        "maybe labels, scaled and binarised as the run's data (integers divided by what the run's "
        "were), NaN for what is missing if the run has --missing; or a table of its columns",
        flag_values=values,
    )
    flags_lib.define_table_rules(values)
    flags.DEFINE_string(
        "output",
        None,
        "file to write (required): .npz with arrays loc and stddev [N, J], and labels [N] where "
        "there are, or .csv with a line for each datapoint",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer(
        "seed", 0, "seed of dynamic binarisation", lower_bound=0, flag_values=values
    )


def run(options: SimpleNamespace, results: Results) -> int:
    """Encodes; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    output = Path(flags_lib.require(options, "output"))
    flags_lib.check_output(output, (".npz", ".csv"))
    is_table = flags_lib.check_table_rules(options)
    if options.input and options.split:
        raise flags_lib.UsageError("--input and --split exclude each other; give one of them")

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.evaluation import codes
    from tfp_aevb.runs.data import array_input, observations, streamed_parts, table_input
    from tfp_aevb.runs.finish import load_run, load_run_data

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    labels: Any  # as an array, or a list that grows while the data are read
    if is_table:
        table, _ = table_input(options.input, config, run_dir.read()[1], options)
        parts, labels = iter([table]), None
    elif options.input:
        x, labels = codes.open_input(options.input)
        where, gaps = f"--input {options.input}", model.allows_missing
        parts = array_input(x, where, config, run_dir.read()[1], gaps)
    else:
        dataset = load_run_data(config, run_dir, options.data_dir)
        name = options.split or "test"
        split = getattr(dataset, name)
        if dataset.stream and name == "train":
            read: list[int] | None = None if split.labels is None else []
            size = 10 * codes.BATCH
            parts = streamed_parts(config, dataset, options.data_dir, size, read)
            labels = read
        else:
            parts, labels = iter([observations(split, dataset)]), split.labels
    batches = codes.encode_batches(model, parts, seed=options.seed)
    count = codes.write_codes(batches, labels, output)
    results.line(f"{output}: {count:,} datapoints, {model.latent_dim} latents")
    results.add(files=[output], datapoints=count, latents=model.latent_dim)
    return 0
