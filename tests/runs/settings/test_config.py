"""Tests of tfp_aevb.runs.settings.config."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import assert_one_line
from tfp_aevb.runs.settings.config import RESUMABLE, TrainConfig, parse_variance
from tfp_aevb.runs.workdir import Workdir

OTHER_VALUES = {
    "dataset": "mnist",
    "columns": "a:real",
    "separator": ";",
    "weights": "w",
    "decimal": ",",
    "thousands": ",",
    "encoding": "latin-1",
    "missing_values": "-999,?",
    "header": False,
    "num_train": 17,
    "train_on_validation": True,
    "data_dir": "elsewhere",
    "stream": True,
    "shuffle_buffer": 77,
    "num_data": 5000,
    "binarize": "static",
    "allow_grey_bernoulli": True,
    "likelihood": "gaussian",
    "missing": "zero",
    "categories": 12,
    "decoder_variance": "0.5",
    "prior": "diagonal_normal",
    "prior_components": 3,
    "posterior": "full",
    "rank": 1,
    "flow_steps": 5,
    "latent_dim": 7,
    "upper_latent_dims": (4,),
    "upper_hidden_units": (6,),
    "hidden_units": (30, 20),
    "network": "conv",
    "activation": "relu",
    "init": "glorot",
    "output_bias": "data",
    "warm_start": "/runs/other",
    "method": "wake_sleep",
    "parameter_draws": "shared",
    "parameter_kl": "sampled",
    "chains": "fresh",
    "leapfrog_steps": 3,
    "e_step_updates": 2,
    "m_step_updates": 4,
    "objective": "sgvb_a",
    "num_samples": 4,
    "renyi_alpha": 0.25,
    "divergence": "pearson",
    "kl_weight": 2.0,
    "kl_warmup_steps": 100,
    "free_bits": 0.5,
    "estimation": "ml",
    "optimizer": "adam",
    "learning_rate": 0.125,
    "learning_rate_schedule": "cosine",
    "learning_rate_decay_steps": 55,
    "weight_decay": 0.01,
    "clip_norm": 3.0,
    "ema_momentum": 0.875,
    "batch_size": 13,
    "steps": 99,
    "patience": 3,
    "seed": 5,
    "precision": "mixed_bfloat16",
    "tf32": True,
    "strategy": "one",
    "xla": False,
    "eval_split": "test",
    "eval_every": 11,
    "checkpoint_secs": 2.5,
    "nan_policy": "restore",
    "tensorboard_images": False,
    "progress": False,
}
# Wake-sleep, and a sampled KL, take no weights of the KL; a stream cannot be added to.
KL_SETTINGS = ("kl_weight", "kl_warmup_steps", "free_bits")
TABLE = {"dataset": "a.csv", "likelihood": "mixed", "binarize": "none"}
# What a setting needs beside it.
NEEDS: dict[str, dict[str, Any]] = {
    "train_on_validation": {"eval_split": "test"},
    "columns": TABLE,
    "separator": TABLE,
    "weights": TABLE,
    "decimal": TABLE,
    "thousands": TABLE,
    "encoding": TABLE,
    "missing_values": TABLE,
    "header": TABLE,
    "shuffle_buffer": {"stream": True},
    "categories": {"likelihood": "categorical", "binarize": "none"},
    "decoder_variance": {"likelihood": "gaussian", "binarize": "none"},
    "prior_components": {"prior": "mixture", "objective": "sgvb_a"},
    "rank": {"posterior": "low_rank"},
    "flow_steps": {"posterior": "iaf", "objective": "sgvb_a"},
    "upper_latent_dims": {"objective": "sgvb_a"},
    "upper_hidden_units": {"upper_latent_dims": (4,), "objective": "sgvb_a"},
    "parameter_draws": {"method": "full_vb"},
    "parameter_kl": {"method": "full_vb", "parameter_draws": "shared"},
    "chains": {"method": "mcem"},
    "leapfrog_steps": {"method": "mcem"},
    "e_step_updates": {"method": "mcem"},
    "m_step_updates": {"method": "mcem"},
    "renyi_alpha": {"objective": "renyi"},
    "divergence": {"objective": "f_divergence", "num_samples": 2},
    "learning_rate_decay_steps": {"learning_rate_schedule": "cosine"},
}
TOGETHER = {
    name: value
    for name, value in OTHER_VALUES.items()
    if name not in (*KL_SETTINGS, "allow_grey_bernoulli")  # TOGETHER's likelihood is another
    and (name not in NEEDS or name in ("shuffle_buffer", "learning_rate_decay_steps"))
}
NAMES = [field.name for field in dataclasses.fields(TrainConfig)]


def test_every_setting_has_another_value_here() -> None:
    assert set(OTHER_VALUES) == set(NAMES)
    for name in NAMES:
        config = TrainConfig(**{**NEEDS.get(name, {}), name: OTHER_VALUES[name]})
        assert getattr(config, name) == OTHER_VALUES[name] != getattr(TrainConfig(), name)


def test_dict_survives_json_and_back() -> None:
    for config in (TrainConfig(), TrainConfig(**TOGETHER), TrainConfig(hidden_units=())):
        again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert isinstance(again.hidden_units, tuple)


def test_missing_settings_take_their_defaults() -> None:
    assert TrainConfig.from_dict({"latent_dim": 3}) == TrainConfig(latent_dim=3)


def test_unknown_settings_are_refused_with_the_nearest_name() -> None:
    assert_one_line(lambda: TrainConfig.from_dict({"latent_dims": 3}), ValueError, "'latent_dim'")
    assert_one_line(lambda: TrainConfig.from_dict({"qqq": 3}), ValueError, "'qqq'")


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("shuffle_buffer", "for a TFDS set read by --stream"),
        ("categories", "for --likelihood=categorical, not bernoulli"),
        ("columns", "for --likelihood=mixed, not bernoulli"),
        ("decoder_variance", "for --likelihood=gaussian, gaussian_sigmoid, not bernoulli"),
        ("prior_components", "for --prior=mixture, vamp, not standard_normal"),
        ("rank", "for --posterior=low_rank, not diagonal"),
        (
            "flow_steps",
            "for --posterior=iaf, realnvp, spline or --prior=flow, not diagonal and standard",
        ),
        ("upper_hidden_units", "for --upper_latent_dims"),
        ("parameter_draws", "for --method=full_vb, not aevb"),
        ("parameter_kl", "for --method=full_vb, not aevb"),
        ("chains", "for --method=mcem, not aevb"),
        ("leapfrog_steps", "for --method=mcem, not aevb"),
        ("e_step_updates", "for --method=mcem, not aevb"),
        ("m_step_updates", "for --method=mcem, not aevb"),
        ("renyi_alpha", "for --objective=renyi, not sgvb_b"),
        ("divergence", "for --objective=f_divergence, not sgvb_b"),
        ("learning_rate_decay_steps", "for --learning_rate_schedule=cosine, exp"),
    ],
)
def test_a_setting_without_effect_is_refused_but_at_its_default(name: str, purpose: str) -> None:
    make = lambda: TrainConfig(**{name: OTHER_VALUES[name]})  # noqa: E731
    shown = str(OTHER_VALUES[name])
    assert_one_line(make, ValueError, f"--{name} is {purpose}", shown, "leave it out")
    assert TrainConfig(**{name: getattr(TrainConfig(), name)}) == TrainConfig()
    # Earlier versions let it pass: such a run is that with the default.
    saved = {**TrainConfig().to_dict(), name: OTHER_VALUES[name]}
    assert TrainConfig.from_dict(json.loads(json.dumps(saved))) == TrainConfig()
    wrong = {**saved, name: [0.5]}
    assert_one_line(lambda: TrainConfig.from_dict(wrong), ValueError, f"--{name}", "0.5")


@pytest.mark.parametrize(
    ("settings", "purpose"),
    [
        (
            {"allow_grey_bernoulli": True, "likelihood": "gaussian", "binarize": "none"},
            "--allow_grey_bernoulli is for --likelihood=bernoulli, not gaussian",
        ),
        (
            {"posterior": "full", "method": "mcem"},
            "--posterior is for a method with an encoder, not mcem",
        ),
        (
            {"estimation": "ml", "method": "full_vb"},
            "--estimation is for a method with point estimates, not full_vb",
        ),
        (
            {"num_samples": 50, "method": "autoencoder"},
            "--num_samples is for a method that draws z, not autoencoder",
        ),
        (
            {"num_samples": 50, "method": "mean_only"},
            "--num_samples is for a method that draws z, not mean_only",
        ),
    ],
)
def test_a_setting_without_effect_beside_another_is_refused(settings: dict, purpose: str) -> None:
    assert_one_line(lambda: TrainConfig(**settings), ValueError, purpose)


def test_each_choice_that_a_setting_is_for_takes_it() -> None:
    assert TrainConfig(prior="flow", objective="sgvb_a", flow_steps=3).flow_steps == 3
    assert TrainConfig(prior="vamp", objective="sgvb_a", prior_components=3).prior == "vamp"
    assert TrainConfig(likelihood="gaussian_sigmoid", decoder_variance="1").binarize == "none"
    function = {"dataset": "module:function", "stream": True}
    assert_one_line(
        lambda: TrainConfig(**function, shuffle_buffer=5), ValueError, "--shuffle_buffer"
    )


def test_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().latent_dim = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_a_difference_unless_it_does_not_matter(name: str) -> None:
    base = TrainConfig(**{"binarize": "dynamic", **NEEDS.get(name, {})})
    changed = dataclasses.replace(base, **{name: OTHER_VALUES[name]})
    expected = [] if name in RESUMABLE else [name]
    assert changed.differences(base) == base.differences(changed) == expected


def test_only_what_changes_no_result_may_change_on_resuming() -> None:
    assert set(RESUMABLE) == {
        *("steps", "data_dir", "checkpoint_secs", "progress", "tensorboard_images", "nan_policy"),
        *("strategy", "patience"),
    }


@pytest.mark.parametrize(
    ("likelihood", "binarize"),
    [
        ("bernoulli", "dynamic"),
        ("continuous_bernoulli", "none"),
        ("gaussian", "none"),
        ("gaussian_sigmoid", "none"),
        ("student_t", "none"),
    ],
)
def test_binarisation_follows_the_likelihood_unless_given(likelihood: str, binarize: str) -> None:
    assert TrainConfig(likelihood=likelihood).binarize == binarize
    assert TrainConfig(likelihood=likelihood, binarize="static").binarize == "static"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", 2.5),
        ("latent_dim", "two"),
        ("hidden_units", (16, -1)),
        ("hidden_units", 16),
        ("batch_size", 0),
        ("steps", 0),
        ("steps", 10.5),
        ("eval_every", 0),
        ("num_samples", 0),
        ("prior_components", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", "fast"),
        ("checkpoint_secs", -1.0),
        ("likelihood", "cauchy"),
        ("categories", 1),
        ("rank", 0),
        ("flow_steps", 0),
        ("prior", "flat"),
        ("posterior", "sparse"),
        ("activation", "sin"),
        ("init", "zeros"),
        ("method", "hmc"),
        ("parameter_draws", "one"),
        ("parameter_kl", "none"),
        ("objective", "elbo"),
        ("renyi_alpha", 1.5),
        ("kl_weight", -1.0),
        ("free_bits", float("nan")),
        ("learning_rate_schedule", "warm"),
        ("learning_rate_decay_steps", 0),
        ("clip_norm", -1.0),
        ("estimation", "mcmc"),
        ("optimizer", "lion"),
        ("precision", "float16"),
        ("eval_split", "train"),
        ("nan_policy", "ignore"),
        ("binarize", "often"),
        ("decoder_variance", "0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(name: str, value: object) -> None:
    shown = str(list(value)) if isinstance(value, tuple) else str(value).removesuffix(".0")
    assert_one_line(lambda: TrainConfig(**{name: value}), ValueError, f"--{name}", shown)


def test_paths_are_made_absolute_from_home_and_in_any_case(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for given, expected in (
        ("~/counts.npy", "home/counts.npy"),
        ("X.NPY", "X.NPY"),
        ("~nobody-of-that-name/x.npz", "~nobody-of-that-name/x.npz"),
    ):
        assert TrainConfig(dataset=given).dataset == str(tmp_path / expected)
    config = TrainConfig(warm_start="~/run")
    assert config.warm_start == str(tmp_path / "home" / "run")
    assert Workdir("~/run").path == tmp_path / "home" / "run"


def test_widths_are_whole_numbers() -> None:
    assert_one_line(lambda: TrainConfig(hidden_units=(16.5,)), ValueError, "--hidden_units", "16.5")


def test_a_mixture_prior_has_no_closed_form_kl() -> None:
    assert_one_line(lambda: TrainConfig(prior="mixture"), ValueError, "--objective=sgvb_a")
    assert TrainConfig(prior="mixture", objective="sgvb_a").prior == "mixture"


def test_no_bound_of_what_was_trained_on_is_followed_as_validation() -> None:
    for settings in ({}, {"eval_split": "test", "stream": True}):
        assert_one_line(
            lambda settings=settings: TrainConfig(train_on_validation=True, **settings),
            ValueError,
            "--train_on_validation",
            "--eval_split=test",
        )


def test_full_variational_bayes_refuses_what_it_cannot_do() -> None:
    for settings, part in (
        ({"prior": "diagonal_normal"}, "--prior=standard_normal"),
        ({"parameter_kl": "sampled"}, "--parameter_draws=shared"),
    ):
        assert_one_line(
            lambda settings=settings: TrainConfig(method="full_vb", **settings), ValueError, part
        )


@pytest.mark.parametrize("method", ["autoencoder", "no_kl", "mean_only"])
def test_methods_without_a_part_of_the_bound_take_what_they_can_use(method: str) -> None:
    assert TrainConfig(method=method).objective == "sgvb_b"
    assert TrainConfig(method="no_kl", num_samples=2).num_samples == 2
    for settings, part in (
        ({"objective": "sgvb_a"}, "--objective=sgvb_b"),
        ({"prior": "diagonal_normal"}, "--prior=standard_normal"),
    ):
        assert_one_line(
            lambda settings=settings: TrainConfig(method=method, **settings),
            ValueError,
            f"--method={method}",
            part,
        )


@pytest.mark.parametrize("text", ["per_pixel", "global", "scalar"])
def test_named_variances_stay_names(text: str) -> None:
    assert parse_variance(text) == text


def test_variances_are_read_as_numbers() -> None:
    assert parse_variance("0.25") == 0.25
    for text in ("0", "-1", "nan", "inf", "", "pixel"):
        assert_one_line(lambda text=text: parse_variance(text), ValueError, "--decoder_variance")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"method": "full_vb", "objective": "iwae"}, ("--objective=iwae", "full_vb", "sgvb_b")),
        ({"method": "mcem", "kl_weight": 0.5}, ("--kl_weight", "mcem")),
        ({"objective": "dreg", "kl_warmup_steps": 9}, ("--kl_warmup_steps", "sgvb_b", "dreg")),
        ({"objective": "sgvb_a", "free_bits": 1.0}, ("--free_bits", "sgvb_b")),
        ({"objective": "vimco"}, ("vimco", "--num_samples", "1")),
    ],
)
def test_what_an_objective_does_not_take_is_refused(settings: dict, parts: tuple) -> None:
    assert_one_line(lambda: TrainConfig(**settings), ValueError, *parts)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"posterior": "unit"}, ("--posterior=unit", "--prior=vamp or uniform")),
        ({"prior": "dirichlet"}, ("--prior=dirichlet", "simplex", "standard_normal")),
        ({"posterior": "iaf"}, ("sgvb_b", "--posterior=iaf", "--objective=sgvb_a")),
        ({"prior": "flow"}, ("sgvb_b", "--prior=flow", "--objective=sgvb_a")),
        (
            {"posterior": "spline", "objective": "sgvb_a", "latent_dim": 1},
            ("--posterior=spline", "--latent_dim=2", "1"),
        ),
        ({"posterior": "low_rank", "rank": 21}, ("--rank", "(20)", "21")),
        (
            {"prior": "vamp", "objective": "sgvb_a", "method": "wake_sleep"},
            ("--prior=vamp", "--method=aevb", "wake_sleep"),
        ),
        (
            {"prior": "uniform", "posterior": "unit", "objective": "sgvb_a", "method": "mcem"},
            ("--method=mcem", "--prior=uniform", "--prior=standard_normal"),
        ),
        (
            {"likelihood": "poisson", "binarize": "dynamic"},
            ("--likelihood=poisson", "--binarize=none", "dynamic"),
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings: dict, parts: tuple) -> None:
    assert_one_line(lambda: TrainConfig(**settings), ValueError, *parts)


def test_the_support_follows_the_likelihood() -> None:
    assert TrainConfig().support == "binary"
    assert TrainConfig(allow_grey_bernoulli=True).support == "unit"
    assert TrainConfig(likelihood="categorical", categories=7).support == "codes:7"
    assert TrainConfig(likelihood="zero_inflated_poisson").support == "counts"
