"""What faults of a method do to times, for bench.paper.faults, which has the questions. Pure."""

import math
from collections.abc import Sequence

from bench.grid.spans import FORWARD
from bench.paper.claims_calls import first_summary, later_summary
from bench.paper.claims_stages import stage_summaries, whole
from bench.paper.editions import STAGES, Role, Timing
from bench.paper.fault_cells import Told, by_role, longest, median_of, seconds, times
from bench.paper.needed import measured
from bench.paper.reading import Cell, RunOfPaper, number, stage_timing_of, timing_of
from bench.paper.verdict import NotKnownError, Quantity, shown
from bench.statistics.stats import Ratio, Summary, ratio
from bench.units import significant
from vsr_model.stages import ALIGNMENT


def synchronisation(off: RunOfPaper, on: RunOfPaper) -> Told:
    """The time to launch each stage's kernels beside the time that they run."""
    cell, launched_cell = longest(off), longest(on)
    ran = stage_summaries(stage_timing_of(off.tables, cell))
    launched_timing = stage_timing_of(on.tables, launched_cell)
    if launched_timing.synchronised:
        raise NotKnownError(f"the stages of {launched_cell.backend} were not timed by launching")
    launched = stage_summaries(launched_timing)
    shares = {stage: launched[stage].median / ran[stage].median for stage in STAGES if ran[stage].median > 0}
    rows = [
        (
            str(stage),
            seconds(ran[stage]),
            seconds(launched[stage]),
            shown(shares[stage], Quantity.SHARE) if stage in shares else "–",
            shown(ran[stage].median / whole(ran), Quantity.SHARE),
            shown(launched[stage].median / whole(launched), Quantity.SHARE),
        )
        for stage in STAGES
    ]
    total = whole(launched) / whole(ran)
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    return Told(
        sentences=[
            f"Without waiting, a clock around the stages reads {shown(whole(launched), Quantity.SECONDS)} "
            f"where they run for {shown(whole(ran), Quantity.SECONDS)}: {shown(total, Quantity.SHARE)} of "
            "it.",
            f"By stage it reads between {shown(shares[least], Quantity.SHARE)} ({least}) and "
            f"{shown(shares[most], Quantity.SHARE)} ({most}) of the time that the stage runs.",
        ],
        columns=("stage", "runs", "launched in", "launched / runs", "share of runs", "share of launches"),
        rows=rows,
    )


def autotuning(off: RunOfPaper, on: RunOfPaper) -> Told:
    """What choosing algorithms adds to a first call, and saves in each later one."""
    timings = [timing_of(run.tables, longest(run)) for run in (off, on)]
    firsts = [first_summary(timing) for timing in timings]
    laters = [later_summary(timing) for timing in timings]
    sentences = [
        f"The first call takes {seconds(firsts[1])} with autotuning and {seconds(firsts[0])} without "
        f"({_processes(timings)}){_more(firsts[0], firsts[1])}.",
        f"A later call takes {seconds(laters[1])} with it and {seconds(laters[0])} without: "
        f"{times(ratio(laters[0], laters[1]))} the speed.",
        *_made_up_for(firsts, laters),
    ]
    return Told(
        sentences=sentences,
        columns=("backend", "first call", "later calls", "first / later"),
        rows=[
            (
                timing.backend,
                seconds(first),
                seconds(later),
                shown(first.median / later.median, Quantity.RATIO),
            )
            for timing, first, later in zip(timings, firsts, laters, strict=True)
        ],
    )


def _processes(timings: Sequence[Timing]) -> str:
    """How many first calls there are on either side: a process has one."""
    one, other = (sum(map(bool, timing.rounds)) for timing in timings)
    if one != other:
        return f"{one} and {other} processes"
    return "one process each" if one == 1 else f"{one} processes each"


def _more(without: Summary, with_: Summary) -> str:
    """By how much the first calls differ, unless their intervals do not tell them apart."""
    found = ratio(with_, without)
    if _holds_one(found):
        return ", which their intervals do not tell apart"
    added = with_.median - without.median
    return f": {shown(abs(added), Quantity.SECONDS)} {'more' if added >= 0 else 'less'}"


def _made_up_for(firsts: Sequence[Summary], laters: Sequence[Summary]) -> list[str]:
    """How many later calls save what the first one costs, where they are known to save and it to cost."""
    first, later = ratio(firsts[1], firsts[0]), ratio(laters[0], laters[1])
    added = firsts[1].median - firsts[0].median
    if added <= 0 or _holds_one(first):
        return []
    if later.low is None or later.high is None:
        return ["Whether later calls make up for it is not known: their times have no interval."]
    if _holds_one(later):
        return ["Whether later calls make up for it is not known: their intervals do not tell them apart."]
    if later.ratio < 1:
        return ["Later calls do not make up for it."]
    value, least, most = (
        math.ceil(round(added / (laters[1].median * (faster - 1)), 6))
        for faster in (later.ratio, later.high, later.low)
    )
    return [f"{value:,} later calls make up for it ({least:,} to {most:,} by the interval of their speed)."]


def _holds_one(found: Ratio) -> bool:
    return found.low is not None and found.high is not None and found.low <= 1 <= found.high


def order(off: RunOfPaper, on: RunOfPaper) -> Told:
    """The first point of each backend, in a process of its own and in one that another has started."""
    apart, shared = by_role(off), by_role(on)
    columns = ("backend", "frames", "a process each", "one process for all", "shared / own")
    rows = []
    firsts: dict[Role, tuple[float, float]] = {}
    for (role, frames), cell in sorted(apart.items(), key=lambda item: item[0][1]):
        if (role, frames) not in shared:
            continue
        points = [
            measured(timing_of(run.tables, one).median_s, one.backend)
            for run, one in ((off, cell), (on, shared[role, frames]))
        ]
        firsts.setdefault(role, (points[0], points[1]))
        rows.append(
            (
                cell.backend,
                str(frames),
                shown(points[0], Quantity.SECONDS),
                shown(points[1], Quantity.SECONDS),
                shown(points[1] / points[0], Quantity.RATIO),
            )
        )
    for role in (Role.CUDNN, Role.CUDNN_AUTOTUNE):
        if role not in firsts:
            raise NotKnownError(f"{role} has no cell that ended well in both orders")
    plain, tuned = firsts[Role.CUDNN], firsts[Role.CUDNN_AUTOTUNE]
    return Told(
        sentences=[
            f"In a process of its own cudnn_autotune's first point takes "
            f"{shown(tuned[0], Quantity.SECONDS)}; in one that cudnn has started, "
            f"{shown(tuned[1], Quantity.SECONDS)}: {shown(tuned[1] / tuned[0], Quantity.SHARE)} of it.",
            "Its first point over cudnn's is "
            f"{shown(tuned[0] / plain[0], Quantity.RATIO)} where each starts for itself, and "
            f"{shown(tuned[1] / plain[1], Quantity.RATIO)} where cudnn pays for both. Each is one sample.",
        ],
        columns=columns,
        rows=rows,
    )


def tf32(off: RunOfPaper, on: RunOfPaper) -> Told:
    """What TF32 saves, and what it costs of the answer."""
    cells = longest(off), longest(on)
    ieee, rounded = (median_of(run, cell, (FORWARD,)) for run, cell in zip((off, on), cells, strict=True))
    faster = ratio(ieee, rounded)
    errors = [_worst(cell, "output_max_abs_error") for cell in cells]
    psnr = [_worst(cell, "output_psnr_db") for cell in cells]
    sentences = [
        f"With TF32 a forward takes {seconds(rounded)} where full float32 takes {seconds(ieee)}: "
        f"{times(faster)} the speed."
    ]
    if errors[0] is not None and errors[1] is not None:
        more = f", {shown(errors[1] / errors[0], Quantity.RATIO)} as much" if errors[0] > 0 else ""
        sentences.append(
            f"The largest error of its output is {_error(errors[1])} instead of {_error(errors[0])}{more}, "
            "against the CPU's float32 result, whose values go from 0 to 1."
        )
    columns = ("precision", "forward", "largest output error", "PSNR against the CPU")
    rows = [
        (name, seconds(summary), _error(error), _decibels(db))
        for name, summary, error, db in zip(("ieee", "tf32"), (ieee, rounded), errors, psnr, strict=True)
    ]
    return Told(sentences=sentences, columns=columns, rows=rows)


def cudnn_warp(off: RunOfPaper, on: RunOfPaper) -> Told:
    """The alignment stage with the feature warp on cuDNN and off it."""
    cells = longest(off), longest(on)
    found = [
        stage_summaries(stage_timing_of(run.tables, cell)) for run, cell in zip((off, on), cells, strict=True)
    ]
    with_, without = found
    slower = ratio(without[ALIGNMENT], with_[ALIGNMENT])
    change = without[ALIGNMENT].median - with_[ALIGNMENT].median
    part = change / whole(with_)
    rows = []
    for stage in STAGES:
        of_stage = ratio(without[stage], with_[stage])
        rows.append(
            (
                str(stage),
                seconds(with_[stage]),
                seconds(without[stage]),
                times(of_stage),
            )
        )
    return Told(
        sentences=[
            f"Alignment takes {seconds(without[ALIGNMENT])} without cuDNN's warp and "
            f"{seconds(with_[ALIGNMENT])} with it: "
            f"{times(slower)} the time.",
            f"That changes the four stages together by {shown(part, Quantity.SHARE)}: so much of what "
            "switching cuDNN off does is no matter of convolutions.",
        ],
        columns=("stage", "warp on cuDNN", "warp off cuDNN", "off / on"),
        rows=rows,
    )


def _worst(cell: Cell, column: str) -> float | None:
    """Of the rounds' figures the worst: the largest error, the least ratio of signal to noise."""
    known = [value for row in cell.rows if (value := number(row.get(column))) is not None]
    if not known:
        return None
    return min(known) if column == "output_psnr_db" else max(known)


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{significant(value)} dB"


def _error(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{significant(value * 1e6)}e-6"
