"""Scores the model of a run on its own data or on other data: the bound and log p(x), in nats."""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `evaluate`."""
    flags_lib.define_workdir(values)
    flags.DEFINE_enum(
        "split", "test", ("train", "validation", "test"), "what to score", flag_values=values
    )
    flags.DEFINE_enum(
        "estimator",
        "elbo",
        ("elbo", "importance"),
        "elbo (the bound) or importance (log p(x) by importance sampling through q, biased down)",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_samples",
        None,
        "samples of z for each datapoint; default: 1 for elbo, 5000 for importance",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_datapoints", None, "score the first so many only", lower_bound=1, flag_values=values
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the samples", lower_bound=0, flag_values=values)
    flags.DEFINE_string(
        "output", None, "also write the value of each datapoint to this .csv", flag_values=values
    )


def run(options: SimpleNamespace) -> int:
    """Evaluates; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    estimator = options.estimator
    if options.output:
        flags_lib.check_output(options.output, (".csv",))
    num_samples = options.num_samples or {"elbo": 1, "importance": 5000}[estimator]

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.evaluation.scores import score, write_scores
    from tfp_aevb.training.results import load_run, load_run_split

    config, run_dir, model = load_run(workdir)
    x = load_run_split(config, run_dir, options.split, options.data_dir)
    x = x[: options.num_datapoints]
    scores = score(model, x, estimator, num_samples, options.seed)
    print(scores.table_row(header=True))
    if options.output:
        write_scores(scores, options.output)
    return 0
