"""Which prior, posterior, likelihood and objective go together. Does not import TensorFlow."""

from tfp_aevb.runs.settings.choices import (
    CLOSED_FORM,
    FLOWS,
    POSTERIORS,
    PRIORS,
    SUPPORTS,
)
from tfp_aevb.runs.settings.record import Settings


def check_parts(config: Settings) -> None:
    """Raises a `ValueError`, one line with advice, unless the parts of a model fit each other."""
    _check_latents(config)
    _check_levels(config)
    if config.prior == "vamp" and config.method != "aevb":
        raise ValueError(f"--prior=vamp needs --method=aevb, not {config.method}")
    if config.prior == "vamp" and config.likelihood == "mixed":
        raise ValueError(
            "--prior=vamp learns datapoints, which cannot be those of --likelihood=mixed; use "
            "--prior=mixture"
        )
    if config.method == "mcem" and PRIORS[config.prior] != "real":
        raise ValueError(
            f"--method=mcem needs latents over all reals, and those of --prior={config.prior} are "
            f"{PRIORS[config.prior]}; use --prior=standard_normal"
        )
    if config.objective == "sgvb_b":
        known = {"prior": sum(CLOSED_FORM.values(), ()), "posterior": tuple(CLOSED_FORM)}
        for part, choices in known.items():
            chosen = getattr(config, part)
            if chosen not in choices:
                raise ValueError(
                    f"--objective=sgvb_b needs a closed-form KL, and --{part}={chosen} has none; "
                    "use --objective=sgvb_a"
                )
    as_it_is = SUPPORTS[config.likelihood] in ("open_unit", "levels", "codes", "counts")
    if as_it_is and config.binarize != "none":
        raise ValueError(
            f"--likelihood={config.likelihood} takes the data as they are: it needs "
            f"--binarize=none, got {config.binarize}"
        )


def _check_latents(config: Settings) -> None:
    latents, prior_latents = POSTERIORS[config.posterior], PRIORS[config.prior]
    if prior_latents not in (None, latents):
        fitting = [name for name, where in PRIORS.items() if where in (None, latents)]
        raise ValueError(
            f"--posterior={config.posterior} has {latents} latents and --prior={config.prior} "
            f"{prior_latents} ones; use --prior={' or '.join(fitting)}"
        )
    needs_two = config.posterior in (*FLOWS, "simplex") or config.prior in ("flow", "dirichlet")
    if needs_two and config.latent_dim < 2:
        raise ValueError(
            f"--posterior={config.posterior} with --prior={config.prior} needs --latent_dim=2 or "
            "more, got 1"
        )
    if config.posterior == "low_rank" and config.rank > config.latent_dim:
        raise ValueError(
            f"--rank must be at most --latent_dim ({config.latent_dim}), got {config.rank}"
        )


def _check_levels(config: Settings) -> None:
    if not config.upper_latent_dims:
        return
    needed = {"method": "aevb", "prior": "standard_normal", "posterior": "diagonal"}
    for name, value in {**needed, "network": "mlp"}.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"--upper_latent_dims needs --{name}={value}, got {getattr(config, name)}"
            )
    if config.likelihood == "mixed":
        raise ValueError("--upper_latent_dims is not for --likelihood=mixed")
    if config.objective == "sgvb_b":
        raise ValueError(
            "--objective=sgvb_b needs a closed-form KL, and several stochastic layers have none; "
            "use --objective=sgvb_a"
        )
