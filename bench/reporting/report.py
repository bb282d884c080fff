"""A run as one Markdown page, for a terminal or a repository: what was measured and what came out."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import ReportCell, cells_of, distinct, place_of
from bench.reporting.report_figures import (
    cold,
    harness,
    headline,
    memory,
    memory_lines,
    output_check,
    perturbation,
    stages,
)
from bench.reporting.report_trust import machine, sampling, warnings
from bench.results.analysis import Tables

REPORT_NAME: Final = "report.md"

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
* A speedup is the baseline's median over the cell's, of the same input, batch, frames and size. An interval
  that holds 1 shows no difference. Inaccurate cells get no speedup.
* Stage figures come from another pass than the forward time, with probes at the stage boundaries: clock
  `device` is CUDA events, `wall` is the clock with a synchronisation at every boundary. `other` is what no
  stage claims. What the probes cost is measured, and stands beside.
* What the numbers do not say: how another machine, size, clip length or checkpoint would do; how fast
  decoding and encoding are; what a device that is shared, hot or throttled does. A speedup compares two
  backends as configured here, not two devices in general."""


def render_markdown(
    tables: Tables,
    *,
    title: str,
    baseline: str,
    environment: Mapping[str, object],
    plots: Sequence[Path],
    exit_note: str | None = None,
) -> str:
    """The page, ending in a newline. Sections with nothing to say are left out.

    `plots` are the images to show, relative to the page; `environment` may be nested; `exit_note` says how
    the run ended where it did not end by itself.
    """
    cells = cells_of(tables)
    sections = [
        f"# {escape(title)}",
        f"> {escape(exit_note)}" if exit_note else "",
        _summary(cells, baseline, environment),
        headline(cells, baseline),
        warnings(tables, cells),
        sampling(cells),
        _figures(plots),
        stages(cells),
        perturbation(tables, cells),
        cold(cells),
        memory(cells),
        memory_lines(tables),
        output_check(cells),
        machine(cells),
        harness(cells, environment),
        _failures(cells),
        HOW_TO_READ if any(cell.stages for cell in cells) else "",
        _environment(environment),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def write_report(
    folder: Path,
    tables: Tables,
    *,
    title: str,
    baseline: str,
    environment: Mapping[str, object],
    plots: Sequence[Path],
    exit_note: str | None = None,
) -> Path:
    """Write the page as `report.md` into `folder`, whole or not at all, and return its path.

    `plots` may be absolute or relative to the working directory; the page links them relative to itself.
    Raises OSError where the folder cannot be written.
    """
    links = [Path(os.path.relpath(path, folder)) for path in plots]
    text = render_markdown(
        tables, title=title, baseline=baseline, environment=environment, plots=links, exit_note=exit_note
    )
    path = folder / REPORT_NAME
    partial = path.with_name(f".{REPORT_NAME}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def _summary(cells: Sequence[ReportCell], baseline: str, environment: Mapping[str, object]) -> str:
    """What was measured, on what, and how many cells ended how."""
    if not cells:
        return "No cell has ended: there is nothing to report."
    rounds = sum(len(cell.rounds) for cell in cells)
    backends = distinct(cell.backend for cell in cells)
    axes = {
        "inputs": distinct(cell.input for cell in cells),
        "sizes": distinct(cell.size for cell in cells),
        "batches": distinct(cell.batch for cell in cells),
        "frames": sorted(distinct(cell.frames for cell in cells)),
        "backends": [f"{name} (baseline)" if name == baseline else name for name in backends],
    }
    ended = Counter(cell.status for cell in cells)
    lines = [
        f"{_count(len(cells), 'cell')} in {_count(rounds, 'round')}: "
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
    if not any(cell.backend == baseline and cell.stages for cell in cells):
        lines += ["", f"The baseline {escape(baseline)} was not measured, so that there are no speedups."]
    return "\n".join(lines)


def _figures(plots: Sequence[Path]) -> str:
    if not plots:
        return ""
    images = [f"![{escape(path.stem)}]({quote(path.as_posix())})" for path in plots]
    return "## Figures\n\n" + "\n\n".join(images)


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
    pairs = list(_flat(environment))
    if not pairs:
        return ""
    columns = [
        Column(title="what", cells=[escape(key) for key, _ in pairs]),
        Column(title="value", cells=[escape(value) for _, value in pairs]),
    ]
    return f"## Environment\n\n{table(columns)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as `outer.inner`, lists of plain values in one cell, other lists by position."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{place}")
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, str(value)
