"""HTML of a report: text, tables and pictures in one page without outside resources."""

import base64
import html
import importlib.resources
import io
import json
import string
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

DPI = 110


def paragraph(text: str) -> str:
    """Returns text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """Returns lines of text as a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def preformatted(text: str) -> str:
    """Returns text as it is, in a fixed-width font."""
    return f"<pre>{html.escape(text)}</pre>"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Returns a table; all but the first column stand to the right."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        '<div class="wide"><table><thead><tr>'
        f"{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(figure: Figure, description: str) -> str:
    """Returns a figure as an embedded PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(description)}">'


def section(title: str, *parts: str) -> str:
    """Returns a section of the page."""
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}</section>"


def explorer(record: dict[str, Any]) -> str:
    """Returns the interactive part for `explorer.explorer_record`'s result."""
    # "<" could end the script element.
    data = json.dumps(record).replace("<", "\\u003c")
    return (
        f'<div id="explorer"></div><script type="application/json" id="explorer-data">{data}'
        f"</script><script>{_resource('explorer.js')}</script>"
    )


def render(title: str, sections: Sequence[str]) -> str:
    """Returns the whole page."""
    template = string.Template(_resource("template.html"))
    return template.substitute(title=html.escape(title), body="\n".join(sections))


def _resource(name: str) -> str:
    return (importlib.resources.files("tfp_aevb.runs.report") / name).read_text(encoding="utf-8")
