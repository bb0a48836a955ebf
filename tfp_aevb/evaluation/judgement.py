"""What numbers mean and what to do about them: the package's only place for such judgements.

Functions from numbers to sentences: what was seen, what it means, what to do. They end up in
`summary.json`, on the terminal and in the report. Does not import TensorFlow.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Of importance samples, and of draws along a chain; of annealed chains, which are few.
FEW_EFFECTIVE_SAMPLES = 10.0
FEW_EFFECTIVE_CHAINS = 2.0
LOW_ACCEPTANCE = 0.1
# The share of datapoints whose estimates may be doubtful without a word.
DOUBTFUL_SHARE = 0.05
# Nats of one latent: q(z|x) is then e^50 times narrower than p(z), or ten standard deviations off.
LARGE_KL = 50.0
SMALL_P = 0.01
STANDARD_ERRORS = 2.0
QUARTER_ROWS = 3  # rows of a quarter of a run, for its end to tell anything

REMEDIES = (
    "Try a tenth of the --learning_rate, --activation=tanh, --clip_norm=1 or --init=glorot, with "
    "another --workdir."
)


class Training(NamedTuple):
    """What is known at the end of a run; bounds are nats per datapoint.

    Attributes:
        steps: updates before each validation, [R].
        bounds: of the validations, [R].
        train: bound of the training data at the end.
        test: bound of the test data at the end.
        kl: its KL term.
        constants: the test bound of a model without latents; `None` if it is not known.
        num_elements: D, of a datapoint.
        num_latents: J.
        active: how many of the latents are active; `None` if it is not known.
        restores: after bounds that were not finite.
        followed: what the validations were on.
        stopped: whether training ended before all updates were done.
    """

    steps: Sequence[float]
    bounds: Sequence[float]
    train: float
    test: float
    kl: float
    constants: float | None
    num_elements: int
    num_latents: int
    active: int | None = None
    restores: int = 0
    followed: str = "validation"
    stopped: bool = False

    @property
    def best(self) -> tuple[float, float]:
        """The step of the best validation and its bound."""
        place = int(np.argmax(self.bounds))
        return self.steps[place], self.bounds[place]


def divergence(found: Training, remedies: str = REMEDIES) -> str:
    """Says that training ran away; empty if it did not.

    So it did if the bound ends far below that of constants, or below it after it was above.
    """
    worst = min(found.test, found.bounds[-1]) if len(found.bounds) else found.test
    step, best = found.best if len(found.bounds) else (0, found.test)
    reference = best if found.constants is None else found.constants
    # Where it is at its best it still rises, as with columns of a large offset: then farther.
    has_fallen = len(found.bounds) < 2 or not best - worst <= 0.01 * abs(best)
    times = 10.0 if has_fallen else 1e5
    is_far = not worst > reference - times * (abs(reference) + found.num_elements)
    # A few unusual rows in one of the two splits are no divergence: both must be below.
    both = max(found.test, found.bounds[-1]) if len(found.bounds) else found.test
    fell = found.constants is not None and both < found.constants - _slack(found.constants) < best
    if not is_far and not fell:
        return ""
    seen = f"it was {best:,.1f} at step {step:,.0f}" if best > worst else "it never rose"
    beside = ""
    if found.constants is not None:
        beside = f", and a model without latents has {found.constants:,.1f}"
    return (
        f"Training diverged: the bound ended at {worst:,.1f} nats, with a KL term of "
        f"{found.kl:,.1f}; {seen}{beside}. The model is good for nothing. {remedies}"
    )


def of_training(found: Training) -> list[str]:
    """Returns what is to be said of a run that did not diverge."""
    if divergence(found):
        return []
    notes = [*_of_fit(found), *_of_course(found)]
    if found.kl > LARGE_KL * found.num_latents:
        notes.append(
            f"The KL term is {found.kl:,.1f} nats, {found.kl / found.num_latents:,.0f} for each of "
            f"{found.num_latents} latents: q(z|x) is nowhere near p(z), so that draws from the "
            "model are not like the data. A smaller --learning_rate or --kl_warmup_steps can help."
        )
    if found.active == 0:
        notes.append(collapse())
    if found.restores:
        notes.append(
            f"The bound was not finite {found.restores} times, and training went on from a "
            "checkpoint: a smaller --learning_rate is safer."
        )
    return notes


def _slack(constants: float) -> float:
    """What a bound may lie below that of constants by chance."""
    return max(0.01 * abs(constants), 0.1)


def _of_fit(found: Training) -> list[str]:
    """Says whether the model has learned anything, and whether it holds on other data."""
    if found.constants is None:
        return []
    if found.test < found.constants - _slack(found.constants):
        return [
            f"The test bound, {found.test:,.1f} nats, is below that of a model without latents, "
            f"{found.constants:,.1f}: nothing is learned yet. Take more --steps, another "
            "--learning_rate, or --output_bias=data."
        ]
    gained, gap = found.train - found.constants, found.train - found.test
    if gap > 0.25 * gained and gap > _slack(found.constants):
        return [
            f"The test bound is {gap:,.1f} nats below the training bound, {gap / gained:.0%} of "
            "what training gained over a model without latents: it learned the training data by "
            "heart. More data, fewer --hidden_units or --patience can help."
        ]
    return []


def _of_course(found: Training) -> list[str]:
    """Says whether the run ended too early or too late."""
    bounds, quarter = np.asarray(found.bounds, np.float64), len(found.bounds) // 4
    if quarter < QUARTER_ROWS:
        return []
    # Of means over quarters: that they differ so much by chance is rare.
    noise = 4.0 * float(np.diff(bounds[-2 * quarter :]).std()) / math.sqrt(quarter)
    step, best = found.best
    reached = abs(best - bounds[0]) if best > bounds[0] else abs(best)
    means = np.convolve(bounds, np.ones(quarter), "valid") / quarter
    fall = float(means[:-quarter].max() - means[-1])
    if fall > max(0.05 * reached, noise):
        return [
            f"The {found.followed} bound has fallen by {fall:,.1f} nats since step {step:,.0f}: "
            "training went on too long. --checkpoint=best has its best step that was kept; "
            "--patience stops there."
        ]
    rise = float(bounds[-quarter:].mean() - bounds[-2 * quarter : -quarter].mean())
    if not found.stopped and rise > max(0.05 * reached, noise):
        return [
            f"The {found.followed} bound was still rising, by {rise:,.1f} nats from the third to "
            "the last quarter of the run: more --steps would go on with it."
        ]
    return []


def of_objective(objective: str, num_samples: int) -> list[str]:
    """Says that an objective of several draws has one."""
    if num_samples > 1 or objective not in ("iwae", "dreg", "renyi"):
        return []
    return [
        f"--objective={objective} with one draw ascends the evidence bound, as sgvb_a does: "
        "--num_samples=2 or more makes it tighter."
    ]


def of_estimates(
    estimator: str, num_samples: int, found: Mapping[str, np.ndarray], large_r_hat: float
) -> tuple[str, ...]:
    """Says how far estimates of log p(x) can be trusted.

    Args:
        estimator: `importance`, `hmc` or `ais`.
        num_samples: draws for each datapoint.
        found: [N] each, what the estimator tells of its draws: of `effective_sample_size`, `r_hat`
            and `acceptance` those it has.
        large_r_hat: chains have not met above it.
    """
    notes = []
    if estimator in ("hmc", "ais") and num_samples == 1:
        notes.append(f"One of {estimator}'s draws has nothing to be compared with: take more.")
    if "effective_sample_size" in found:
        notes.append(_of_weights(estimator, found["effective_sample_size"], num_samples))
    large = float((found["r_hat"] > large_r_hat).mean()) if "r_hat" in found else 0.0
    if large > DOUBTFUL_SHARE:
        notes.append(
            f"The chains of {large:.1%} of the datapoints have not met (R-hat above {large_r_hat}):"
            " their values are not to be trusted. Take more --num_samples, or compare with "
            "another --estimator."
        )
    acceptance = float(found["acceptance"].mean()) if "acceptance" in found else 1.0
    if acceptance < LOW_ACCEPTANCE:
        notes.append(
            f"{estimator} accepted {acceptance:.1%} of its moves: the chains stay where they began "
            "and the values say little of log p(x). Compare with another --estimator."
        )
    return tuple(note for note in notes if note)


def _of_weights(estimator: str, sizes: np.ndarray, num_samples: int) -> str:
    if estimator == "importance" and num_samples == 1:
        return (
            "With one sample importance sampling is the evidence bound, not log p(x): take more "
            "--num_samples."
        )
    annealed = estimator == "ais"
    least = FEW_EFFECTIVE_CHAINS if annealed else FEW_EFFECTIVE_SAMPLES
    few = float((sizes < least).mean())
    if few <= DOUBTFUL_SHARE:
        return ""
    other = "" if annealed else ", compare with --estimator=ais"
    return (
        f"The values of {few:.1%} of the datapoints rest on fewer than {least:g} effective "
        f"{'chains' if annealed else 'samples'} of {num_samples:,}: they are too low by an unknown "
        "amount, for the draws are few or q(z|x) is far from p(z|x) there. Take more "
        f"--num_samples{other}, or train longer or with a richer --posterior."
    )


def of_imputation(acceptance: np.ndarray, effective_sample_size: np.ndarray) -> list[str]:
    """Says how far draws of p(x|y) can be trusted; NaN is what a method does not tell."""
    notes = []
    if not np.isnan(acceptance).all():
        middle = float(np.nanmedian(acceptance))
        if middle < LOW_ACCEPTANCE:
            notes.append(
                f"Proposals from q(z|x) were accepted in {middle:.2%} of the steps: the chains "
                "moved by their Hamiltonian steps alone and may not have left where they began. "
                "Take more --num_samples and --burn_in, and compare with --method=importance."
            )
    if not np.isnan(effective_sample_size).all():
        few = float((effective_sample_size < FEW_EFFECTIVE_SAMPLES).mean())
        if few > DOUBTFUL_SHARE:
            notes.append(
                f"{few:.1%} of the datapoints rest on fewer than {FEW_EFFECTIVE_SAMPLES:g} "
                "effective samples: their draws are much the same and their standard deviations "
                "too small. Take more --num_samples, or --method=metropolis."
            )
    return notes


def collapse() -> str:
    """Says that no latent is used."""
    return (
        "Posterior collapse: no latent is active, so q(z|x) is much the same for every x "
        "and the decoder ignores z. Try a larger --learning_rate, "
        "more --steps, --init=glorot, or fewer --hidden_units."
    )


def of_latents(active: np.ndarray, kl: np.ndarray | None) -> str:
    """Says which latents are used: [J] bool, and their KL [J] in nats if it is known."""
    used, total = int(active.sum()), len(active)
    if not used:
        return collapse()
    if used == total:
        return f"All {total} latents are active: a larger --latent_dim may raise the bound."
    unused = "" if kl is None else f", at {kl[~active].sum():.3f} nats in all"
    return (
        f"Partial posterior collapse: {total - used} of {total} latents are inactive{unused}."
        f" The bound seems not to need them: --latent_dim={used} should do as well."
    )


def of_aggregate(p_value: float, num_draws: int) -> str:
    """Says whether q(z) is p(z), by a test on draws of both."""
    if p_value < SMALL_P:
        return (
            f"The aggregate posterior is not the prior (p = {p_value:.4f}): samples start from "
            "latents that the decoder did not learn on. A learned prior can come closer: "
            "--prior=diagonal_normal, or --prior=mixture --objective=sgvb_a."
        )
    return (
        f"{num_draws} draws show no difference between the aggregate "
        f"posterior and the prior (p = {p_value:.4f})."
    )


def of_gaps(encoder: tuple[float, float], family: tuple[float, float]) -> str:
    """Says where the bound loses: the two gaps' means and standard errors, nats."""
    parts = (
        f"The bound is {encoder[0] + family[0]:.2f} nats below log p(x): {encoder[0]:.2f} are the "
        f"encoder's and {family[0]:.2f} those of its family of distributions."
    )
    larger, error = max(encoder, family)
    if not larger > STANDARD_ERRORS * error:
        return f"{parts} Neither is clearly above 0."
    if encoder[0] >= family[0]:
        return f"{parts} A wider or deeper encoder, or more --steps, can win most of it."
    return f"{parts} A richer q(z|x) can win most of it: --posterior=full, or a flow of TFP's."
