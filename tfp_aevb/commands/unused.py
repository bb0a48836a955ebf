"""Flags that a verb would do nothing with beside the others: refused where they are given."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import NamedTuple

from tfp_aevb.commands.flags import UsageError


class Unused(NamedTuple):
    """Flags without effect.

    Attributes:
        names: the flags.
        beside: whether they are without effect, from the values of all flags.
        purpose: what they are for.
    """

    names: tuple[str, ...]
    beside: Callable[[SimpleNamespace], bool]
    purpose: str


RUN_DATA = Unused(
    ("data_dir",),
    lambda options: bool(options.input),
    "the run's own data, which --input takes the place of",
)
RULES: Mapping[str, tuple[Unused, ...]] = {
    "evaluate": (RUN_DATA,),
    "encode": (RUN_DATA,),
    "impute": (
        RUN_DATA,
        Unused(
            ("count",),
            lambda options: bool(options.input),
            "the run's test datapoints; of --input each is restored",
        ),
        Unused(("rate",), lambda options: not options.task, "a --task"),
    ),
}


def check(verb: str, options: SimpleNamespace) -> None:
    """Checks that each flag given to a verb has an effect; `train` checks its settings itself.

    Raises:
        UsageError: if one has none beside the others.
    """
    for rule in RULES.get(verb, ()):
        for name in rule.names:
            if name in options.given and rule.beside(options):
                raise UsageError(f"--{name} is for {rule.purpose}; leave it out")
