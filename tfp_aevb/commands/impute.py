"""Restores missing, noisy or coarse datapoints with the model of a run: your own, or test ones.

Without --input, test datapoints are damaged by --task. Writes a .npz and, of images, a .png beside.
"""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.results import Results

METHODS = ("gibbs", "metropolis", "importance")
TASKS = ("missing_lower_half", "missing_random", "noise", "super_resolution")
SHOWN = 10
SHOWN_DRAWS = 5


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `impute`."""
    flags_lib.define_run(
        values,
        xla_default="as the run was trained; for a table without, for counts take it long",
    )
    flags.DEFINE_string(
        "input",
        None,
        ".npy or .npz (array x, and perhaps mask, true where x is observed) of datapoints [N, ...] "
        "as the likelihood sees them (but integers are divided by what the run's were, and "
        "binarised), NaN for what is missing; with --task=noise or super_resolution what these "
        "left of them; or a table of the run's columns",
        flag_values=values,
    )
    flags_lib.define_table_rules(values)
    flags.DEFINE_string(
        "output",
        None,
        ".npz to write (required): mean and stddev [N, D], draws [S, N, D], observed (NaN where "
        "missing), acceptance or effective_sample_size [N], original of test datapoints; of a "
        "table a .csv, completed by means and most probable values, with a file ending in "
        "_cells.csv beside, of uncertainty and draws for each missing cell",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "task", None, TASKS, "what happened, or is to happen, to the datapoints", flag_values=values
    )
    flags.DEFINE_float(
        "rate",
        None,
        "rate of the task: the share of rows, from below (default 0.5) or of pixels (0.5) that is "
        "missing; the share of binary pixels that noise flips, or its standard deviation (0.3)",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "count", SHOWN, "how many test datapoints", lower_bound=1, flag_values=values
    )
    flags.DEFINE_enum(
        "method",
        "metropolis",
        METHODS,
        "pseudo-Gibbs (biased by the encoder), Metropolis within Gibbs (with Hamiltonian Monte "
        "Carlo) or importance resampling",
        flag_values=values,
    )
    flags.DEFINE_integer("draws", 10, "draws for each datapoint", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "num_samples",
        None,
        "samples of z: in each draw's chain (default 200), or in all for importance (default 5000)",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "burn_in",
        100,
        "first steps of each chain that are not used",
        lower_bound=0,
        upper_bound=10**9,
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", None, "as for train; default: the run's", flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of damage and draws", lower_bound=0, flag_values=values)


def run(options: SimpleNamespace, results: Results) -> int:
    """Imputes; returns the exit code."""
    workdir = flags_lib.require(options, "workdir")
    output = Path(flags_lib.require(options, "output"))
    is_table = flags_lib.check_table_rules(options)
    flags_lib.check_output(output, (".csv",) if is_table else (".npz",))
    if not options.input and not options.task:
        raise flags_lib.UsageError("--input or --task is required; see --help")
    if is_table and options.task:
        raise flags_lib.UsageError("--task is not for a table; its empty cells are restored")
    if options.input and options.task in TASKS[:2]:
        raise flags_lib.UsageError(
            f"--task={options.task} damages test datapoints; in --input NaN or a mask say what is "
            "missing"
        )

    from tfp_aevb.commands.runtime import start

    start()
    import numpy as np

    from tfp_aevb import imputation
    from tfp_aevb.runs.data import as_seen
    from tfp_aevb.runs.finish import load_run, load_run_data
    from tfp_aevb.utils.files import write_atomically

    config, run_dir, model = load_run(workdir, options.checkpoint, options.xla)
    shape = tuple(run_dir.read()[1]["image_shape"])
    task: dict[str, Any] = {"rate": options.rate, "binary": imputation.is_binary(model)}
    originals, mask = None, None
    if is_table:
        return _impute_table(options, config, run_dir.read()[1], model, output, results)
    if options.input:
        record = run_dir.read()[1]
        x, mask = _read_input(Path(options.input), model.event_shape if not options.task else None)
        hidden = mask is not None and mask.shape == x.shape and mask.dtype == bool
        y = _as_seen(np.where(mask, x, 0) if hidden else x, options, config, record)
        channel = imputation.task_channel(options.task, shape, **task) if options.task else None
    else:
        dataset = load_run_data(config, run_dir, options.data_dir)
        originals = as_seen(dataset.test, dataset, options.count, options.seed)
        y, channel, _ = imputation.damage(originals, options.task, shape, seed=options.seed, **task)
    found = imputation.impute(model, y, mask=mask, channel=channel, **_settings(options))
    observed = np.where(mask, y, np.nan) if mask is not None else y
    arrays = {"observed": observed, **found._asdict()}
    if originals is not None:
        arrays["original"] = originals
    useful = {name: value for name, value in arrays.items() if not np.isnan(value).all()}
    write_atomically(output, lambda file: np.savez(file, **useful))
    results.files(output)
    _show_diagnostics(found, results)
    if shape:
        arrays["observed"] = imputation.spread(observed, channel, model.event_shape)
        results.files(_draw(arrays, shape, model, output.with_suffix(".png")))
    return 0


def _settings(options: SimpleNamespace) -> dict[str, Any]:
    """Returns the arguments of `impute` that flags give."""
    return {
        "method": options.method,
        "num_draws": options.draws,
        "num_samples": options.num_samples,
        "burn_in": options.burn_in,
        "seed": options.seed,
        "progress": True,
    }


def _show_diagnostics(found: Any, results: Results) -> None:
    import numpy as np

    for name in ("acceptance", "effective_sample_size"):
        values = getattr(found, name)
        if not np.isnan(values).all():
            low, middle = np.quantile(values, [0.0, 0.5])
            results.line(f"{name.replace('_', ' ')}: median {middle:.3g}, least {low:.3g}")
            results.add(**{name: {"median": middle, "least": low}})
    results.notes(found.notes())


def _impute_table(
    options: SimpleNamespace,
    config: Any,
    record: dict[str, Any],
    model: Any,
    output: Path,
    results: Results,
) -> int:
    """Completes a table; returns the exit code."""
    from tfp_aevb import imputation
    from tfp_aevb.data.columns import as_columns
    from tfp_aevb.imputation.completed import estimates, write_completed, write_uncertainty
    from tfp_aevb.runs.data import table_input

    rows, cells = table_input(options.input, config, record, options)
    y = rows.x
    columns = as_columns(record["columns"])
    # Without XLA unless asked: draws of counts take it long to compile.
    found = imputation.impute(model, y, jit_compile=bool(options.xla), **_settings(options))
    completed = estimates(columns, found)
    write_completed(output, cells, columns, completed)
    beside = output.with_name(f"{output.stem}_cells.csv")
    write_uncertainty(beside, y, columns, found)
    results.files(output, beside)
    _show_diagnostics(found, results)
    return 0


def _read_input(path: Path, event_shape: tuple[int, ...] | None) -> tuple[Any, Any]:
    """Returns x and its mask, if there is one, with datapoints of `event_shape` if given."""
    from tfp_aevb.data import npy

    if not path.is_file():
        raise FileNotFoundError(f"--input {path} does not exist or is no file")
    where = f"--input {path}"
    is_archive = path.suffix.lower() == ".npz"
    arrays = npy.read_archive(path, where) if is_archive else {"x": npy.read_file(path, where)}
    if "x" not in arrays or not set(arrays) <= {"x", "mask"}:
        raise ValueError(
            f"--input {path} holds arrays {sorted(arrays)}; expected x and perhaps mask"
        )
    x, mask = arrays["x"], arrays.get("mask")
    if event_shape and x.ndim > 1 and math.prod(x.shape[1:]) == math.prod(event_shape):
        x = x.reshape(len(x), *event_shape)
        if mask is not None and mask.size == x.size:
            mask = mask.reshape(x.shape)
    return x, mask


def _as_seen(x: Any, options: SimpleNamespace, config: Any, record: dict[str, Any]) -> Any:
    """Returns x as the likelihood sees it, which floats are: integers are scaled and binarised.

    What a task left of datapoints is scaled alone.
    """
    import numpy as np
    import tensorflow as tf

    from tfp_aevb.data.observations import read_values
    from tfp_aevb.runs.data import array_input, joined
    from tfp_aevb.utils.seeds import as_seed

    where = f"--input {options.input}"
    if x.dtype.kind not in "buif" or x.ndim < 2 or not x.size:
        return x  # refused where it is used
    if options.task:
        return x / np.float32(record.get("scale", 1.0)) if x.dtype.kind in "ui" else x
    found = joined(array_input(x, where, config, record, allow_missing=True))
    if x.dtype.kind not in "ui":
        return x
    seed = as_seed(options.seed)
    values = read_values(tf.constant(found.x), found.scale, found.dynamic_binarization, seed)
    return values.numpy().reshape(x.shape)


def _draw(arrays: dict[str, Any], shape: tuple[int, ...], model: Any, path: Path) -> Path:
    """Draws the first datapoints."""
    import numpy as np

    from tfp_aevb.figures import imputation_figure, save_figure
    from tfp_aevb.runs.images import white_value

    names = [name for name in ("original", "observed") if name in arrays]
    white = white_value(model, *(arrays[name][:SHOWN] for name in names))

    def images(name: str) -> np.ndarray:
        values = np.asarray(arrays[name])
        if name == "original":  # of data with gaps
            values = np.nan_to_num(values)
        lead = values.shape[:2] if name == "draws" else values.shape[:1]
        values = np.reshape(values, [*lead, *shape])
        shown = values[:SHOWN_DRAWS, :SHOWN] if name == "draws" else values[:SHOWN]
        # What is missing stays NaN.
        return shown if name == "stddev" else np.clip(shown / white, 0.0, 1.0)

    figure = imputation_figure(
        images("observed"),
        images("mean"),
        images("stddev"),
        images("draws"),
        images("original") if "original" in arrays else None,
    )
    return save_figure(figure, path)
