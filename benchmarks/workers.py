"""Training with several workers on this machine: `python -m benchmarks.workers`.

Each worker is a process on a core of its own; they talk over the loopback. Minibatches grow with
the workers (M each), so that without communication an update would take the same time for any
number. Writes `cost_workers.csv` and `cost_workers.png`, and prints what an update costs, what of
it is communication, and what that predicts for more workers over links of stated speeds.
"""

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks import data, floor
from benchmarks.environments import last_error

LINKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8, "100 Gbit/s": 1e11 / 8}
INTERVALS = 4  # rows of metrics.csv; the first holds the compilation and is left out


def all_reduce_bytes(parameters: int, workers: int) -> float:
    """Returns the bytes that each worker of a ring sends for one sum of the gradients."""
    return 2.0 * (workers - 1) / workers * 4 * parameters


def predicted_seconds(
    alone: float, overhead: float, parameters: int, workers: int, bandwidth: float
) -> float:
    """Returns an update's time with links of `bandwidth` bytes a second, their latency left out.

    Args:
        alone: seconds of a single worker's.
        overhead: what the fewest workers beyond one cost here, their loopback included.
        parameters: of the model.
        workers: how many.
        bandwidth: of each one's link.
    """
    return alone + overhead + all_reduce_bytes(parameters, workers) / bandwidth


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def wait_for_all(
    processes: Sequence[subprocess.Popen], logs: Sequence[Path], timeout: float
) -> None:
    """Waits for the workers; ends all when one fails, for the others wait for it.

    Args:
        processes: the workers.
        logs: what each of them says.
        timeout: in seconds.

    Raises:
        RuntimeError: if a worker fails, with its last error; or if the time is over.
    """
    until = time.monotonic() + timeout
    try:
        while True:
            codes = [process.poll() for process in processes]
            for index, code in enumerate(codes):
                if code:
                    error = last_error(logs[index].read_text(errors="replace"))
                    raise RuntimeError(f"worker {index} of {len(codes)}: {error}")
            if None not in codes:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"{len(codes)} workers took more than {timeout:g} seconds")
            time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()  # does nothing where it has ended
            process.wait()


def update_seconds(workers: int, options: argparse.Namespace, images: Path) -> float:
    """Trains with so many workers; returns the median seconds of an update.

    Raises:
        RuntimeError: if a worker fails, or they take too long.
    """
    cores = sorted(os.sched_getaffinity(0))
    addresses = _free_addresses(workers)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "tfp_aevb", "train", f"--workdir={folder}/run"),
            *(f"--dataset={images}", "--binarize=none", "--estimation=ml", "--optimizer=adam"),
            *(f"--hidden_units={options.hidden}", f"--latent_dim={options.latent_dim}"),
            *("--learning_rate=0.001", f"--batch_size={options.batch_size * workers}"),
            *(f"--eval_every={options.updates}", f"--steps={INTERVALS * options.updates}"),
            *("--noprogress", "--strategy=multi_worker"),
        ]
        processes, logs = [], []
        for index in range(workers):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            core = cores[index % len(cores)]
            pinned = ["taskset", "-c", str(core), *command]
            environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
            logs.append(Path(folder) / f"worker_{index}.log")
            with logs[-1].open("w") as log:
                processes.append(
                    subprocess.Popen(pinned, env=environment, stdout=subprocess.DEVNULL, stderr=log)
                )
        wait_for_all(processes, logs, options.timeout)
        with (Path(folder) / "run" / "metrics.csv").open() as file:
            speeds = [float(row["images_per_second"]) for row in csv.DictReader(file)][1:]
    return options.batch_size * workers / statistics.median(speeds)


def draw(seconds: dict[int, list[float]], batch_size: int) -> Figure:
    """Returns a picture of an update's time and the images a second by the number of workers.

    Args:
        seconds: number of workers -> an update's time in each round; with one worker among them.
        batch_size: M of each worker.
    """
    counts = sorted(seconds)
    alone = statistics.median(seconds[1])
    figure = Figure(figsize=(9.0, 3.5), layout="constrained")
    panels = (
        ("milliseconds an update", lambda count, time: 1e3 * time),
        ("images a second", lambda count, time: batch_size * count / time),
    )
    for plot, (label, value) in zip(figure.subplots(1, 2), panels, strict=True):
        for count in counts:
            shown = [value(count, time) for time in seconds[count]]
            plot.plot([count] * len(shown), shown, "o", color="C0", alpha=0.5)
        medians = [value(count, statistics.median(seconds[count])) for count in counts]
        free = [value(count, alone) for count in counts]
        plot.plot(counts, medians, "-", color="C0", label="median")
        plot.plot(counts, free, "--", color="0.4", label="if sums cost nothing")
        plot.set(xlabel="workers, a core each", ylabel=label, ylim=(0.0, None), xticks=counts)
        plot.legend(frameon=False)
    return figure


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder")
    parser.add_argument("--workers", default="1,2", help="numbers of workers; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds, of each run")
    for name, default in (
        *(("updates", 1000), ("hidden", 500), ("latent_dim", 20), ("batch_size", 100)),
        *(("num_data", 50_000), ("dim", 784), ("seed", 0)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    options = parser.parse_args()
    counts = [int(count) for count in options.workers.split(",")]
    path, _ = data.prepare(
        options.output.absolute(), None, options.num_data, options.dim, options.seed
    )
    parameters = floor.parameters(vars(options))
    rows = []
    for number in range(options.rounds):
        for workers in counts:
            seconds = update_seconds(workers, options, path)
            rows.append({"round": number, "workers": workers, "update_seconds": seconds})
            print(f"{workers} workers: {1000 * seconds:.2f} ms", file=sys.stderr)
    with (options.output / "cost_workers.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    times = {
        count: [row["update_seconds"] for row in rows if row["workers"] == count]
        for count in counts
    }
    if 1 in times:
        picture = draw(times, options.batch_size)
        picture.savefig(options.output / "cost_workers.png", dpi=150)
    median = {count: statistics.median(values) for count, values in times.items()}
    alone = median[min(counts)]
    several = [median[count] for count in sorted(counts) if count > 1]
    overhead = max(several[0] - alone, 0.0) if several else 0.0
    print(f"{parameters:,} parameters; M = {options.batch_size} a worker")
    for count, seconds in median.items():
        sent = all_reduce_bytes(parameters, count) / 1e6
        images = options.batch_size * count / seconds
        print(
            f"{count} workers: {1000 * seconds:.2f} ms an update, {images:,.0f} images/s; "
            f"{sent:.2f} MB sent by each, {1000 * (seconds - alone):.2f} ms more than alone"
        )
    for link, bandwidth in LINKS.items():
        seconds = predicted_seconds(alone, overhead, parameters, 8, bandwidth)
        images = 8 * options.batch_size / seconds
        print(f"8 workers, {link}: about {1000 * seconds:.2f} ms, {images:,.0f} images/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
