"""Writes docs/dependencies.md: every package that an installation brings, and its licence."""

import importlib.metadata
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """# Dependencies and their licences

Made by `python docs/make_licences.py` from the metadata of what is installed: the packages that
`setup.py` requires, and (indented) those that they require in turn. The newest versions that the
bounds allow are what an installation takes, and what the tests run with. With the oldest:

    sed -nE 's/^ +"([A-Za-z_-]+)>=([^,]+),.*/\\1==\\2/p' setup.py | grep -v setuptools > oldest.txt
    python3 -m venv oldest && oldest/bin/pip install -e '.[test]' -c oldest.txt
    oldest/bin/python -m pytest -n auto --dist loadfile

| package | version here | bounds in `setup.py` | licence |
|---|---|---|---|
"""


def requirements(source: str) -> dict[str, str]:
    """Returns the bounds of each package in `install_requires`."""
    listed = source.partition("install_requires=[")[2].partition("],")[0]
    found = re.findall(r'^\s*"([\w-]+)([^"]*)",', listed, re.MULTILINE)
    return {name.replace("_", "-").lower(): bounds for name, bounds in found}


def licence_of(name: str) -> str:
    """Returns a package's licence as its metadata tell it, or `?`."""
    data = importlib.metadata.metadata(name)
    if data.get("License-Expression"):
        return data["License-Expression"]
    classified = [
        entry.rpartition(" :: ")[2]
        for entry in data.get_all("Classifier") or []
        if entry.startswith("License :: ")
    ]
    if classified and classified != ["OSI Approved"]:
        return ", ".join(classified)
    return (data.get("License") or "?").strip().splitlines()[0][:60]


def closure(names: list[str]) -> dict[str, str]:
    """Returns all packages that `names` require, extras apart, with their versions."""
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or version of Python
        for requirement in importlib.metadata.requires(name) or []:
            if "extra ==" not in requirement:
                todo.append(re.split(r"[\s;\[<>=!~(]", requirement, maxsplit=1)[0])
    return found


def table(bounds: dict[str, str]) -> str:
    """Returns the document."""
    installed = closure(list(bounds))
    lines = [
        f"| {name} | {installed[name]} | {bounds[name].replace(',', ', ')} | {licence_of(name)} |"
        for name in sorted(bounds)
    ]
    lines += [
        f"| &nbsp;&nbsp;{name} | {version} | | {licence_of(name)} |"
        for name, version in sorted(installed.items())
        if name not in bounds
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table(requirements((HERE.parent / "setup.py").read_text()))
    (HERE / "dependencies.md").write_text(text)
    sys.stdout.write(text)
