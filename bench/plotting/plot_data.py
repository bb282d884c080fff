"""What each figure shows, as values: tables in, typed groups out. No matplotlib here.

Only cells that ended `ok` are shown: a fast wrong answer is a failed cell. What is left out is named, with
its reason, in `not_shown`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.plotting.plot_series import FINDERS, Cell, Curve, Point, Roofline, Series, StageSplit, rows_in
from bench.records import Status
from bench.results.analysis import Tables
from vsr_model.errors import BadInput

PLOT_KINDS: Final = ("time", "speedup", "stages", "repetitions", "memory", "long_clips", "roofline")

_OVER_FRAMES: Final = ("time", "speedup", "long_clips")
"""The kinds that show every frame count."""

_Place = tuple[str, str, int, int, int]

REASON_LENGTH: Final = 60
"""Characters of a reason that a figure's footnote has room for; the report gives it whole."""


@dataclass(frozen=True, kw_only=True)
class PlotGroup:
    """All that one figure shows. Without series there is no figure, and `empty` says why."""

    kind: str
    model: str
    input: str
    batch: int
    height: int
    width: int
    frames: tuple[int, ...]  # the frame counts drawn; one only but in those over frames
    backends: tuple[str, ...]  # of the whole run: a backend's place decides its colour in every figure
    series: tuple[Series, ...]
    not_shown: tuple[str, ...]
    empty: str = ""
    models: int = 1  # of the whole run
    run_stages: tuple[str, ...] = ()  # of the whole run: a stage's place decides its colour

    @property
    def subject(self) -> str:
        """The input, and the network too where the run has several."""
        return self.input if self.models == 1 else f"{self.model}, {self.input}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Of all series that have any, in their order."""
        return tuple(
            dict.fromkeys(
                stage
                for one in self.series
                for stage in (
                    one.stages
                    if isinstance(one, StageSplit)
                    else [point.stage for point in one.points]
                    if isinstance(one, Roofline)
                    else ()
                )
            )
        )


def data(kind: str, tables: Tables) -> list[PlotGroup]:
    """What the figures of a kind show: a group per (network, input, batch, height, width), in the order of
    the data.

    `stages`, `repetitions`, `memory` and `roofline` compare backends at one frame count: of those at which
    the most backends can be shown, the greatest.

    Raises BadInput for a kind that is not in PLOT_KINDS.
    """
    if kind not in PLOT_KINDS:
        raise BadInput(f"no plot is called {kind!r}; there are {', '.join(PLOT_KINDS)}")
    backends = tuple(dict.fromkeys(tables.cells["backend"]))
    places: dict[_Place, list[Cell]] = {}
    for row in rows_in(tables.cells.drop_duplicates("cell")):
        place = (
            str(row["model"]),
            str(row["input"]),
            int(row["batch"]),
            int(row["height"]),
            int(row["width"]),
        )
        places.setdefault(place, []).append(_cell(row, tables))
    models = len({model for model, *_ in places})
    staged = tables.summary[tables.summary["share"].notna()]
    stages = tuple(dict.fromkeys(map(str, staged["stage"])))
    return [
        replace(_group(kind, tables, place, cells, backends), models=models, run_stages=stages)
        for place, cells in places.items()
    ]


def _cell(row: dict[Any, Any], tables: Tables) -> Cell:
    """A cell with the status of its worst round and that round's reason."""
    name = row["cell"]
    status = Status(tables.summary.loc[tables.summary["cell"] == name, "status"].iloc[0])
    rounds = tables.cells[(tables.cells["cell"] == name) & (tables.cells["status"] == status)]
    return Cell(
        cell=name,
        backend=row["backend"],
        frames=int(row["frames"]),
        status=status,
        reason=str(rounds["reason"].iloc[0]) if len(rounds) else "",
    )


def _group(
    kind: str,
    tables: Tables,
    place: _Place,
    cells: Sequence[Cell],
    backends: tuple[str, ...],
) -> PlotGroup:
    ok = [cell for cell in cells if cell.status is Status.OK]
    find, lacking = FINDERS[kind]
    found = find(tables, ok)
    shown = [cell for cell in ok if cell.cell in found]
    if kind not in _OVER_FRAMES and shown:
        # Frame counts differ too much to be compared with each other: one for all backends.
        counts = Counter(cell.frames for cell in shown)
        frames = max(counts, key=lambda count: (counts[count], count))
        cells, shown = ([cell for cell in some if cell.frames == frames] for some in (cells, shown))
    series = _merged([item for cell in shown for item in found[cell.cell]], backends)
    empty = "no cell ended ok" if not ok else lacking if not shown else ""
    if kind == "speedup" and not empty and all(isinstance(item, Curve) and item.is_unit for item in series):
        series, shown, empty = (), [], "only the baseline itself has a speedup"
    model, input_, batch, height, width = place
    return PlotGroup(
        kind=kind,
        model=model,
        input=input_,
        batch=batch,
        height=height,
        width=width,
        frames=tuple(sorted({cell.frames for cell in shown})),
        backends=backends,
        series=series,
        not_shown=tuple(not_shown(cells, {cell.cell for cell in shown}, lacking)),
        empty=empty,
    )


def _merged(series: Iterable[Series], backends: Sequence[str]) -> tuple[Series, ...]:
    """Series in the backends' order, the points of a backend's cells joined to one curve by frame count."""
    points: dict[str, list[Point]] = {}
    others: list[Series] = []
    for item in series:
        if isinstance(item, Curve):
            points.setdefault(item.backend, []).extend(item.points)
        else:
            others.append(item)
    curves: list[Series] = [
        Curve(backend=backend, points=tuple(sorted(its, key=lambda point: point.frames)))
        for backend, its in points.items()
    ]
    return tuple(sorted([*curves, *others], key=lambda item: backends.index(item.backend)))


def not_shown(cells: Sequence[Cell], shown: set[str], lacking: str) -> Iterable[str]:
    """`cuda, cudnn (skipped: no CUDA device)`: a line per reason; frame counts only where some are shown."""
    left: dict[str, dict[str, list[int]]] = {}
    for cell in cells:
        if cell.cell in shown:
            continue
        reason = _short(cell.reason)
        why = lacking if cell.status is Status.OK else f"{cell.status}: {reason}" if reason else cell.status
        left.setdefault(why, {}).setdefault(cell.backend, []).append(cell.frames)
    planned = Counter(cell.backend for cell in cells)
    for why, backends in left.items():
        names = [
            name
            if len(frames) == planned[name]
            else f"{name} at t={', '.join(str(count) for count in sorted(frames))}"
            for name, frames in backends.items()
        ]
        yield f"{', '.join(names)} ({why})"


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1].rstrip() + "…"
