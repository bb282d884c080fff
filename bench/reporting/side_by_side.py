"""Two or more runs on one page: what differs between them, and their figures beside each other.

It tests nothing and gives no verdict. Cells are matched by their ids, devices as in bench.reporting.devices.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.grid.baseline import Baseline
from bench.machine.environment import in_short
from bench.plotting.plot_overlay import RELATIVE
from bench.records import Status
from bench.reporting.devices import Devices, devices_of
from bench.reporting.devices_table import DEVICES_NAME, devices_table
from bench.reporting.html_files import Pages, relative, write_pages
from bench.reporting.markdown import Column, escape, image, link, table
from bench.reporting.report_cells import ReportCell, cells_of
from bench.reporting.side_by_side_devices import DEVICES_KIND, devices_section
from bench.reporting.side_by_side_figures import (
    ABSENT,
    Side,
    memory,
    speedups,
    stage_shares,
    times,
)
from bench.reporting.side_by_side_many import (
    MANY,
    differences_of_many,
    failures_of_many,
    speedups_of_many,
    warnings_of_many,
)
from bench.reporting.side_by_side_relative import relative_section
from bench.results.analysis import Tables
from bench.results.differing import Facts, differing_facts, facts
from bench.results.run_folder import to_csv
from bench.results.whole_file import write_whole

NEVER_THE_SAME: Final = ("timer",)
"""Of an environment: what is measured anew in each run, and says nothing of the machine when it differs."""

HOW_TO_READ: Final = """\
## How to read this

* Cells are matched by their ids: network, input, batch, frames, size and backend; under *Devices* by network,
  batch, frames and size. `–` is a cell that a run does not have; a word in brackets is how it ended instead.
* Figures are medians with their 95 % intervals. An interval *within process* knows nothing of how processes
  differ, and is too narrow for a comparison of two runs.
* Each speedup is over the baseline of its own run. Nothing here is a test: the machine, the versions or the
  settings that differ stand above."""

NO_COLUMNS: Final = f"""\
With more than {MANY} runs a page has no table with a column for each: forward times, speedups, stages and
memory cell by cell stand in each run's own report, times and memory also in {DEVICES_NAME}."""


@dataclass(frozen=True, kw_only=True)
class SideRun:
    """A run as this page needs it."""

    name: str  # that tells it from the others
    experiment: str
    baseline: Baseline
    tables: Tables
    environment: Mapping[str, object]
    configuration: Mapping[str, object]
    files: Sequence[Path]  # absolute, or relative to the working directory
    note: str | None = None  # how it ended where it did not end by itself
    devices: Mapping[str, str] = field(default_factory=dict)  # by backend, what it ran on


def sides_of(runs: Sequence[SideRun]) -> list[Side]:
    """The runs' cells."""
    return [
        Side(name=run.name, baseline=run.baseline, cells=cells_of(run.tables), devices=run.devices)
        for run in runs
    ]


def render_side_by_side(
    runs: Sequence[SideRun],
    *,
    folder: Path,
    plots: Sequence[Path],
    devices: Devices,
    left_out: Sequence[str] = (),
) -> str:
    """The page as Markdown, to lie in `folder`; ends in a newline. Sections with nothing to say are left out.

    `plots` are images as in SideRun.files, called by what they show: `time...`, `speedup...`,
    `relative...` or `devices...`.
    `left_out` says why of each folder that was to be here.
    """
    sides = sides_of(runs)
    images = [relative(path, folder) for path in plots]

    def shown(kind: str) -> str:
        return "\n\n".join(image(path) for path in images if path.stem.partition("-")[0] == kind)

    environments = {run.name: facts(run.environment, but=NEVER_THE_SAME) for run in runs}
    configurations = {run.name: facts(run.configuration) for run in runs}
    differences = differences_of_many if len(runs) > MANY else _differences
    sections = [
        f"# {escape(_title(runs))}",
        *(f"> {escape(run.name)}: {escape(run.note)}" for run in runs if run.note),
        f"> Left out, for reasons at the end of this page: {len(left_out)}." if left_out else "",
        _summary(runs, sides, folder),
        devices_section(devices, shown(DEVICES_KIND)),
        relative_section(devices, shown(RELATIVE)),
        differences("What differs in the environments", environments),
        differences("What differs in the configurations", configurations),
        *(
            [speedups_of_many(sides, shown("speedup")), NO_COLUMNS]
            if len(runs) > MANY
            else [
                times(sides, shown("time")),
                speedups(sides, shown("speedup")),
                stage_shares(sides),
                memory(sides),
            ]
        ),
        _warnings(runs),
        (failures_of_many if len(runs) > MANY else _failures)(sides),
        _left_out(left_out),
        HOW_TO_READ,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def write_side_by_side(
    folder: Path,
    runs: Sequence[SideRun],
    *,
    plots: Sequence[Path],
    devices: Devices | None = None,
    left_out: Sequence[str] = (),
) -> Pages:
    """Write the page as `report.md` and `report.html`, and `devices.csv`, into `folder`.

    Raises OSError where it cannot be written.
    """
    devices = devices or devices_of(sides_of(runs))
    text = render_side_by_side(runs, folder=folder, plots=plots, devices=devices, left_out=left_out)
    write_whole(folder / DEVICES_NAME, to_csv(devices_table(devices)))
    return write_pages(folder, text, title=_title(runs), pictures=plots)


def _title(runs: Sequence[SideRun]) -> str:
    named = f"{len(runs)} runs" if len(runs) > MANY else ", ".join(run.name for run in runs)
    return f"Side by side: {named}"


def _summary(runs: Sequence[SideRun], sides: Sequence[Side], folder: Path) -> str:
    def ended(cells: Sequence[ReportCell]) -> str:
        counts = Counter(cell.status for cell in cells)
        return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])

    def started(cells: Sequence[ReportCell]) -> str:
        return min(
            (row["started_at"] for cell in cells for row in cell.rounds if row["started_at"]), default=""
        )

    columns = [
        Column(title="run", cells=[escape(run.name) for run in runs]),
        Column(title="experiment", cells=[escape(run.experiment) for run in runs]),
        Column(title="on", cells=[escape(in_short(run.environment)) for run in runs]),
        Column(title="cells", cells=[str(len(side.cells)) for side in sides], numeric=True),
        Column(title="ended", cells=[ended(side.cells) for side in sides]),
        Column(title="baseline", cells=[escape(str(run.baseline)) for run in runs]),
        Column(title="first round", cells=[escape(started(side.cells)) for side in sides]),
    ]
    every = Counter(cell.cell for side in sides for cell in side.cells)
    common = sum(count == len(sides) for count in every.values())
    said = f"{common} of {len(every)} cells are in {'both' if len(sides) == 2 else 'all'} runs."
    links = [
        f"* {escape(run.name)}: {', '.join(link(relative(path, folder)) for path in _linked(run, runs))}"
        for run in runs
        if run.files
    ]
    return "\n\n".join([table(columns), said, "\n".join(links)])


def _left_out(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    return "\n\n".join(["## Left out", "\n".join(f"* {escape(reason)}" for reason in reasons)])


def _linked(run: SideRun, runs: Sequence[SideRun]) -> Sequence[Path]:
    """All files of a run; of many runs the first of them, which has the figures."""
    return run.files[:1] if len(runs) > MANY else run.files


def _differences(title: str, sides: Mapping[str, Facts]) -> str:
    """A row per name whose text is not the same in all runs; `–` where a run has none."""
    found = differing_facts([*sides.values()])
    if not found:
        return f"## {title}\n\nNothing."
    columns = [
        Column(title="what", cells=[escape(name) for name in found]),
        *(
            Column(
                title=escape(run),
                cells=[ABSENT if texts[place] is None else escape(texts[place]) for texts in found.values()],
            )
            for place, run in enumerate(sides)
        ),
    ]
    return f"## {title}\n\n{table(columns)}"


def _warnings(runs: Sequence[SideRun]) -> str:
    """A row per run and kind of warning: how many, the first of them, its remedy."""
    found = [
        (run.name, str(code), rows.to_dict("records"))
        for run in runs
        for code, rows in run.tables.warnings.groupby("code", sort=False)
    ]
    if not found:
        return ""
    if len(runs) > MANY:
        return warnings_of_many(found)
    columns = [
        Column(title="run", cells=[escape(name) for name, _, _ in found]),
        Column(title="warned of", cells=[escape(code) for _, code, _ in found]),
        Column(title="times", cells=[str(len(rows)) for _, _, rows in found], numeric=True),
        Column(title="the first", cells=[escape(rows[0]["seen"]) for _, _, rows in found]),
        Column(title="what to do", cells=[escape(rows[0]["remedy"]) for _, _, rows in found]),
    ]
    return f"## Warnings\n\n{table(columns)}"


def _failures(sides: Sequence[Side]) -> str:
    """A row per run, backend, status and reason of rounds that did not end ok."""
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for side in sides:
        for cell in side.cells:
            for row in cell.rounds:
                if row["status"] != Status.OK:
                    key = (side.name, cell.backend, str(row["status"]), str(row["reason"]))
                    found.setdefault(key, set()).add(cell.cell)
    if not found:
        return ""
    titles = ("run", "backend", "ended", "reason")
    columns = [
        Column(title=title, cells=[escape(key[place]) for key in found]) for place, title in enumerate(titles)
    ]
    counts = Column(title="cells", cells=[str(len(cells)) for cells in found.values()], numeric=True)
    return f"## Cells that did not end ok\n\n{table([*columns[:2], counts, *columns[2:]])}"
