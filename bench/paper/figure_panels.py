"""What of each edition a figure of the paper shows: cells in, panels and words out. No matplotlib here.

Only cells that ended `ok` are shown. An edition of which nothing can be shown gets no panel, as it would show
the paper's series alone, which stand in their own; its reasons are in the notes, like those of single cells.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from bench.paper.editions import (
    CORRECTED,
    FAITHFUL,
    PAPER,
    PAPER_NAMES,
    Edition,
    Memory,
    Role,
    StageTiming,
    Timing,
)
from bench.plotting.plot_data import not_shown
from bench.plotting.plot_series import Cell
from bench.records import Status

ORDER: Final = (PAPER, FAITHFUL, CORRECTED)
ROLES: Final = tuple(Role)

_HEADINGS: Final = {
    PAPER: "Paper",
    FAITHFUL: "Faithful, this machine",
    CORRECTED: "Corrected, this machine",
}

C = TypeVar("C", Timing, StageTiming, Memory)


@dataclass(frozen=True, kw_only=True)
class Panel(Generic[C]):
    """An edition's cells in a figure, ordered by role and frame count, and why others are not among them."""

    edition: Edition
    cells: tuple[C, ...]
    missing: tuple[str, ...]
    one_length: bool

    @property
    def clip(self) -> str:
        """Such as `t=30, 64×64`; without t where the figure goes over many."""
        said: list[str] = [f"t={self.cells[0].frames}"] if self.one_length and self.cells else []
        sizes: dict[str, None] = dict.fromkeys(f"{cell.height}×{cell.width}" for cell in self.cells)
        return ", ".join([*said, *sizes])

    @property
    def heading(self) -> str:
        version = f" ({self.edition.version} version)" if self.edition.thin else ""
        what = ", ".join(text for text in (f"{_HEADINGS[self.edition.name]}{version}", self.clip) if text)
        return f"{what}: {self.edition.machine}"


def source(edition: Edition) -> str:
    """An edition's name in tables and notes."""
    return f"{edition.name} ({edition.version})" if edition.thin else edition.name


def panels(
    editions: Mapping[str, Edition],
    experiment: Callable[[Edition], Iterable[C]],
    *,
    shows: Callable[[C], bool],
    lacking: str,
    one_length: bool,
) -> list[Panel[C]]:
    """A panel per edition there is, the paper first.

    `lacking` says of cells that ended well what they do not have. Where one length is asked for it is the one
    at which the most backends can be shown, the greatest of several.
    """
    made: list[Panel[C]] = []
    for edition in (editions[name] for name in ORDER if name in editions):
        every = [_named(cell, edition) for cell in experiment(edition)]
        fine = [cell for cell in every if cell.status is Status.OK and shows(cell)]
        if one_length and fine:
            counts = Counter(cell.frames for cell in fine)
            frames = max(counts, key=lambda count: (counts[count], count))
            every, fine = ([cell for cell in some if cell.frames == frames] for some in (every, fine))
        made.append(
            Panel(
                edition=edition,
                cells=tuple(sorted(fine, key=lambda cell: (ROLES.index(cell.role), cell.frames))),
                missing=tuple(not_shown([_cell(c) for c in every], {_cell(c).cell for c in fine}, lacking))
                if every
                else ("not run",),
                one_length=one_length,
            )
        )
    return made


def _named(cell: C, edition: Edition) -> C:
    """The paper's cells under the paper's names, whatever the run calls them that holds its measurements."""
    if edition.name != PAPER:
        return cell
    return replace(cell, backend=PAPER_NAMES.get(cell.role, cell.backend))


def _cell(cell: Timing | StageTiming | Memory) -> Cell:
    return Cell(
        cell=f"{cell.backend} {cell.frames}",
        backend=cell.backend,
        frames=cell.frames,
        status=cell.status,
        reason=cell.reason,
    )


def notes(every: Sequence[Panel[C]]) -> list[str]:
    """What has to be known to read the figure or its table, said only where it holds."""
    shown = [panel for panel in every if panel.cells]
    said: list[str] = []
    if {Role.CUDNN, Role.CUDNN_AUTOTUNE} & {cell.role for panel in shown for cell in panel.cells}:
        said.append("What the paper calls CUDA is cuDNN by its heuristics, and its cuDNN is cuDNN autotuned.")
    if len({panel.clip for panel in shown}) > 1:
        clips = "; ".join(f"{source(panel.edition)} {panel.clip}" for panel in shown)
        said.append(f"The clips differ: {clips}.")
    unwaited = [source(panel.edition) for panel in shown if any(map(_unsynchronised, panel.cells))]
    if unwaited:
        said.append(f"GPU times read without waiting for the GPU: {', '.join(unwaited)}.")
    said += [
        f"Not shown of {source(panel.edition)}: {'; '.join(panel.missing)}."
        for panel in every
        if panel.missing
    ]
    return said


def _unsynchronised(cell: Timing | StageTiming | Memory) -> bool:
    if cell.role is Role.CPU or isinstance(cell, Memory):
        return False
    return not cell.synchronised


def label(role: Role, every: Sequence[Panel[C]]) -> str:
    """A legend's entry: the paper's name and, where this machine's runs call it otherwise, theirs."""
    paper = PAPER_NAMES.get(role, "")
    others: dict[str, list[str]] = {}
    for panel in every:
        for cell in panel.cells:
            names = others.setdefault(panel.edition.name, [])
            if (
                cell.role is role
                and cell.backend.casefold() != paper.casefold()
                and cell.backend not in names
            ):
                names.append(cell.backend)
    said = "; ".join(f"{edition}: {', '.join(names)}" for edition, names in others.items() if names)
    if not paper:
        return f"not in the paper ({said})"
    return f"{paper} ({said})" if said else paper
