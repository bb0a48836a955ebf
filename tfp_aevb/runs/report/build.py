"""What a report says of a run, computed from its model and data."""

import json
import shlex
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfp_aevb import figures
from tfp_aevb.data.dataset import Dataset
from tfp_aevb.evaluation.diagnostics import ACTIVE_ABOVE
from tfp_aevb.evaluation.examination import diagnose
from tfp_aevb.evaluation.scores import DEFAULT_SAMPLES, Scorer, Scores
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.runs.data import as_seen, observations
from tfp_aevb.runs.finish import SPLITS, versions
from tfp_aevb.runs.pictures import make_figures
from tfp_aevb.runs.report import page
from tfp_aevb.runs.report.explorer import MAX_CODES, explorer_record
from tfp_aevb.runs.settings.choices import ABLATIONS
from tfp_aevb.runs.settings.config import TrainConfig
from tfp_aevb.runs.workdir import Workdir

CAPTIONS = {
    "learning_curves": "The bound, its reconstruction term and its KL term while training.",
    "reconstructions": "Test images, and the means of p(x|z) at the means of q(z|x).",
    "samples": "Means of p(x|z) at draws of z from the prior.",
    "manifold": "Means of p(x|z) over the plane of latents, by the prior's quantiles.",
    "encodings": "Means of q(z|x) of test data.",
}
NO_EXPLORER = (
    "No decoder in this page: it needs a prior over all of R^J, and an MLP for a Bernoulli, "
    "continuous Bernoulli, Gaussian or Student-t likelihood."
)


class ReportOptions(NamedTuple):
    """How much work a report may be.

    Attributes:
        num_datapoints: of each split for the bound, and for the diagnostics.
        num_scored: test datapoints whose log p(x) is estimated.
        num_samples: importance samples for each.
        num_refined: test datapoints whose q(z|x) is refined, for the amortisation gap.
        seed: of all draws.
    """

    num_datapoints: int = 1000
    num_scored: int = 200
    num_samples: int = DEFAULT_SAMPLES["importance"]
    num_refined: int = 50
    seed: int = 0


def build_report(
    config: TrainConfig,
    run: Workdir,
    model: AEVB,
    dataset: Dataset,
    options: ReportOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Returns a run's report: one HTML page that needs no network.

    Args:
        config: the run's settings.
        run: its folder.
        model: its model.
        dataset: its data.
        options: how much work it may be.
        say: told what is being done.
    """
    options = options or ReportOptions()
    say("scores")
    bounds, log_prob = _scores(model, dataset, options)
    say("diagnostics")
    x = observations(dataset.test, dataset)[: options.num_datapoints]
    diagnosis = diagnose(model, x, num_refined=options.num_refined, seed=options.seed)
    say("pictures")
    drawn = make_figures(model, dataset, run, config.eval_split, options.seed)
    test = bounds["test"]
    step = int(model.optimizer.iterations.numpy())
    # Without noise or KL term, what is ascended is no bound.
    aim = "aim" if config.method in ABLATIONS else "bound"
    title = f"{config.method} on {dataset.name}: test {aim} {test.mean:.2f} nats"
    sections = [
        page.paragraph(
            f"{model.latent_dim} latents, {config.likelihood} likelihood, {step:,} updates "
            f"of {config.batch_size} datapoints, seed {config.seed}."
        ),
        page.section("Bounds", _bounds_table(bounds, log_prob), *_notes(run, log_prob)),
        page.section("Learning curves", _captioned("learning_curves", drawn)),
    ]
    explorer = _explorer(model, dataset, options.seed)
    if explorer:
        sections.append(page.section("What the latents do", *explorer))
    pictures = [_captioned(name, drawn) for name in CAPTIONS if name != "learning_curves"]
    latents = diagnosis.latents
    use = figures.latent_use_figure(
        latents.variances, latents.active, latents.kl, threshold=ACTIVE_ABOVE
    )
    sections += [
        page.section("Pictures", *pictures),
        page.section(
            "Diagnostics",
            page.bullets(diagnosis.advice()),
            page.picture(use, "use of each latent"),
            page.preformatted(diagnosis.table()),
        ),
        page.section("Settings", *_settings(config, run)),
    ]
    return page.render(title, sections)


def _scores(
    model: AEVB, dataset: Dataset, options: ReportOptions
) -> tuple[dict[str, Scores], Scores]:
    bound = Scorer(model, "elbo", DEFAULT_SAMPLES["elbo"], options.seed)
    bounds = {
        name: bound(observations(getattr(dataset, name), dataset)[: options.num_datapoints])
        for name in SPLITS
    }
    test = observations(dataset.test, dataset)[: options.num_scored]
    return bounds, Scorer(model, "importance", options.num_samples, options.seed)(test)


def _bounds_table(bounds: dict[str, Scores], log_prob: Scores) -> str:
    rows = [_score_row(f"bound, {name}", scores) for name, scores in bounds.items()]
    rows.append(_score_row("log p(x), test, importance sampling", log_prob))
    header = ("nats per datapoint", "mean", "95% interval", "samples of z", "datapoints")
    return page.table(header, rows) + page.paragraph(
        f"Intervals are over datapoints and draws. Importance sampling: {log_prob.diagnostics}."
    )


def _notes(run: Workdir, log_prob: Scores) -> list[str]:
    """Returns what is doubtful about the run, as it was found at its end, and about log p(x)."""
    found = json.loads(run.summary.read_text()).get("notes", []) if run.summary.is_file() else []
    notes = [*found, *log_prob.notes]
    return [page.bullets(notes)] if notes else []


def _score_row(name: str, scores: Scores) -> tuple[str, ...]:
    interval = "-" if np.isnan(scores.half_width) else f"± {scores.half_width:.3f}"
    count = f"{len(scores.values):,}"
    return name, f"{scores.mean:.3f}", interval, f"{scores.num_samples:,}", count


def _captioned(name: str, drawn: dict) -> str:
    if name not in drawn:
        return ""
    return page.paragraph(CAPTIONS[name]) + page.picture(drawn[name], CAPTIONS[name])


def _explorer(model: AEVB, dataset: Dataset, seed: int) -> list[str]:
    x = as_seen(dataset.test, dataset, MAX_CODES, seed)
    codes = posterior_moments(model.encode(x))[0].numpy()
    labels = dataset.test.labels
    record = explorer_record(model, codes, labels, dataset.image_shape, seed)
    if record is None:
        return [page.paragraph(NO_EXPLORER)] if dataset.image_shape else []
    coloured = "" if labels is None else ", coloured by label"
    how = (
        f"Move over the plane of latents; dots are test data{coloured}."
        if model.latent_dim == 2
        else "Move the latents that vary most over the test data."
    )
    return [
        page.paragraph(f"{how} The picture is the mean of p(x|z), computed in this page."),
        page.explorer(record),
    ]


def _settings(config: TrainConfig, run: Workdir) -> list[str]:
    defaults = TrainConfig().to_dict()
    values = config.to_dict()
    seconds = figures.read_metrics(run.metrics)["seconds"][-1]
    rows = [
        (name, value if value is not None else "-", "" if value == defaults[name] else "set")
        for name, value in values.items()
    ]
    flags = [f"--flagfile={run.flags.absolute()}", f"--workdir={run.path.absolute()}"]
    data = {name: value for name, value in run.read()[1].items() if name != "sha256"}
    return [
        page.paragraph(
            f"Training took {seconds:.0f} s. This goes on with the run, from any folder:"
        ),
        page.preformatted(f"python -m tfp_aevb train {shlex.join(flags)}"),
        page.table(("setting", "value", ""), rows),
        page.paragraph("Data and versions:"),
        page.preformatted(json.dumps({"data": data, "versions": versions()}, indent=2)),
    ]
