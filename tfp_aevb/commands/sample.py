"""Draws from the model of a run: z from p(z), then x from p(x|z); a .npz or a picture."""

from pathlib import Path
from types import SimpleNamespace

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `sample`."""
    flags_lib.define_run(values, compiles=False)
    flags.DEFINE_integer(
        "num", 100, "how many", lower_bound=1, upper_bound=1_000_000, flag_values=values
    )
    flags.DEFINE_string(
        "output",
        None,
        "file to write (required): .npz with arrays z [n, J], x [n, D] (drawn) and mean [n, D] (of "
        "p(x|z)), .png with a grid of the means, or .csv with the rows of a table",
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "seed of the draws", lower_bound=0, flag_values=values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Draws the samples; returns the exit code."""
    flags_lib.check_without_xla(options)
    workdir = flags_lib.require(options, "workdir")
    output = Path(flags_lib.require(options, "output"))
    flags_lib.check_output(output, (".npz", ".png", ".csv"))

    from tfp_aevb.commands.runtime import start

    start()
    import numpy as np

    from tfp_aevb.data.columns import as_columns
    from tfp_aevb.data.tables import write_table
    from tfp_aevb.figures import samples_figure, save_figure
    from tfp_aevb.runs.finish import load_run
    from tfp_aevb.runs.images import as_images, white_value
    from tfp_aevb.utils.files import write_atomically

    _, run_dir, model = load_run(workdir, options.checkpoint)
    draws = model.sample_with_latents(options.num, seed=options.seed)
    arrays = {name: value.numpy() for name, value in draws._asdict().items()}
    if output.suffix == ".npz":
        write_atomically(output, lambda file: np.savez(file, **arrays))
    elif output.suffix == ".csv":
        columns = run_dir.read()[1].get("columns")
        if not columns:
            raise ValueError(f"--workdir {workdir} was not trained on a table; write a .npz")
        write_table(output, as_columns(columns), arrays["x"])
    else:
        image_shape = run_dir.read()[1]["image_shape"]
        if not image_shape:
            raise ValueError(f"--workdir {workdir} was not trained on images; write a .npz")
        white = white_value(model, arrays["mean"])
        save_figure(samples_figure(as_images(arrays["mean"], image_shape, white)), output)
    results.files(output)
    return 0
