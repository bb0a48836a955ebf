"""Creates the virtual environments of the peers, one for each file of `requirements/`.

`python -m benchmarks.environments [NAME ...]`; the other commands do it where it is needed. An
environment is made once and again when its requirements have changed.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "benchmarks" / "requirements"
DEFAULT_FOLDER = Path.home() / ".cache" / "tfp_aevb" / "benchmarks"
MARK = "requirements.txt"  # inside an environment: what it was made from, once all is installed


def names() -> list[str]:
    """Returns the environments there can be."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def python_of(folder: Path, name: str) -> Path:
    """Returns the interpreter of an environment."""
    return folder / name / "bin" / "python"


def is_ready(folder: Path, name: str) -> bool:
    """Whether an environment is there with all that its requirements say now."""
    mark = folder / name / MARK
    return mark.exists() and mark.read_text() == (REQUIREMENTS / f"{name}.txt").read_text()


def create(folder: Path, wanted: Iterable[str], quiet: bool = False) -> dict[str, str]:
    """Creates those environments that are missing or out of date.

    Args:
        folder: where they are put.
        wanted: their names.
        quiet: do not say what is done.

    Returns:
        Environment -> what went wrong, on one line, for those that could not be made. The whole
        output of pip is left in `NAME.log` beside the environment.

    Raises:
        ValueError: if there is no such environment.
    """
    failures = {}
    for name in sorted(set(wanted)):
        if name not in names():
            raise ValueError(f"`environment` must be one of {names()}, got {name!r}")
        if is_ready(folder, name):
            continue
        if not quiet:
            print(f"installing {name} into {folder / name}", file=sys.stderr, flush=True)
        error = _create(folder, name)
        if error:
            failures[name] = error
    return failures


def _create(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / name, ignore_errors=True)
    requirements = REQUIREMENTS / f"{name}.txt"
    commands = [
        [sys.executable, "-m", "venv", str(folder / name)],
        [str(python_of(folder, name)), "-m", "pip", "install", "-r", str(requirements)],
    ]
    with (folder / f"{name}.log").open("w+") as log:
        for command in commands:
            # In the root, for ours is installed from there.
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            if done.returncode:
                log.seek(0)
                return f"does not install: {last_error(log.read())}"
    (folder / name / MARK).write_text(requirements.read_text())
    return ""


def last_error(output: str) -> str:
    """Returns the line of a program's output that says best what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or "Error:" in line]
    return (errors or lines or ["no output"])[-1]


def main() -> int:
    """Creates the environments named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help="which; default: all", choices=[[], *names()])
    add_argument(parser)
    arguments = parser.parse_args()
    failures = create(arguments.environments, arguments.name or names())
    for name, error in failures.items():
        print(f"{name}: {error}", file=sys.stderr)
    return 1 if failures else 0


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--environments`."""
    parser.add_argument(
        "--environments",
        type=Path,
        default=DEFAULT_FOLDER,
        help="folder of the virtual environments (about 16 GB; default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
