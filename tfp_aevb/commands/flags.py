"""absl flags of the verbs: parsing, help and one-line errors. Does not import TensorFlow."""

import contextlib
import dataclasses
import difflib
import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from absl import flags

from tfp_aevb.runs.settings.config import TrainConfig


class UsageError(Exception):
    """A mistake on the command line; its text is one line."""


TABLE_RULES = (
    (
        "extra_columns",
        "ignore",
        "columns of a table of --input that the run does not have: refuse the table, or ignore "
        "them",
    ),
    (
        "absent_columns",
        "missing",
        "columns of the run that a table of --input does not have: refuse the table, or take their "
        "cells as missing",
    ),
    (
        "unknown_category",
        "missing",
        "cells of a table of --input of a category that the run has not seen: refuse the table, or "
        "take them as missing",
    ),
)


def new_flags() -> flags.FlagValues:
    """Returns an empty set of flags, apart from absl's global one."""
    return flags.FlagValues()


def flags_of(command: ModuleType) -> flags.FlagValues:
    """Returns the flags of a verb: its module's own, and those that every verb has."""
    values = new_flags()
    command.define_flags(values)
    define_output_form(values)
    return values


def define_workdir(values: flags.FlagValues) -> None:
    """Defines `--workdir`, the folder of a run."""
    flags.DEFINE_string("workdir", None, "folder of the run (required)", flag_values=values)


def define_run(
    values: flags.FlagValues, *, compiles: bool = True, xla_default: str = "as the run was trained"
) -> None:
    """Defines `--workdir`, `--checkpoint` and `--[no]xla`, the flags of `load_run`.

    Args:
        values: where to.
        compiles: whether the verb compiles what it computes; see `check_without_xla`.
        xla_default: what it does without the flag, in words.
    """
    define_workdir(values)
    flags.DEFINE_enum(
        "checkpoint",
        "last",
        ("last", "best"),
        "the run's newest checkpoint, or of those kept the one with the best validation bound",
        flag_values=values,
    )
    what = f"; default: {xla_default}" if compiles else ", which this verb never does"
    default = None if compiles else False
    flags.DEFINE_boolean("xla", default, f"compile with XLA{what}", flag_values=values)


def define_output_form(values: flags.FlagValues) -> None:
    """Defines `--json` and `--quiet`, which every verb has."""
    flags.DEFINE_boolean(
        "json",
        False,
        "print the results as one JSON object (nats; null for what is not finite), not as text",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "quiet",
        False,
        "print results, warnings and errors only: no progress on stderr",
        flag_values=values,
    )


def check_without_xla(options: SimpleNamespace) -> None:
    """Raises a `UsageError` if `--xla` is given to a verb that compiles nothing."""
    if options.xla:
        raise UsageError("--xla is for verbs that compile what they compute; leave it out")


def define_table_rules(values: flags.FlagValues) -> None:
    """Defines what is done where a table of --input is not of the run's columns."""
    for name, choices, help_text in TABLE_RULES:
        flags.DEFINE_enum(name, "refuse", ("refuse", choices), help_text, flag_values=values)


def check_table_rules(options: SimpleNamespace) -> bool:
    """Returns whether --input is a table; without one there is nothing that the rules are for.

    Raises:
        UsageError: if a rule is given then.
    """
    from tfp_aevb.data.table_files import is_table_path

    is_table = is_table_path(options.input or "")
    given = [name for name, *_ in TABLE_RULES if getattr(options, name) != "refuse"]
    if given and not is_table:
        raise UsageError(f"--{given[0]} is for a table of --input; leave it out")
    return is_table


def define_train_config(values: flags.FlagValues) -> None:
    """Defines a flag for each field of `TrainConfig`, with its default."""
    for field in dataclasses.fields(TrainConfig):
        name = field.name
        default: Any = field.default
        help_text = field.metadata["help"]
        if isinstance(default, bool):
            flags.DEFINE_boolean(name, default, help_text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, help_text, flag_values=values)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, help_text, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(name, [str(v) for v in default], help_text, flag_values=values)
        elif field.metadata["choices"]:
            choices = field.metadata["choices"]
            flags.DEFINE_enum(name, default, choices, help_text, flag_values=values)
        else:
            flags.DEFINE_string(name, default, help_text, flag_values=values)


def parse(values: flags.FlagValues, argv: Sequence[str]) -> SimpleNamespace:
    """Parses the arguments of a verb.

    Returns:
        The flags' values by name; and `given`, the names of those that are not by default.

    Raises:
        UsageError: if an argument is unknown, lacks its value or has a wrong one.
    """
    try:
        # absl prints a warning of a flag file that names itself; reading it once is enough.
        with contextlib.redirect_stderr(io.StringIO()):
            rest = values(["tfp_aevb", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname.partition("=")[0]
        names = [known for known in values if len(known) > 1]
        near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
        hint = f"did you mean --{near[0]}?" if near else "see --help"
        shown = re.sub(r"[^!-~]", "?", name)  # nothing that a terminal obeys
        raise UsageError(f"unknown flag --{shown}; {hint}") from None
    except flags.CantOpenFlagFileError as error:
        raise UsageError(f"--flagfile: {str(error).partition('flagfile: ')[2]}") from None
    except flags.Error as error:
        text = " ".join(str(error).split()).replace("flag --", "--")
        text = re.sub(r"invalid literal for int\(\).*", "expected a whole number", text)
        text = re.sub(
            r"\(?['\"]?Non-boolean argument to boolean flag.*", "expected true or false", text
        )
        text = re.sub(r"could not convert string to float.*", "expected a number", text)
        wrong = re.match(r"--\w+=(.*): value should be one of <(.*)>", text)
        if wrong and (near := difflib.get_close_matches(wrong[1], wrong[2].split("|"), 1)):
            text += f"; did you mean {near[0]}?"
        raise UsageError(text) from None
    except UnicodeDecodeError:
        raise UsageError("--flagfile must name a text file of flags, one a line") from None
    if rest:
        raise UsageError(f"unexpected argument {rest[0]!r}; flags start with -- (see --help)")
    given = frozenset(name for name in values if values[name].present)
    return SimpleNamespace(**values.flag_values_dict(), given=given)


def train_config(options: SimpleNamespace) -> TrainConfig:
    """Returns the settings that the flags give.

    Raises:
        UsageError: if a setting is not valid.
    """
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(TrainConfig):
        value = getattr(options, field.name)
        if isinstance(field.default, tuple):
            value = whole_numbers(options, field.name)
        settings[field.name] = value
    try:
        return TrainConfig(**settings)
    except ValueError as error:
        raise UsageError(str(error)) from None


def require(options: SimpleNamespace, name: str) -> Any:
    """Returns the value of a flag that has to be given.

    Raises:
        UsageError: if it is not.
    """
    value = getattr(options, name)
    if not value:
        raise UsageError(f"--{name} is required; see --help")
    return value


def check_output(path: str | Path, suffixes: tuple[str, ...]) -> None:
    """Checks `--output` before the work whose result it is to take.

    Raises:
        UsageError: if its suffix is another, its folder is missing, or it is a folder.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise UsageError(f"--output must end in {' or '.join(suffixes)}, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; give a file")


def help_text(verb: str, summary: str, values: flags.FlagValues) -> str:
    """Returns the help of a verb: its flags with their meaning and defaults."""
    lines = [f"python -m tfp_aevb {verb} --flag=value ...", "", *textwrap.wrap(summary, 96), ""]
    groups = {field.name: field.metadata["group"] for field in dataclasses.fields(TrainConfig)}
    if not all(name in values for name in groups):  # few flags need no headings
        groups = {}
    names = sorted({flag.name for flag in values._flags().values()}, key=_order(values))
    shown = dict.fromkeys(groups.get(name, "basic") for name in names)
    for group in sorted(shown, key=["basic", *groups.values()].index):
        if len(shown) > 1:
            lines.append(f"{group}:" if group == "basic" else f"\n{group}:")
        for name in names:
            if groups.get(name, "basic") == group:
                lines += _flag_help(values[name])
    lines += ["", "  --flagfile=FILE", "      read flags from FILE, one a line; give it first:"]
    lines.append("      a later flag takes the place of an earlier one")
    return "\n".join(lines)


def _flag_help(flag: flags.Flag) -> list[str]:
    """Returns the lines that explain a flag."""
    switch = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    meaning = flag.help
    if isinstance(flag, flags.EnumFlag):
        switch += "={" + ", ".join(flag.parser.enum_values) + "}"
        meaning = meaning.partition(">: ")[2]
    lines = textwrap.wrap(switch, 96, initial_indent="  ", subsequent_indent=" " * 6)
    if flag.default is not None:
        meaning += f" (default: {_shown(flag)})"
    return lines + textwrap.wrap(meaning, 96, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _order(values: flags.FlagValues) -> Any:
    """The order of definition, which groups what belongs together."""
    names = [flag.name for flags_ in values.flags_by_module_dict().values() for flag in flags_]
    return names.index


def _shown(flag: flags.Flag) -> str:
    if isinstance(flag.default, list):
        return ",".join(flag.default) or "none"
    return str(flag.default).lower() if flag.boolean else str(flag.default)


def whole_numbers(options: SimpleNamespace, name: str) -> tuple[int, ...]:
    """Returns the value of a list flag as whole numbers.

    Raises:
        UsageError: if it is not.
    """
    values = getattr(options, name)
    try:
        return tuple(int(value) for value in values)
    except ValueError:
        raise UsageError(
            f"--{name} must be whole numbers, e.g. 500 or 200,200; got {','.join(values)!r}"
        ) from None
