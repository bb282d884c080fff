"""The report's sections of measured figures, one function each; a section without figures is empty text."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.grid.baseline import Baseline
from bench.records import OutputCheck, Status
from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import (
    DIGITS,
    ReportCell,
    axes_columns,
    bytes_column,
    distinct,
    measure_column,
    number,
    with_figures_of,
)
from bench.results.analysis import Tables
from bench.statistics.stats import CONFIDENCE, IntervalKind
from bench.units import FLOPS, significant, unit_for, with_unit

_KINDS = {
    IntervalKind.BETWEEN_ROUNDS: "between rounds",
    IntervalKind.BETWEEN_ROUNDS_T: "between rounds, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within process",
    IntervalKind.NONE: "none: too few",
}


def headline(cells: Sequence[ReportCell], baseline: Baseline) -> str:
    """Median time with its interval, frames per second, and the speedup with its own."""
    found = with_figures_of(cells)
    if not found:
        return ""
    shown, rows = [cell for cell, _ in found], [row for _, row in found]
    unit = unit_for(row["median_s"] for row in rows)
    bounds = [(number(row, "low_s"), number(row, "high_s")) for row in rows]
    percent = f"{100 * CONFIDENCE:g} %"
    columns = [
        *axes_columns(shown, cells),
        measure_column("forward", [row["median_s"] for row in rows], digits=DIGITS),
        Column(
            title=f"{percent} interval ({unit.name})",
            cells=[_interval(low, high, unit.scale) for low, high in bounds],
            numeric=True,
        ),
        Column(title="its kind", cells=[_KINDS[IntervalKind(row["interval"])] for row in rows]),
        Column(
            title="rounds × calls",
            cells=[f"{row['n_rounds']} × {round(row['n'] / row['n_rounds'], 1):g}" for row in rows],
            numeric=True,
        ),
        Column(title="frames/s", cells=[significant(row["frames_per_s"]) for row in rows], numeric=True),
        Column(
            title="speedup",
            cells=[_speedup(cell, row, baseline) for cell, row in found],
            numeric=True,
        ),
        Column(
            title=f"{percent} interval",
            cells=[
                ""
                if baseline.matches(cell.model, cell.backend)
                else _interval(number(row, "speedup_low"), number(row, "speedup_high"), 1.0, 3)
                for cell, row in zip(shown, rows, strict=True)
            ],
            numeric=True,
        ),
    ]
    return f"## Forward time and speedup\n\nSpeedup is over {escape(str(baseline))}.\n\n{table(columns)}"


def stages(cells: Sequence[ReportCell]) -> str:
    """Seconds and share per stage, `other`, and the clock that they come from; a table per network."""
    shown = [cell for cell in cells if cell.own_stages]
    if not shown:
        return ""
    apart = (
        " They come from a pass of their own: their sum is not the forward above."
        if any(cell.figure for cell in cells)
        else ""
    )
    tables = [
        _stage_table([cell for cell in shown if cell.model == name], shown)
        for name in distinct(cell.model for cell in shown)
    ]
    return (
        "## Stages\n\nMedians of one forward, summed over its frames, with their share of the stages' "
        f"sum.{apart}\n\n" + "\n\n".join(tables)
    )


def _stage_table(shown: Sequence[ReportCell], every: Sequence[ReportCell]) -> str:
    """The stages of one network's cells, of those of every one."""
    unit = unit_for(sum(cell.stages[stage]["median_s"] for stage in cell.own_stages) for cell in shown)
    first = [cell.stages[cell.own_stages[0]] for cell in shown]
    columns = [
        *axes_columns(shown, every),
        *(
            Column(
                title=f"{stage} ({unit.name})",
                cells=[_stage(cell, stage, unit.scale) for cell in shown],
                numeric=True,
            )
            for stage in distinct(stage for cell in shown for stage in cell.own_stages)
        ),
        Column(title="pass", cells=[str(row["pass"]) for row in first]),
        Column(title="clock", cells=[str(row["clock"]) for row in first]),
    ]
    return table(columns)


def costs(cells: Sequence[ReportCell], tables: Tables) -> str:
    """What one forward takes, stage by stage, as traced: of each network and shape on one backend."""
    known = {cell: rows.set_index("stage") for cell, rows in tables.costs.groupby("cell")}
    places: dict[tuple[object, ...], ReportCell] = {}
    for cell in cells:
        if cell.cell in known:
            places.setdefault((cell.model, cell.size, cell.batch, cell.frames), cell)
    shown = list(places.values())
    if not shown:
        return ""
    rows = [(cell, stage) for cell in shown for stage in known[cell.cell].index]

    def of(name: str) -> list[float | None]:
        return [float(known[cell.cell].loc[stage, name]) for cell, stage in rows]

    columns = [
        *axes_columns([cell for cell, _ in rows], shown),
        Column(title="stage", cells=[escape(stage) for _, stage in rows]),
        measure_column("work", of("flops"), FLOPS),
        bytes_column("moved", of("bytes")),
        bytes_column("peak", of("peak_bytes")),
    ]
    return (
        "## Costs\n\nOf one forward, traced: multiply-accumulates count as two; bytes moved if each layer "
        "reads its inputs and writes its output once; the most memory that tensors take while the stage is "
        f"open, weights and clip included.\n\n{table(columns)}"
    )


def perturbation(tables: Tables, cells: Sequence[ReportCell]) -> str:
    """What the stage probes cost, per cell and stage pass."""
    by_cell = {cell.cell: cell for cell in cells}
    rows = [row for row in tables.perturbation.to_dict("records") if row["cell"] in by_cell]
    order = [cell.cell for cell in cells]
    rows.sort(key=lambda row: order.index(row["cell"]))
    if not rows:
        return ""
    bounds = [(number(row, "low"), number(row, "high")) for row in rows]
    columns = [
        *axes_columns([by_cell[row["cell"]] for row in rows], cells),
        Column(title="pass", cells=[str(row["pass"]) for row in rows]),
        Column(title="pairs", cells=[str(row["n"]) for row in rows], numeric=True),
        Column(title="probes cost", cells=[_percent(row["ratio"]) for row in rows], numeric=True),
        Column(
            title=f"{100 * CONFIDENCE:g} % interval",
            cells=[
                "none: too few" if low is None or high is None else f"{_percent(low)} … {_percent(high)}"
                for low, high in bounds
            ],
            numeric=True,
        ),
        Column(title="its kind", cells=[_KINDS[IntervalKind(row["interval"])] for row in rows]),
    ]
    return (
        "## What the stage probes cost\n\nThe median over pairs of neighbouring calls, probes on over probes "
        f"off.\n\n{table(columns)}"
    )


def cold(cells: Sequence[ReportCell]) -> str:
    """What a process pays once: imports, the device's context, moving the model, and the first call."""
    names = ("import_torch_s", "context_s", "model_to_device_s", "first_forward_s")
    shown = [cell for cell in cells if any(cell.over_rounds(name) is not None for name in names)]
    if not shown:
        return ""
    titles = ("import torch", "context", "model to device", "first forward")
    columns = [
        *axes_columns(shown, cells),
        *(
            measure_column(title, [cell.over_rounds(name) for cell in shown])
            for title, name in zip(titles, names, strict=True)
        ),
        Column(title="first / steady", cells=[_first_over_steady(cell) for cell in shown], numeric=True),
    ]
    return (
        "## Cold start\n\nMedians over the rounds; each is timed once per process. torch is imported "
        f"once, by the server process that workers are forked from.\n\n{table(columns)}"
    )


def memory(cells: Sequence[ReportCell]) -> str:
    """Peaks and growth of host and device memory."""
    names = {
        "host peak": "peak_host_bytes",
        "host growth": "host_growth_bytes",
        "device peak": "peak_device_bytes",
        "device reserved": "peak_device_reserved_bytes",
        "device peak until warm": "cold_peak_device_bytes",
    }
    shown = [cell for cell in cells if any(cell.over_rounds(name) is not None for name in names.values())]
    if not shown:
        return ""
    columns = [
        *axes_columns(shown, cells),
        *(
            bytes_column(title, [cell.over_rounds(name, max) for cell in shown])
            for title, name in names.items()
        ),
    ]
    return (
        "## Memory\n\nThe greatest over the rounds. The host peak is the resident set of the whole "
        "worker, torch included; growth is over the level before the call. `device peak until warm` includes "
        f"what autotuning tried out.\n\n{table(columns)}"
    )


def memory_lines(tables: Tables) -> str:
    """memory_profiler's table of `forward`, line by line, of the cell that grew most in its first round."""
    lines = tables.memory_lines
    if lines.empty:
        return ""
    first = lines[lines["round"] == lines["round"].min()]
    levels = first.groupby("cell")["host_bytes"]
    cell = (levels.max() - levels.min()).idxmax()
    rows = first[first["cell"] == cell].to_dict("records")
    columns = [
        Column(title="line", cells=[str(row["line"]) for row in rows], numeric=True),
        bytes_column("level after it", [row["host_bytes"] for row in rows]),
        # memory_profiler counts what was there before as the first line's.
        bytes_column("increment", [None, *(row["increment_bytes"] for row in rows[1:])]),
        Column(title="times", cells=[str(row["occurrences"]) for row in rows], numeric=True),
        Column(title="source", cells=[escape(row["source"].strip()) for row in rows]),
    ]
    return (
        f"## Memory by line\n\nHost memory of `forward` by memory_profiler, cell {escape(cell)}; the other "
        f"cells stand in memory_lines.csv.\n\n{table(columns)}"
    )


def output_check(cells: Sequence[ReportCell]) -> str:
    """How far each output is from the CPU float32 one of the same weights and clip."""
    shown = [cell for cell, _ in with_figures_of(cells)]
    errors = [cell.over_rounds("output_max_abs_error", max) for cell in shown]
    psnrs = [cell.over_rounds("output_psnr_db", min) for cell in shown]
    if all(value is None for value in (*errors, *psnrs)):
        return ""
    columns = [
        *axes_columns(shown, cells),
        Column(
            title="max abs error",
            cells=[
                f"{error:.2e}"
                if error is not None
                else "reference itself"
                if cell.rounds[0]["output_check"] == OutputCheck.REFERENCE
                else "not checked"
                for cell, error in zip(shown, errors, strict=True)
            ],
            numeric=True,
        ),
        Column(
            title="PSNR (dB)",
            cells=["" if psnr is None else significant(psnr) for psnr in psnrs],
            numeric=True,
        ),
        Column(
            title="verdict",
            cells=["too far: inaccurate" if cell.status is Status.INACCURATE else "" for cell in shown],
        ),
    ]
    return (
        "## Output check\n\nAgainst the CPU float32 output of the same weights and clip; the worst of "
        f"the rounds. ∞ dB: equal.\n\n{table(columns)}"
    )


def harness(cells: Sequence[ReportCell], environment: Mapping[str, object]) -> str:
    """What the tool itself costs per round: its wall time less the measured calls and the reference."""
    rows = [
        (cell.backend, row) for cell in cells for row in cell.rounds if number(row, "harness_s") is not None
    ]
    if not rows:
        return ""
    backends = distinct(backend for backend, _ in rows)
    groups = [[row for backend, row in rows if backend == name] for name in backends]
    if len(backends) > 1:
        backends.append("all")
        groups.append([row for _, row in rows])

    def column(title: str, name: str, of: str = "median") -> Column:
        values = [[found for row in group if (found := number(row, name)) is not None] for group in groups]
        figure = max if of == "max" else median
        return measure_column(f"{title}, {of}", [figure(some) if some else None for some in values])

    columns = [
        Column(title="backend", cells=[escape(name) for name in backends]),
        Column(title="rounds", cells=[str(len(group)) for group in groups], numeric=True),
        column("harness", "harness_s"),
        column("harness", "harness_s", "max"),
        column("of it: worker start", "worker_start_s"),
        column("of it: set-up", "setup_s"),
        column("whole round", "round_wall_s"),
    ]
    harness_s = sum(number(row, "harness_s") or 0.0 for _, row in rows)
    wall_s = sum(number(row, "round_wall_s") or 0.0 for _, row in rows)
    share = f", {100 * harness_s / wall_s:.1f} % of the rounds' {with_unit(wall_s)}" if wall_s else ""
    return (
        "## What the harness costs\n\nPer round: wall time less the measured calls and less the reference "
        f"output. In all {with_unit(harness_s)}{share}.{_timer(environment)}\n\n{table(columns)}"
    )


def _timer(environment: Mapping[str, object]) -> str:
    found = environment.get("timer")
    if not isinstance(found, Mapping) or not {"cost_s", "resolution_s"} <= found.keys():
        return ""
    return (
        f" A sample is too long by what asking the time takes, {with_unit(found['cost_s'])}; the timer's "
        f"smallest step is {with_unit(found['resolution_s'])}."
    )


def _interval(low: float | None, high: float | None, scale: float, digits: int = DIGITS) -> str:
    if low is None or high is None:
        return ""
    return f"{significant(low / scale, digits)} … {significant(high / scale, digits)}"


def _speedup(cell: ReportCell, row: dict[Any, Any], baseline: Baseline) -> str:
    if cell.status is not Status.OK:
        return f"({cell.status})"
    if baseline.matches(cell.model, cell.backend):
        return "baseline"
    value = number(row, "speedup")
    if value is None:
        return "no baseline"
    # A fast answer that no one looked at is not to pass for a right one.
    unchecked = any(row["output_check"] == OutputCheck.NOT_DONE for row in cell.rounds)
    return f"{significant(value)}× (output unchecked)" if unchecked else f"{significant(value)}×"


def _stage(cell: ReportCell, stage: str, scale: float) -> str:
    row = cell.stages.get(stage)
    if row is None:
        return ""
    share = number(row, "share") or 0.0
    return f"{significant(row['median_s'] / scale)} ({100 * share:.1f} %)"


def _first_over_steady(cell: ReportCell) -> str:
    first = cell.over_rounds("first_forward_s")
    # Where first calls count and are all there is, the figure is the first call itself.
    if first is None or cell.figure is None or first == cell.figure["median_s"]:
        return ""
    return f"{significant(first / cell.figure['median_s'])}×"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"
