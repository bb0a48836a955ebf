"""What a verb found: lines for a reader, or one JSON object for a program (`--json`)."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Results:
    """Prints a verb's results to stdout, in one of two forms.

    Args:
        as_json: print nothing until `close`, and one JSON object then.
    """

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._found: dict[str, Any] = {}

    def line(self, text: str | Path = "") -> None:
        """Prints a line (or several) for a reader at once; a program does not see it."""
        if not self._as_json:
            print(text, flush=True)

    def add(self, **found: Any) -> None:
        """Adds values to the JSON object, by name; a reader does not see them."""
        self._found.update(found)

    def files(self, *paths: str | Path) -> None:
        """Names the files that were written, in both forms."""
        for path in paths:
            self.line(path)
        self.add(files=[*self._found.get("files", []), *map(str, paths)])

    def notes(self, notes: Sequence[str]) -> None:
        """Says what is doubtful about the results, in both forms."""
        for note in notes:
            self.line(note)
        self.add(notes=[*self._found.get("notes", []), *notes])

    def close(self) -> None:
        """Prints the JSON object. What is not finite becomes null, for JSON has no NaN."""
        if self._as_json:
            print(json.dumps(_plain(self._found), allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    """Returns a value of JSON: NumPy's numbers as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
