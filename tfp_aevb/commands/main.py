"""Finds the verb, runs it, and turns what goes wrong into one line and an exit code."""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from tfp_aevb import __version__
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands import unused
from tfp_aevb.commands.results import Results
from tfp_aevb.utils import progress

VERBS = {
    "train": "fit a model, or resume a run",
    "evaluate": "score a run's model on a data set",
    "figures": "draw a run's pictures again",
    "encode": "write the codes of a run's data or of your own",
    "represent": "read labels off a run's codes, beside PCA and pixels",
    "diagnose": "examine a run's latents and where its bound loses",
    "report": "write a run as one web page, with a decoder to play with",
    "sample": "draw from a run's model",
    "impute": "restore missing, noisy or coarse datapoints with a run's model",
    "export": "write a run's model as a SavedModel",
    "reproduce": "run an experiment of the paper and draw its figure",
}

# What a user's input or machine can cause; anything else is a bug and keeps its traceback.
USER_ERRORS = (ValueError, OSError, NotImplementedError, FloatingPointError, MemoryError)


def main(argv: Sequence[str]) -> int:
    """Runs `VERB --flags` and returns the exit code: 0, 1 for a failure, 2 for wrong usage."""
    if len(argv) > 1 and argv[0] == "help":
        argv = [argv[1], "--help", *argv[2:]]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"tfp_aevb {__version__}")
        return 0
    verb, *arguments = argv
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(VERBS)}"
        return _fail(f"unknown verb {verb!r}; {hint}", 2)
    command: ModuleType = importlib.import_module(f"tfp_aevb.commands.{verb}")
    values = flags_lib.flags_of(command)
    if {"-h", "--help", "-help", "--helpfull", "--helpshort"} & set(arguments):
        print(flags_lib.help_text(verb, command.__doc__ or "", values))
        return 0
    try:
        options = flags_lib.parse(values, arguments)
        unused.check(verb, options)
        progress.set_quiet(options.quiet)
        results = Results(options.json)
        code = command.run(options, results)
        if code == 0:
            results.close()
        return code
    except flags_lib.UsageError as error:
        return _fail(f"{error}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # nobody reads the output any more
        raise
    except Exception as error:
        if not _is_of_the_user(error):
            raise
        if os.environ.get("TFP_AEVB_TRACEBACK"):
            traceback.print_exc()
        return _fail(str(error) or type(error).__name__, 1)


def run() -> int:
    """Runs the command line of this process, as the program `tfp-aevb`; returns the exit code.

    A closed pipe (`tfp-aevb train --help | head`) ends it quietly, with the code of SIGPIPE.
    """
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _is_of_the_user(error: Exception) -> bool:
    """Whether a user's input or machine caused the error; TensorFlow's own errors are for both."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        return True
    return isinstance(error, USER_ERRORS)


def _fail(message: str, code: int) -> int:
    print(f"tfp_aevb: {' '.join(message.split())}", file=sys.stderr)
    return code


def _overview() -> str:
    lines = ["python -m tfp_aevb VERB --flag=value ...", ""]
    lines += [f"  {verb:<11}{summary}" for verb, summary in VERBS.items()]
    lines += [
        "",
        "python -m tfp_aevb help VERB lists the flags of a verb; --version tells the version.",
    ]
    return "\n".join(lines)
