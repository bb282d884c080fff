"""The table that each figure shows: a run's tables in, a table per figure out. No matplotlib here.

Only cells that ended `ok` are shown: a fast wrong answer is a failed cell. What is left out is named, with
its reason, in `not_shown`. Several runs are one table with a `run` column (bench.reporting.several); figures
then tell runs apart by their lines and markers.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import pandas as pd

from bench.grid.config import PlotKind
from bench.grid.spans import FORWARD
from bench.records import Pass, Status
from bench.results.tables import Tables
from vsr_model.errors import BadInput

PLOT_KINDS: Final[tuple[str, ...]] = get_args(PlotKind)

_OVER_FRAMES: Final = ("time", "speedup", "long_clips")
"""The kinds that show every frame count."""

REASON_LENGTH: Final = 60
"""Characters of a reason that a figure's footnote has room for; the report gives it whole."""

DRAWN: Final = 8
"""Curves in one figure of several runs; more go on in another."""

_PLACE: Final = ["model", "input", "batch", "height", "width"]
_CELL: Final = ["cell", "run", "backend", "frames"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a figure says of its place in the grid, and what decides colours and lines in all of them."""

    model: str
    input: str
    batch: int
    height: int
    width: int
    models: int = 1  # of the whole run
    backends: tuple[str, ...]  # of the whole run: a backend's place decides its colour
    runs: tuple[str, ...] = ()  # where there are several: a run's place decides its line and marker
    stages: tuple[str, ...] = ()  # of the whole run: a stage's place decides its colour
    not_shown: tuple[str, ...] = ()
    part: str = ""  # such as `1 of 2`

    @property
    def subject(self) -> str:
        """The input, and the network too where the run has several."""
        names = [self.model] * (self.models > 1) + [self.input] * bool(self.input)
        return ", ".join(names)


@dataclass(frozen=True, kw_only=True)
class PlotGroup:
    """A figure's table and labels. Without rows there is no figure, and `empty` says why.

    Every table has `cell`, `run`, `backend` and `frames`; the others are those of its finder below.
    """

    kind: str
    labels: Labels
    table: pd.DataFrame
    empty: str = ""


def data(kind: str, tables: Tables) -> list[PlotGroup]:
    """Return the figures of a kind: one per (network, input, batch, height, width), in the order of the data.

    `stages`, `repetitions`, `memory` and `roofline` compare backends at one frame count: of those at which
    the most backends can be shown, the greatest.

    Raises BadInput for a kind that is not in PLOT_KINDS.
    """
    if kind not in PLOT_KINDS:
        raise BadInput(f"no plot is called {kind!r}; there are {', '.join(PLOT_KINDS)}")
    cells = _cells(tables)
    find, lacking = _FINDERS[kind]
    found = find(tables)
    found = cells[_CELL].merge(found.drop(columns=_CELL[1:], errors="ignore"), on="cell", sort=False)
    whole = Labels(
        model="", input="", batch=0, height=0, width=0,
        models=cells["model"].nunique(),
        backends=tuple(cells["backend"].unique()),
        runs=tuple(run for run in cells["run"].unique() if run),
        stages=tuple(tables.summary[tables.summary["share"].notna()]["stage"].unique()),
    )  # fmt: skip
    groups = []
    for place, own in cells.groupby(_PLACE, sort=False):
        labels = replace(whole, **dict(zip(_PLACE, _plain(place), strict=True)))
        groups.append(_group(kind, labels, own, found[found["cell"].isin(own["cell"])], lacking))
    return groups


def in_parts(group: PlotGroup) -> list[PlotGroup]:
    """Return the figure, or several of DRAWN curves at most, the curves of a run in a row."""
    table, runs = group.table, group.labels.runs
    keys = sorted(
        dict.fromkeys(zip(table["run"], table["label"], strict=True)), key=lambda key: runs.index(key[0])
    )
    parts = [keys[start : start + DRAWN] for start in range(0, len(keys), DRAWN)]
    return [
        replace(
            group,
            table=table[[key in part for key in zip(table["run"], table["label"], strict=True)]],
            labels=replace(group.labels, part=f"{number} of {len(parts)}" if len(parts) > 1 else ""),
        )
        for number, part in enumerate(parts, start=1)
    ]


def _plain(values: Iterable[Any]) -> list[Any]:
    return [value if isinstance(value, str) else int(value) for value in values]


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


def _group(kind: str, labels: Labels, cells: pd.DataFrame, found: pd.DataFrame, lacking: str) -> PlotGroup:
    is_ok = cells["status"] == Status.OK
    table = found[found["cell"].isin(cells[is_ok]["cell"])]
    if kind not in _OVER_FRAMES and len(table):
        # Frame counts differ too much to be compared with each other: one for all backends.
        counts = Counter(table.drop_duplicates("cell")["frames"])
        frames = max(counts, key=lambda count: (counts[count], count))
        cells, table = cells[cells["frames"] == frames], table[table["frames"] == frames]
    empty = "" if len(table) else lacking if is_ok.any() else "no cell ended ok"
    shown = set(table["cell"])
    if kind == "speedup" and not empty:
        # A backend that is the baseline everywhere is the line at 1.
        units = table.groupby(["run", "backend"])[["value", "low", "high"]].transform(
            lambda one: (one == 1).all()
        )
        table = table[~units.all(axis="columns")]
        empty = "" if len(table) else "only the baseline itself has a speedup"
    by = pd.DataFrame(
        {
            "backend": table["backend"].map(labels.backends.index),
            "run": table["run"].map(labels.runs.index) if labels.runs else 0,
            "frames": table["frames"] if kind in _OVER_FRAMES else 0,
        }
    )
    table = table.loc[by.sort_values(list(by.columns), kind="stable").index]
    names = table["backend"] if not labels.runs else table["run"] + ": " + table["backend"]
    return PlotGroup(
        kind=kind,
        labels=replace(labels, not_shown=() if labels.runs else tuple(not_shown(cells, shown, lacking))),
        table=table.assign(label=names).reset_index(drop=True),
        empty=empty,
    )


def not_shown(cells: pd.DataFrame, shown: set[str], lacking: str) -> Iterable[str]:
    """Yield `cuda, cudnn (skipped: no CUDA device)`, a line per reason; frame counts if some are shown."""
    left: dict[str, dict[str, list[int]]] = {}
    for row in cells[~cells["cell"].isin(shown)].to_dict("records"):
        status, reason = str(row["status"]), _short(str(row["reason"] or ""))
        why = lacking if status == Status.OK else f"{status}: {reason}" if reason else status
        left.setdefault(why, {}).setdefault(row["backend"], []).append(int(row["frames"]))
    planned = Counter(cells["backend"])
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


def medians(value: str, low: str, high: str, interval: str) -> Callable[[Tables], pd.DataFrame]:
    """Return a finder of `value`, `low`, `high` and `interval` of the forward."""

    def find(tables: Tables) -> pd.DataFrame:
        rows = tables.summary[(tables.summary["stage"] == FORWARD) & tables.summary[value].notna()]
        names = {value: "value", low: "low", high: "high", interval: "interval"}
        return rows[["cell", *names]].rename(columns=names)

    return find


def _stages(tables: Tables) -> pd.DataFrame:
    """Return `stage`, `seconds`, `share` and `clock`, in the network's order of stages."""
    rows = tables.summary[tables.summary["share"].notna()]
    return rows[["cell", "stage", "median_s", "share", "clock"]].rename(columns={"median_s": "seconds"})


def _calls(tables: Tables) -> pd.DataFrame:
    """Return `round`, `phase`, `seconds` and `call`, which counts from 1 within a process."""
    samples = tables.samples[
        (tables.samples["pass"] == Pass.END_TO_END) & (tables.samples["stage"] == FORWARD)
    ].sort_values(["round", "start_s"], kind="stable")
    numbers = samples.groupby(["cell", "round"]).cumcount() + 1
    return samples[["cell", "round", "phase"]].assign(seconds=samples["wall_s"], call=numbers)


def _traces(tables: Tables) -> pd.DataFrame:
    """Return `round`, `elapsed_s`, `host_growth_bytes` and `device_bytes` since each round's first point."""
    memory = tables.memory.sort_values(["round", "elapsed_s"], kind="stable")
    first = memory.groupby(["cell", "round"])[["elapsed_s", "host_bytes"]].transform("first")
    return memory[["cell", "round", "device_bytes"]].assign(
        elapsed_s=memory["elapsed_s"] - first["elapsed_s"],
        host_growth_bytes=memory["host_bytes"] - first["host_bytes"],
    )


def _needs(tables: Tables) -> pd.DataFrame:
    """Return `seconds`, `host_bytes` (what a call adds) and `device_bytes` (the peak); None is not measured.

    Memory is the greatest of the rounds; what is not above 0 has no place on a logarithmic axis.
    """
    timed = tables.summary[tables.summary["stage"] == FORWARD].set_index("cell")["median_s"]
    names = {"host_growth_bytes": "host_bytes", "peak_device_bytes": "device_bytes"}
    peaks = tables.cells[list(names)].astype(float).groupby(tables.cells["cell"], sort=False).max()
    needs = peaks.rename(columns=names).assign(seconds=timed)
    return needs.where(needs > 0).dropna(how="all").reset_index()


def _roofline(tables: Tables) -> pd.DataFrame:
    """Return the rows of roofline.csv of stages that have a limit."""
    if tables.roofline.empty:
        return pd.DataFrame({"cell": []})
    known = tables.roofline.dropna(subset=["matmul_flops_per_s", "copy_bytes_per_s"])
    return known[known["stage"] != FORWARD]


_FINDERS: Final[dict[str, tuple[Callable[[Tables], pd.DataFrame], str]]] = {
    # And what to say of a cell that ended well and yet has no such rows.
    "time": (medians("median_s", "low_s", "high_s", "interval"), "no steady samples"),
    "speedup": (
        medians("speedup", "speedup_low", "speedup_high", "speedup_interval"),
        "the baseline was not measured there",
    ),
    "stages": (_stages, "no stage pass"),
    "repetitions": (_calls, "no samples"),
    "memory": (_traces, "no memory pass"),
    "long_clips": (_needs, "neither steady samples nor a memory pass"),
    "roofline": (_roofline, "no stage times, or no ceilings to hold them against"),
}
