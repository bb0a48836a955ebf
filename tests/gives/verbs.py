"""What a user gives to the verbs: each flag is read, and what does not go together is refused.

That a flag is read is seen in the sources: of a verb in its own module, of `train`, whose flags are
settings, in whatever works with a `TrainConfig`. What it does is tested with the verb.
"""

import ast
import contextlib
import importlib
import inspect
import io
from pathlib import Path

from tests.gives.table import Row, Table
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands.main import VERBS, main
from tfp_aevb.runs.report.build import ReportOptions

PACKAGE = Path(inspect.getfile(flags_lib)).parents[1]
# Where settings are defined, checked and compared, which is no use of them.
RECORDS = ("record.py", "effects.py", "config.py", "rules.py", "choices.py", "part_rules.py")
# Read through another name.
THROUGH = {
    "support": {"likelihood", "categories"},
    "is_streamed": {"stream"},
    "check_without_xla": {"xla"},
    "check_table_rules": {"extra_columns", "absent_columns", "unknown_category"},
}
# Commands that are refused before any work.
REFUSED: dict[str, list[tuple[str, str, str]]] = {
    "train": [
        (
            "--likelihood",
            "--workdir=w --likelihood=bernouli",
            "--likelihood=bernouli: value should be one of",
        ),
        ("--steps", "--workdir=w --steps=0", "--steps must be at least 1"),
        ("--rank", "--workdir=w --rank=3", "--rank is for --posterior=low_rank"),
        (
            "--kl_weight",
            "--workdir=w --kl_weight=2 --objective=iwae --num_samples=5",
            "--kl_weight, ",
        ),
        ("--columns", "--workdir=w --columns=a:real", "--columns is for --likelihood=mixed"),
    ],
    "evaluate": [
        ("--estimator", "--workdir=w --estimator=magic", "--estimator must be of"),
        ("--num_samples", "--workdir=w --num_samples=0", "--num_samples=0"),
        ("--split", "--workdir=w --split=test --input=x.csv", "--input and --split exclude"),
        ("--output", "--workdir=w --output=x.txt", "--output must end in .csv"),
    ],
    "encode": [
        ("--output", "--workdir=w", "--output is required"),
        ("--split", "--workdir=w --output=x.npz --split=test --input=x.npy", "--input and --split"),
    ],
    "impute": [
        ("--task", "--workdir=w --output=x.npz", "--input or --task is required"),
        ("--method", "--workdir=w --method=magic", "--method=magic: value should be one of"),
    ],
    "sample": [
        ("--num", "--workdir=w --num=0", "--num=0"),
        ("--xla", "--workdir=w --output=x.npz --xla", "--xla is for verbs that compile"),
    ],
    "figures": [("--xla", "--workdir=w --xla", "--xla is for verbs that compile")],
    "export": [("--xla", "--workdir=w --xla", "--xla is for verbs that compile")],
    "reproduce": [
        ("--figure", "--workdir=w", "--figure is required"),
        (
            "--methods",
            "--workdir=w --figure=4 --methods=aevb",
            "--figure=4 does not take --methods",
        ),
    ],
    "diagnose": [("--num_draws", "--workdir=w --num_draws=1", "--num_draws=1")],
    "represent": [("--output", "--workdir=w --output=x.txt", "--output must end in .csv")],
    "report": [("--output", "--workdir=w --output=x.txt", "--output must end in .html")],
}


def refused(verb: str, flags: str) -> None:
    """Runs a command that is to be refused, and raises the line on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main([verb, *flags.split()])
    if code:
        raise ValueError(said.getvalue().removeprefix("tfp_aevb: ").strip())


def flags_of(verb: str) -> list[str]:
    """Returns the names of a verb's flags."""
    values = flags_lib.new_flags()
    importlib.import_module(f"tfp_aevb.commands.{verb}").define_flags(values)
    return sorted({flag.name for flag in values._flags().values()})


def read_by(verb: str) -> set[str]:
    """Returns the names that a verb's source reads of its options, or of the settings."""
    if verb == "train":
        paths = [path for path in PACKAGE.rglob("*.py") if path.name not in RECORDS]
        return {"workdir"} | _attributes(paths, "config")
    path = PACKAGE / "commands" / f"{verb}.py"
    found = _attributes([path], "options")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", "")
            if name in ("require", "whole_numbers"):
                found.add(ast.literal_eval(node.args[1]))
            found |= THROUGH.get(name, set())
    return found | (set(ReportOptions._fields) if verb == "report" else set())


def _attributes(paths: list[Path], name: str) -> set[str]:
    """Returns the attributes read of whatever has `name` in its own."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and name in ast.unparse(node.value):
                found.add(node.attr)
                found |= THROUGH.get(node.attr, set())
    return found


def add(verb: str) -> None:
    """Adds a row for each flag of a verb, and for what is refused."""
    table = Table(verb, lambda: None, lambda **_: "")
    table.has(*(f"--{name}" for name in flags_of(verb)))
    read = read_by(verb)
    for name in flags_of(verb):
        outcome = (name, "") if name in read else ("", "")
        table.rows.append(
            Row(verb, f"--{name}", "any value", "used", "", lambda outcome=outcome: outcome)
        )
    wrong = [*REFUSED[verb], ("an unknown flag", "--colour=3", "unknown flag --colour")]
    for argument, flags, line in wrong:
        shown = " ".join(flag for flag in flags.split() if flag != "--workdir=w") or "nothing"
        table.rows.append(
            Row(verb, argument, f"`{shown}`", "refused", line,
                lambda flags=flags: refused(verb, flags))
        )  # fmt: skip


for each in VERBS:
    add(each)
