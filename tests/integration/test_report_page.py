"""The verb `report`: what a run's page says, what it needs, and how it looks to a browser."""

import html
import re
import shlex
from pathlib import Path

import pytest

from tests.integration.browser import evaluate
from tests.integration.runs import assert_refused, command, copy_of
from tests.runs.report.test_explorer import MOVE, PIXELS
from tfp_aevb.runs.finish import load_run, load_run_data
from tfp_aevb.runs.report import build


@pytest.fixture(scope="module")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("report") / "tiny.html"
    small = ("--num_scored=5", "--num_samples=20", "--num_refined=3")
    assert command("report", f"--workdir={trained}", f"--output={target}", *small) == 0
    return target


def test_a_report_needs_no_network(report: Path) -> None:
    text = report.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp", text)


def test_a_report_has_its_parts_and_works_at_the_size_of_a_phone(report: Path) -> None:
    script = f"""{PIXELS} const before = pixels(); {MOVE}
return {{
  heads: Array.from(document.querySelectorAll("h2"), (h) => h.textContent),
  images: Array.from(document.images, (i) => i.naturalWidth > 100 && i.alt.length > 0),
  changed: String(before) !== String(pixels()),
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  title: document.title,
}};"""
    for size in ((1200, 900), (390, 844)):
        found = evaluate(report, script, size)
        assert found["errors"] == []
        value = found["value"]
        assert value["heads"] == [
            *("Bounds", "Learning curves", "What the latents do", "Pictures"),
            *("Diagnostics", "Settings"),
        ]
        assert len(value["images"]) == 6
        assert all(value["images"])
        assert value["changed"]
        assert value["overflow"] <= 0
        assert re.search(r"aevb on .* test bound -\d+\.\d\d nats", value["title"])


def test_a_report_states_its_numbers(report: Path, trained: Path, capsys) -> None:
    text = re.sub(r"<[^>]+>", " ", report.read_text())
    assert command("evaluate", f"--workdir={trained}", "--split=test") == 0
    bound = capsys.readouterr().out.splitlines()[1].split()[2]
    assert re.search(rf"bound, test\s+{re.escape(bound)}\s", text)
    assert re.search(r"hidden_units\s+\[16\]\s+set", text)


@pytest.mark.run
def test_the_command_of_a_report_goes_on_with_the_run_from_any_folder(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    workdir = copy_of(trained, tmp_path / "my run")
    monkeypatch.chdir(tmp_path)
    text = "".join(build._settings(*load_run(workdir.name)[:2]))
    monkeypatch.chdir(workdir)
    line = re.search(r"python -m tfp_aevb (.*?)</pre>", text)
    assert line
    assert command(*shlex.split(html.unescape(line[1]))) == 0
    assert f"{workdir}: resuming at step 40" in capsys.readouterr().err
    assert not (workdir / workdir.name).exists()


def test_a_report_says_why_it_does_not_decode(trained: Path, monkeypatch) -> None:
    config, run, model = load_run(trained)
    monkeypatch.setattr(build, "explorer_record", lambda *_: None)
    (said,) = build._explorer(model, load_run_data(config, run), seed=0)
    for part in ("a prior over all of R^J", "MLP", "Bernoulli", "Student-t likelihood"):
        assert part in said


def test_wrong_outputs_are_refused(trained: Path, tmp_path: Path, capsys) -> None:
    for output, naming in ((tmp_path / "x.pdf", (".html",)), (tmp_path / "no" / "x.html", ("no",))):
        assert_refused(
            capsys, "report", f"--workdir={trained}", f"--output={output}", naming=naming
        )
    assert_refused(capsys, "report", f"--workdir={tmp_path / 'none'}", naming=("none",))
