"""A run as one page, for a terminal, a repository or a browser: what was measured and what came out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.grid.baseline import Baseline
from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting.html_files import Pages, relative, write_pages
from bench.reporting.markdown import Column, escape, image, link, table
from bench.reporting.report_cells import ReportCell, cells_of, distinct, place_of
from bench.reporting.report_figures import (
    cold,
    costs,
    harness,
    headline,
    memory,
    memory_lines,
    output_check,
    perturbation,
    stages,
)
from bench.reporting.report_profile import profile
from bench.reporting.report_roofline import ceilings, roofline
from bench.reporting.report_trust import machine, sampling, warnings
from bench.results.analysis import MEASURED, Tables
from bench.results.differing import flat
from bench.units import counted

PLACES: Final = 4
"""Cells that a row of the failures names one by one; more are counted."""

HOW_TO_READ: Final = """\
## How to read this

* **forward** is one call of the network with its input already on the device, synchronised on both sides,
  timed by the wall clock; nothing inside the network is instrumented. Only steady calls count, after the
  warm-up; the first call stands under *Cold start*. Transfers to and from the device are in the tables,
  not here.
* The figure of a cell is the median over its rounds (processes) of each round's median.
* **between rounds**: the interval is of the rounds' medians (three or more), and holds for the next process
  too; with three to five rounds it is Student's, which takes them to scatter about normally. **within
  process**: there were fewer rounds, so that it is of the samples; it knows nothing of how processes differ
  from each other, and is too narrow for a claim about the next one. **none**: too few samples for any.
* A speedup is the baseline's median over the cell's, of the same network, input, batch, frames and size. An
  interval that holds 1 shows no difference. Inaccurate cells get no speedup.
* Stage figures come from another pass than the forward time, with probes at the stage boundaries: clock
  `device` is CUDA events, `wall` is the clock with a synchronisation at every boundary. `other` is what no
  stage claims, functional work between the modules of a network among it. What the probes cost is measured,
  and stands beside.
* What the numbers do not say: how another machine, size, clip length or checkpoint would do; how fast
  decoding and encoding are; what a device that is shared, hot or throttled does. A speedup compares two
  backends as configured here, not two devices in general."""


def render_markdown(
    tables: Tables,
    *,
    title: str,
    baseline: Baseline,
    environment: Mapping[str, object],
    plots: Sequence[Path],
    files: Sequence[Path] = (),
    exit_note: str | None = None,
    ladder: str = "",
) -> str:
    """The page, ending in a newline. Sections with nothing to say are left out.

    `plots` are the images to show and `files` the tables to link, relative to the page; a plot stands before
    the table of what it shows. `environment` may be nested; `exit_note` says how the run ended where it did
    not end by itself, and `ladder` is that section where the backends are one.
    """
    cells = cells_of(tables)
    shown: list[Path] = []

    def figured(section: str, *kinds: str) -> str:
        its = [path for path in plots if section and path.stem.partition("-")[0] in kinds]
        shown.extend(its)
        return with_figures(section, its)

    sections = [
        f"# {escape(title)}",
        f"> {escape(exit_note)}" if exit_note else "",
        _summary(cells, baseline, environment, files),
        figured(ladder, "ladder"),
        figured(headline(cells, baseline), "time", "speedup"),
        warnings(tables, cells),
        figured(stages(cells), "stages"),
        figured(roofline(tables, cells), "roofline"),
        ceilings(tables),
        figured(sampling(cells), "repetitions"),
        perturbation(tables, cells),
        profile(tables, cells),
        cold(cells),
        figured(memory(cells), "memory"),
        memory_lines(tables),
        costs(cells, tables),
        output_check(cells),
        machine(cells),
        harness(cells, environment),
        _failures(cells),
        HOW_TO_READ if any(cell.stages for cell in cells) else "",
        _environment(environment),
    ]
    if left := [path for path in plots if path not in shown]:
        sections.insert(5, with_figures("## Figures", left))
    return "\n\n".join(section for section in sections if section) + "\n"


def write_report(
    folder: Path,
    tables: Tables,
    *,
    title: str,
    baseline: Baseline,
    environment: Mapping[str, object],
    plots: Sequence[Path],
    files: Sequence[Path] = (),
    exit_note: str | None = None,
    ladder: str = "",
) -> Pages:
    """Write the page as `report.md` and `report.html` into `folder`, each whole or not at all.

    `plots` (of which the HTML takes the .svg beside the .png) and `files` may be absolute or relative to the
    working directory; the pages link them relative to themselves. Raises OSError where the folder cannot be
    written.
    """
    text = render_markdown(
        tables,
        title=title,
        baseline=baseline,
        environment=environment,
        plots=[relative(path, folder) for path in plots],
        files=[relative(path, folder) for path in files],
        exit_note=exit_note,
        ladder=ladder,
    )
    return write_pages(folder, text, title=title, pictures=plots)


def unfinished(missing: int, why: str = "the run was interrupted") -> str | None:
    """The note of a run that lacks so many of its planned rounds."""
    if not missing:
        return None
    said = "1 round is" if missing == 1 else f"{missing} rounds are"
    return f"{said} not done yet: {why}."


def with_figures(section: str, plots: Sequence[Path]) -> str:
    """The section with its images before its first table, or at its end where it has none."""
    if not plots:
        return section
    # Escaped text holds no bare bar: only a table's line begins with one.
    said, bar, rest = section.partition("\n\n|")
    return "\n\n".join([said, *map(image, plots)]) + bar + rest


def _summary(
    cells: Sequence[ReportCell], baseline: Baseline, environment: Mapping[str, object], files: Sequence[Path]
) -> str:
    """What was measured, on what, and how many cells ended how."""
    if not cells:
        return "No cell has ended: there is nothing to report."
    rounds = sum(len(cell.rounds) for cell in cells)
    backends = distinct(cell.backend for cell in cells)
    axes = {
        "networks": distinct(cell.model for cell in cells),
        "inputs": distinct(cell.input for cell in cells),
        "sizes": distinct(cell.size for cell in cells),
        "batches": distinct(cell.batch for cell in cells),
        "frames": sorted(distinct(cell.frames for cell in cells)),
        "backends": [
            f"{name} (baseline)" if baseline == Baseline(backend=name) else name for name in backends
        ],
        **({"baseline": [str(baseline)]} if baseline.model is not None else {}),
    }
    ended = Counter(cell.status for cell in cells)
    lines = [
        f"{counted(len(cells), 'cell')} in {counted(rounds, 'round')}: "
        + ", ".join(f"**{ended[status]} {status}**" for status in Status if ended[status])
        + ".",
        "",
        *(f"* {name}: {', '.join(escape(value) for value in values)}" for name, values in axes.items()),
    ]
    if machine := in_short(environment):
        lines.append(f"* on: {escape(machine)}")
    started = sorted(row["started_at"] for cell in cells for row in cell.rounds if row["started_at"])
    if started:
        lines.append(f"* first round started {escape(started[0])}")
    if files:
        lines.append(f"* tables: {', '.join(map(link, files))}")
    # Memory alone may have been measured, which has no stages.
    measured = [cell for cell in cells if cell.stages or cell.status in MEASURED]
    if not any(baseline.matches(cell.model, cell.backend) for cell in measured):
        lines += [
            "",
            f"The baseline {escape(str(baseline))} was not measured, so that there are no speedups.",
        ]
    return "\n".join(lines)


def _failures(cells: Sequence[ReportCell]) -> str:
    """The cells that did not end ok: a row per backend, status and reason."""
    found: dict[tuple[str, str, str], list[ReportCell]] = {}
    for cell in cells:
        for row in cell.rounds:
            if row["status"] != Status.OK:
                key = (cell.backend, str(row["status"]), str(row["reason"]))
                found.setdefault(key, []).append(cell)
    if not found:
        return ""
    planned = Counter(cell.backend for cell in cells)
    columns = [
        Column(title="backend", cells=[escape(backend) for backend, _, _ in found]),
        Column(
            title="cells",
            cells=[escape(_places(some, planned[backend], cells)) for (backend, _, _), some in found.items()],
        ),
        Column(title="ended", cells=[escape(status) for _, status, _ in found]),
        Column(title="reason", cells=[escape(reason) for _, _, reason in found]),
    ]
    return f"## Cells that did not end ok\n\n{table(columns)}"


def _places(cells: Sequence[ReportCell], planned: int, every: Sequence[ReportCell]) -> str:
    names = {cell.cell: place_of(cell, every) for cell in cells}
    if len(names) == planned:
        return f"all {planned}" if planned > 1 else next(iter(names.values()))
    shown = list(names.values())[:PLACES]
    rest = [f"and {len(names) - PLACES} more"] if len(names) > PLACES else []
    return "; ".join([*shown, *rest])


def _environment(environment: Mapping[str, object]) -> str:
    pairs = list(flat(environment))
    if not pairs:
        return ""
    columns = [
        Column(title="what", cells=[escape(key) for key, _ in pairs]),
        Column(title="value", cells=[escape(value) for _, value in pairs]),
    ]
    return f"## Environment\n\n{table(columns)}"
