"""The table, the advice and the JSON of a diagnosis, from numbers made up."""

import json

import numpy as np
import pytest

from tests.helpers import small_model
from tfp_aevb import layers
from tfp_aevb.evaluation.amortisation import InferenceGaps
from tfp_aevb.evaluation.diagnostics import LatentStatistics
from tfp_aevb.evaluation.examination import LATENTS_SHOWN, Diagnosis, notes_on
from tfp_aevb.evaluation.mmd import TwoSampleTest
from tfp_aevb.models.full_vb import FullVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM

USED, UNUSED = 0.8, 0.001


def diagnosis(
    variances: list[float],
    *,
    kl: bool = True,
    p_value: float = 0.4,
    gaps: tuple[float, float] | str = (3.0, 1.0),
) -> Diagnosis:
    noise = np.array([-0.1, 0.1, 0.0])
    latents = LatentStatistics(
        np.array(variances),
        2.0 * np.array(variances) if kl else None,
        4.0 + noise,
        70.0 + noise,
    )
    test = TwoSampleTest(0.0123, p_value, 1.5, (50, 50), 99)
    if isinstance(gaps, str):
        return Diagnosis(latents, test, gaps)
    elbo = -74.0 + noise
    refined = elbo + gaps[0] + noise
    return Diagnosis(latents, test, InferenceGaps(elbo, refined, refined + gaps[1] + noise))


def values_of(text: str) -> dict[str, list[str]]:
    """The words behind each name of the table."""
    return {line[:34].strip(): line[34:].split() for line in text.splitlines()}


def test_the_table_has_each_number() -> None:
    rows = values_of(diagnosis([USED, UNUSED, 0.02]).table())
    error = f"{0.1 / np.sqrt(3.0):.3f}"
    assert rows["active units (variance > 0.01)"] == ["2", "3", "latents"]
    assert rows["KL of a latent, least (nats)"][0] == "0.002"
    assert rows["KL of a latent, largest (nats)"][0] == "1.600"
    of = ["3", "datapoints"]
    assert rows["rate, KL(q(z|x) || p(z)) (nats)"] == ["4.000", error, *of]
    assert rows["distortion, -E log p(x|z) (nats)"] == ["70.000", error, *of]
    assert rows["bound, minus both (nats)"] == ["-74.000", f"{0.2 / np.sqrt(3.0):.3f}", *of]
    assert rows["MMD^2 of q(z) and p(z)"][0] == "0.01230"
    assert rows["p-value"] == ["0.4000", "99", "permutations"]
    assert rows["amortisation gap (nats)"] == ["3.000", error, *of]
    assert rows["approximation gap (nats)"] == ["1.000", error, *of]


def test_the_latents_are_listed_by_variance() -> None:
    lines = diagnosis([UNUSED, USED, 0.02]).table().splitlines()[-3:]
    assert [line.split() for line in lines] == [
        ["1", "0.8000", "1.600", "active"],
        ["2", "0.0200", "0.040", "active"],
        ["0", "0.0010", "0.002", "inactive"],
    ]
    many = diagnosis([USED] * (LATENTS_SHOWN + 5)).table().splitlines()
    assert many[-1] == "... and 5 of smaller variance"


def test_what_is_not_defined_is_said_in_the_table() -> None:
    rows = values_of(diagnosis([USED], kl=False, gaps="z has bounds").table())
    assert rows["KL of a latent (nats)"][:3] == ["-", "not", "defined:"]
    for name in ("amortisation gap (nats)", "approximation gap (nats)"):
        assert rows[name] == ["-", "not", "defined:", "z", "has", "bounds"]


@pytest.mark.parametrize(
    ("variances", "said"),
    [
        ([UNUSED, 0.0], ("Posterior collapse: no latent is active", "--init")),
        ([USED, UNUSED, UNUSED, USED],
         ("Partial posterior collapse: 2 of 4 latents", "at 0.004 nats", "--latent_dim=2")),
        ([USED, USED], ("All 2 latents are active", "--latent_dim")),
    ],
)  # fmt: skip
def test_collapse_is_named(variances: list[float], said: tuple[str, ...]) -> None:
    first = diagnosis(variances).advice()[0]
    for part in said:
        assert part in first
    assert ("collapse" in first) == (UNUSED in variances)


def test_an_aggregate_posterior_that_is_not_the_prior_is_named() -> None:
    assert "show no difference" in diagnosis([USED], p_value=0.01).advice()[1]
    line = diagnosis([USED], p_value=0.002).advice()[1]
    assert "is not the prior (p = 0.0020)" in line
    assert "--prior=mixture" in line


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ((3.0, 1.0), "deeper encoder"),
        ((1.0, 3.0), "--posterior=full"),
        ((0.05, 0.02), "Neither is clearly above 0"),
    ],
)
def test_the_larger_gap_decides_the_advice(gaps: tuple[float, float], said: str) -> None:
    line = diagnosis([USED], gaps=gaps).advice()[2]
    assert said in line
    assert f"{sum(gaps):.2f} nats below log p(x): {gaps[0]:.2f} are the encoder's" in line
    assert len(diagnosis([USED], gaps="none").advice()) == 2


@pytest.mark.compile
def test_models_that_are_fitted_otherwise_have_a_note() -> None:
    prior, likelihood = layers.StandardNormalPrior(2), layers.BernoulliLikelihood(6, (5,))
    encoder = layers.DiagonalGaussianPosterior(2, (5,))
    assert notes_on(small_model()) == ()
    (note,) = notes_on(FullVB(prior, encoder, likelihood, num_data=5))
    assert "rate" in note
    (note,) = notes_on(MonteCarloEM(prior, likelihood, num_data=5))
    assert "no encoder" in note
    found = diagnosis([USED])._replace(notes=(note,))
    assert found.advice() == [*diagnosis([USED]).advice(), note]


def test_the_dictionary_is_json_without_nan() -> None:
    def read(found: Diagnosis) -> dict:
        return json.loads(json.dumps(found.to_dict(), allow_nan=False))

    found = read(diagnosis([USED, UNUSED]))
    assert found["active_units"] == 1
    assert found["variance_of_posterior_means"] == [USED, UNUSED]
    assert found["rate"] == pytest.approx({"mean": 4.0, "standard_error": 0.1 / np.sqrt(3.0)})
    assert found["gaps"]["log_prob"]["mean"] == pytest.approx(-70.0)
    assert found["aggregate_posterior"]["p_value"] == 0.4
    assert found["advice"] == diagnosis([USED, UNUSED]).advice()
    one = diagnosis([USED], kl=False, gaps="because")
    one = one._replace(latents=one.latents._replace(rate=one.latents.rate[:1]))
    found = read(one)
    assert found["rate"]["standard_error"] is None
    assert found["kl_per_dimension"] is None
    assert (found["gaps"], found["gaps_not_defined"]) == (None, "because")
