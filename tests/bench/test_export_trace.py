"""Exports to the Trace Event Format: what must hold for a viewer, and that nothing is drawn that was not.

Perfetto's own words: events of a thread that overlap without one inside the other are not supported
(https://perfetto.dev/docs/faq). Here events of one thread never overlap at all.
"""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.export.chrome_trace import Span, lanes
from bench.export.formats import Format, export_text
from bench.results.run_folder import RunFolder
from tests.bench.test_export import QUICKSTART, ROUNDS, data_of, exported, make

COMMON: Final = {"name": {"type": "string"}, "pid": {"type": "integer"}, "tid": {"type": "integer"}}

SCHEMA: Final = {
    "type": "object",
    "properties": {
        "traceEvents": {
            "type": "array",
            "minItems": 1,
            "items": {
                "oneOf": [
                    {
                        "properties": {
                            **COMMON,
                            "ph": {"const": "X"},
                            "cat": {"type": "string"},
                            "ts": {"type": "number", "minimum": 0},
                            "dur": {"type": "number", "minimum": 0},
                            "args": {"type": "object"},
                        },
                        "required": ["name", "cat", "ph", "pid", "tid", "ts", "dur", "args"],
                        "additionalProperties": False,
                    },
                    {
                        "properties": {
                            **COMMON,
                            "ph": {"const": "C"},
                            "cat": {"type": "string"},
                            "ts": {"type": "number", "minimum": 0},
                            "args": {"type": "object", "additionalProperties": {"type": "number"}},
                        },
                        "required": ["name", "ph", "pid", "ts", "args"],
                        "additionalProperties": False,
                    },
                    {
                        "properties": {
                            **COMMON,
                            "ph": {"const": "M"},
                            "name": {
                                "enum": [
                                    "process_name", "process_labels", "process_sort_index", "thread_name",
                                    "thread_sort_index",
                                ]
                            },
                            "args": {"type": "object", "minProperties": 1, "maxProperties": 1},
                        },
                        "required": ["name", "ph", "pid", "args"],
                        "additionalProperties": False,
                    },
                ]
            },
        },
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
    },
    "required": ["traceEvents"],
    "additionalProperties": False,
}  # fmt: skip
"""Complete, counter and metadata events and the object around them, as
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU describes them."""

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
        jsonschema.validate(trace[1], SCHEMA)

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

    def test_has_every_timed_call_once(self, trace: tuple[Path, dict[str, Any]]) -> None:
        folder = RunFolder.open(trace[0])
        kept = {*exported(folder).cells["cell"]}
        for record in folder.records():
            if record.cell not in kept:
                continue
            process = f"{record.cell} round {record.round}"
            events = [
                (event["cat"], event["args"]["phase"], event["args"]["repetition"], event["name"])
                for (name, _), lane in in_lanes(trace[1]).items()
                if name == process
                for event in lane
                if event["cat"] != "pass"
            ]
            assert sorted(events) == sorted(
                (sample.pass_, sample.phase, sample.repetition, sample.stage)
                for sample in record.samples
                if sample.stage != "other"
            )

    def test_has_the_memory_curve_as_counters(self, trace: tuple[Path, dict[str, Any]]) -> None:
        points = exported(RunFolder.open(trace[0])).memory
        found = defaultdict(list)
        for event in events_of(trace[1], "C"):
            found[event["name"]].append(event["args"]["bytes"])
        assert sorted(found["host memory"]) == sorted(points["host_bytes"])
        assert sorted(found["device memory"]) == sorted(points["device_bytes"].dropna())
        assert len(points)


class TestOfARun:
    def test_rounds_are_processes_in_the_order_in_which_they_began(self, run: Path) -> None:
        records = {f"{one.cell} round {one.round}": one for one in RunFolder.open(run).records()}
        trace = data_of(run, Format.CHROME_TRACE)
        in_order = [name for (_, _), name in sorted(names(trace, "process_name").items())]
        assert sorted(in_order) == sorted(records)
        assert len(in_order) == 6 * ROUNDS
        assert in_order == sorted(in_order, key=lambda name: records[name].started_at)
        # A minute lies between them, and a call begins where its sample says.
        for minute, name in enumerate(in_order):
            sample = records[name].samples[0]
            (event,) = (
                event for event in in_lanes(trace)[name, "calls"]
                if (event["args"]["phase"], event["name"]) == ("cold", "forward")
            )  # fmt: skip
            assert event["ts"] == pytest.approx((60 * minute + sample.start_s) * 1e6, abs=1e-3)
            assert event["dur"] == pytest.approx(sample.wall_s * 1e6, abs=1e-3)
            assert event["args"].get("device_s") == sample.device_s

    def test_a_stage_says_that_it_is_a_sum_and_other_lies_nowhere(self, run: Path) -> None:
        trace = data_of(run, Format.CHROME_TRACE)
        assert "other" not in {event["name"] for event in events_of(trace, "X")}
        for (_, lane), events in in_lanes(trace).items():
            for event in events:
                assert event["args"].get("sum_of_its_intervals", False) is lane.endswith(" (sums)")
        probed = [
            event for event in events_of(trace, "X")
            if event["name"] == "forward" and event["cat"].startswith("stage_")
        ]  # fmt: skip
        others = [
            sample.wall_s
            for record in RunFolder.open(run).records()
            for sample in record.samples
            if sample.stage == "other"
        ]
        assert sorted(event["args"]["other_s"] for event in probed) == sorted(others)
        assert "interval" in trace["otherData"]["stages"]

    def test_a_pass_spans_its_calls(self, run: Path) -> None:
        found = in_lanes(data_of(run, Format.CHROME_TRACE))
        for (process, lane), events in found.items():
            if lane != "passes":
                continue
            assert [event["name"] for event in events] == (
                ["end_to_end", "stage_sync"]
                if "/cpu " in process
                else ["end_to_end", "stage_sync", "stage_events"]
            )
            calls = [*found[process, "calls"], *found[process, "total"]]
            for event in events:
                own = [call for call in calls if call["cat"] == event["name"]]
                assert min(call["ts"] for call in own) == event["ts"]
                ends = max(call["ts"] + call["dur"] for call in own)
                assert event["ts"] + event["dur"] == pytest.approx(ends, abs=1e-2)
                assert event["args"]["timed_spans"] == len(own)

    def test_memory_comes_after_the_last_call_and_says_that_its_start_is_not_known(self, run: Path) -> None:
        found = in_lanes(data_of(run, Format.CHROME_TRACE))
        (memory,) = found["basicvsr/noise/b1/t4/64x64/cudnn round 0", "memory pass"]
        last = max(
            round((event["ts"] + event["dur"]) * 1000)
            for (process, lane), events in found.items()
            if process == "basicvsr/noise/b1/t4/64x64/cudnn round 0" and lane != "memory pass"
            for event in events
        )
        assert round(memory["ts"] * 1000) == last
        assert memory["args"] == {"start": "not recorded"}

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
