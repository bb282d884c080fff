"""Text of unknown origin in a CSV: one line, and no formula to a spreadsheet."""

from typing import Final

from vsr_model.one_line import visible

_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""First characters of cells that a spreadsheet computes instead of showing, full-width forms included.
Source: OWASP, CSV Injection. The tab and the carriage return of that list are escapes by then."""

_APOSTROPHE: Final = "'"


def inert(text: str) -> str:
    """Return the text as a cell's content, with an apostrophe before what would be a formula.

    Spreadsheets take the apostrophe for the mark of a text; to other readers it is a character more.
    """
    shown = visible(text)
    return _APOSTROPHE + shown if shown.lstrip().startswith(_FORMULA) else shown
