"""The settings of a run: one frozen, validated record. Does not import TensorFlow."""

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Any

from tfp_aevb.runs.settings.choices import SUPPORTS
from tfp_aevb.runs.settings.effects import unused
from tfp_aevb.runs.settings.record import Settings
from tfp_aevb.runs.settings.rules import check_together
from tfp_aevb.utils.files import from_home

MAX_SEED = 2**32 - 1
KINDS = {
    tuple: "whole numbers",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Everything that determines a run; each field is a flag of `train`.

    Raises:
        ValueError: one line naming the setting, the value and what is allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))
        for name in TUPLES:
            if any(number < 1 for number in getattr(self, name)):
                raise ValueError(f"--{name} must be positive, got {list(getattr(self, name))}")
        if self.learning_rate == 0.0:
            raise ValueError("--learning_rate must be positive, got 0")
        if self.seed > MAX_SEED:
            raise ValueError(f"--seed must be at most {MAX_SEED}, got {self.seed}")
        parse_variance(self.decoder_variance)
        path = from_home(self.dataset)  # to be found from any folder later
        is_file = path.suffix.lower() in (".npy", ".npz", ".csv")
        if is_file or (path / "dataset_info.json").is_file():
            object.__setattr__(self, "dataset", str(path.absolute()))
        if self.warm_start:
            object.__setattr__(self, "warm_start", str(from_home(self.warm_start).absolute()))
        bernoulli = self.likelihood == "bernoulli"
        if self.binarize is None:
            object.__setattr__(self, "binarize", "dynamic" if bernoulli else "none")
        check_together(self)

    @property
    def support(self) -> str:
        """The values an element of the data may take: see `Likelihood`."""
        if self.likelihood == "bernoulli" and self.allow_grey_bernoulli:
            return "unit"
        values = SUPPORTS[self.likelihood]
        return f"codes:{self.categories}" if values == "codes" else values

    @property
    def reads_pixels(self) -> bool:
        """Whether integers in files are pixels, to be divided by 255, not counts or codes."""
        return not self.support.startswith(("counts", "codes"))

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain JSON types."""
        values = dataclasses.asdict(self)
        return {**values, **{name: list(values[name]) for name in TUPLES}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Creates the config from `to_dict`'s result.

        Runs of earlier versions may hold settings that had no effect, which are refused now: they
        take their defaults.

        Raises:
            ValueError: if a setting is unknown or not valid.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown setting {name!r}{hint}")
        lists = {name: tuple(values[name]) for name in TUPLES if isinstance(values.get(name), list)}
        given = {**values, **lists}
        defaults = {name: field.default for name, field in fields.items()}
        for name in unused(dataclasses.fields(cls), {**defaults, **given}):
            _check_value(fields[name], given.pop(name, defaults[name]))
        return cls(**given)

    def differences(self, other: "TrainConfig") -> list[str]:
        """Names the settings in which a run of `other` could not be gone on with as this one."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if name not in RESUMABLE and mine[name] != theirs[name]]


def _check_value(field: dataclasses.Field, value: Any) -> None:
    choices, lower = field.metadata["choices"], field.metadata["lower"]
    if not _has_type(value, field.default):
        expected = KINDS.get(type(field.default), "text")
        raise ValueError(f"--{field.name} must be {expected}, got {value!r}")
    if choices and value is not None and value not in choices:
        raise ValueError(f"--{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if lower is not None and not (lower <= value < math.inf):
        raise ValueError(f"--{field.name} must be at least {lower:g}, got {value}")


def _has_type(value: Any, default: Any) -> bool:
    """Whether `value` is of the kind of a setting's default."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    if isinstance(default, float):
        return isinstance(value, float | int)
    if default is None:
        return value is None or isinstance(value, str)
    return isinstance(value, type(default))


def parse_variance(text: str) -> str | float:
    """Returns `per_pixel`, `global`, `scalar`, or the number in `text`.

    Raises:
        ValueError: if `text` is none of these, or not positive and finite.
    """
    if text in ("per_pixel", "global", "scalar"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise ValueError(
            f"--decoder_variance must be per_pixel, global, scalar or a positive number, got {text}"
        )
    return value


#: The settings that are tuples of whole numbers.
TUPLES = tuple(f.name for f in dataclasses.fields(TrainConfig) if isinstance(f.default, tuple))
#: Those that a resumed run may change: they do not change what is computed.
RESUMABLE = tuple(f.name for f in dataclasses.fields(TrainConfig) if f.metadata["resumable"])
