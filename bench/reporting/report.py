"""A run as one page, for a terminal, a repository or a browser: what was measured and what came out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.grid.baseline import Baseline
from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting import rendering, sections
from bench.reporting.cells import Row, cell_table, column, distinct, measured, place_of, rows_of
from bench.reporting.ladder_section import LadderPart
from bench.reporting.markdown import Column
from bench.reporting.rendering import File, Pages
from bench.reporting.report_profile import Profile, profile
from bench.reporting.report_roofline import Ceilings, Roofline, ceilings, roofline
from bench.results.identity import flat
from bench.results.tables import MEASURED, WARNINGS_SEPARATOR, Tables
from bench.units import counted, with_unit

Columns = Sequence[Column]

TEMPLATE: Final = "run.j2"

NAMED: Final = 3
"""Cells that a warning names one by one; more are counted."""


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A kind of warning: where, what was seen first, how many more are like it, and what to do."""

    code: str
    where: str
    seen: str
    more: int
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Harness:
    """What the tool itself costs."""

    whole: str
    share: str  # of the rounds' time
    rounds: str
    timer_cost: str
    timer_step: str
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the page of a run shows; sections without rows are left out."""

    folder: Path  # that the page is to lie in
    title: str
    note: str | None
    counts: str
    ended: Sequence[str]
    axes: Mapping[str, str]
    machine: str
    started: str
    files: Sequence[File]
    baseline: str
    has_baseline: bool
    has_times: bool
    has_stages: bool
    pictures: Mapping[str, Sequence[File]]  # by kind; `other` are those that no section shows
    ladders: Sequence[LadderPart]
    headline: Columns
    warnings: Sequence[Warned]
    of_workers: Mapping[str, str]  # what workers themselves had to say, and which
    stages: Sequence[Columns]
    roofline: Roofline | None
    ceilings: Ceilings | None
    sampling: Columns
    perturbation: Columns
    profile: Profile | None
    cold: Columns
    memory: Columns
    memory_cell: str
    memory_lines: Columns
    costs: Columns
    output_check: Columns
    meanwhile: Columns
    harness: Harness | None
    failures: Columns
    environment: Columns


def view_of(
    tables: Tables,
    *,
    folder: Path,
    title: str,
    baseline: Baseline,
    environment: Mapping[str, object],
    plots: Sequence[Path],
    files: Sequence[Path] = (),
    exit_note: str | None = None,
    ladder: Sequence[LadderPart] = (),
) -> Report:
    """Return what the page shows that is to lie in `folder`.

    `plots` are the images to show and `files` the tables to link, absolute or relative to the working
    directory. `environment` may be nested; `exit_note` says how the run ended where it did not end by itself,
    and `ladder` is given where the backends are one.
    """
    cells = [
        row | {"is_baseline": baseline.matches(row["model"], row["backend"])}
        for row in rows_of(cell_table(tables))
    ]
    timed = measured(cells)
    ended = Counter(str(row["status"]) for row in cells)
    staged = set(tables.summary[tables.summary["stage"].notna()]["cell"])
    # Memory alone may have been measured, which has no stages.
    has_baseline = any(
        row["is_baseline"] for row in cells if row["cell"] in staged or row["status"] in MEASURED
    )
    facts = list(flat(environment))
    memory_cell, memory_lines = sections.memory_lines(tables)
    stages = sections.stages(tables.summary, cells)
    memory = sections.memory(cells)
    found = roofline(tables, cells)
    kinds = {
        "ladder": ladder, "time": timed, "speedup": timed, "stages": stages, "roofline": found,
        "repetitions": timed, "memory": memory,
    }  # fmt: skip
    pictures: dict[str, list[File]] = {name: [] for name in (*kinds, "other")}
    for plot in (File.beside(path, folder) for path in plots):
        pictures[plot.kind if kinds.get(plot.kind) else "other"].append(plot)
    return Report(
        folder=folder,
        title=title,
        note=exit_note,
        counts=f"{counted(len(cells), 'cell')} in {counted(len(tables.cells), 'round')}" if cells else "",
        ended=[f"{ended[status]} {status}" for status in Status if ended[status]],
        axes=_axes(cells, baseline),
        machine=in_short(environment),
        started=min((row["started_at"] for row in cells if row["started_at"]), default=""),
        files=[File.beside(path, folder) for path in files],
        baseline=str(baseline),
        has_baseline=has_baseline,
        has_times=bool(timed),
        has_stages=bool(staged),
        pictures=pictures,
        ladders=ladder,
        headline=[*sections.times(timed, cells), *sections.speedups(timed)] if timed else [],
        warnings=_warnings(tables, cells),
        of_workers=_of_workers(tables),
        stages=stages,
        roofline=found,
        ceilings=ceilings(tables),
        sampling=sections.sampling(cells),
        perturbation=sections.perturbation(tables, cells),
        profile=profile(tables, cells),
        cold=sections.cold(cells),
        memory=memory,
        memory_cell=memory_cell,
        memory_lines=memory_lines,
        costs=sections.costs(tables, cells),
        output_check=sections.output_check(cells),
        meanwhile=sections.machine(cells),
        harness=_harness(tables, environment),
        failures=sections.failures(tables.cells, cells),
        environment=[
            column("what", [name for name, _ in facts]),
            column("value", [text for _, text in facts]),
        ],
    )


def write_report(view: Report) -> Pages:
    """Write the page as `report.md` and `report.html` into its folder, each whole or not at all.

    Of a plot the HTML has the .svg beside the .png. Raises OSError where the folder cannot be written.
    """
    return rendering.write(view.folder, TEMPLATE, view, title=view.title)


def unfinished(missing: int, why: str = "the run was interrupted") -> str | None:
    """Return the note of a run that lacks so many of its planned rounds."""
    if not missing:
        return None
    said = "1 round is" if missing == 1 else f"{missing} rounds are"
    return f"{said} not done yet: {why}."


def _axes(cells: Sequence[Row], baseline: Baseline) -> dict[str, str]:
    names = {"networks": "model", "inputs": "input", "sizes": "size", "batches": "batch", "frames": "frames"}
    axes = {title: distinct(row[name] for row in cells) for title, name in names.items()}
    axes["frames"].sort()
    axes["backends"] = [
        f"{name} (baseline)" if baseline == Baseline(backend=name) else name
        for name in distinct(row["backend"] for row in cells)
    ]
    if baseline.model is not None:
        axes["baseline"] = [str(baseline)]
    return {title: ", ".join(map(str, values)) for title, values in axes.items()}


def _warnings(tables: Tables, cells: Sequence[Row]) -> list[Warned]:
    """Return each kind of warning once, with the cells that it is about and its remedy."""
    by_id = {row["cell"]: row for row in cells}
    found = []
    for code, group in tables.warnings.groupby("code", sort=False):
        rows = rows_of(group)
        whose = [by_id[row["cell"]] for row in rows if row["cell"] in by_id]
        places = [f"{place_of(row, cells)}, {row['backend']}" for row in whose]
        rest = [f"and {len(places) - NAMED} more"] if len(places) > NAMED else []
        found.append(
            Warned(
                code=str(code),
                where="; ".join([*places[:NAMED], *rest]),
                seen=rows[0]["seen"],
                more=len(rows) - 1,
                remedy=rows[0]["remedy"],
            )
        )
    return found


def _of_workers(tables: Tables) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for text, backend in zip(tables.cells["warnings"], tables.cells["backend"], strict=True):
        for warning in filter(None, str(text).split(WARNINGS_SEPARATOR)):
            found.setdefault(warning, []).append(backend)
    return {
        warning: f"{counted(len(backends), 'round')}: {', '.join(distinct(backends))}"
        for warning, backends in found.items()
    }


def _harness(tables: Tables, environment: Mapping[str, object]) -> Harness | None:
    own_s, whole_s, columns = sections.harness(tables)
    if not columns:
        return None
    timer = environment.get("timer")
    known = timer if isinstance(timer, Mapping) and {"cost_s", "resolution_s"} <= timer.keys() else None
    return Harness(
        whole=with_unit(own_s),
        share=f"{100 * own_s / whole_s:.1f} %" if whole_s else "",
        rounds=with_unit(whole_s),
        timer_cost=with_unit(known["cost_s"]) if known else "",
        timer_step=with_unit(known["resolution_s"]) if known else "",
        columns=columns,
    )
