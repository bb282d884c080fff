"""Text of unknown origin in a CSV: one line, and no formula to a spreadsheet."""

from typing import Final

from vsr_model.one_line import visible

_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet computes instead of showing it, full-width forms included.
Source: OWASP, CSV Injection. The tab and the carriage return of that list are escapes by then."""

_APOSTROPHE: Final = "'"


def inert(text: str) -> str:
    """The text as it may stand in a cell, an apostrophe before what would be a formula.

    Spreadsheets take the apostrophe for the mark of a text; to other readers it is a character more.
    """
    shown = visible(text)
    return _APOSTROPHE + shown if shown.lstrip().startswith(_FORMULA) else shown
