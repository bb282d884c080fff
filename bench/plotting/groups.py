"""Tables to figures: which cells a figure shows, and what it says of the others.

Only cells that ended `ok` are shown: a fast wrong answer is a failed cell. What is left out is named, with
its reason, in `not_shown`. Several runs are one table with a `run` column (bench.reporting.runs); figures
then tell runs apart by their lines and markers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from bench.figures import FIGURES
from bench.plotting.axes import AXES, SHAPE, Axis, held, one_place, varying
from bench.plotting.style import style
from bench.records import Status
from bench.results.tables import Tables
from vsr_model.errors import BadInput

REASON_LENGTH: Final = 84
"""Characters of a reason that a figure's footnote has room for; the report gives it whole."""

SHAPES_NAMED: Final = 3
"""Shapes of one backend that a footnote names; more are counted."""

DRAWN: Final = 8
"""Curves in one figure of several runs; more go on in another."""

_PLACE: Final = ["model", "input"]
_CELL: Final = ["cell", "run", "backend", *SHAPE]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a figure says of the cells that it shows, and what decides colours and lines in all of them."""

    model: str = ""
    input: str = ""
    models: int = 1  # of the whole run
    backends: tuple[str, ...] = ()  # of the whole run: a backend's place decides its colour
    runs: tuple[str, ...] = ()  # where there are several: a run's place decides its line and marker
    stages: tuple[str, ...] = ()  # of the whole run: a stage's place decides its colour
    baseline: str = ""  # what is at 1 in a figure of ratios
    not_shown: tuple[str, ...] = ()
    part: str = ""  # such as `1 of 2`

    @property
    def subject(self) -> str:
        """The input, and the network too where the run has several."""
        names = [self.model] * (self.models > 1) + [self.input] * bool(self.input)
        return ", ".join(names)


Draw = Callable[[pd.DataFrame, Labels], Figure]
"""Draws a table that has rows, each with `cell`, `run`, `backend`, the columns of its shape (`SHAPE` of
bench.plotting.axes), its series' `label` and what the kind's `rows` gives."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of figure; bench.figures has its name."""

    rows: Callable[[Tables], pd.DataFrame]  # with a column `cell`, which stands for the columns of its place
    draw: Draw
    lacking: str  # said of a cell that ended `ok` and has no rows
    over_axes: bool = False  # shows cells of every shape
    over_baseline: bool = False  # a backend whose values are all 1 is a line of reference


@dataclass(frozen=True, kw_only=True)
class PlotGroup:
    """A figure's table and labels. Without rows there is no figure, and `empty` says why."""

    draw: Draw
    labels: Labels
    table: pd.DataFrame
    empty: str = ""


def figure(group: PlotGroup, *, baseline: str) -> Figure:
    """Draw a group that has rows, in the style of all figures.

    Raises ValueError for a group without rows: there is no empty figure.
    """
    if group.empty:
        raise ValueError(f"nothing to draw: {group.empty}")
    with style():
        return group.draw(group.table, replace(group.labels, baseline=baseline))


def data(name: str, tables: Tables) -> list[PlotGroup]:
    """Return the figures of a kind: one per (network, input), in the order of the data.

    Kinds that do not show every shape compare backends at one: of those at which the most backends can be
    shown, the largest.

    Raises BadInput for a name that is not in FIGURES.
    """
    if name not in FIGURES:
        raise BadInput(f"no plot is called {name!r}; there are {', '.join(FIGURES)}")
    module, _, attribute = FIGURES[name].partition(":")
    kind: Kind = getattr(import_module(module), attribute)
    cells = _cells(tables)
    if cells.empty:
        return []
    found = kind.rows(tables)
    found = cells[_CELL].merge(found.drop(columns=_CELL[1:], errors="ignore"), on="cell", sort=False)
    whole = Labels(
        models=cells["model"].nunique(),
        backends=tuple(cells["backend"].unique()),
        runs=tuple(run for run in cells["run"].unique() if run),
        stages=tuple(tables.summary[tables.summary["share"].notna()]["stage"].unique()),
    )
    groups = []
    for place, own in cells.groupby(_PLACE, sort=False):
        model, of = place
        labels = replace(whole, model=str(model), input=str(of))
        groups.append(_group(kind, labels, own, found[found["cell"].isin(own["cell"])]))
    return groups


def in_parts(group: PlotGroup) -> list[PlotGroup]:
    """Return the figure, or several of DRAWN curves at most, the curves of a run in a row."""
    keys = pd.MultiIndex.from_frame(group.table[["run", "label"]])
    every = keys[group.table["run"].map(group.labels.runs.index).argsort(kind="stable").to_numpy()].unique()
    parts = [every[start : start + DRAWN] for start in range(0, len(every), DRAWN)]
    return [
        replace(
            group,
            table=group.table[keys.isin(part)],
            labels=replace(group.labels, part=f"{number} of {len(parts)}" if len(parts) > 1 else ""),
        )
        for number, part in enumerate(parts, start=1)
    ]


def place_names(kind: str, groups: Sequence[PlotGroup]) -> list[str]:
    """Return a file name per group: the kind alone where there is one, else with its place."""
    if len(groups) == 1:
        return [kind]
    names: list[str] = []
    for group in groups:
        subject = group.labels.subject
        place = re.sub(r"[^A-Za-z0-9._-]+", "_", subject).strip("._-") or "input" * bool(subject)
        name = "-".join(filter(None, (kind, place)))
        same = sum(other == name or other.startswith(f"{name}-") for other in names)
        # Inputs that differ only in characters a file name cannot hold.
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def _cells(tables: Tables) -> pd.DataFrame:
    """Return each cell once, with the status of its worst round and that round's reason."""
    cells = tables.cells.drop_duplicates("cell")
    statuses = tables.summary.drop_duplicates("cell").set_index("cell")["status"].map(str)
    worst = tables.cells[tables.cells["status"].map(str) == tables.cells["cell"].map(statuses)]
    reasons = worst.drop_duplicates("cell").set_index("cell")["reason"]
    return cells.assign(
        run=cells.get("run", ""),
        status=cells["cell"].map(statuses),
        reason=cells["cell"].map(reasons),
    )


def _group(kind: Kind, labels: Labels, cells: pd.DataFrame, found: pd.DataFrame) -> PlotGroup:
    is_ok = cells["status"] == Status.OK
    table = found[found["cell"].isin(cells[is_ok]["cell"])]
    if not kind.over_axes and len(table):
        table = one_place(table)
        cells = cells[cells[SHAPE].eq(table[SHAPE].iloc[0]).all(axis="columns")]
    empty = "" if len(table) else kind.lacking if is_ok.any() else "no cell ended ok"
    left_out = () if labels.runs else tuple(_not_shown(cells, {*table["cell"]}, kind.lacking))
    if kind.over_baseline and not empty:
        units = table[["value", "low", "high"]].eq(1).all(axis="columns")
        table = table[~units.groupby([table["run"], table["backend"]]).transform("all")]
        empty = "" if len(table) else "only the baseline itself has a speedup"
    order = pd.DataFrame(
        {
            "backend": table["backend"].map(labels.backends.index),
            "run": table["run"].map(labels.runs.index) if labels.runs else 0,
            **({name: table[name] for name in SHAPE} if kind.over_axes else {}),
        }
    )
    table = table.loc[order.sort_values([*order.columns], kind="stable").index]
    names = table["backend"] if not labels.runs else table["run"] + ": " + table["backend"]
    return PlotGroup(
        draw=kind.draw,
        labels=replace(labels, not_shown=left_out),
        table=table.assign(label=names).reset_index(drop=True),
        empty=empty,
    )


def _not_shown(cells: pd.DataFrame, shown: set[str], lacking: str) -> Iterable[str]:
    """Yield `cuda, cudnn (skipped: no CUDA device)`, a line per reason; the shapes where some are shown."""
    left: dict[str, dict[str, list[str]]] = {}
    for index, row in cells[~cells["cell"].isin(shown)].iterrows():
        status, reason = str(row["status"]), _short(str(row["reason"] or ""))
        why = lacking if status == Status.OK else f"{status}: {reason}" if reason else status
        shape = held(cells.loc[[index]], but=_constant(cells))
        left.setdefault(why, {}).setdefault(row["backend"], []).append(shape)
    planned = Counter(cells["backend"])
    for why, backends in left.items():
        alike: dict[str, list[str]] = {}
        for name, shapes in backends.items():
            alike.setdefault("" if len(shapes) == planned[name] else f" at {_few(shapes)}", []).append(name)
        yield f"{'; '.join(', '.join(names) + where for where, names in alike.items())} ({why})"


def _constant(cells: pd.DataFrame) -> list[Axis]:
    vary = varying(cells)
    return [axis for axis in AXES if axis not in vary]


def _few(shapes: Sequence[str]) -> str:
    if len(shapes) > SHAPES_NAMED:
        return f"{len(shapes)} shapes"
    return " and ".join(shapes)


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1].rstrip() + "…"
