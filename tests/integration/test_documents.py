"""What README.md and the pages of docs/ promise: commands, examples, tables, links, messages."""

import ast
import importlib
import inspect
import pkgutil
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

import tfp_aevb
from tests.integration.runs import REPOSITORY, Example, examples
from tfp_aevb.commands.flags import flags_of
from tfp_aevb.commands.main import VERBS

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
# Its examples are run by tests/layers/test_reparameterization.py.
WITH_EXAMPLES = [p for p in PAGES if examples(p) and p.name != "reparameterization.md"]
LABEL = r"(?:Eqs?\.|Algorithm|Appendix|Section|Figure) ?[A-Z0-9][\w.]*"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def table(page: Path, header: str) -> list[list[str]]:
    """Returns the cells of the page's table whose header row starts so."""
    lines = page.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def without_blocks(page: Path) -> str:
    """Returns the page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


PAPER = table(DOCS / "paper_to_code.md", "| paper | symbol | code | test |")


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


# README.


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
    assert line in [found.strip() for found in README.read_text().splitlines()]


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150
    first = examples(README)[0]
    assert len(first.code.splitlines()) <= 20
    assert first.output


def test_the_readme_s_results_are_rows_of_the_page_of_results() -> None:
    header = "| model | data, binarisation |"
    every_row = table(DOCS / "results.md", header)
    chosen = table(README, header)
    assert len(chosen) == 4
    assert all(row in every_row for row in chosen)


# Examples.


def assert_same_output(found: str, shown: str) -> None:
    """Fails unless the two texts agree in words, and in numbers within 3% or 0.11.

    Training amplifies the rounding in which processors differ, and few digits are shown.
    """
    assert NUMBER.sub("#", found).split() == NUMBER.sub("#", shown).split()
    numbers = (map(float, NUMBER.findall(text)) for text in (found, shown))
    for value, expected in zip(*numbers, strict=True):
        assert value == pytest.approx(expected, rel=0.03, abs=0.11), (found, shown)


@pytest.mark.run
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_and_print_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        capsys.readouterr()
        exec(example.code, {"__name__": "example"})
        if example.output:
            assert_same_output(capsys.readouterr().out, example.output)


def test_a_wrong_number_or_word_of_an_output_is_noticed() -> None:
    assert_same_output("bound -100.0 nats\n", "bound -101.0  nats")
    for shown in ("bound -120.0 nats", "loss -100.0 nats", "bound -100.0 nats 3"):
        with pytest.raises((AssertionError, ValueError)):
            assert_same_output("bound -100.0 nats", shown)


def test_the_examples_are_found() -> None:
    assert len(WITH_EXAMPLES) > 8
    assert examples(README)[0].output
    for page in PAGES:
        assert len(examples(page)) == page.read_text().count("```python\n")
        assert all(isinstance(example, Example) for example in examples(page))


# From the paper to the code.


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


# Commands.


def test_the_table_of_verbs_is_complete() -> None:
    rows = table(DOCS / "commands.md", "| verb | purpose |")
    assert [row[0].strip("`") for row in rows] == list(VERBS)


def test_the_page_of_flags_is_that_of_the_program() -> None:
    made = runpy.run_path(str(DOCS / "make_flags.py"))["page"]()
    assert (DOCS / "flags.md").read_text() == made, "run: python docs/make_flags.py"


@every_page
def test_the_commands_of_a_page_name_flags_and_configs_that_exist(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?:-m tfp_aevb|tfp-aevb) (\w+)([^\n`]*)", text)
    commands += re.findall(r"`(train|evaluate|impute|encode|report) (--[^`]*)`", text)
    for verb, flags in commands:
        if verb == "VERB":
            continue
        values = flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
        for flag, value in re.findall(r"--(\w+)(?:=(\S+))?", flags):
            name = flag if flag in values else flag.removeprefix("no")
            assert name in values or flag in ("help", "flagfile"), (verb, flag)
            assert name == flag or values[name].boolean, (verb, flag)
            if flag == "flagfile":
                assert (REPOSITORY / value).is_file()


@every_page
def test_the_flags_that_a_page_mentions_exist(page: Path) -> None:
    known = {"help", "flagfile", "version"}
    for verb in VERBS:
        values = flags_of(importlib.import_module(f"tfp_aevb.commands.{verb}"))
        known |= {*values, *(f"no{name}" for name in values if values[name].boolean)}
    named = re.findall(r"`--(\w+)[=\s`]", without_blocks(page))
    # Flags of the benchmarks and faults, and flags that are refused.
    if page.name not in ("performance.md", "reliability.md", "what_a_user_gives.md"):
        assert set(named) <= known


def test_the_pages_name_enough_commands() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert len(re.findall(r"-m tfp_aevb (\w+)", text)) > 30


# Links, and what else a page must not have.


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@every_page
def test_the_links_and_pictures_of_a_page_are_in_the_repository(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if "//" in link:
            continue
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_every_page_is_reached_from_the_index() -> None:
    index = DOCS / "index.md"
    linked = set(re.findall(r"\]\(([^)#\s]+)\)", index.read_text()))
    pages = {page.name for page in PAGES if page.parent == DOCS and page != index}
    tutorials = {f"tutorials/{path.name}" for path in (DOCS / "tutorials").glob("*.py")}
    assert pages | tutorials <= linked
    assert "docs/index.md" in README.read_text()


@every_page
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"\w*(?:PLACEHOLDER|TODO|TBD|XXX)\w*", page.read_text())


# Messages.


def rendered(node: ast.AST) -> str:
    """Returns a string expression with `...` for what is filled in; empty if it is none."""
    if isinstance(node, ast.Constant):
        return re.sub(r"\{\w*\}", "...", node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(rendered(part) or "..." for part in node.values)
    return ""


@pytest.mark.run
def test_the_messages_of_the_page_of_troubles_are_those_of_the_code() -> None:
    paths = (REPOSITORY / "tfp_aevb").rglob("*.py")
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    texts = [" ".join(rendered(node).split()) for node in nodes]
    page = (DOCS / "troubleshooting.md").read_text()
    found = [text for _, text in re.findall(r"^### (`+) ?(.*?) ?\1$", page, re.MULTILINE)]
    assert len(found) >= 25
    assert len(set(found)) == len(found)
    assert [message for message in found if not any(message in text for text in texts)] == []


# What an index of packages, and those who cite, read.


def test_the_citation_is_of_this_version() -> None:
    text = (REPOSITORY / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^([\w-]+): (.+)$", text, re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == tfp_aevb.__version__
    assert fields["license"] == "Apache-2.0"
    assert "Auto-Encoding Variational Bayes" in text


def test_the_console_script_is_a_function(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    script = r'"tfp-aevb = ([\w.]+):(\w+)"'
    module, function = re.findall(script, (REPOSITORY / "setup.py").read_text())[0]
    monkeypatch.setattr("sys.argv", ["tfp-aevb", "sample", "--help"])
    assert getattr(importlib.import_module(module), function)() == 0
    assert "--output" in capsys.readouterr().out
