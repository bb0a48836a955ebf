"""Figure 3: the marginal likelihood against training samples: AEVB, wake-sleep, Monte Carlo EM."""

from pathlib import Path
from typing import Any

from tfp_aevb.figures import bounds_figure, save_figure
from tfp_aevb.reproduction.runs import METHODS, curve_panels, limits_with_ends, write_csv
from tfp_aevb.reproduction.scored_runs import score_along, small_model_config
from tfp_aevb.utils.files import write_json

# Sizes of the training set. Monte Carlo EM keeps a chain for each datapoint, and "can't be applied
# efficiently" to all of MNIST.
METHODS_SHOWN: dict[int, tuple[str, ...]] = {
    1_000: ("aevb", "wake_sleep", "mcem"),
    50_000: ("aevb", "wake_sleep"),
}
NUM_SCORED = 1000


def run_figure3(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    methods: tuple[str, ...] = tuple(METHODS),
    step_size: float | None = None,
    num_train: tuple[int, ...] = tuple(METHODS_SHOWN),
    num_scored: int = NUM_SCORED,
) -> list[Path]:
    """Trains what Figure 3 needs (Figure 3), draws it and writes every plotted number.

    The estimates along the curves are Appendix D's, with 50 draws for each of the first thousand
    datapoints of either split; the last points are estimated by the bound, importance sampling and
    annealed importance sampling too.

    Args:
        dataset: `mnist` or `binarized_mnist`.
        samples: training samples of each curve. Monte Carlo EM's are those of its M-steps; each
            E-step goes through the decoder and back 11 times beside.
        workdir: holds the runs, `figure3_<dataset>.csv`, `.json` and `.png`. What is done is
            skipped, what is unfinished resumed.
        data_dir: as for `train`.
        methods: of `runs.METHODS`; left out where the paper has no curve.
        step_size: Adagrad's; by default chosen by the paper's rule, for each run.
        num_train: keys of `METHODS_SHOWN`, a panel each.
        num_scored: datapoints of the train and of the test set to estimate log p(x) for.

    Returns:
        The files written.
    """
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    stem = workdir / f"figure3_{dataset}"
    for count in num_train:
        for method in [name for name in METHODS_SHOWN[count] if name in methods]:
            config = small_model_config(dataset, count, samples, data_dir=data_dir, method=method)
            folder = workdir / dataset / f"{method}-map-n{count}"
            found, record = score_along(
                config,
                folder,
                num_scored,
                {"hmc": 50},
                {"elbo": 1, "importance": 5000, "ais": 20},
                step_size=step_size,
            )
            rows += found
            records.append(record)
            # After each run, so that nothing is lost of a long experiment.
            write_csv(stem.with_suffix(".csv"), rows)
            write_json(stem.with_suffix(".json"), {"runs": records})
            _draw(rows, stem.with_suffix(".png"))
    return [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png")]


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    points = [
        (f"N = {row['num_train']:,}", METHODS[row["method"]], row["split"], row)
        for row in rows
        if row["estimator"] == "hmc"
    ]
    panels = curve_panels((*key, row["samples"], row["nats"]) for *key, row in points)
    figure = bounds_figure(
        panels,
        xscale="linear",
        xlim=(0.0, 1.02 * max(row["samples"] for row in rows)),
        ylim=limits_with_ends(panels, (-160.0, -100.0)),
        ylabel="marginal log-likelihood (nats)",
    )
    save_figure(figure, path)
