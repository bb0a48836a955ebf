"""Which settings of a run go together. Does not import TensorFlow."""

import dataclasses
from pathlib import Path

from tfp_aevb.runs.settings.choices import ABLATIONS
from tfp_aevb.runs.settings.effects import unused
from tfp_aevb.runs.settings.part_rules import check_parts
from tfp_aevb.runs.settings.record import Settings

PAPER_OBJECTIVES = ("sgvb_a", "sgvb_b", "score_function")


def check_together(config: Settings) -> None:
    """Raises a `ValueError`, one line with advice, unless the settings suit each other."""
    _check_data(config)
    _check_method(config)
    _check_objective(config)
    _check_networks(config)
    check_parts(config)
    for name, purpose in unused(dataclasses.fields(config), vars(config)).items():
        value = getattr(config, name)
        if value != getattr(type(config), name):  # its default
            raise ValueError(f"--{name} is for {purpose}; leave it out, got {value}")


def _check_data(config: Settings) -> None:
    if config.train_on_validation and (config.is_streamed or config.eval_split != "test"):
        raise ValueError(
            "--train_on_validation needs data in memory, not a stream, and --eval_split=test"
        )


def _check_method(config: Settings) -> None:
    if config.method == "full_vb":
        if config.prior != "standard_normal":
            raise ValueError("--method=full_vb needs --prior=standard_normal")
        if config.parameter_kl == "sampled" and config.parameter_draws != "shared":
            raise ValueError("--parameter_kl=sampled needs --parameter_draws=shared")
    if config.method == "mcem" and (config.is_streamed or config.num_data):
        raise ValueError(
            "--method=mcem keeps a chain for each datapoint: it needs them in memory and takes "
            "no --num_data"
        )
    if config.method == "mcem" and config.strategy in ("mirrored", "multi_worker"):
        raise ValueError(
            "--method=mcem keeps a chain for each datapoint on one device: use --strategy=one"
        )
    if config.method in ABLATIONS:
        if config.objective != "sgvb_b":
            raise ValueError(
                f"--method={config.method} has its KL in closed form: it needs --objective=sgvb_b"
            )
        if config.prior != "standard_normal":
            raise ValueError(f"--method={config.method} needs --prior=standard_normal")


def _check_objective(config: Settings) -> None:
    weighs_kl = config.kl_weight != 1.0 or config.kl_warmup_steps or config.free_bits
    if config.method != "aevb":
        if config.objective not in PAPER_OBJECTIVES:
            raise ValueError(
                f"--objective={config.objective} needs --method=aevb, not {config.method}; the "
                f"others take {', '.join(PAPER_OBJECTIVES)}"
            )
        if weighs_kl:
            raise ValueError(
                "--kl_weight, --kl_warmup_steps and --free_bits need --method=aevb, not "
                f"{config.method}"
            )
    if weighs_kl and config.objective not in ("sgvb_a", "sgvb_b"):
        raise ValueError(
            "--kl_weight, --kl_warmup_steps and --free_bits need --objective=sgvb_a or sgvb_b, "
            f"not {config.objective}"
        )
    if config.free_bits and config.objective == "sgvb_a":
        raise ValueError("--free_bits needs the KL in closed form: --objective=sgvb_b")
    if config.objective in ("vimco", "rws", "f_divergence") and config.num_samples < 2:
        raise ValueError(f"--objective={config.objective} needs --num_samples=2 or more, got 1")
    if config.renyi_alpha > 1.0:
        raise ValueError(f"--renyi_alpha must be at most 1, got {config.renyi_alpha}")


def _check_networks(config: Settings) -> None:
    is_table = Path(config.dataset).suffix.lower() == ".csv"
    if is_table != (config.likelihood == "mixed"):
        raise ValueError(
            "a .csv table needs --likelihood=mixed, and that a table; got "
            f"--dataset={config.dataset} --likelihood={config.likelihood}"
        )
    if config.network == "conv" and (config.method == "full_vb" or is_table):
        what = "a table" if is_table else "--method=full_vb"
        raise ValueError(f"--network=conv is for images and point estimates, not for {what}")
    if is_table and config.missing != "refuse":
        raise ValueError(
            "--missing is for arrays: a table's missing cells are always marginalised, with a mask "
            "for the encoder; leave it out"
        )
    without_mlp = config.network == "conv" or config.upper_latent_dims or config.method == "mcem"
    if config.missing == "mask" and without_mlp:
        raise ValueError(
            "--missing=mask puts the mask beside the data of one MLP: it is not for "
            "--network=conv, --upper_latent_dims or --method=mcem; use --missing=zero"
        )
    if config.ema_momentum >= 1.0:
        raise ValueError(f"--ema_momentum must be below 1, got {config.ema_momentum}")
