"""The page of one run or of several: what was measured, what differs, and what came out.

It tests nothing and gives no verdict. Cells of one place in the grid and one backend stand together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.grid.baseline import Baseline
from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting import rendering, sections
from bench.reporting.cells import PLACE, Row, column, distinct, owner, place_of, right
from bench.reporting.ladder import LadderPart, ladder_part
from bench.reporting.markdown import Column
from bench.reporting.rendering import File, Pages
from bench.reporting.roofline import Roofline, ceilings, roofline
from bench.reporting.runs import DEVICES_NAME, ReportedRun, Runs, devices_table
from bench.results.files import to_csv, write_whole
from bench.results.identity import differing_facts, facts, flat
from bench.results.tables import MEASURED, WARNINGS_SEPARATOR, rows_of
from bench.units import counted

Columns = Sequence[Column]

TEMPLATE: Final = "report.j2"

SECTIONS: Final = {
    "ladder": "ladder", "relative": "times", "time": "times", "speedup": "times", "stages": "stages",
    "roofline": "roofline", "repetitions": "sampling", "memory": "memory",
}  # fmt: skip
"""The section that shows a kind of picture; `other` shows the rest, and those of sections left out."""

NEVER_THE_SAME: Final = ("timer",)
"""Of an environment: what is measured anew in each run, and says nothing of the machine when it differs."""

NAMED: Final = 3
"""Cells or runs that are named one by one where they have something in common; more are counted."""

IN_COLUMNS: Final = 4
"""Runs whose differing facts stand in columns; of more there is a row per value."""


@dataclass(frozen=True, kw_only=True)
class View:
    """All that the page shows; a section whose table has no rows is left out."""

    folder: Path  # that the page is to lie in
    title: str
    runs: Sequence[ReportedRun]
    left_out: Sequence[str]  # of the runs that were to be here, why
    counts: str
    ended: Sequence[str]
    axes: Mapping[str, str]
    started: str
    common: str
    lacking: Sequence[ReportedRun]  # those without a figure of their baseline
    reference: str | None
    tables: Mapping[str, Sequence[Columns]]  # by section
    pictures: Mapping[str, Sequence[File]]  # by section; `other` are those that no section shows
    ladders: Sequence[LadderPart]
    warnings: Sequence[Row]  # each kind: where, what was seen first, how many more are like it, what to do
    of_workers: Mapping[str, str]  # what workers themselves had to say, and which
    roofline: Roofline | None
    drift: str  # of the ceilings
    harness_s: float
    rounds_s: float
    timer: object  # of one run
    memory_cell: str
    has_idle: bool  # whether a launch-bound share is known
    has_within: bool  # whether a ratio to the reference has an interval within one process

    @property
    def is_several(self) -> bool:
        return len(self.runs) > 1

    @property
    def machine(self) -> str:
        """Return the first run's machine in a few words."""
        return in_short(self.runs[0].environment)

    def file(self, path: Path) -> File:
        """Return a file as the page links it."""
        return File.beside(path, self.folder)


def view_of(cells: Runs, *, folder: Path, plots: Sequence[Path] = (), left_out: Sequence[str] = ()) -> View:
    """Return what the page shows that is to lie in `folder`.

    `plots` are images, absolute or relative to the working directory, each called by its kind:
    `speedup-...`. `left_out` says why of each folder that was to be here.
    """
    runs, tables, rows, several = cells.runs, cells.tables, cells.rows, cells.are_several
    ladders = [
        ladder_part(" ".join([f"{run.name}:"] * several + clip.split("/")), steps)
        for run in runs
        for clip, steps in run.ladders.items()
    ]
    limits = roofline(tables, rows)
    machine, drift = ceilings(tables)
    memory_cell, memory_lines = sections.memory_lines(tables)
    calls, longest = sections.profile(tables, rows)
    harness_s, rounds_s, harness = sections.harness(tables)
    shown: dict[str, Columns] = {
        "runs": _runs(cells) if several else [],
        "environments": _differing({run.name: facts(run.environment, but=NEVER_THE_SAME) for run in runs}),
        "configurations": _differing({run.name: facts(run.configuration) for run in runs}),
        "times": sections.headline(rows),
        "roofline": limits.columns if limits else [],
        "ceilings": machine,
        "sampling": sections.sampling(rows),
        "perturbation": sections.perturbation(tables, rows),
        "profile": calls,
        "longest": longest,
        "cold": sections.cold(rows),
        "memory": sections.memory(rows),
        "memory_lines": memory_lines,
        "costs": sections.costs(tables, rows),
        "output_check": sections.output_check(rows),
        "machine": sections.machine(rows),
        "harness": harness,
        "failures": sections.failures(tables.cells, rows),
        "environment": [] if several else _facts(dict(flat(runs[0].environment))),
    }
    by_section: dict[str, Sequence[Columns]] = {
        name: [columns] if columns else [] for name, columns in shown.items()
    }
    by_section["stages"] = sections.stages(tables.summary, rows)
    by_section["ladder"] = [ladder.steps for ladder in ladders]
    return View(
        folder=folder,
        title=f"Side by side: {', '.join(run.name for run in runs)}" if several else runs[0].experiment,
        runs=runs,
        left_out=left_out,
        counts=f"{counted(len(rows), 'cell')} in {counted(len(tables.cells), 'round')}" if rows else "",
        ended=_ended(rows),
        axes=_axes(rows, {run.baseline for run in runs}),
        started=_started(rows),
        common=_common(rows, len(runs)),
        lacking=_lacking(cells),
        reference=cells.reference,
        tables=by_section,
        pictures=_pictures([File.beside(path, folder) for path in plots], by_section),
        ladders=ladders,
        warnings=_warnings(cells),
        of_workers=_of_workers(cells),
        roofline=limits,
        drift=drift,
        harness_s=harness_s,
        rounds_s=rounds_s,
        timer=None if several else runs[0].environment.get("timer"),
        memory_cell=memory_cell,
        has_idle=bool(tables.cells["launch_bound_share"].notna().any()),
        has_within=any(map(sections.is_within, rows)),
    )


def write(folder: Path, cells: Runs, *, plots: Sequence[Path] = (), left_out: Sequence[str] = ()) -> Pages:
    """Write `report.md` and `report.html` into the folder, and `devices.csv` of several runs.

    Of a plot the HTML has the .svg beside the .png. Raises OSError where the folder cannot be written.
    """
    view = view_of(cells, folder=folder, plots=plots, left_out=left_out)
    if cells.are_several:
        write_whole(folder / DEVICES_NAME, to_csv(devices_table(cells)))
    return rendering.write(folder, TEMPLATE, view, title=view.title)


def unfinished(missing: int, why: str = "the run was interrupted") -> str | None:
    """Return the note of a run that lacks so many of its planned rounds."""
    if not missing:
        return None
    return f"{'1 round is' if missing == 1 else f'{missing} rounds are'} not done yet: {why}."


def _pictures(files: Sequence[File], tables: Mapping[str, Sequence[Columns]]) -> Mapping[str, Sequence[File]]:
    """Return the pictures of each section, in the order of their kinds."""
    found: dict[str, list[File]] = {name: [] for name in (*tables, "other")}
    kinds = [*SECTIONS]
    for file in sorted(files, key=lambda file: kinds.index(file.kind) if file.kind in kinds else len(kinds)):
        section = SECTIONS.get(file.kind, "other")
        found[section if tables.get(section) else "other"].append(file)
    return found


def _lacking(cells: Runs) -> list[ReportedRun]:
    summary = cells.tables.summary
    # Memory alone may have been measured, which has no stages.
    staged = set(summary[summary["stage"].notna()]["cell"])
    having = {
        row.get("run", cells.runs[0].name)
        for row in cells.rows
        if row["is_baseline"] and (row["cell"] in staged or row["status"] in MEASURED)
    }
    return [run for run in cells.runs if run.name not in having]


def _facts(found: Mapping[str, str]) -> Columns:
    return [column("what", found), column("value", found.values())] if found else []


def _ended(rows: Sequence[Row]) -> list[str]:
    ended = Counter(str(row["status"]) for row in rows)
    return [f"{ended[status]} {status}" for status in Status if ended[status]]


def _started(rows: Sequence[Row]) -> str:
    return min((row["started_at"] for row in rows if row["started_at"]), default="")


def _axes(rows: Sequence[Row], baselines: set[Baseline]) -> dict[str, str]:
    names = {"networks": "model", "inputs": "input", "sizes": "size", "batches": "batch", "frames": "frames"}
    axes = {title: distinct(row[name] for row in rows) for title, name in names.items()}
    axes["frames"].sort()
    axes["backends"] = [
        f"{name} (baseline)" if baselines == {Baseline(backend=name)} else name
        for name in distinct(row["backend"] for row in rows)
    ]
    if len(baselines) == 1 and (over := next(iter(baselines))).model is not None:
        axes["baseline"] = [str(over)]
    return {title: ", ".join(map(str, values)) for title, values in axes.items()}


def _runs(cells: Runs) -> Columns:
    own = [[row for row in cells.rows if row["run"] == run.name] for run in cells.runs]
    return [
        column("run", [run.name for run in cells.runs]),
        column("experiment", [run.experiment for run in cells.runs]),
        column("on", [in_short(run.environment) for run in cells.runs]),
        right("cells", map(len, own)),
        column("ended", [", ".join(_ended(rows)) for rows in own]),
        column("baseline", [run.baseline for run in cells.runs]),
        column("first round", map(_started, own)),
    ]


def _common(rows: Sequence[Row], runs: int) -> str:
    having = Counter(tuple(row[name] for name in (*PLACE, "backend")) for row in rows)
    common = sum(count == runs for count in having.values())
    return f"{common} of {len(having)} cells are in {'both' if runs == 2 else 'all'} runs"


def _differing(sides: Mapping[str, Mapping[str, str]]) -> Columns:
    """Return what is not the same in all runs: a column per run, or of many runs a row per value."""
    found = {
        name: ["–" if text is None else text for text in texts]
        for name, texts in differing_facts([*sides.values()]).items()
    }
    if not found:
        return []
    if len(sides) <= IN_COLUMNS:
        by_run = zip(sides, zip(*found.values(), strict=True), strict=True)
        return [column("what", found), *(column(run, texts) for run, texts in by_run)]
    rows = [
        (name, text, [run for run, own in zip(sides, texts, strict=True) if own == text])
        for name, texts in found.items()
        for text in distinct(texts)
    ]
    return [
        column("what", [name for name, _, _ in rows]),
        column("value", [text for _, text, _ in rows]),
        right("runs", [len(runs) for _, _, runs in rows]),
        column("which", [_first_of(runs, ", ") for _, _, runs in rows]),
    ]


def _first_of(names: Sequence[str], separator: str) -> str:
    """Return the first of the names, and how many more there are."""
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return separator.join([*names[:NAMED], *more])


def _warnings(cells: Runs) -> list[Row]:
    """Return each kind of warning of a run once, with the cells that it is about and its remedy."""
    by_id = {row["cell"]: row for row in cells.rows}
    found = []
    by = ["code"] + ["run"] * cells.are_several
    for key, group in cells.tables.warnings.groupby(by, sort=False):
        rows = rows_of(group)
        whose = [by_id[row["cell"]] for row in rows if row["cell"] in by_id]
        places = _first_of([f"{place_of(row, cells.rows)}, {row['backend']}" for row in whose], "; ")
        where = ": ".join(filter(None, [*map(str, key[1:]), places]))
        found.append(rows[0] | {"where": where, "more": len(rows) - 1})
    return found


def _of_workers(cells: Runs) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for row in rows_of(cells.tables.cells):
        for warning in filter(None, str(row["warnings"]).split(WARNINGS_SEPARATOR)):
            found.setdefault(warning, []).append(owner(row))
    return {
        warning: f"{counted(len(owners), 'round')}: {', '.join(distinct(owners))}"
        for warning, owners in found.items()
    }
