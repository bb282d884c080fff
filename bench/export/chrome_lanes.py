"""Which lane an event of a trace lies in: events of one lane never overlap.

A viewer takes events of one thread that overlap for calls inside each other, or drops them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Span:
    """A complete event, in whole nanoseconds: what is rounded once to them cannot overlap by rounding."""

    name: str
    category: str
    start_ns: int
    end_ns: int
    args: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A row of a process."""

    name: str
    spans: tuple[Span, ...] = field(default=())


def span(
    name: str, category: str, origin_ns: int, start_s: float, length_s: float, args: dict[str, Any]
) -> Span:
    """What begins `start_s` after the origin and takes `length_s`."""
    return Span(
        name=name,
        category=category,
        start_ns=origin_ns + round(start_s * NS_PER_S),
        end_ns=origin_ns + round((start_s + length_s) * NS_PER_S),
        args=args,
    )


def lanes(name: str, spans: Iterable[Span]) -> list[Lane]:
    """The spans in one lane of that name, or in as many more as they need not to overlap: where starts were
    not recorded, all have the same."""
    rows: list[list[Span]] = []
    for one in sorted(spans, key=lambda span: (span.start_ns, span.end_ns)):
        row = next((row for row in rows if row[-1].end_ns <= one.start_ns), None)
        if row is None:
            rows.append([one])
        else:
            row.append(one)
    return [Lane(name=_numbered(name, number), spans=tuple(row)) for number, row in enumerate(rows, start=1)]


def end_ns(found: Sequence[Lane], otherwise: int) -> int:
    """When the last of the spans ends."""
    return max((one.end_ns for lane in found for one in lane.spans), default=otherwise)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}, {number}"
