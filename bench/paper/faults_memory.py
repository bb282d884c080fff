"""What gradients do to memory, and pageable memory to transfers, for bench.paper.faults. Pure."""

from collections.abc import Callable, Sequence

from bench.grid.spans import DEVICE_TO_HOST, FORWARD, HOST_TO_DEVICE
from bench.paper.claims_memory import growth
from bench.paper.clip import clip_bytes, output_bytes
from bench.paper.editions import Memory
from bench.paper.fault_cells import Told, by_role, median_of, reasons, seconds, times
from bench.paper.needed import measured, summary_of
from bench.paper.reading import Cell, RunOfPaper, memory_of
from bench.paper.telling import quantity
from bench.paper.trend import Line, fit
from bench.paper.verdict import NotKnownError, Quantity, shown
from bench.statistics.stats import Summary, ratio


def gradients(off: RunOfPaper, on: RunOfPaper) -> Told:
    """Host and device memory with and without what autograd keeps, over several lengths."""
    without, with_ = by_role(off), by_role(on)
    shared = [key for key in without if key in with_]
    if not shared:
        raise NotKnownError("no cell ended well both with gradients and without")
    memories = {
        key: (memory_of(off.tables, without[key]), memory_of(on.tables, with_[key])) for key in shared
    }
    rows, sentences = [], []
    for (_, frames), pair in memories.items():
        rows.append(
            (
                pair[0].backend,
                str(frames),
                *(shown(growth(memory), Quantity.BYTES) for memory in pair),
                *(_bytes(memory.peak_device_bytes) for memory in pair),
            )
        )
    for role in dict.fromkeys(role for role, _ in shared):
        own = [pair for (of, _), pair in memories.items() if of is role]
        sentences += _per_frame(own, "host", growth)
        sentences += _per_frame(own, "device", _device)
    sentences += [f"Not known: {reason}." for reason in reasons(off, on)]
    columns = ("backend", "frames", "host without", "host with", "device without", "device with")
    return Told(sentences=sentences, columns=columns, rows=rows)


def transfers(off: RunOfPaper, on: RunOfPaper) -> Told:
    """Bytes and seconds of the clip's way to the device and the output's way back; `on` has pinned memory."""
    pageable, pinned = by_role(off), by_role(on)
    rows, sentences = [], []
    for key, cell in sorted(pageable.items(), key=lambda item: item[0][1]):
        if key not in pinned:
            continue
        for stage, size in _copies(cell).items():
            found = [median_of(run, one, (stage,)) for run, one in ((off, cell), (on, pinned[key]))]
            faster = ratio(found[0], found[1])
            rows.append(
                (
                    stage,
                    str(cell.frames),
                    shown(size, Quantity.BYTES),
                    *(seconds(summary) for summary in found),
                    *(shown(size / summary.median, Quantity.BYTES_PER_S) for summary in found),
                    times(faster),
                )
            )
        both = sum(median_of(off, cell, (stage,)).median for stage in _copies(cell))
        fixed = sum(median_of(on, pinned[key], (stage,)).median for stage in _copies(cell))
        forward = median_of(off, cell, (FORWARD,)).median
        sentences.append(
            f"At t = {cell.frames} the copies there and back take {shown(both, Quantity.SECONDS)} from "
            f"pageable memory, {shown(both / (both + forward), Quantity.SHARE)} of copies and forward "
            f"together, and {shown(fixed, Quantity.SECONDS)} from pinned memory."
        )
    if not rows:
        raise NotKnownError("no length ended well both with pageable memory and with pinned")
    columns = (
        "copy", "frames", "size", "pageable", "pinned", "pageable rate", "pinned rate", "pageable / pinned",
    )  # fmt: skip
    return Told(sentences=sentences, columns=columns, rows=rows)


def _copies(cell: Cell) -> dict[str, int]:
    """Bytes that go to the device and that come back."""
    shape = cell.batch, cell.frames, cell.height, cell.width
    return {HOST_TO_DEVICE: clip_bytes(*shape), DEVICE_TO_HOST: output_bytes(*shape)}


def _bytes(value: int | None) -> str:
    return "–" if value is None else shown(value, Quantity.BYTES)


def _device(memory: Memory) -> float:
    return measured(memory.peak_device_bytes, f"the device memory of {memory.backend}")


def _per_frame(
    pairs: Sequence[tuple[Memory, Memory]], where: str, taken: Callable[[Memory], float]
) -> list[str]:
    """What a frame adds without gradients and with them; nothing where that memory was not measured."""
    try:
        lines = [fit([pair[i].frames for pair in pairs], [taken(pair[i]) for pair in pairs]) for i in (0, 1)]
    except NotKnownError:
        return []
    without, with_ = lines
    if without is None or with_ is None:
        return []
    added = [
        quantity(line.slope, Quantity.BYTES, line.slope_low, line.slope_high) for line in (without, with_)
    ]
    backend = pairs[0][0].backend
    text = f"On {backend} a frame adds {added[1]} of {where} memory with gradients, and {added[0]} without"
    # Of two lengths nothing is known of how far off the line may be.
    if without.slope_low is not None and without.slope_low > 0:
        text += f": {times(ratio(_slope(with_), _slope(without)))} as much"
    return [f"{text}."]


def _slope(line: Line) -> Summary:
    return summary_of(line.slope, line.slope_low, line.slope_high)
