"""Tests of what is delivered: bounds of the dependencies, licences, wheel and sdist."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.integration.runs import REPOSITORY

BUILD = "from setuptools import build_meta as b; b.build_wheel('dist'); b.build_sdist('dist')"
# A part of the tests that needs every room of the package and no network.
PART = ("tests/commands", "tests/data/test_data_files.py", "tests/objectives/test_objectives.py",
        "tests/figures/test_figure_grids.py", "tests/reporting")  # fmt: skip


def required() -> list[Requirement]:
    """Returns what `setup.py` requires."""
    listed = (REPOSITORY / "setup.py").read_text().partition("install_requires=[")[2]
    lines = re.findall(r'^\s*"(.+)",$', listed.partition("],")[0], re.MULTILINE)
    return [Requirement(line) for line in lines]


def test_every_dependency_is_bounded_at_both_ends_and_within_its_bounds() -> None:
    found = required()
    assert len(found) >= 14
    for requirement in found:
        operators = sorted(bound.operator for bound in requirement.specifier)
        assert operators == ["<", ">="], requirement
        installed = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(installed), (requirement, installed)


def test_every_dependency_stands_in_the_table_of_licences() -> None:
    table = (REPOSITORY / "docs" / "dependencies.md").read_text()
    for requirement in required():
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        bounds = ", ".join(sorted(map(str, requirement.specifier), reverse=True))
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
        assert bounds in line
        assert not line.endswith("| ? |")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist, built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("tfp_aevb", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        path = REPOSITORY / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, source / name, ignore=ignored)
        else:
            shutil.copy(path, source)
    run(source, "-c", BUILD)
    return source / "dist"


def run(folder: Path, *arguments: object, **environment: str) -> str:
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_wheel_and_sdist_hold_every_file_of_the_package(distributions: Path) -> None:
    (wheel,), (sdist,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    package = REPOSITORY / "tfp_aevb"
    files = {
        str(path.relative_to(REPOSITORY))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        assert files <= set(archive.namelist())
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files | {"setup.py", "README.md", "LICENSE"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_what_is_installed_passes_its_tests_outside_the_checkout(
    kind: str, distributions: Path, tmp_path: Path
) -> None:
    (distribution,) = distributions.glob(f"*.{kind}")
    installed, outside = tmp_path / "installed", tmp_path / "outside"
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--target", installed)
    run(tmp_path, "-m", "pip", "install", "-q", *options, distribution)
    shutil.copytree(REPOSITORY / "tests", outside / "tests")
    shutil.copy(REPOSITORY / "pyproject.toml", outside)
    place = run(
        outside, "-c", "import tfp_aevb; print(tfp_aevb.__file__)", PYTHONPATH=str(installed)
    )
    assert place.startswith(str(installed))
    run(outside, "-m", "pytest", "-q", "-x", *PART, PYTHONPATH=str(installed))
