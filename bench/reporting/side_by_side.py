"""Two or more runs on one page: what differs between them, and their cells below each other.

It tests nothing and gives no verdict. Cells of one place in the grid and one backend stand together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting import rendering, sections
from bench.reporting.cells import Row, bounds, column, distinct, in_bytes, measured, numbers, rows_of
from bench.reporting.legible import legible
from bench.reporting.markdown import Column
from bench.reporting.rendering import File, Pages
from bench.reporting.several import DEVICES_NAME, Cells, SideRun, cells_of, devices_table
from bench.results.files import to_csv, write_whole
from bench.results.identity import differing_facts, facts
from bench.stats.intervals import IntervalKind

Columns = Sequence[Column]

TEMPLATE: Final = "runs.j2"

NEVER_THE_SAME: Final = ("timer",)
"""Of an environment: what is measured anew in each run, and says nothing of the machine when it differs."""

NAMED: Final = 3
"""Of the runs that have something in common, those that are named; the others are counted."""

IN_COLUMNS: Final = 4
"""Runs whose differing facts stand in columns; of more there is a row per value."""

WITHIN: Final = "†"


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All that the page of several runs shows; sections without rows are left out."""

    title: str
    notes: Mapping[str, str]  # by run, how it ended where it did not end by itself
    left_out: Sequence[str]
    runs: Columns
    common: str
    files: Mapping[str, Sequence[File]]
    devices: File
    reference: str
    environments: Columns
    configurations: Columns
    pictures: Mapping[str, Sequence[File]]
    times: Columns
    within: str  # the mark of ratios whose interval is within one process; empty where there is none
    stages: Sequence[Columns]
    memory: Columns
    warnings: Columns
    failures: Columns


def view_of(
    runs: Sequence[SideRun],
    cells: Cells,
    *,
    folder: Path,
    plots: Sequence[Path],
    left_out: Sequence[str] = (),
) -> Runs:
    """Return what the page shows that is to lie in `folder`.

    `plots` are images as in SideRun.files, called by what they show: `time...`, `speedup...`,
    `relative...` or `stages...`. `left_out` says why of each folder that was to be here.
    """
    rows = rows_of(cells.table)
    having = Counter(
        (*(row[name] for name in ("model", "input", "size", "batch", "frames", "backend")),) for row in rows
    )
    common = sum(count == len(runs) for count in having.values())
    pictures: dict[str, list[File]] = {"time": [], "speedup": [], "relative": [], "stages": []}
    for plot in (File.beside(path, folder) for path in plots):
        pictures[plot.kind].append(plot)
    times = _times(rows)
    return Runs(
        title=f"Side by side: {', '.join(run.name for run in runs)}",
        notes={run.name: run.note for run in runs if run.note},
        left_out=left_out,
        runs=_runs(runs, rows),
        common=f"{common} of {len(having)} cells are in {'both' if len(runs) == 2 else 'all'} runs",
        files={run.name: [File.beside(path, folder) for path in run.files] for run in runs if run.files},
        devices=File.beside(folder / DEVICES_NAME, folder),
        reference="" if cells.reference is None else str(cells.reference),
        environments=_differing({run.name: facts(run.environment, but=NEVER_THE_SAME) for run in runs}),
        configurations=_differing({run.name: facts(run.configuration) for run in runs}),
        pictures=pictures,
        times=times,
        within=WITHIN if any(cell.endswith(WITHIN) for one in times for cell in one.cells) else "",
        stages=sections.stages(cells.tables.summary, rows),
        memory=sections.memory(rows),
        warnings=_warnings(cells),
        failures=sections.failures(cells.tables.cells, rows),
    )


def write_side_by_side(
    folder: Path,
    runs: Sequence[SideRun],
    *,
    plots: Sequence[Path],
    cells: Cells | None = None,
    left_out: Sequence[str] = (),
) -> Pages:
    """Write the page as `report.md` and `report.html`, and `devices.csv`, into `folder`.

    Raises OSError where it cannot be written.
    """
    cells = cells or cells_of(runs)
    view = view_of(runs, cells, folder=folder, plots=plots, left_out=left_out)
    write_whole(folder / DEVICES_NAME, to_csv(devices_table(cells)))
    return rendering.write(folder, TEMPLATE, view, title=view.title)


def _runs(runs: Sequence[SideRun], rows: Sequence[Row]) -> Columns:
    own = [[row for row in rows if row["run"] == run.name] for run in runs]
    counts = [Counter(str(row["status"]) for row in some) for some in own]
    return [
        column("run", [run.name for run in runs]),
        column("experiment", [run.experiment for run in runs]),
        column("on", [in_short(run.environment) for run in runs]),
        column("cells", map(len, own), numeric=True),
        column(
            "ended",
            [
                ", ".join(f"{count[status]} {status}" for status in Status if count[status])
                for count in counts
            ],
        ),
        column("baseline", [run.baseline for run in runs]),
        column(
            "first round",
            [min((row["started_at"] for row in some if row["started_at"]), default="") for some in own],
        ),
    ]


def _times(rows: Sequence[Row]) -> Columns:
    shown = measured(rows)
    if not shown:
        return []
    several = len({row["device"] for row in shown}) > 1
    return [
        *sections.times(shown, rows),
        column("device", [row["device"] if several else None for row in shown]),
        column("relative (×)", map(_relative, shown), numeric=True),
        *sections.speedups(shown),
        numbers("output MP/s", [row["output_megapixels_per_s"] for row in shown]),
        numbers("power (W)", [row["power_w"] for row in shown]),
        numbers("energy (J/frame)", [row["energy_per_frame_j"] for row in shown]),
        in_bytes("device memory", [row["peak_device_bytes"] for row in shown]),
    ]


def _relative(row: Row) -> str | None:
    if row["relative_speed"] is None:
        return str(row["why_not"] or "")
    if row["is_reference"]:
        return "reference"
    ends = bounds(row["relative_speed_low"], row["relative_speed_high"])
    mark = f" {WITHIN}" if row["relative_speed_interval"] == IntervalKind.WITHIN_PROCESS else ""
    return legible(row["relative_speed"]) + (f" ({ends})" if ends else "") + mark


def _differing(sides: Mapping[str, Mapping[str, str]]) -> Columns:
    """Return what is not the same in all runs: a column per run, or of many runs a row per value."""
    found = differing_facts([*sides.values()])
    if not found:
        return []
    if len(sides) <= IN_COLUMNS:
        return [
            column("what", found),
            *(
                column(run, ["–" if texts[place] is None else texts[place] for texts in found.values()])
                for place, run in enumerate(sides)
            ),
        ]
    rows = [
        (
            name,
            "–" if text is None else text,
            [run for run, own in zip(sides, texts, strict=True) if own == text],
        )
        for name, texts in found.items()
        for text in distinct(texts)
    ]
    return [
        column("what", [name for name, _, _ in rows]),
        column("value", [text for _, text, _ in rows]),
        column("runs", [len(runs) for _, _, runs in rows], numeric=True),
        column("which", [_in_short(runs) for _, _, runs in rows]),
    ]


def _in_short(names: Sequence[str]) -> str:
    """Return the first of the names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names if more <= 1 else [*names[:NAMED], f"and {more} more"])


def _warnings(cells: Cells) -> Columns:
    """Return a row per run and kind of warning: how many, the first of them, its remedy."""
    groups = cells.tables.warnings.groupby(["run", "code"], sort=False)
    found = [(run, code, rows_of(rows)) for (run, code), rows in groups]
    return (
        [
            column("run", [run for run, _, _ in found]),
            column("warned of", [code for _, code, _ in found]),
            column("times", [len(rows) for _, _, rows in found], numeric=True),
            column("the first", [rows[0]["seen"] for _, _, rows in found]),
            column("what to do", [rows[0]["remedy"] for _, _, rows in found]),
        ]
        if found
        else []
    )
