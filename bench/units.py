"""Numbers for people: significant digits, and the unit in which a column or an axis reads best."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A display unit; `value / scale` is the number to show."""

    name: str
    scale: float


SECONDS: Final = (
    Unit(name="s", scale=1.0),
    Unit(name="ms", scale=1e-3),
    Unit(name="µs", scale=1e-6),
    Unit(name="ns", scale=1e-9),
)
BYTES: Final = (
    Unit(name="GiB", scale=1024.0**3),
    Unit(name="MiB", scale=1024.0**2),
    Unit(name="KiB", scale=1024.0),
)
FLOPS: Final = (
    Unit(name="TFLOP", scale=1e12),
    Unit(name="GFLOP", scale=1e9),
    Unit(name="MFLOP", scale=1e6),
)
FLOP_RATES: Final = (
    Unit(name="TFLOP/s", scale=1e12),
    Unit(name="GFLOP/s", scale=1e9),
    Unit(name="MFLOP/s", scale=1e6),
)
BYTE_RATES: Final = (
    Unit(name="TB/s", scale=1e12),
    Unit(name="GB/s", scale=1e9),
    Unit(name="MB/s", scale=1e6),
)
"""Powers of ten, as bandwidths are given."""

LONGEST: Final = 1e9
"""From here on, and below its inverse, a number has an exponent."""

_SIZES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE: Final = re.compile(
    r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*(?:([kmgt])(i?b)?|b)?\s*", re.IGNORECASE | re.ASCII
)


def size_bytes(text: str) -> int | None:
    """Parse a size such as `1.5GiB`, `800M` or a plain number into bytes; None for anything else.

    K, M, G and T are powers of 1024, whether a B or iB follows or not, as memory is counted.
    """
    read = _SIZE.fullmatch(text)
    return None if read is None else int(Fraction(read[1]) * _SIZES[(read[2] or "").lower()])


def unit_for(values: Iterable[float], units: tuple[Unit, ...] = SECONDS) -> Unit:
    """Choose one unit for all values: the largest in which their middle is at least 1, or else the smallest.

    The middle is the geometric mean of the extremes: 0.2 ms beside 5 s reads better in ms than in either.
    """
    positive = [value for value in values if value > 0]
    middle = math.sqrt(min(positive) * max(positive)) if positive else units[0].scale
    return next((unit for unit in units if middle >= unit.scale), units[-1])


def significant(value: float, digits: int = 3) -> str:
    """Format a number with so many significant digits; whole digits are kept.

    It has an exponent where those would be a long row: `1.23e+300`, as of a journal that was not measured.
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "–"
    if value == 0:
        return "0"
    if not 1 / LONGEST <= abs(value) < LONGEST:
        return f"{value:.{digits - 1}e}"
    # Rounding first: 9.999 has two digits more before the point than its logarithm says.
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:.{decimals}f}"


def counted(number: int, one: str, several: str = "") -> str:
    """Format a count with its noun: `1 round`, `2 rounds`. `several` is an irregular plural."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def with_unit(value: float, units: tuple[Unit, ...] = SECONDS, digits: int = 3) -> str:
    """Format the value in the unit that suits it, such as `12.3 ms`."""
    unit = unit_for([abs(float(f"{value:.{digits - 1}e}"))], units) if value else units[0]
    return f"{significant(value / unit.scale, digits)} {unit.name}"


def time_left(seconds: float | None) -> str:
    """Return such as `about 5 min left`; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
