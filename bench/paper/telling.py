"""Words that explanations share: whose figures, what is not known and why, and by which option two differ."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, Edition, Memory, StageTiming, Timing
from bench.paper.needed import in_its_words, why_not
from bench.paper.verdict import Figure, NotKnownError, Quantity
from bench.records import Status

ORDER: Final = (PAPER, FAITHFUL, CORRECTED)

LEADS: Final = {PAPER: "The paper", FAITHFUL: "Its method here", CORRECTED: "Corrected"}
"""How a sentence begins that tells an edition's figures."""

AnyTiming = Timing | StageTiming | Memory


def lead(edition: Edition) -> str:
    return LEADS.get(edition.name, edition.name) + (f" ({edition.version} version)" if edition.thin else "")


def in_order(editions: Mapping[str, Edition]) -> list[Edition]:
    """The paper's first, then its method, then the corrected one; others behind."""
    known = [editions[name] for name in ORDER if name in editions]
    return known + [edition for name, edition in editions.items() if name not in ORDER]


def good(cells: Iterable[AnyTiming]) -> list[AnyTiming]:
    return [cell for cell in cells if cell.status is Status.OK]


def not_known(cells: Sequence[AnyTiming], experiment: str) -> list[str]:
    """Why backends have nothing to tell, a text for each reason."""
    if not cells:
        return [f"the experiment `{experiment}` was not run"]
    told = {cell.backend for cell in good(cells)}
    missing = {cell.backend: cell for cell in cells if cell.backend not in told}
    by_reason: dict[tuple[Status, str], list[str]] = {}
    for backend, cell in missing.items():
        by_reason.setdefault((cell.status, cell.reason), []).append(backend)
    return [why_not(", ".join(names), status, reason) for (status, reason), names in by_reason.items()]


def sentences(
    editions: Mapping[str, Edition],
    experiment: str,
    cells: Callable[[Edition], Sequence[AnyTiming]],
    tell: Callable[[Edition], Iterable[str]],
) -> list[str]:
    """What `tell` says of each edition, and what of it is not known and why."""
    said = []
    for edition in map(in_its_words, in_order(editions)):
        missing = not_known(cells(edition), experiment)
        try:
            told = list(tell(edition))
        except NotKnownError as error:
            told, missing = [], [*missing, *([str(error)] if str(error) not in missing else [])]
        said += [f"{lead(edition)}: {text}." for text in told]
        said += [f"{lead(edition)}: not known, {text}." for text in missing]
    return said


def quantity(
    value: float, kind: Quantity, low: float | None = None, high: float | None = None, interval: str = ""
) -> str:
    """A number with its unit, and its interval where it has one."""
    return Figure(name="", value=value, quantity=kind, low=low, high=high, interval=interval).amount


def both(editions: Mapping[str, Edition]) -> tuple[Edition, Edition] | None:
    """The faithful edition and the corrected one, where there are both."""
    if FAITHFUL in editions and CORRECTED in editions:
        return editions[FAITHFUL], editions[CORRECTED]
    return None
