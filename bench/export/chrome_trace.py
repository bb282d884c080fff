"""Trace Event Format, which Perfetto and chrome://tracing open: a process per (cell, round), lanes inside.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from bench.export.chrome_lanes import NS_PER_S, Lane, Span, end_ns, lanes, span
from bench.export.described import moment, to_json
from bench.export.selection import Export
from bench.grid.spans import FORWARD, OTHER, TOTAL
from bench.records import CellRecord, Pass, Sample

Event = dict[str, Any]

_NOT_RECORDED: Final = "its start was not recorded: placed after the round before"

_NOTES: Final = {
    "stages": "an event of a stage begins where the stage first began in its call and is as long as its "
    "intervals in that call together; where the later ones lay is not recorded, so that its end is no moment "
    "of the run",
    "length": "by the host's clock, as the beginning is; device_s, where there is one, between CUDA events",
    "other_s": "of a probed forward: what no stage claims; it has no place of its own",
    "memory": "the moment at which the memory pass began is not recorded: it is placed right after the last "
    "timed call, which it came after",
}
"""What a viewer cannot see from the picture; in the trace's `otherData`."""


def chrome_trace(export: Export) -> str:
    """Every timed call of the run, warm-up included, at its time since the first round began.

    Rounds whose start was not recorded come after the others, one behind the other.
    """
    events: list[Event] = []
    rows = _in_time_order(export.records)
    thread_ids = count(len(rows) + 1)  # none is a process's own
    last_ns = 0
    for process_id, (record, began) in enumerate(rows, start=1):
        origin_ns = last_ns if began is None else _since(rows[0][1], began)
        found = _lanes(record, export, origin_ns)
        last_ns = max(last_ns, end_ns(found, origin_ns))
        events += _process(process_id, record, None if began else _NOT_RECORDED)
        for place, lane in enumerate(found):
            events += _thread(process_id, next(thread_ids), place, lane)
        events += _memory_counters(process_id, record, found)
    about: dict[str, str] = {"run": export.name, "zero": rows[0][0].started_at or "not recorded", **_NOTES}
    return to_json({"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}, compact=True)


def drawn(samples: Iterable[Sample], stages: frozenset[str]) -> list[Sample]:
    """The samples that have a place in time: `other` is a difference, and has none."""
    return [sample for sample in samples if sample.stage in stages and sample.stage != OTHER]


def _in_time_order(records: Sequence[CellRecord]) -> list[tuple[CellRecord, datetime | None]]:
    """The rounds with when they began, those of which it is known first."""
    began = [(record, moment(record.started_at)) for record in records]
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(began, key=lambda pair: (pair[1] is None, pair[1] or latest))


def _since(first: datetime | None, at: datetime) -> int:
    """Nanoseconds from the first to the other, exactly."""
    assert first is not None  # those of which it is known come first
    between = at - first
    return ((between.days * 86_400 + between.seconds) * 1_000_000 + between.microseconds) * 1000


def _lanes(record: CellRecord, export: Export, origin_ns: int) -> list[Lane]:
    """Passes, calls, total, each stage, and the memory pass; lanes that hold nothing are not there."""
    others = {
        (sample.pass_, sample.phase, sample.repetition): sample.wall_s
        for sample in record.samples
        if sample.stage == OTHER
    }
    calls: list[Span] = []
    totals: list[Span] = []
    of_stage: dict[str, list[Span]] = {stage: [] for stage in record.stages}
    for sample in drawn(record.samples, export.stages):
        args: dict[str, Any] = {"phase": str(sample.phase), "repetition": sample.repetition}
        if sample.device_s is not None:
            args["device_s"] = sample.device_s
        if sample.stage in of_stage:
            args["sum_of_its_intervals"] = True
        call = (sample.pass_, sample.phase, sample.repetition)
        if sample.stage == FORWARD and call in others:
            args["other_s"] = others[call]
        event = span(sample.stage, sample.pass_, origin_ns, sample.start_s, sample.wall_s, args)
        of_stage.get(sample.stage, totals if sample.stage == TOTAL else calls).append(event)
    found = lanes("passes", _passes(record, origin_ns)) + lanes("calls", calls)
    found += lanes("total", totals)
    for stage, spans in of_stage.items():
        found += lanes(f"{stage} (sums)", spans)
    return found + lanes("memory pass", _memory_pass(record, end_ns(found, origin_ns)))


def _passes(record: CellRecord, origin_ns: int) -> Iterator[Span]:
    """From the beginning of a pass's first call to the end of its last."""
    for pass_ in Pass:
        own = [
            sample
            for sample in record.samples
            if sample.pass_ is pass_ and sample.stage not in (*record.stages, OTHER)
        ]
        if own:
            start_s = min(sample.start_s for sample in own)
            stop_s = max(sample.start_s + sample.wall_s for sample in own)
            calls = len({(sample.phase, sample.repetition, sample.stage) for sample in own})
            yield span(pass_, "pass", origin_ns, start_s, stop_s - start_s, {"timed_spans": calls})


def _memory_pass(record: CellRecord, start_ns: int) -> Iterator[Span]:
    if record.memory:
        length_s = max(point.elapsed_s for point in record.memory)
        yield span("memory", "pass", start_ns, 0.0, length_s, {"start": "not recorded"})


def _process(process_id: int, record: CellRecord, label: str | None) -> Iterator[Event]:
    said: dict[str, dict[str, str | int]] = {
        "process_name": {"name": f"{record.cell} round {record.round}"},
        "process_sort_index": {"sort_index": process_id},
    }
    if label:
        said["process_labels"] = {"labels": label}
    for name, args in said.items():
        yield {"name": name, "ph": "M", "pid": process_id, "tid": process_id, "args": args}


def _thread(process_id: int, thread_id: int, place: int, lane: Lane) -> Iterator[Event]:
    thread = {"pid": process_id, "tid": thread_id}
    yield {"name": "thread_name", "ph": "M", **thread, "args": {"name": lane.name}}
    yield {"name": "thread_sort_index", "ph": "M", **thread, "args": {"sort_index": place}}
    for one in lane.spans:
        length_ns = one.end_ns - one.start_ns
        yield {
            "name": one.name, "cat": one.category, "ph": "X", **thread,
            "ts": one.start_ns / 1000, "dur": length_ns / 1000, "args": one.args,
        }  # fmt: skip


def _memory_counters(process_id: int, record: CellRecord, found: Sequence[Lane]) -> Iterator[Event]:
    starts = [one.start_ns for lane in found if lane.name == "memory pass" for one in lane.spans]
    for point in record.memory:
        at_us = (starts[0] + round(point.elapsed_s * NS_PER_S)) / 1000
        levels = {"host memory": point.host_bytes, "device memory": point.device_bytes}
        for name, value in levels.items():
            if value is not None:
                yield {
                    "name": name, "cat": "memory", "ph": "C", "pid": process_id, "tid": process_id,
                    "ts": at_us, "args": {"bytes": value},
                }  # fmt: skip
