"""Shares as the command line says them."""

import re
from typing import Final

from vsr_model.errors import BadInput

MAX_SHARE: Final = 1.0

_SHARE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", re.ASCII)


def share(text: str, option: str, *, may_be_zero: bool = False) -> float:
    """`3%` or `0.03` as 0.03. Raises BadInput for what is no share of 100 % at most.

    A bare number above 1 is refused rather than taken for a percentage that somebody may not have meant.
    """
    found = _SHARE.fullmatch(text.strip())
    value = None if found is None else float(found[1]) / (100 if found[2] else 1)
    if value is None or value > MAX_SHARE or (value == 0 and not may_be_zero):
        least = "from 0" if may_be_zero else "above 0"
        raise BadInput(
            f"{option}: should be a percentage such as 3% (or 0.03), {least} and at most 100%, not {text!r}"
        )
    return value
