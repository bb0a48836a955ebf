"""Progress on stderr: a line redrawn on a terminal, a line now and then elsewhere."""

import sys
import time

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 30.0
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Turns all progress of this process off, or on again."""
    global _quiet
    _quiet = quiet


def say(text: str) -> None:
    """Prints a line of progress to stderr; warnings and errors do not come here."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


class ProgressLine:
    """Shows how far long work is; the first line comes only when it has proved to be long."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self._shown_at = time.perf_counter()
        self._is_open = False

    def show(self, text: str, *, now: bool = False) -> None:
        """Shows `text` if it is time to, or `now`."""
        moment = time.perf_counter()
        every = TERMINAL_SECONDS if self.is_terminal else LOG_SECONDS
        if _quiet or (not now and moment - self._shown_at < every):
            return
        self._shown_at = moment
        start, end = ("\r\x1b[K", "") if self.is_terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)
        self._is_open = self.is_terminal

    def end(self) -> None:
        """Leaves the line."""
        if self._is_open:
            print(file=sys.stderr)
        self._is_open = False


def clock(seconds: float) -> str:
    """Returns minutes and seconds, e.g. 2:05."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
