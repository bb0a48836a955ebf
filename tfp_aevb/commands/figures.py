"""Draws the pictures of a run again, for instance as PDF or in a higher resolution.

The manifold is drawn of two latents whose prior is a diagonal Gaussian.
"""

from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `figures`."""
    flags_lib.define_run(values, compiles=False)
    flags.DEFINE_enum(
        "format", "png", ("png", "pdf", "svg"), "file format of the pictures", flag_values=values
    )
    flags.DEFINE_integer(
        "dpi", 150, "dots per inch, for png", lower_bound=20, upper_bound=1200, flag_values=values
    )
    flags.DEFINE_integer(
        "interpolations",
        0,
        "also draw paths between so many pairs of encoded test images: on a sphere for a Gaussian "
        "prior, else straight",
        lower_bound=0,
        upper_bound=100,
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer(
        "seed", 0, "seed of the samples and of the pairs", lower_bound=0, flag_values=values
    )


def run(options: SimpleNamespace, results: Results) -> int:
    """Draws the figures; returns the exit code."""
    flags_lib.check_without_xla(options)
    workdir = flags_lib.require(options, "workdir")

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.runs.finish import load_run, load_run_data
    from tfp_aevb.runs.interpolations import draw_interpolations
    from tfp_aevb.runs.pictures import draw_figures

    config, run_dir, model = load_run(workdir, options.checkpoint)
    dataset = load_run_data(config, run_dir, options.data_dir)
    settings = {"seed": options.seed, "file_format": options.format, "dpi": options.dpi}
    paths = draw_figures(model, dataset, run_dir, config.eval_split, **settings)
    if options.interpolations:
        pairs = options.interpolations
        paths.append(draw_interpolations(model, dataset, run_dir, pairs=pairs, **settings))
    results.files(*paths)
    return 0
