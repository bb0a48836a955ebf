"""A headless browser for the tests of pages, where one is installed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ERRORS = """<script>
window.pageErrors = [];
window.addEventListener("error", (event) => window.pageErrors.push(String(event.message)));
console.error = (...parts) => window.pageErrors.push(parts.join(" "));
</script>"""


def browser() -> str:
    """Returns the browser's path, or skips the test."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


def _run(path: Path, size: tuple[int, int], *arguments: str) -> str:
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=5000", *arguments),
        path.absolute().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def evaluate(page: Path, script: str, size: tuple[int, int] = (1200, 900)) -> Any:
    """Opens a page and returns what `script`, the body of a function, returns, as JSON types.

    The result has the page's errors under `errors`, and what the script returned under `value`.
    """
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{ERRORS}", 1)
    probe = (
        '<script>addEventListener("load", () => {'
        f"const value = (() => {{ {script} }})();"
        'const found = document.createElement("pre"); found.id = "probe";'
        "found.textContent = JSON.stringify({ value, errors: window.pageErrors });"
        "document.body.appendChild(found); });</script></body>"
    )
    copy = page.with_name(f"probed_{page.name}")
    copy.write_text(text.replace("</body>", probe), encoding="utf-8")
    dom = _run(copy, size, "--dump-dom")
    found = dom.rpartition('<pre id="probe">')[2].partition("</pre>")[0]
    return json.loads(found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def screenshot(page: Path, target: Path, size: tuple[int, int]) -> None:
    """Writes a picture of the page."""
    _run(page, size, f"--screenshot={target.absolute()}")
