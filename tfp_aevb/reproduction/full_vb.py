"""Full variational Bayes beside maximum likelihood and MAP: what the paper leaves to the future."""

from pathlib import Path
from typing import Any

from tfp_aevb.figures import bounds_figure, save_figure
from tfp_aevb.reproduction.runs import curve_panels, write_csv
from tfp_aevb.reproduction.scored_runs import score_along, small_model_config
from tfp_aevb.utils.files import write_json

NUM_TRAIN = 1000
NUM_SCORED = 1000
METHODS_SHOWN = {
    "ML": {"method": "aevb", "estimation": "ml"},
    "MAP": {"method": "aevb", "estimation": "map"},
    "Full VB": {"method": "full_vb"},
}
# A model of 1,000 images has an encoder that fails on others, and importance sampling with it.
ESTIMATORS = {"elbo": 1, "importance": 1000, "hmc": 50}
PANELS = {
    "elbo": "lower bound",
    "importance": "log p(x), importance sampling",
    "hmc": "log p(x), Appendix D",
}


def run_full_vb(
    dataset: str,
    samples: int,
    workdir: Path,
    *,
    data_dir: str | None = None,
    step_size: float | None = None,
    num_scored: int = NUM_SCORED,
) -> list[Path]:
    """Trains the model of Figure 3 on 1,000 images by ML, MAP and full VB (Appendix F).

    The first thousand training and test datapoints are scored along the way by the lower bound,
    by importance sampling and by Appendix D's estimator. Full VB's bound holds its parameters'
    term too; its importance sampling draws parameters for each z, and estimates the predictive
    p(x); Appendix D takes them at their means.

    Arguments are those of `run_figure3`.

    Returns:
        `full_vb_<dataset>.csv`, `.json` and `.png`.
    """
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    stem = workdir / f"full_vb_{dataset}"
    for name, settings in METHODS_SHOWN.items():
        config = small_model_config(dataset, NUM_TRAIN, samples, data_dir=data_dir, **settings)
        folder = workdir / dataset / f"{config.method}-{config.estimation}-n{NUM_TRAIN}-full_vb"
        found, record = score_along(
            config,
            folder,
            num_scored,
            ESTIMATORS,
            {},
            step_size=step_size,
        )
        rows += [{"name": name, **row} for row in found]
        records.append(record)
        write_csv(stem.with_suffix(".csv"), rows)
        write_json(stem.with_suffix(".json"), {"runs": records})
        _draw(rows, stem.with_suffix(".png"))
    return [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png")]


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    panels = curve_panels(
        (PANELS[row["estimator"]], row["name"], row["split"], row["samples"], row["nats"])
        for row in rows
    )
    xlim = (0.0, 1.02 * max(row["samples"] for row in rows))
    figure = bounds_figure(panels, xscale="linear", xlim=xlim, ylabel="nats per datapoint")
    save_figure(figure, path)
