"""What the README promises: its commands, its example, its table of the paper, its verbs."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import tfp_aevb
from tests.integration.runs import REPOSITORY, readme_blocks
from tfp_aevb.commands.main import VERBS

README = (REPOSITORY / "README.md").read_text()
LABEL = r"(?:Eqs?\.|Algorithm|Appendix|Section|Figure) ?[A-Z0-9][\w.]*"


def table(header: str) -> list[list[str]]:
    """Returns the cells of the README's table whose header row starts so."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


PAPER = table("| paper | symbol | code | test |")


def resolve(name: str) -> object:
    """Imports what a dotted name says."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def labels(text: str) -> set[str]:
    """Returns the equations, sections and so on that a text names, in one spelling."""
    text = re.sub(r"Equations? ", "Eq. ", " ".join(text.split()))
    text = re.sub(r"(Eqs?\.|Equations?) ?(\d+)(?:,| and| or| to) (?=\d)", r"Eq. \2 Eq. ", text)
    found = re.findall(LABEL, text)
    return {label.replace("Eqs.", "Eq.").replace("Eq.", "Eq. ").replace("  ", " ").rstrip(".")
            for label in found}  # fmt: skip


def first_paragraph(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0]


def modules() -> list[ModuleType]:
    names = [m.name for m in pkgutil.walk_packages(tfp_aevb.__path__, "tfp_aevb.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize(
    "line",
    [
        "python3 -m venv .venv && .venv/bin/pip install -e . && "
        ".venv/bin/python -m tfp_aevb train --workdir=runs/digits",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && "
        ".venv/bin/python -m pytest -n auto --dist loadfile",
    ],
)
def test_the_two_commands(line: str) -> None:
    assert line in [found.strip() for found in README.splitlines()]


def test_the_first_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(next(readme_blocks("python")), {"__name__": "readme"})
    output = capsys.readouterr().out
    for term in ("'loss'", "'elbo'", "'reconstruction'", "'kl'"):
        assert term in output
    assert (tmp_path / "digits_model" / "saved_model.pb").is_file()


def test_the_other_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, *others = readme_blocks("python")
    assert first
    for block in others:
        exec(block, {"__name__": "readme"})


@pytest.mark.parametrize("row", PAPER, ids=lambda row: f"{row[0]} {row[2]}")
def test_a_row_of_the_paper_names_code_that_names_its_place(row: list[str]) -> None:
    place, symbol, code, _ = row
    assert symbol
    thing = resolve(code.strip("`"))
    assert labels(place)
    assert labels(place) <= labels(first_paragraph(thing)), first_paragraph(thing)


@pytest.mark.parametrize("row", PAPER, ids=lambda row: f"{row[0]} {row[2]}")
def test_a_row_of_the_paper_names_a_test(row: list[str]) -> None:
    path, _, function = row[3].strip("`").partition("::")
    body = ast.parse((REPOSITORY / path).read_text()).body
    assert function in [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assert function.startswith("test_")


def test_the_paper_s_places_in_the_code_are_in_the_table() -> None:
    listed = [(labels(row[0]), resolve(row[2].strip("`"))) for row in PAPER]
    missing = []
    for module in modules():
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__
            if name.startswith("_") or not own or not callable(thing):
                continue
            line = first_paragraph(thing).partition("\n")[0]
            named = set().union(*map(labels, re.findall(r"\(([^()]*)\)", line)))
            named = {label for label in named if not label.startswith("Figure")}
            found = set().union(*(place for place, code in listed if code is thing))
            if named - found:
                missing.append(f"{module.__name__}.{name}: {sorted(named - found)}")
    assert not missing


def test_the_table_of_verbs_is_complete() -> None:
    assert [row[0].strip("`") for row in table("| verb | does |")] == list(VERBS)


def test_the_commands_name_flags_and_configs_that_exist() -> None:
    commands = re.findall(r"python -m tfp_aevb (\w+)([^\n`]*)", README)
    assert len(commands) > 3
    for verb, flags in commands:
        if verb == "VERB":
            continue
        values = importlib.import_module("tfp_aevb.commands.flags").new_flags()
        importlib.import_module(f"tfp_aevb.commands.{verb}").define_flags(values)
        for flag, value in re.findall(r"--(\w+)(?:=(\S+))?", flags):
            assert flag in values or flag in ("help", "flagfile")
            if flag == "flagfile":
                assert (REPOSITORY / value).is_file()


def test_links_and_pictures_are_in_the_repository() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [t for t in targets if "//" not in t and not (REPOSITORY / t).exists()] == []


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"\w*(?:PLACEHOLDER|TODO|TBD|XXX)\w*", README)
