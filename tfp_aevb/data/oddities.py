"""What a table's cells, names and files are likely to be if they are not what they seem.

Does not import TensorFlow.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfp_aevb.data.columns import as_days, shown
from tfp_aevb.data.table_files import Cells

_GAPS = (
    "null",
    "n/a",
    "#n/a",
    "<na>",
    "?",
    "#div/0!",
    "#value!",
    "#ref!",
    "-nan",
    "missing",
    "\\n",
)
_GAPS_IN_NUMBERS = ("none", "nil", "unknown", "n.a.", "nd", "n.d.", "-", "--", ".", "...")
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_AMOUNT = r"[+-]?[\d.,]*\d[\d.,]*"
_CURRENCY = r"([$\u20ac\u00a3\u00a5\u20b9]|USD|EUR|GBP|JPY|CHF|INR|CNY)"
_DATES = "; dates and times must be written like 2024-12-31 or 2024-12-31 23:59"
_UNIT = "; it has a unit: write the number without"
_CAUSES = (  # what a text that is no number looks like, and what is to be said of it
    (rf"{_AMOUNT}\s?%", "; it is a percentage: write the number without the sign"),
    (
        rf"[+-]?{_CURRENCY}\s?{_AMOUNT}|{_AMOUNT}\s?{_CURRENCY}",
        "; it is an amount of money: write the number without the sign",
    ),
    (
        r"\([\d.,]+\)",
        "; numbers in brackets are negative ones in accounts: write them with a minus",
    ),
    (
        r"(?=[\D]*(\d\D*){4})\d{1,4}([./-])\d{1,2}\2\d{1,4}([ T].*)?"
        r"|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
        rf"|(\d{{1,4}}[ -]?)?{_MONTH}(\.?[ -]\d{{1,4}}(, ?\d{{4}})?|\d{{4}})|(19|20)\d\d-?Q[1-4]"
        r"|(19|20)\d\d-(0[1-9]|1[0-2])",
        _DATES,
    ),
    (
        r"[+-]?\d{1,3}([ '_\u00a0\u202f]\d{3})+([.,]\d*)?",
        "; its digits stand in groups: state --thousands, or write them without",
    ),
    (
        r"[+-]?(\d+[.,]?\d*|[.,]\d+|\d{1,3}([.,]\d{2,3})+([.,]\d*)?)",
        "; state --decimal or --thousands if it has other marks than a decimal point",
    ),
    (rf"[<>~\u2264\u2265\u2248]=? ?{_AMOUNT}", "; it is a bound: write a number, or nothing"),
    (
        rf"{_AMOUNT} ?(\u00b1|\+/-) ?{_AMOUNT}",
        "; it has its error beside it: write the number alone",
    ),
    (rf"{_AMOUNT}d[+-]?\d+", "; its exponent must be written with an e"),
    (rf"{_AMOUNT}[+-][\d.]*[ij]", "; it is complex: write two columns of real numbers"),
    (r"[+-]?\d+ ?/ ?\d+", "; it is a fraction: write it as a decimal number"),
    (
        r"[+-]?[\d.,]+(e[+-]?\d+)?\s?[a-z\u00b0\u00b5\u2030/]+\d?",
        _UNIT,
    ),
    (r'="?.*', "; it is a formula of Excel: save its values"),
)
_TOTAL = re.compile(r"(grand |sub)?totals?|sum|mean|average|gesamt|summe|\u03a3", re.I)
_SENTINELS = tuple(sign * (10.0**k - 1.0) for k in range(2, 9) for sign in (1.0, -1.0))


def likely_cause(text: str, among_numbers: bool = True) -> str:
    """Returns what a text that is no number is likely to be, and how to mend it."""
    lower = text.lower()
    if lower in _GAPS or (among_numbers and lower in _GAPS_IN_NUMBERS):
        return f"; if it stands for a missing cell, state --missing_values={text}"
    for pattern, cause in _CAUSES:
        if re.fullmatch(pattern, text, re.I):
            return cause
    return ""


def refuse_oddities(
    cells: Cells, name: str, firsts: Mapping[str, int], numbers: np.ndarray
) -> None:
    """Raises a `ValueError` if cells are likely to be something else than they seem.

    Args:
        cells: of the file.
        name: of the column, whose kind is not stated.
        firsts: the first rows of its different texts, if it is not of numbers alone.
        numbers: [N] of what is not missing, NaN for what is no number.
    """
    if not np.isnan(numbers).any():
        _refuse_odd_numbers(cells, name, numbers)
        return
    column = cells.columns[name]
    others = [text for text in firsts if np.isnan(float(column.values()[firsts[text]]))]
    no_dates = [text for text in others if as_days(text) is None]
    if len(others) == len(firsts) and not no_dates:
        return
    suspect, most, what = None, "", "number"
    if 2 * len(no_dates) < len(firsts) and len(others) == len(firsts):
        what, most = "date", ", and most of the column are"
        suspect = no_dates[0]
        cause = likely_cause(suspect) or "; correct it"
        cause = cause if cause != _DATES else "; correct it"
    else:
        is_most = len(others) < len(firsts) / 2
        caused = [text for text in others if likely_cause(text, is_most)]
        if not is_most and not _have_units(caused):  # codes, as 1a, 2b
            caused = [text for text in caused if likely_cause(text, is_most) != _UNIT]
        number_like = len(firsts) - len(others) + len(caused)
        gaps = [text for text in caused if "missing cell" in likely_cause(text, is_most)]
        if is_most:
            suspect, most = (caused or others)[0], ", and most of the column are"
        elif gaps:
            suspect = gaps[0]
        elif caused and number_like > len(firsts) / 2:
            suspect = caused[0]
        cause = (likely_cause(suspect, is_most) if suspect else "") or "; correct it"
    if suspect is not None:
        raise ValueError(
            f"{cells.place(firsts[suspect], name)}: {shown(suspect)} is no {what}{most}{cause}, or "
            "state the column's kind with --columns"
        )
    _refuse_odd_texts(cells, name, firsts)


def _have_units(texts: Sequence[str]) -> bool:
    """Whether what stands behind the numbers is mostly the same."""
    of_unit = [text for text in texts if likely_cause(text) == _UNIT]
    return 2 * len({text.lstrip("+-.,0123456789 ") for text in of_unit}) < len(of_unit)


def _refuse_odd_texts(cells: Cells, name: str, firsts: Mapping[str, int]) -> None:
    """Refuses texts that differ in case only, and a last line of totals."""
    last = cells.num_rows - 1
    for text, row in firsts.items():
        if row == last and last and _TOTAL.fullmatch(text):
            raise ValueError(
                f"{cells.place(row, name)}: {shown(text)} in the last row, as a line of totals "
                "has; remove it, or state the column's kind with --columns"
            )
    seen: dict[str, str] = {}
    for text, row in firsts.items():
        other = seen.setdefault(text.casefold(), text)
        if other != text and text.lower() not in ("true", "false"):
            raise ValueError(
                f"{cells.place(row, name)}: {shown(text)} and {shown(other)} differ in case only; "
                "write one of them, or state the column's kind with --columns"
            )


def _refuse_odd_numbers(cells: Cells, name: str, numbers: np.ndarray) -> None:
    """Refuses numbers that stand for a missing cell, and dates without their marks."""
    different = np.unique(numbers)
    if len(different) < 3:
        return
    for edge, rest in ((different[0], different[1:]), (different[-1], different[:-1])):
        spread, gap = rest[-1] - rest[0], np.abs(rest - edge).min()
        if edge in _SENTINELS and gap > 2.0 * spread and gap > 0.5 * abs(edge):
            values = cells.columns[name].values()
            raise ValueError(
                f"{cells.place(int(np.argmax(values == edge)), name)}: {edge:.0f} is far from all "
                "others; if it stands for a missing cell, state "
                f"--missing_values={edge:.0f}, or state the column's kind with --columns"
            )
    if different[0] >= 19000101 and different[-1] <= 21001231:
        whole = [f"{value:.0f}" for value in different[:1000] if value == np.floor(value)]
        days = [as_days(f"{text[:4]}-{text[4:6]}-{text[6:]}") for text in whole]
        if len(days) == min(len(different), 1000) and None not in days:
            raise ValueError(
                f"{cells.place(0, name)}: its numbers are likely to be dates{_DATES}, or state the "
                "column's kind with --columns"
            )


def refuse_repeated_header(cells: Cells) -> None:
    """Raises a `ValueError` if the header stands again among the rows."""
    if cells.source is None or not cells.form.header:
        return
    rows: np.ndarray | None = None
    for name, column in cells.columns.items():
        same = column.equal(name)
        rows = same if rows is None else rows & same
        if not rows.any():
            break
    if rows is not None and rows.any() and len(cells.columns) > 1:
        raise ValueError(
            f"{cells.place(int(np.argmax(rows)), cells.names[0])}: the header stands there again; "
            "remove that line"
        )
