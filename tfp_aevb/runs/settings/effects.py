"""Which settings have an effect beside which others. Does not import TensorFlow."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfp_aevb.data.function_stream import is_function_name
from tfp_aevb.runs.settings.choices import ABLATIONS


class OnlyIf(NamedTuple):
    """Where a setting has an effect.

    Attributes:
        holds: whether it has one, from all settings by name.
        purpose: what the setting is for and what was chosen instead, from all settings by name.
    """

    holds: Callable[[Mapping[str, Any]], bool]
    purpose: Callable[[Mapping[str, Any]], str]


def chosen(**owners: tuple[str, ...]) -> OnlyIf:
    """Returns the condition that one of these settings has one of these values."""

    def purpose(settings: Mapping[str, Any]) -> str:
        purposes = (f"--{owner}={', '.join(choices)}" for owner, choices in owners.items())
        found = " and ".join(str(settings[owner]) for owner in owners)
        return f"{' or '.join(purposes)}, not {found}"

    return OnlyIf(
        lambda settings: any(settings[owner] in choices for owner, choices in owners.items()),
        purpose,
    )


UPPER_LEVELS = OnlyIf(
    lambda settings: bool(settings["upper_latent_dims"]),
    lambda _: "--upper_latent_dims, and there are none",
)
ENCODER = OnlyIf(
    lambda settings: settings["method"] != "mcem", lambda _: "a method with an encoder, not mcem"
)
POINT_ESTIMATES = OnlyIf(
    lambda settings: settings["method"] != "full_vb",
    lambda _: "a method with point estimates, not full_vb",
)
DRAWS_OF_Z = OnlyIf(
    lambda settings: ABLATIONS.get(settings["method"], (True, True))[0],
    lambda settings: f"a method that draws z, not {settings['method']}",
)
TFDS_STREAM = OnlyIf(
    lambda settings: settings["stream"] and not is_function_name(str(settings["dataset"])),
    lambda _: "a TFDS set read by --stream",
)


def unused(fields: tuple[dataclasses.Field, ...], settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns those settings that have no effect beside the others, and what each is for."""
    found = {}
    for field in fields:
        only_if = field.metadata["only_if"]
        if only_if is not None and not only_if.holds(settings):
            found[field.name] = only_if.purpose(settings)
    return found
