"""Writes a run as one web page that needs no network, if it can with a decoder to play with.

The page decodes images of Bernoulli, continuous Bernoulli, Gaussian and Student-t pixels, by an MLP
from latents whose prior is over all of R^J.
"""

from pathlib import Path
from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `report`."""
    flags_lib.define_run(values)
    flags.DEFINE_string(
        "output", None, "the page, .html; default: report.html in --workdir", flag_values=values
    )
    for name, default, lower, help_text in (
        ("num_datapoints", 1000, 2, "datapoints of each split for the bound and the diagnostics"),
        ("num_scored", 200, 1, "test datapoints whose log p(x) is estimated"),
        ("num_samples", 5000, 1, "importance samples for each of them"),
        ("num_refined", 50, 1, "test datapoints whose q(z|x) is refined"),
        ("seed", 0, 0, "seed of all draws"),
    ):
        flags.DEFINE_integer(name, default, help_text, lower_bound=lower, flag_values=values)
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Writes the report; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    if options.output:
        flags_lib.check_output(options.output, (".html",))

    from tfp_aevb.commands.runtime import start

    start()
    from tfp_aevb.runs.finish import load_run, load_run_data
    from tfp_aevb.runs.report.build import ReportOptions, build_report
    from tfp_aevb.utils.files import write_text
    from tfp_aevb.utils.progress import ProgressLine

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    dataset = load_run_data(config, run_dir, options.data_dir)
    line = ProgressLine()
    settings = ReportOptions(*(getattr(options, name) for name in ReportOptions._fields))
    text = build_report(config, run_dir, model, dataset, settings, say=line.show)
    line.end()
    path = Path(options.output) if options.output else run_dir.path / "report.html"
    write_text(path, text)
    results.files(path)
    return 0
