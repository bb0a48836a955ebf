"""Examines a run's latents: which are used, q(z) beside p(z), and where the bound loses."""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `diagnose`."""
    flags_lib.define_run(values)
    flags.DEFINE_enum(
        "split", "test", ("train", "validation", "test"), "the data", flag_values=values
    )
    flags.DEFINE_integer(
        "num_datapoints", None, "take the first so many only", lower_bound=2, flag_values=values
    )
    flags.DEFINE_integer(
        "num_samples",
        1,
        "samples of z for each datapoint's bound",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_draws",
        500,
        "from the aggregate posterior and from the prior, for the test of their difference",
        lower_bound=2,
        upper_bound=5000,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_refined",
        100,
        "random datapoints whose q(z|x) is refined, for the amortisation gap; 0: none",
        lower_bound=0,
        upper_bound=2000,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "format", "png", ("png", "pdf", "svg"), "file format of the picture", flag_values=values
    )
    flags.DEFINE_integer(
        "dpi", 150, "dots per inch, for png", lower_bound=20, upper_bound=1200, flag_values=values
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of all draws", lower_bound=0, flag_values=values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Examines the latents; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.evaluation.diagnostics import ACTIVE_ABOVE
    from tfp_aevb.evaluation.examination import diagnose
    from tfp_aevb.figures import latent_use_figure, save_figure
    from tfp_aevb.runs.finish import load_run, load_run_split
    from tfp_aevb.utils.files import write_json

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    x = load_run_split(config, run_dir, options.split, options.data_dir)[: options.num_datapoints]
    found = diagnose(
        model,
        x,
        num_samples=options.num_samples,
        num_draws=options.num_draws,
        num_refined=options.num_refined,
        seed=options.seed,
    )
    latents = found.latents
    results.line(f"{found.table()}\n")
    for line in found.advice():
        results.line(line)
    run_dir.figures.mkdir(exist_ok=True)
    picture = run_dir.figures / f"diagnostics.{options.format}"
    figure = latent_use_figure(
        latents.variances, latents.active, latents.kl, threshold=ACTIVE_ABOVE
    )
    save_figure(figure, picture, dpi=options.dpi)
    target = run_dir.path / "diagnostics.json"
    record = {"split": options.split, "seed": options.seed, **found.to_dict()}
    write_json(target, record)
    results.add(**record)
    results.line()
    results.files(target, picture)
    return 0
