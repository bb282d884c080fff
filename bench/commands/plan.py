"""`vsr-bench plan`."""

from collections.abc import Mapping

from rich.table import Table

from bench.commands import console
from bench.commands.calibration import calibrate, small_cells
from bench.commands.options import ConfigArgument, FilterOption, SetOption, VariantOption, experiment_of
from bench.commands.progress import tracing
from bench.grid.estimate import peak_bytes
from bench.grid.plan import cells as cells_of
from bench.grid.plan import schedule
from bench.grid.yaml_source import places_named
from bench.machine import environment
from bench.measure import preflight
from bench.process.budget import Budget
from bench.process.forecast import Forecast, total
from bench.process.launcher import Launcher
from bench.units import BYTES, counted, with_unit


def plan(
    source: ConfigArgument = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
) -> None:
    """List the cells of a grid with their FLOPs, memory and seconds as forecast; measure none of them.

    Seconds come from two calls of a small clip on each network and backend, which take some seconds.
    """
    experiment, source_of = experiment_of(source, variants, assignments)
    cells = cells_of(experiment, filters or ())
    small = small_cells(cells)
    variables = environment.ALLOCATOR_VARIABLES[experiment.measure.allocator]
    with places_named(source_of.named), Launcher(variables) as launcher:
        with tracing() as progress:
            answer = preflight.ask(launcher, cells, besides=small, progress=progress)
        forecast = Forecast(experiment.measure, answer.costs_of)
        calibrate(forecast, experiment, small, answer, launcher)
    reasons = {cell.id: preflight.skip_reason(cell, answer) for cell in cells}
    jobs = [job for job in schedule(cells, experiment.measure) if reasons[job.cell.id] is None]
    budget_s = experiment.measure.budget_s
    # As if it began now, before a clock that stands still.
    budget = None if budget_s is None else Budget(
        seconds=budget_s, forecast=forecast, began_s=0.0, clock=lambda: 0.0
    )  # fmt: skip
    seconds = (forecast.seconds if budget is None else budget.expected)(jobs)
    of_cell: dict[str, list[float | None]] = {}
    for job, expected in zip(jobs, seconds, strict=True):
        of_cell.setdefault(job.cell.id, []).append(expected)
    # No seconds at all; those that are not known are None.
    left_out = {name for name, each in of_cell.items() if all(each_s == 0 for each_s in each)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for name in ("GFLOP", "calls", "memory", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        costs = answer.costs_of(cell)
        peak = peak_bytes(costs)
        cell_s = total(of_cell.get(cell.id, ()))
        table.add_row(
            cell.id,
            "?" if costs is None else f"{sum(stage.flops for stage in costs.values()) / 1e9:,.1f}",
            str(forecast.calls(cell)),
            "?" if peak is None else with_unit(peak, BYTES),
            "skipped" if reasons[cell.id] else "left out" if cell.id in left_out
            else "?" if cell_s is None else f"{cell_s:,.1f}",
        )  # fmt: skip
    out = console.output()
    out.print(table)
    each = " or ".join(map(str, sorted({cell.rounds(experiment.measure) for cell in cells})))
    known = total(seconds)
    what = (
        "nothing to measure"
        if not jobs
        else "time not known"
        if known is None
        else f"about {_duration(known)}"
    )
    out.print(
        f"{counted(len(cells), 'cell')}, {each} round{'s' * (each != '1')} each: {what}", highlight=False
    )
    for reason, names in _by_reason(reasons).items():
        out.print(f"would skip {names}: {reason}", highlight=False)
    if left_out:
        out.print(
            f"would leave out {counted(len(left_out), 'cell')}, which {budget_s:g} s (measure.budget_s) have "
            "no room for",
            highlight=False,
        )
    out.print(
        "GFLOP and memory are of one forward (live tensors and weights); calls of one round, seconds of all. "
        + "Seconds are forecast from a small clip's, timed here just now"
        + (", and leave out what compiling takes." if any(c.backend.compile for c in cells) else "."),
        style="dim",
        highlight=False,
    )


def _by_reason(reasons: Mapping[str, str | None]) -> dict[str, str]:
    """Return the cells that are skipped, in short, by reason."""
    cells: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason is not None:
            cells.setdefault(reason, []).append(name)
    return {
        reason: names[0] if len(names) == 1 else counted(len(names), "cell")
        for reason, names in cells.items()
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
