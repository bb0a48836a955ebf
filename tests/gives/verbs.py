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
# An example of each flag of `train`, and of the flags that mean the same to several verbs.
TRAIN = """
--activation=relu --allow_grey_bernoulli --batch_size=50 --binarize=dynamic --categories=4
--chains=fresh --checkpoint_secs=5 --clip_norm=1 --columns=age:real,smoker:binary --data_dir=data
--dataset=mine.npz --decimal=, --decoder_variance=global --divergence=kl_reverse --e_step_updates=2
--ema_momentum=0.99 --encoding=latin-1 --estimation=ml --eval_every=100 --eval_split=test
--flow_steps=3 --free_bits=0.5 --noheader --hidden_units=200,200 --init=glorot
--kl_warmup_steps=1000 --kl_weight=0.5 --latent_dim=10 --leapfrog_steps=5 --learning_rate=0.001
--learning_rate_decay_steps=1000 --learning_rate_schedule=cosine --likelihood=gaussian
--m_step_updates=2 --method=wake_sleep --missing=mask --missing_values=unknown --nan_policy=restore
--network=conv --num_data=60000 --num_samples=5 --num_train=1000 --objective=iwae --optimizer=adam
--output_bias=data --parameter_draws=shared --parameter_kl=sampled --patience=5 --posterior=full
--precision=mixed_bfloat16 --prior=mixture --prior_components=5 --noprogress --rank=3
--renyi_alpha=0.2 --seed=1 --separator=; --shuffle_buffer=1000 --steps=1000 --strategy=mirrored
--stream --notensorboard_images --tf32 --thousands=. --train_on_validation
--upper_hidden_units=50,50 --upper_latent_dims=5 --warm_start=runs/old --weight_decay=0.0001
--weights=count --workdir=runs/new --noxla --json --quiet
"""
SHARED = """
--absent_columns=missing --checkpoint=best --data_dir=data --dpi=75 --extra_columns=ignore
--format=pdf --json --num_datapoints=10 --num_samples=2 --quiet --seed=1 --split=train
--unknown_category=missing --workdir=runs/mine --noxla
"""
OWN = {
    "evaluate": "--estimator=importance,ais --input=mine.csv --output=scores.csv --weights=count",
    "figures": "--interpolations=2",
    "encode": "--input=mine.npy --output=codes.npz",
    "represent": "--num_train=1000 --output=table.csv",
    "diagnose": "--num_draws=100 --num_refined=10",
    "report": "--num_refined=10 --num_scored=50 --output=report.html",
    "sample": "--num=10 --output=draws.npz",
    "impute": "--burn_in=10 --count=5 --draws=3 --input=mine.npz --method=gibbs --output=full.npz "
    "--rate=0.3 --task=missing_random",
    "export": "--output=served",
    "reproduce": "--dataset=frey_face --figure=2 --init=stddev --latent_dim=3,20 "
    "--learning_rate=0.02 --methods=aevb --num_scored=100 --samples=100000",
}
RUN_DATA = "--data_dir is for the run's own data"
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
        ("--data_dir", "--workdir=w --input=x.csv --data_dir=d", RUN_DATA),
    ],
    "encode": [
        ("--output", "--workdir=w", "--output is required"),
        ("--split", "--workdir=w --output=x.npz --split=test --input=x.npy", "--input and --split"),
        ("--data_dir", "--workdir=w --output=x.npz --input=x.npy --data_dir=d", RUN_DATA),
    ],
    "impute": [
        ("--task", "--workdir=w --output=x.npz", "--input or --task is required"),
        ("--method", "--workdir=w --method=magic", "--method=magic: value should be one of"),
        ("--data_dir", "--workdir=w --input=x.npz --data_dir=d", RUN_DATA),
        ("--count", "--workdir=w --input=x.npz --count=3", "--count is for the run's test"),
        ("--rate", "--workdir=w --input=x.npz --rate=0.3", "--rate is for a --task"),
    ],
    "sample": [
        ("--num", "--workdir=w --num=0", "--num=0"),
        ("--xla", "--workdir=w --output=x.npz --xla", "--xla is for verbs that compile"),
    ],
    "figures": [
        ("--xla", "--workdir=w --xla", "--xla is for verbs that compile"),
    ],
    "export": [("--xla", "--workdir=w --xla", "--xla is for verbs that compile")],
    "reproduce": [
        ("--figure", "--workdir=w", "--figure is required"),
        (
            "--methods",
            "--workdir=w --figure=4 --methods=aevb",
            "--figure=4 does not take --methods",
        ),
    ],
    "diagnose": [
        ("--num_draws", "--workdir=w --num_draws=1", "--num_draws=1"),
    ],
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
    values = flags_lib.flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
    return sorted({flag.name for flag in values._flags().values()})


def parsed(verb: str, example: str) -> bool:
    """Returns whether the flag of an example is given by it; raises the line by which it is not."""
    values = flags_lib.flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
    try:
        flags_lib.parse(values, [example])
    except flags_lib.UsageError as error:
        raise ValueError(str(error)) from None
    return bool(values[_name(example)].present)


def read_by(verb: str) -> set[str]:
    """Returns the names that a verb's source reads of its options, or of the settings."""
    of_all = _attributes([PACKAGE / "commands" / "main.py"], "options")
    if verb == "train":
        paths = [path for path in PACKAGE.rglob("*.py") if path.name not in RECORDS]
        return {"workdir"} | of_all | _attributes(paths, "config")
    path = PACKAGE / "commands" / f"{verb}.py"
    found = of_all | _attributes([path], "options")
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


def examples_of(verb: str) -> dict[str, str]:
    """Returns an example of each flag that a verb is known to have, by the flag's name."""
    examples = TRAIN if verb == "train" else f"{SHARED} {OWN[verb]}"
    return {_name(example): example for example in examples.split()}


def _name(example: str) -> str:
    name = example.removeprefix("--").partition("=")[0]
    return name.removeprefix("no") if "=" not in example else name


def add(verb: str) -> None:
    """Adds a row for each flag of a verb, and for what is refused."""
    table = Table(f"verb {verb}", lambda: None, lambda **_: "")
    table.has(*(f"--{name}" for name in flags_of(verb)))
    read = read_by(verb)
    for name, example in examples_of(verb).items():
        if name not in flags_of(verb):
            continue
        is_read = name in read
        table.rows.append(
            Row(table.function, f"--{name}", f"`{example}`", "used", "",
                lambda example=example, is_read=is_read: (parsed(verb, example) and is_read, False))
        )  # fmt: skip
    wrong = [*REFUSED[verb], ("an unknown flag", "--colour=3", "unknown flag --colour")]
    for argument, flags, line in wrong:
        shown = " ".join(flag for flag in flags.split() if flag != "--workdir=w") or "nothing"
        table.rows.append(
            Row(table.function, argument, f"`{shown}`", "refused", line,
                lambda flags=flags: refused(verb, flags))
        )  # fmt: skip


for each in VERBS:
    add(each)
