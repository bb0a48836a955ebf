"""Writes docs/flags.md, the flags of every verb: `python docs/make_flags.py`.

The text is that of `--help`; a test compares the page with the program.
"""

import importlib
from pathlib import Path

from absl import flags

from tfp_aevb.commands.flags import new_flags
from tfp_aevb.commands.main import VERBS

PAGE = Path(__file__).with_name("flags.md")
HEAD = """# All flags

Written by `python docs/make_flags.py` from the flags of the program; a test compares. The same
text is in `python -m tfp_aevb VERB --help`. [The command line](commands.md) explains how to use the
verbs.

Every verb accepts three more: `--flagfile=FILE` reads flags from a file, `--json` prints the
results as one JSON object, and `--quiet` prints no progress.
"""


def page() -> str:
    """Returns the text of the page."""
    lines = [HEAD]
    for verb, summary in VERBS.items():
        values = new_flags()
        importlib.import_module(f"tfp_aevb.commands.{verb}").define_flags(values)
        lines += [f"## {verb}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        lines += ["| flag | meaning | default |", "|---|---|---|"]
        found = [flag for group in values.flags_by_module_dict().values() for flag in group]
        lines += [_row(flag) for flag in found] + [""]
    return "\n".join(lines)


def _row(flag: flags.Flag) -> str:
    name, meaning, default = f"--{flag.name}", flag.help, flag.default
    if isinstance(flag, flags.EnumFlag):
        meaning = meaning.partition(">: ")[2]
        meaning += " (" + ", ".join(f"`{value}`" for value in flag.parser.enum_values) + ")"
    if flag.boolean:
        name, default = f"--[no]{flag.name}", str(default).lower()
    if isinstance(default, list):
        default = ",".join(default)
    shown = "" if default in (None, "") else f"`{default}`"
    cells = (f"`{name}`", meaning, shown)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
