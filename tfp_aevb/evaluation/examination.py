"""The diagnosis of a model's latents in a table, in plain words and in JSON."""

import math
from typing import Any, NamedTuple

import numpy as np

from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.amortisation import InferenceGaps, inference_gaps
from tfp_aevb.evaluation.diagnostics import (
    ACTIVE_ABOVE,
    LatentStatistics,
    aggregate_posterior_test,
    latent_statistics,
    mean_and_error,
    random_rows,
)
from tfp_aevb.evaluation.judgement import of_aggregate, of_gaps, of_latents
from tfp_aevb.evaluation.mmd import TwoSampleTest
from tfp_aevb.evaluation.scores import bound_note
from tfp_aevb.models.aevb import AEVB
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM

LATENTS_SHOWN = 30


class Diagnosis(NamedTuple):
    """What was found.

    Attributes:
        latents: how the latents are used.
        aggregate: of q(z) against p(z).
        gaps: the parts of log p(x) - bound on some datapoints, or in words why there are none.
        notes: what else is to be known of this model's numbers; see `notes_on`.
    """

    latents: LatentStatistics
    aggregate: TwoSampleTest
    gaps: InferenceGaps | str
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """Returns the numbers as lines of text."""
        latents, test = self.latents, self.aggregate
        lines = [f"{'':<34}{'value':>10}{'standard error':>17}  of"]

        def line(name: str, value: str, error: str = "", of: str = "") -> None:
            lines.append(f"{name:<34}{value:>10}{error:>17}  {of}".rstrip())

        def mean(name: str, values: np.ndarray) -> None:
            value, error = mean_and_error(values)
            shown = "-" if math.isnan(error) else f"{error:.3f}"
            line(name, f"{value:.3f}", shown, f"{len(values):,} datapoints")

        dimensions = f"{len(latents.variances)} latents"
        line(f"active units (variance > {ACTIVE_ABOVE})", f"{latents.active.sum()}", "", dimensions)
        if latents.kl is None:
            line("KL of a latent (nats)", "-", "", "not defined: q and p are no products with one")
        else:
            low, high = latents.kl.min(), latents.kl.max()
            line("KL of a latent, least (nats)", f"{low:.3f}", "", dimensions)
            line("KL of a latent, largest (nats)", f"{high:.3f}", "", dimensions)
        mean("rate, KL(q(z|x) || p(z)) (nats)", latents.rate)
        mean("distortion, -E log p(x|z) (nats)", latents.distortion)
        mean("bound, minus both (nats)", latents.elbo)
        line("MMD^2 of q(z) and p(z)", f"{test.mmd2:.5f}", "", f"{test.draws[0]} draws of each")
        line("p-value", f"{test.p_value:.4f}", "", f"{test.permutations} permutations")
        if isinstance(self.gaps, str):
            line("amortisation gap (nats)", "-", "", f"not defined: {self.gaps}")
            line("approximation gap (nats)", "-", "", f"not defined: {self.gaps}")
        else:
            mean("amortisation gap (nats)", self.gaps.amortisation)
            mean("approximation gap (nats)", self.gaps.approximation)
        return "\n".join([*lines, "", *self._latent_lines()])

    def _latent_lines(self) -> list[str]:
        """Returns a line for each latent of largest variance."""
        latents = self.latents
        lines = [f"{'latent':>6}{'variance of mean':>20}{'KL (nats)':>12}"]
        for j in np.argsort(-latents.variances, kind="stable")[:LATENTS_SHOWN]:
            kl = "-" if latents.kl is None else f"{latents.kl[j]:.3f}"
            active = "active" if latents.active[j] else "inactive"
            lines.append(f"{j:>6}{latents.variances[j]:>20.4f}{kl:>12}  {active}")
        if len(latents.variances) > LATENTS_SHOWN:
            lines.append(f"... and {len(latents.variances) - LATENTS_SHOWN} of smaller variance")
        return lines

    def advice(self) -> list[str]:
        """Returns what to make of the numbers, a sentence or two each."""
        latents, test = self.latents, self.aggregate
        lines = [of_latents(latents.active, latents.kl), of_aggregate(test.p_value, test.draws[0])]
        if isinstance(self.gaps, InferenceGaps):
            encoder, family = self.gaps.amortisation, self.gaps.approximation
            lines.append(of_gaps(mean_and_error(encoder), mean_and_error(family)))
        return [*lines, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON types; nats unless it says otherwise."""
        latents = self.latents
        found = {
            "datapoints": len(latents.rate),
            "active_units": int(latents.active.sum()),
            "active_above": ACTIVE_ABOVE,
            "variance_of_posterior_means": latents.variances.tolist(),
            "kl_per_dimension": None if latents.kl is None else latents.kl.tolist(),
            "rate": _summary(latents.rate),
            "distortion": _summary(latents.distortion),
            "elbo": _summary(latents.elbo),
            "aggregate_posterior": self.aggregate._asdict(),
            "advice": self.advice(),
        }
        if isinstance(self.gaps, str):
            return {**found, "gaps": None, "gaps_not_defined": self.gaps}
        names = ("elbo", "refined_elbo", "log_prob", "amortisation", "approximation")
        return {**found, "gaps": {name: _summary(getattr(self.gaps, name)) for name in names}}


def notes_on(model: AEVB) -> tuple[str, ...]:
    """Returns what is to be known of the numbers of models that are fitted otherwise."""
    if isinstance(model, FullVB):
        return ("Full variational Bayes: the rate has the decoder's parameters' share in it.",)
    if isinstance(model, MonteCarloEM):
        return (
            "Monte Carlo EM has no encoder: q(z|x) is fitted to each datapoint, and the "
            "amortisation gap is what that fit leaves.",
        )
    note = bound_note(model)
    return (note,) if note else ()


def diagnose(
    model: AEVB,
    x: Observations,
    *,
    num_samples: int = 1,
    num_draws: int = 500,
    num_refined: int = 100,
    seed: int = 0,
) -> Diagnosis:
    """Examines a model's latents on data.

    Args:
        model: the model.
        x: at least two datapoints.
        num_samples: of z for each datapoint's bound.
        num_draws: from the aggregate posterior and from the prior.
        num_refined: random datapoints whose q(z|x) is refined; 0 leaves the gaps out.
        seed: of all draws.

    Raises:
        ValueError: if there are fewer than two datapoints, or they do not fit the model.
    """
    gaps: InferenceGaps | str = "`num_refined` is 0"
    latents = latent_statistics(model, x, num_samples=num_samples, seed=seed)
    aggregate = aggregate_posterior_test(model, x, num_draws=num_draws, seed=seed)
    if num_refined:
        try:
            chosen = random_rows(x, num_refined, "diagnose/gaps", seed)
            gaps = inference_gaps(model, chosen, seed=seed)
        except NotImplementedError as error:
            gaps = str(error)
    return Diagnosis(latents, aggregate, gaps, notes_on(model))


def _summary(values: np.ndarray) -> dict[str, float | None]:
    mean, error = mean_and_error(values)
    # JSON has no NaN.
    return {
        "mean": mean if math.isfinite(mean) else None,
        "standard_error": error if math.isfinite(error) else None,
    }
