"""Exports to the Trace Event Format: what must hold for a viewer, and that nothing is drawn that was not.

Perfetto's own words: events of a thread that overlap without one inside the other are not supported
(https://perfetto.dev/docs/faq). Here events of one thread never overlap at all.
"""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.export.chrome_trace import Span, lanes
from bench.export.formats import Format, export_text
from bench.records import MemoryPoint, Pass, Phase, Sample
from bench.results.run_folder import RunFolder
from tests.bench.test_export import QUICKSTART, ROUNDS, data_of, exported, make

KEYS: Final = {
    "X": {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"},
    "C": {"name", "cat", "ph", "pid", "tid", "ts", "args"},
    "M": {"name", "ph", "pid", "tid", "args"},
}
"""Of complete, counter and metadata events, as
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU describes them."""

METADATA: Final = {
    "process_name", "process_labels", "process_sort_index", "thread_name", "thread_sort_index",
}  # fmt: skip

Event = dict[str, Any]


def events_of(trace: dict[str, Any], phase: str) -> list[Event]:
    return [event for event in trace["traceEvents"] if event["ph"] == phase]


def names(trace: dict[str, Any], kind: str) -> dict[tuple[int, int], str]:
    """What processes or threads are called, by pid and tid."""
    return {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events_of(trace, "M")
        if event["name"] == kind
    }


def in_lanes(trace: dict[str, Any]) -> dict[tuple[str, str], list[Event]]:
    """Complete events by the names of their process and their thread."""
    processes = {pid: name for (pid, _), name in names(trace, "process_name").items()}
    threads = names(trace, "thread_name")
    found: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events_of(trace, "X"):
        found[processes[event["pid"]], threads[event["pid"], event["tid"]]].append(event)
    return found


def overlaps(events: list[Event]) -> int:
    """How many events begin before the one before them ended, to the nanosecond."""
    spans = sorted((round(one["ts"] * 1000), round((one["ts"] + one["dur"]) * 1000)) for one in events)
    return sum(later[0] < earlier[1] for earlier, later in pairwise(spans))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    make(path)
    return path


@pytest.fixture(scope="module", params=["made-up", "quickstart"])
def trace(request: pytest.FixtureRequest, run: Path) -> tuple[Path, dict[str, Any]]:
    path = run if request.param == "made-up" else QUICKSTART
    return path, data_of(path, Format.CHROME_TRACE)


class TestEveryTrace:
    def test_is_of_the_format(self, trace: tuple[Path, dict[str, Any]]) -> None:
        assert trace[1].keys() == {"traceEvents", "displayTimeUnit", "otherData"}
        assert trace[1]["displayTimeUnit"] == "ms"
        for event in trace[1]["traceEvents"]:
            assert event.keys() == KEYS[event["ph"]]
            assert all(isinstance(event[name], int) for name in ("pid", "tid"))
            assert min(event.get("ts", 0), event.get("dur", 0)) >= 0
        assert {event["name"] for event in events_of(trace[1], "M")} <= METADATA

    def test_has_no_events_that_overlap_in_a_lane(self, trace: tuple[Path, dict[str, Any]]) -> None:
        threads: dict[tuple[int, int], list[Event]] = defaultdict(list)
        for event in events_of(trace[1], "X"):
            threads[event["pid"], event["tid"]].append(event)
        assert {key for key, events in threads.items() if overlaps(events)} == set()
        assert threads.keys() == names(trace[1], "thread_name").keys()  # none without a name, none empty
        thread_ids = [tid for _, tid in threads]
        processes = [pid for pid, _ in names(trace[1], "process_name")]
        assert len({*thread_ids, *processes}) == len(thread_ids) + len(processes)
        assert 0 not in processes


def test_what_is_in_a_trace(tmp_path: Path) -> None:
    """A cold call, a probed one whose stage was interrupted once, and the memory pass."""
    folder = make(tmp_path / "run", backends=["cpu"])
    taken = [
        (Pass.END_TO_END, Phase.COLD, "forward", 0.5, 0.25, 0.2),
        (Pass.END_TO_END, Phase.COLD, "total", 0.5, 0.3, None),
        (Pass.STAGE_SYNC, Phase.STEADY, "alignment", 1.0, 0.1, None),
        (Pass.STAGE_SYNC, Phase.STEADY, "other", 1.0, 0.05, None),
        (Pass.STAGE_SYNC, Phase.STEADY, "forward", 1.0, 0.15, None),
    ]
    samples = tuple(
        Sample(
            pass_=pass_,
            phase=phase,
            repetition=0,
            stage=stage,
            start_s=start_s,
            wall_s=wall_s,
            device_s=device_s,
        )
        for pass_, phase, stage, start_s, wall_s, device_s in taken
    )
    memory = (
        MemoryPoint(elapsed_s=0.0, host_bytes=5),
        MemoryPoint(elapsed_s=0.5, host_bytes=7, device_bytes=3),
    )
    record = folder.records()[0].model_copy(update={"samples": samples, "memory": memory})
    trace = json.loads(export_text(exported(folder, [record]), Format.CHROME_TRACE))
    lanes = {
        lane: [(one["cat"], one["name"], one["ts"], one["dur"], one["args"]) for one in events]
        for (process, lane), events in in_lanes(trace).items()
        if process == "basicvsr/noise/b1/t1/64x64/cpu round 0"
    }
    cold, steady = {"phase": "cold", "repetition": 0}, {"phase": "steady", "repetition": 0}
    end_us = 1.15e6
    assert lanes == {
        "passes": [
            ("pass", "end_to_end", 0.5e6, 0.3e6, {"timed_spans": 2}),
            ("pass", "stage_sync", 1e6, 0.15e6, {"timed_spans": 1}),
        ],
        "calls": [
            ("end_to_end", "forward", 0.5e6, 0.25e6, {**cold, "device_s": 0.2}),
            ("stage_sync", "forward", 1e6, 0.15e6, {**steady, "other_s": 0.05}),
        ],
        "total": [("end_to_end", "total", 0.5e6, 0.3e6, cold)],
        "alignment (sums)": [
            ("stage_sync", "alignment", 1e6, 0.1e6, {**steady, "sum_of_its_intervals": True})
        ],
        "memory pass": [("pass", "memory", end_us, 0.5e6, {"start": "not recorded"})],
    }
    assert [(one["name"], one["ts"], one["args"]) for one in events_of(trace, "C")] == [
        ("host memory", end_us, {"bytes": 5}),
        ("host memory", end_us + 0.5e6, {"bytes": 7}),
        ("device memory", end_us + 0.5e6, {"bytes": 3}),
    ]
    assert "interval" in trace["otherData"]["stages"]


class TestOfARun:
    def test_rounds_are_processes_in_the_order_in_which_they_began(self, run: Path) -> None:
        records = {f"{one.cell} round {one.round}": one for one in RunFolder.open(run).records()}
        trace = data_of(run, Format.CHROME_TRACE)
        in_order = [name for (_, _), name in sorted(names(trace, "process_name").items())]
        assert in_order == sorted(records, key=lambda name: records[name].started_at)
        assert len(in_order) == 6 * ROUNDS
        # A minute lies between them, and a call begins where its sample says.
        for minute, name in enumerate(in_order):
            first = min(event["ts"] for event in in_lanes(trace)[name, "calls"])
            assert first == pytest.approx((60 * minute + records[name].samples[0].start_s) * 1e6, abs=1e-3)

    @pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01T00:00:00+14:00"])
    def test_a_round_without_a_time_comes_after_the_one_before_and_says_so(
        self, tmp_path: Path, text: str
    ) -> None:
        folder = make(tmp_path / "run", backends=["cpu"])
        records = [record.model_copy(update={"started_at": text}) for record in folder.records()]
        trace = json.loads(export_text(exported(folder, records), Format.CHROME_TRACE))
        labels = [event for event in events_of(trace, "M") if event["name"] == "process_labels"]
        assert len(labels) == 2 * ROUNDS
        assert {event["args"]["labels"] for event in labels} == {
            "its start was not recorded: placed after the round before"
        }
        by_process: dict[int, list[Event]] = defaultdict(list)
        for event in events_of(trace, "X"):
            by_process[event["pid"]].append(event)
        for pid in range(1, 2 * ROUNDS):
            ends = max(event["ts"] + event["dur"] for event in by_process[pid])
            assert min(event["ts"] for event in by_process[pid + 1]) >= ends - 1e-3


class TestLanes:
    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30))
    def test_keep_every_span_and_never_let_two_overlap(self, pairs: list[tuple[int, int]]) -> None:
        spans = [
            Span(name=str(index), category="c", start_ns=start, end_ns=start + length, args={})
            for index, (start, length) in enumerate(pairs)
        ]
        found = lanes("lane", spans)
        assert sorted(one.name for lane in found for one in lane.spans) == sorted(one.name for one in spans)
        for lane in found:
            assert lane.spans
            for earlier, later in pairwise(lane.spans):
                assert earlier.end_ns <= later.start_ns
        assert [lane.name for lane in found] == ["lane", *(f"lane, {n}" for n in range(2, len(found) + 1))][
            : len(found)
        ]
