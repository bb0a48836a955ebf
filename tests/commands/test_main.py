"""Tests of tfp_aevb.commands.main: verbs, help, exit codes."""

import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tfp_aevb import __version__
from tfp_aevb.commands import flags as flags_lib
from tfp_aevb.commands import train
from tfp_aevb.commands.main import VERBS, main
from tfp_aevb.commands.results import Results

HEAVY = ("tensorflow", "tf_keras", "tensorflow_probability", "matplotlib", "mlxtend", "scipy")


def test_the_verbs() -> None:
    assert {"train", "evaluate", "figures", "sample", "export"} <= VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_flags_of_the_verb_alone(verb: str, capsys) -> None:
    assert main([verb, "--workdir=x", "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    module = importlib.import_module(f"tfp_aevb.commands.{verb}")
    values = flags_lib.flags_of(module)
    shown = {line.split("=")[0].strip(" -").removeprefix("[no]")
             for line in captured.out.splitlines() if line.startswith("  --")}  # fmt: skip
    assert shown == {*values, "flagfile"}
    for name in values:
        default = values[name].default
        if isinstance(default, str | int) and not isinstance(default, bool):
            assert f"(default: {default})" in " ".join(captured.out.split())
    assert (module.__doc__ or "").split()[0] in captured.out


@pytest.mark.parametrize("verb", VERBS)
def test_help_takes_less_than_a_second_of_computing_and_no_tensorflow(verb: str) -> None:
    code = (
        "import sys, time; from tfp_aevb.commands.main import main;"
        f"code = main(['{verb}', '--help']);"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr);"
        "print(time.process_time(), file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    heavy, seconds = result.stderr.splitlines()
    assert (result.returncode, heavy) == (0, "[]")
    assert float(seconds) < 1.0


def test_help_takes_a_verb(capsys) -> None:
    assert main(["help", "sample"]) == 0
    shown = capsys.readouterr().out
    assert main(["sample", "--help"]) == 0
    assert capsys.readouterr().out == shown
    assert "--output" in shown


def test_the_version_is_told(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tfp_aevb {__version__}\n"


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tfp_aevb", "train", "--help"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("flag", ["--help", "-h", "-help", "--helpfull", "--helpshort"])
def test_every_spelling_of_help_helps(flag: str, capsys) -> None:
    assert main(["sample", flag]) == 0
    assert "--output" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["help"], 0)])
def test_the_overview_names_each_verb(argv: list[str], code: int, capsys) -> None:
    assert main(argv) == code
    output = capsys.readouterr().out
    for verb, summary in VERBS.items():
        assert verb in output
        assert summary in output


@pytest.mark.parametrize(
    ("verb", "hint"),
    [("trian", "'train'"), ("evalute", "'evaluate'"), ("Sample", "'sample'"), ("qqq", "choose")],
)
def test_a_mistyped_verb_is_one_line_with_the_nearest(verb: str, hint: str, capsys) -> None:
    assert main([verb, "--workdir=x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tfp_aevb: unknown verb '{verb}'; ")
    assert hint in line


@pytest.mark.parametrize("verb", VERBS)
def test_a_mistyped_flag_is_one_line_with_the_nearest(verb: str, capsys) -> None:
    assert main([verb, "--wrokdir=x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "tfp_aevb: unknown flag --wrokdir; did you mean --workdir?"


@pytest.mark.parametrize("verb", VERBS)
def test_the_workdir_is_required(verb: str, capsys) -> None:
    assert main([verb]) == 2
    assert capsys.readouterr().err == "tfp_aevb: --workdir is required; see --help\n"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ValueError("first\n  second"), "first second", 1),
        (OSError(13, "Permission denied", "a.txt"), "[Errno 13] Permission denied: 'a.txt'", 1),
        (MemoryError(), "MemoryError", 1),
        (NotImplementedError("no KL"), "no KL", 1),
        (flags_lib.UsageError("wrong"), "wrong", 2),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    error: BaseException, line: str, code: int, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: SimpleNamespace, results: Results) -> int:
        raise error

    monkeypatch.setattr(train, "run", fail)
    assert main(["train", "--workdir=x"]) == code
    assert capsys.readouterr().err == f"tfp_aevb: {line}\n"


def test_a_failure_of_tensorflow_is_one_line(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def fail(options: SimpleNamespace, results: Results) -> int:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\n3 TB")

    monkeypatch.setattr(train, "run", fail)
    assert main(["train", "--workdir=x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tfp_aevb: OOM when allocating 3 TB")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: SimpleNamespace, results: Results) -> int:
        raise KeyError("a bug")

    monkeypatch.setattr(train, "run", fail)
    with pytest.raises(KeyError, match="a bug"):
        main(["train", "--workdir=x"])


def test_the_traceback_is_shown_on_demand(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: SimpleNamespace, results: Results) -> int:
        raise ValueError("deep down")

    monkeypatch.setattr(train, "run", fail)
    monkeypatch.setenv("TFP_AEVB_TRACEBACK", "1")
    assert main(["train", "--workdir=x"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "tfp_aevb: deep down"


def test_the_module_runs_as_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tfp_aevb", "trian"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "tfp_aevb: unknown verb 'trian'; did you mean 'train'?\n"
