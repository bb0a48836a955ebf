"""Times log p(x) by importance sampling: `python -m benchmarks.evaluation`. See README.md.

Runs every program with K samples and with few, for memory must not grow with K; prints a table and
writes `evaluation.md`, `.csv` and `.jsonl` (each single run) into the output folder.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import runner, table
from benchmarks.runner import Program, Record

REFERENCE = "tfp_aevb"
TOLERANCE = 0.5  # nats, of the mean of log p(x)

COLUMNS = (
    table.Column("images_per_second", "images/s", decimals=1),
    table.Column("bound", "log p(x), nats", decimals=2, ratio=False),
    table.Column("startup_seconds", "start-up, s", decimals=1),
    table.Column("peak_bytes", "peak memory, MB", scale=1e6),
    table.Column("few_images_per_second", "images/s, few samples", decimals=1),
    table.Column("memory_growth", "peak memory over that of few samples", decimals=2, ratio=False),
)

PROGRAMS = (
    Program(REFERENCE, "tfp_aevb", "ours", {"jit": True}),
    Program("tfp_aevb-eager", "tfp_aevb", "ours", {"jit": False}),
    Program("pythae", "pythae", "pythae_vae", {"nll_batch_size": 100}),
    Program("pythae-batch-500", "pythae", "pythae_vae", {"nll_batch_size": 500}),
    Program("pyro", "pyro", "pyro_svi"),
    Program("numpyro", "numpyro", "numpyro_svi"),
    Program("limit-torch", "pytorch", "limit_torch"),
    Program("limit-tensorflow", "tfp_aevb", "limit_tensorflow", {"jit": False}),
    Program("limit-xla", "tfp_aevb", "limit_tensorflow", {"jit": True}),
)


def join_sample_sizes(records: Sequence[Record], num_samples: int) -> list[Record]:
    """Makes one record of a program's two runs in a round: that with K samples and that with few.

    The first keeps its values; the second gives `few_images_per_second` and `memory_growth`, the
    ratio of the peaks. An error in either is an error.
    """
    few = {
        (record["program"], record["round"]): record
        for record in records
        if record["settings"]["num_samples"] != num_samples
    }
    joined = []
    for record in records:
        other = few.get((record["program"], record["round"]))
        if record["settings"]["num_samples"] != num_samples:
            continue
        record = dict(record)
        if other is not None and "error" in other:
            record.setdefault("error", other["error"])
        elif other is not None and "error" not in record:
            record["few_images_per_second"] = other["images_per_second"]
            record["memory_growth"] = record["peak_bytes"] / other["peak_bytes"]
        joined.append(record)
    return joined


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runner.add_arguments(parser, PROGRAMS)
    parser.add_argument("--samples", type=int, default=5000, help="K; default: %(default)s")
    parser.add_argument("--few_samples", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=100, help="scored; default: %(default)s")
    arguments = parser.parse_args()
    if not 1 <= arguments.images <= arguments.num_data:
        parser.error(f"`--images` must be from 1 to --num_data, got {arguments.images}")
    if not 1 <= arguments.few_samples < arguments.samples:
        parser.error(f"`--few_samples` must be from 1 to --samples, got {arguments.few_samples}")
    try:
        chosen, settings, execute = runner.prepare(arguments, PROGRAMS)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    settings |= {"task": "evaluate", "images": arguments.images}
    runs = [
        (program, {**settings, "num_samples": num_samples})
        for program in chosen
        for num_samples in (arguments.samples, arguments.few_samples)
    ]
    records = runner.run_rounds(runs, arguments.rounds, execute, arguments.seed)
    path = arguments.output / "evaluation"
    kept = runner.keep(records, path.with_suffix(".jsonl"))
    joined = join_sample_sizes(kept, arguments.samples)
    print(f"\nlog p(x) with {arguments.samples} samples, medians of {arguments.rounds} rounds\n")
    print(table.write(path, joined, COLUMNS, REFERENCE, TOLERANCE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
