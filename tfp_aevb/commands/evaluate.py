"""Scores the model of a run on its own data or on other data: the bound and log p(x), in nats."""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results

ESTIMATORS = ("elbo", "importance", "hmc", "ais")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `evaluate`."""
    flags_lib.define_run(values)
    flags.DEFINE_enum(
        "split",
        None,
        ("train", "validation", "test"),
        "what to score; default: test",
        flag_values=values,
    )
    flags.DEFINE_string(
        "input",
        None,
        "score this file instead: a .npy [N, ...] or a .npz with x, scaled and binarised as the "
        "run's data (integers divided by what the run's were), or a table of the run's columns",
        flag_values=values,
    )
    flags_lib.define_table_rules(values)
    flags.DEFINE_list(
        "estimator",
        ["elbo"],
        "one or more of elbo (the evidence lower bound), importance (log p(x) through q, biased "
        "down), hmc (Appendix D, biased up; for few latents) and ais (annealed importance "
        "sampling, biased down), in one table",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_samples",
        None,
        "for each datapoint; default: 1 sample for elbo, 5000 for importance, 50 draws for hmc, 20 "
        "chains for ais",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_datapoints", None, "score the first so many only", lower_bound=1, flag_values=values
    )
    flags.DEFINE_string(
        "weights",
        None,
        "column of a table of --input that says how often each row counts in the mean; --weights= "
        "without a name: once; default: as the run was trained",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of the samples", lower_bound=0, flag_values=values)
    flags.DEFINE_string(
        "output", None, "also write the value of each datapoint to this .csv", flag_values=values
    )


def run(options: SimpleNamespace, results: Results) -> int:
    """Evaluates; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    unknown = [name for name in options.estimator if name not in ESTIMATORS]
    if unknown or not options.estimator:
        raise flags_lib.UsageError(
            f"--estimator must be of {', '.join(ESTIMATORS)}; got {','.join(unknown)!r}"
        )
    if options.output:
        flags_lib.check_output(options.output, (".csv",))
    is_table = flags_lib.check_table_rules(options)
    if options.input and options.split:
        raise flags_lib.UsageError("--input and --split exclude each other; give one of them")
    if options.weights and not is_table:
        raise flags_lib.UsageError(
            "--weights names a column of a table of --input; the run's own data have the weights "
            "that it was trained with, or none by --weights="
        )

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.evaluation.codes import open_input
    from tfp_aevb.evaluation.scores import DEFAULT_SAMPLES, Scorer, bound_note, write_scores
    from tfp_aevb.runs.data import array_input, joined, table_input
    from tfp_aevb.runs.finish import load_run, load_run_split

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    weights = config.weights if options.weights is None else options.weights
    if options.input and not is_table:
        array, _ = open_input(options.input)
        where, record = f"--input {options.input}", run_dir.read()[1]
        x = joined(array_input(array, where, config, record, model.allows_missing))
        if weights:  # the run's: an array has no such column
            results.line(f"each datapoint counts once: {options.input} has no weights")
            weights = None
    elif options.input:
        x, _ = table_input(options.input, config, run_dir.read()[1], options, weights)
    else:
        split = options.split or "test"
        x = load_run_split(config, run_dir, split, options.data_dir, weighted=bool(weights))
    x = x[: options.num_datapoints]
    if weights:
        results.line(f"each datapoint counts as often as {weights!r} says")
    found = []
    for name in options.estimator:
        num_samples = options.num_samples or DEFAULT_SAMPLES[name]
        found.append(Scorer(model, name, num_samples, options.seed, progress=True)(x))
        results.line(found[-1].table_row(header=len(found) == 1))
    results.add(
        data=options.input or options.split or "test",
        seed=options.seed,
        weights=weights or None,
        scores=[scores.to_dict() for scores in found],
    )
    for scores in found:
        if scores.diagnostics:
            results.line(f"{scores.estimator}: {scores.diagnostics}")
        results.notes(scores.notes)
    if "elbo" in options.estimator and bound_note(model):
        results.notes([bound_note(model)])
    if options.output:
        write_scores(found, options.output)
        results.add(files=[options.output])
    return 0
