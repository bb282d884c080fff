"""`vsr-bench plan`."""

from rich.table import Table

from bench.commands import console
from bench.commands.options import ConfigArgument, FilterOption, SetOption, VariantOption, experiment_of
from bench.commands.progress import tracing
from bench.grid import estimate
from bench.grid.plan import cells as cells_of
from bench.grid.yaml_source import places_named
from bench.measure import preflight
from bench.process.launcher import Launcher
from bench.units import BYTES, counted, with_unit


def plan(
    source: ConfigArgument = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
) -> None:
    """List the cells of a grid with their FLOPs, memory and seconds as estimated; run none of them."""
    experiment, source_of = experiment_of(source, variants, assignments)
    cells = cells_of(experiment, filters or ())
    with places_named(source_of.named), tracing() as progress, Launcher({}) as launcher:
        answer = preflight.ask(launcher, cells, progress=progress)
    rates = estimate.machine_rates(cells)
    estimates = [estimate.cost(cell, answer.costs_of(cell), experiment.measure, rates) for cell in cells]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for name in ("GFLOP", "calls", "memory", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in estimates:
        table.add_row(
            item.cell.id,
            "?" if item.flops is None else f"{item.flops / 1e9:,.1f}",
            str(item.calls),
            "?" if item.peak_bytes is None else with_unit(item.peak_bytes, BYTES),
            "?" if item.seconds is None else f"{item.seconds:,.1f}",
        )
    out = console.output()
    out.print(table)
    rounds = experiment.measure.rounds
    known = [item.seconds for item in estimates if item.seconds is not None]
    unknown = len(estimates) - len(known)
    times = [f"about {_duration(sum(known) * rounds)}"] if known else []
    if unknown:
        times.append(f"{counted(unknown, 'cell')} whose device or costs are not known here")
    out.print(
        f"{counted(len(cells), 'cell')}, {counted(rounds, 'round')} each: {', and '.join(times)}",
        highlight=False,
    )
    out.print(
        "GFLOP and memory are of one forward (live tensors and weights); calls and seconds of one round. "
        "Seconds are rough: they assume a share of this machine's matrix-multiply rate.",
        style="dim",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
