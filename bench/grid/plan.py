"""The cells of an experiment, their order, and the jobs of a run. Pure; no torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from bench.grid.backend import CPU, Backend
from bench.grid.config import Experiment, Input
from bench.grid.config_measure import Measure
from bench.grid.config_model import Model
from vsr_model.errors import BadInput, nearest

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

MAX_SHOWN: Final = 10
"""Values of an axis that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network with one input, batch, frame count and size on one backend."""

    model: Model
    input: Input
    batch: int
    frames: int
    height: int
    width: int
    backend: Backend

    def memory_plan(self, folder: Path = Path()) -> "MemoryPlan | None":
        """Return the backend's memory plan of a call on this clip, or None if it takes the whole clip.

        `folder` is for the disk where the backend names none.
        """
        plan = self.backend.memory_plan
        return None if plan is None else plan.of_clip(self.frames, folder)

    def rounds(self, measure: Measure) -> int:
        """Return the number of the cell's rounds: at most those that its network asks for."""
        return min(measure.rounds, self.model.rounds or measure.rounds)

    @property
    def reference(self) -> "Cell":
        """The cell whose output this one's is checked against; its id is no other cell's."""
        return replace(self, backend=CPU.replace(name=""))

    @property
    def size(self) -> str:
        """Height and width as text: 64x64."""
        return f"{self.height}x{self.width}"

    @property
    def id(self) -> str:
        """Name of the cell by what it measures, the same in every run: basicvsr/noise/b1/t4/64x64/cpu."""
        return "/".join((*self.clip_id, self.backend.name))

    @property
    def clip_id(self) -> tuple[str, ...]:
        """Name of the cell's network and clip, which its backends share."""
        return self.model.name, self.input.name, f"b{self.batch}", f"t{self.frames}", self.size


FILTER_AXES: Final[Mapping[str, Callable[[Cell], str]]] = {
    "model": lambda cell: cell.model.name,
    "input": lambda cell: cell.input.name,
    "batch": lambda cell: str(cell.batch),
    "frames": lambda cell: str(cell.frames),
    "size": lambda cell: cell.size,
    "backend": lambda cell: cell.backend.name,
    "cell": lambda cell: cell.id,
}
"""Axes that a filter may name, with a cell's value on each."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One round of one cell."""

    cell: Cell
    round: int


def cells(experiment: Experiment, filters: Sequence[str] = ()) -> list[Cell]:
    """Return the cells that every filter keeps, by network, input, batch, size, frames and backend.

    A filter is `axis=value[,value...]` or a pattern on the cell's id with * and ?. Raises BadInput for an
    invalid filter, and if the filters leave nothing.
    """
    every = [
        Cell(model=model, input=item, batch=batch, frames=frames, height=height, width=width, backend=backend)
        for model in experiment.models
        for item in experiment.input
        for axes in (experiment.axes_of(model, item),)
        for batch in axes.batch
        for height, width in axes.size
        for frames in axes.frames
        for backend in experiment.backends
    ]
    kept = every
    for text in filters:
        keeps = _filter(text, every)
        kept = [cell for cell in kept if keeps(cell)]
    if not kept:
        ids = f"{every[0].id} ... {every[-1].id}"
        raise BadInput(
            f"--filter {' --filter '.join(filters)}: leaves none of the {len(every)} cells ({ids})"
        )
    return kept


def _filter(text: str, every: Sequence[Cell]) -> Callable[[Cell], bool]:
    """Return the function that a filter keeps cells by.

    Raises BadInput for a value that no cell has on the axis: beside others, a typing mistake would hide.
    """
    axis, equals, values = text.partition("=")
    if not equals:
        if not {"*", "?", "/"} & {*text}:
            raise BadInput(
                f"--filter {text}: neither axis=value (axes: {', '.join(FILTER_AXES)}) nor a pattern on a "
                f"cell's id such as '{every[0].model.name}/*/{every[0].backend.name}'"
            )
        return lambda cell: fnmatchcase(cell.id, text)
    if axis not in FILTER_AXES:
        raise BadInput(
            f"--filter {text}: no axis {axis!r}{nearest(axis, [*FILTER_AXES])}; "
            f"allowed are {', '.join(FILTER_AXES)}"
        )
    value_of = FILTER_AXES[axis]
    patterns = [pattern.strip() for pattern in values.split(",")]
    have = list(dict.fromkeys(map(value_of, every)))
    for pattern in patterns:
        if not any(fnmatchcase(value, pattern) for value in have):
            shown = ", ".join(have[:MAX_SHOWN]) + (", ..." if len(have) > MAX_SHOWN else "")
            raise BadInput(
                f"--filter {text}: {pattern!r} is the {axis} of none of the {len(every)} cells"
                f"{nearest(pattern, have)}; they have {shown}"
            )
    return lambda cell: any(fnmatchcase(value_of(cell), pattern) for pattern in patterns)


def schedule(planned: Sequence[Cell], measure: Measure) -> list[Job]:
    """Return the jobs in the order in which they run, by the measure's `rounds`, `order` and `seed`.

    `interleaved`: one round of every cell, then the next, so that a drift of the machine hits all backends
    alike. `blocked`: all rounds of a cell, then the next cell. `random`: as interleaved, and each round in an
    order of its own, so that no cell always follows the same one.
    """
    if measure.order == "blocked":
        return [Job(cell=cell, round=number) for cell in planned for number in range(cell.rounds(measure))]
    jobs = []
    for number in range(measure.rounds):
        cells = [cell for cell in planned if number < cell.rounds(measure)]
        if measure.order == "random":
            # Seeded with text, which Python hashes the same way in every version and process.
            Random(f"{measure.seed} {number}").shuffle(cells)
        jobs += [Job(cell=cell, round=number) for cell in cells]
    return jobs


def round_count(cells: Iterable[Cell], measure: Measure) -> int:
    """Return the number of rounds of all cells."""
    return sum(cell.rounds(measure) for cell in cells)


def groups(jobs: Iterable[Job], *, isolation: str) -> Iterator[list[Job]]:
    """Yield the jobs that share a worker process, in order.

    `cell`: none do. `backend`: a backend's cells of one round. `experiment`: all cells of one round.
    """
    if isolation == "cell":
        yield from ([job] for job in jobs)
        return
    shared: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        backend = job.cell.backend.name if isolation == "backend" else ""
        shared.setdefault((job.round, backend), []).append(job)
    yield from shared.values()
