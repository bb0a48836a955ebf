"""Writes docs/combinations.md: `python docs/make_combinations.py`.

What goes together is asked of `TrainConfig`, so that the page says what the program does.
"""

from pathlib import Path

from tfp_aevb.runs.settings.choices import LIKELIHOODS, POSTERIORS, PRIORS, SUPPORTS
from tfp_aevb.runs.settings.config import TrainConfig

PAGE = Path(__file__).with_name("combinations.md")
VALUES = {
    "binary": "0 and 1",
    "unit": "[0, 1]",
    "open_unit": "(0, 1)",
    "levels": "0, 1/255, ..., 1 (8-bit pixels)",
    "codes": "0, 1, ..., K - 1 (`--categories`)",
    "counts": "0, 1, 2, ...",
    "real": "any",
    "table": "a column's own, or missing (`.csv` tables; not with `vamp`)",
}
HEAD = """# What goes together

Written by `python docs/make_combinations.py` from what `TrainConfig` accepts; a test compares.

`all`: every objective. `sampled`: every objective but `sgvb_b`, which needs a closed-form KL.
`refused`: the latents are not of one kind (in brackets), and a line as those below says so. Each
likelihood and each objective (`vimco`, `rws` and `f_divergence` with `--num_samples` of 2 or more)
goes with each pair that is not refused, but that `mixed` does not go with `vamp`.

`pytest -m slow tests/test_combinations.py` trains, saves, loads and exports combinations in which
each claimed pair of parts occurs.
"""


def page() -> str:
    """Returns the text of the page."""
    lines = [HEAD, "| q(z\\|x) and p(z) | " + " | ".join(map(_prior_name, PRIORS)) + " |"]
    lines.append("|---" * (len(PRIORS) + 1) + "|")
    first_refusals: dict[str, str] = {}
    for posterior, latents in POSTERIORS.items():
        cells = [_cell(prior, posterior) for prior in PRIORS]
        lines.append(f"| {posterior} ({latents}) | " + " | ".join(cells) + " |")
        for prior in PRIORS:
            refusal = _refusal(prior, posterior, "sgvb_a")
            if refusal:
                first_refusals.setdefault(latents, refusal)
    lines += ["", "Refused, the first for each kind of latents:", ""]
    lines += [f"- `{refusal}`" for refusal in first_refusals.values()]
    lines += ["", "| likelihood | elements of x |", "|---|---|"]
    lines += [f"| {name} | {VALUES[SUPPORTS[name]]} |" for name in LIKELIHOODS]
    return "\n".join(lines) + "\n"


def _prior_name(prior: str) -> str:
    return f"{prior} ({PRIORS[prior] or 'any'})"


def _cell(prior: str, posterior: str) -> str:
    if _refusal(prior, posterior, "sgvb_a"):
        return "refused"
    return "sampled" if _refusal(prior, posterior, "sgvb_b") else "all"


def _refusal(prior: str, posterior: str, objective: str) -> str | None:
    try:
        TrainConfig(prior=prior, posterior=posterior, objective=objective)
    except ValueError as error:
        return str(error)
    return None


if __name__ == "__main__":
    PAGE.write_text(page())
