"""Flags of `reproduce` that only some experiments take."""

from types import SimpleNamespace

import pytest

from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.reproduce import FIGURES, _arguments

NOTHING = {"latent_dim": None, "methods": None, "num_scored": None, "init": "variance"}
GIVEN = {
    "latent_dim": ["3", "5"],
    "methods": ["aevb"],
    "num_scored": 200,
    "init": "stddev",
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("flag", GIVEN)
def test_a_flag_is_an_argument_or_refused(figure: str, flag: str) -> None:
    options = SimpleNamespace(**{**NOTHING, flag: GIVEN[flag]})
    argument = "latent_dims" if flag == "latent_dim" else flag
    if argument in FIGURES[figure][3]:
        value = {"latent_dim": (3, 5), "methods": ("aevb",)}.get(flag, GIVEN[flag])
        assert _arguments(options, figure) == {argument: value}
    else:
        with pytest.raises(flags_lib.UsageError, match=f"does not take --{flag}"):
            _arguments(options, figure)
