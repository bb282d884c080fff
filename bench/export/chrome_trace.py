"""Trace Event Format, which Perfetto and chrome://tracing open: a process per (cell, round), lanes inside.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

Events of one lane never overlap: a viewer takes those that do for calls inside each other, or drops them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import pandas as pd

from bench.export.selection import Export
from bench.grid.spans import FORWARD, OTHER, SPANS, TOTAL
from bench.records import Pass
from bench.results.tables import Row, moment, rows_of

Event = dict[str, Any]

NS_PER_S: Final = 1_000_000_000

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


@dataclass(frozen=True, kw_only=True)
class Span:
    """A complete event, in whole nanoseconds: what is rounded once to them cannot overlap by rounding."""

    name: str
    category: str
    start_ns: int
    end_ns: int
    args: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A row of a process."""

    name: str
    spans: tuple[Span, ...]


def chrome_trace(export: Export) -> dict[str, object]:
    """Return every timed call of the run, warm-up included, at its time since the first round began.

    Rounds whose start was not recorded come after the others, one behind the other.
    """
    events: list[Event] = []
    rounds = _in_time_order(rows_of(export.cells))
    samples = {key: rows_of(own) for key, own in export.samples.groupby(["cell", "round"])}
    memory = {key: rows_of(own) for key, own in export.memory.groupby(["cell", "round"])}
    thread_ids = count(len(rounds) + 1)  # none is a process's own
    last_ns = 0
    for process_id, (cell, began) in enumerate(rounds, start=1):
        key = cell["cell"], cell["round"]
        origin_ns = last_ns if began is None else _since(rounds[0][1], began)
        found = _lanes(samples.get(key, []), export.stages, origin_ns)
        start_ns = end_ns(found, origin_ns)
        found += lanes("memory pass", _memory_pass(memory.get(key, []), start_ns))
        last_ns = max(last_ns, end_ns(found, origin_ns))
        events += _process(process_id, cell, None if began else _NOT_RECORDED)
        for place, lane in enumerate(found):
            events += _thread(process_id, next(thread_ids), place, lane)
        events += _memory_counters(process_id, memory.get(key, []), start_ns)
    zero = rounds[0][0]["started_at"] or "not recorded"
    about = {"run": export.folder.experiment.name, "zero": zero, **_NOTES}
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def drawn(export: Export) -> pd.DataFrame:
    """Return the samples that have a place in time: `other` is a difference, and has none."""
    return export.samples[export.samples["stage"].isin(export.stages - {OTHER})]


def lanes(name: str, spans: Iterable[Span]) -> list[Lane]:
    """Return the spans in one lane of that name, or in as many more as they need not to overlap: where starts
    were not recorded, all have the same."""
    rows: list[list[Span]] = []
    for one in sorted(spans, key=lambda span: (span.start_ns, span.end_ns)):
        row = next((row for row in rows if row[-1].end_ns <= one.start_ns), None)
        if row is None:
            rows.append([one])
        else:
            row.append(one)
    return [
        Lane(name=name if number == 1 else f"{name}, {number}", spans=tuple(row))
        for number, row in enumerate(rows, start=1)
    ]


def end_ns(found: Sequence[Lane], otherwise: int) -> int:
    """Return when the last of the spans ends."""
    return max((one.end_ns for lane in found for one in lane.spans), default=otherwise)


def _span(
    name: str, category: str, origin_ns: int, start_s: float, length_s: float, args: dict[str, Any]
) -> Span:
    return Span(
        name=name,
        category=category,
        start_ns=origin_ns + round(start_s * NS_PER_S),
        end_ns=origin_ns + round((start_s + length_s) * NS_PER_S),
        args=args,
    )


def _in_time_order(cells: Sequence[Row]) -> list[tuple[Row, datetime | None]]:
    """Return the rounds with when they began, those of which it is known first."""
    began = [(cell, moment(cell["started_at"])) for cell in cells]
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(began, key=lambda pair: (pair[1] is None, pair[1] or latest))


def _since(first: datetime | None, at: datetime) -> int:
    """Return the nanoseconds from the first to the other, exactly."""
    assert first is not None  # those of which it is known come first
    between = at - first
    return ((between.days * 86_400 + between.seconds) * 1_000_000 + between.microseconds) * 1000


def _lanes(samples: Sequence[Row], stages: frozenset[str], origin_ns: int) -> list[Lane]:
    """Return passes, calls, total and each stage; lanes that hold nothing are not there."""
    others = {_call(sample): sample["wall_s"] for sample in samples if sample["stage"] == OTHER}
    calls: list[Span] = []
    totals: list[Span] = []
    of_stage: dict[str, list[Span]] = {}
    for sample in samples:
        stage = sample["stage"]
        if stage not in stages or stage == OTHER:
            continue
        args: dict[str, Any] = {"phase": sample["phase"], "repetition": sample["repetition"]}
        if sample["device_s"] is not None:
            args["device_s"] = sample["device_s"]
        if stage not in SPANS:
            args["sum_of_its_intervals"] = True
        if stage == FORWARD and _call(sample) in others:
            args["other_s"] = others[_call(sample)]
        event = _span(stage, sample["pass"], origin_ns, sample["start_s"], sample["wall_s"], args)
        if stage not in SPANS:
            of_stage.setdefault(stage, []).append(event)
        else:
            (totals if stage == TOTAL else calls).append(event)
    found = lanes("passes", _passes(samples, origin_ns)) + lanes("calls", calls) + lanes("total", totals)
    for stage, spans in of_stage.items():
        found += lanes(f"{stage} (sums)", spans)
    return found


def _call(sample: Row) -> tuple[str, str, int]:
    return sample["pass"], sample["phase"], sample["repetition"]


def _passes(samples: Sequence[Row], origin_ns: int) -> Iterator[Span]:
    """Yield each pass, from the beginning of its first call to the end of its last."""
    for pass_ in Pass:
        own = [
            sample
            for sample in samples
            if sample["pass"] == pass_ and sample["stage"] in SPANS and sample["stage"] != OTHER
        ]
        if own:
            start_s = min(sample["start_s"] for sample in own)
            stop_s = max(sample["start_s"] + sample["wall_s"] for sample in own)
            timed = len({(_call(sample), sample["stage"]) for sample in own})
            yield _span(pass_, "pass", origin_ns, start_s, stop_s - start_s, {"timed_spans": timed})


def _memory_pass(points: Sequence[Row], start_ns: int) -> Iterator[Span]:
    if points:
        length_s = max(point["elapsed_s"] for point in points)
        yield _span("memory", "pass", start_ns, 0.0, length_s, {"start": "not recorded"})


def _process(process_id: int, cell: Row, label: str | None) -> Iterator[Event]:
    facts: dict[str, dict[str, str | int]] = {
        "process_name": {"name": f"{cell['cell']} round {cell['round']}"},
        "process_sort_index": {"sort_index": process_id},
    }
    if label:
        facts["process_labels"] = {"labels": label}
    for name, args in facts.items():
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


def _memory_counters(process_id: int, points: Sequence[Row], start_ns: int) -> Iterator[Event]:
    for point in points:
        at_us = (start_ns + round(point["elapsed_s"] * NS_PER_S)) / 1000
        levels = {"host memory": point["host_bytes"], "device memory": point["device_bytes"]}
        for name, value in levels.items():
            if value is not None:
                yield {
                    "name": name, "cat": "memory", "ph": "C", "pid": process_id, "tid": process_id,
                    "ts": at_us, "args": {"bytes": value},
                }  # fmt: skip
