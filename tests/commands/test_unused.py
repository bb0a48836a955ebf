"""Tests of tfp_aevb.commands.unused: flags that a verb would do nothing with."""

import importlib

import pytest

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands import unused
from tfp_aevb.commands.main import main


def check(verb: str, *arguments: str) -> None:
    values = flags_lib.flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
    unused.check(verb, flags_lib.parse(values, arguments))


@pytest.mark.parametrize(
    ("verb", "useless", "useful"),
    [
        ("evaluate", "--input=x.csv --data_dir=d", "--data_dir=d"),
        ("encode", "--input=x.npy --data_dir=d", "--data_dir=d"),
        ("impute", "--input=x.npy --data_dir=d", "--task=noise --data_dir=d"),
        ("impute", "--input=x.npy --count=10", "--task=noise --count=10"),
        ("impute", "--input=x.npy --rate=0.3", "--input=x.npy --task=noise --rate=0.3"),
    ],
)
def test_a_flag_without_effect_is_refused(
    verb: str, useless: str, useful: str, capsys: pytest.CaptureFixture
) -> None:
    name = useless.split()[-1].partition("=")[0]
    assert main([verb, "--workdir=w", *useless.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tfp_aevb: {name} is for ")
    assert error.count("\n") == 1
    check(verb, *useful.split())
    # By default, and not given, it is no mistake.
    check(verb, *useless.split()[:-1])


def test_the_rules_are_of_flags_that_the_verbs_have() -> None:
    for verb, rules in unused.RULES.items():
        values = flags_lib.flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
        assert {name for rule in rules for name in rule.names} <= set(values)
