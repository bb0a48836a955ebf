"""Tests of tfp_aevb.commands.flags."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from absl import flags

from tests.runs.settings.test_config import NEEDS, OTHER_VALUES
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.runs.settings.config import TrainConfig


def parsed(*arguments: str) -> SimpleNamespace:
    values = flags_lib.new_flags()
    flags_lib.define_workdir(values)
    flags_lib.define_train_config(values)
    return flags_lib.parse(values, arguments)


def flag_of(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"--{name}={text}"


def test_without_flags_the_settings_are_the_defaults() -> None:
    assert flags_lib.train_config(parsed()) == TrainConfig()


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_each_setting_has_a_flag(name: str) -> None:
    needed = NEEDS.get(name, {})
    settings = {**needed, name: OTHER_VALUES[name]}
    config = flags_lib.train_config(parsed(*(flag_of(*setting) for setting in settings.items())))
    if name == "likelihood":
        settings["binarize"] = "none"
    assert config == dataclasses.replace(TrainConfig(), **settings)


def test_values_have_the_settings_types() -> None:
    config = flags_lib.train_config(parsed("--learning_rate=1", "--checkpoint_secs=3"))
    assert isinstance(config.learning_rate, float)
    assert isinstance(config.hidden_units, tuple)
    assert flags_lib.train_config(parsed("--hidden_units=")).hidden_units == ()


def test_a_later_flag_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "a.flags"
    path.write_text("# comment\n\n--steps=3\n--seed=4\n")
    options = parsed("--steps=1", f"--flagfile={path}", "--seed=5")
    assert options.seed == 5
    assert parsed(f"--flagfile={path}", "--steps=1").steps == 1


def test_absl_s_global_flags_are_left_alone() -> None:
    parsed("--steps=3")
    assert "steps" not in flags.FLAGS
    assert "hidden_units" not in flags.FLAGS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stpes=3",), "unknown flag --stpes; did you mean --steps?"),
        (("--hidden_unit=3",), "unknown flag --hidden_unit; did you mean --hidden_units?"),
        (("--qqqqqq",), "unknown flag --qqqqqq; see --help"),
        (("--steps=1e3",), "--steps=1e3: expected a whole number"),
        (("--learning_rate=fast",), "--learning_rate=fast: expected a number"),
        (("--steps",), "Missing value for --steps"),
        (("train",), "unexpected argument 'train'; flags start with -- (see --help)"),
        (("--xla=maybe",), "--xla=maybe: expected true or false"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(flags_lib.UsageError) as error:
        parsed(*arguments)
    assert str(error.value) == message


def test_a_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(flags_lib.UsageError) as error:
        parsed("--likelihood=bernouli")
    for part in ("--likelihood=bernouli", "did you mean bernoulli?", "gaussian_sigmoid"):
        assert part in str(error.value)


def test_a_setting_that_is_not_valid_is_a_usage_error() -> None:
    with pytest.raises(flags_lib.UsageError, match="--latent_dim must be at least 1, got 0"):
        flags_lib.train_config(parsed("--latent_dim=0"))
    with pytest.raises(flags_lib.UsageError, match="--hidden_units must be whole numbers"):
        flags_lib.train_config(parsed("--hidden_units=16,5x"))


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_required_is_asked_for(value: str | None) -> None:
    with pytest.raises(flags_lib.UsageError, match="--workdir is required"):
        flags_lib.require(SimpleNamespace(workdir=value), "workdir")
    assert flags_lib.require(SimpleNamespace(workdir="x"), "workdir") == "x"


def test_help_names_each_flag_with_its_default() -> None:
    values = flags_lib.new_flags()
    flags_lib.define_train_config(values)
    text = flags_lib.help_text("train", "Summary.", values)
    for field in dataclasses.fields(TrainConfig):
        switch = f"--[no]{field.name}" if isinstance(field.default, bool) else f"--{field.name}"
        _, found, rest = text.partition(f"  {switch}")
        assert found, field.name
        meaning = " ".join(rest.partition("\n  --")[0].split())
        assert " ".join(field.metadata["help"].split())[:40] in meaning
        if field.default not in (None, ()):
            default = field.default
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
            shown = shown.lower() if isinstance(default, bool) else shown
            assert f"(default: {shown})" in meaning
    assert max(map(len, text.splitlines())) <= 140


def test_an_unknown_flag_of_control_characters_is_one_harmless_line() -> None:
    values = flags_lib.new_flags()
    with pytest.raises(flags_lib.UsageError) as caught:
        flags_lib.parse(values, ["-\n\x1b[2J"])
    assert str(caught.value) == "unknown flag --??[2J; see --help"
