"""The journal: what is written comes back the same, whatever befalls the file."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.grid.ceilings import Ceiling, CeilingKind, CeilingSpec
from bench.grid.costs import StageCost
from bench.records import (
    CEILINGS_NAME,
    SCHEMA_VERSION,
    CellRecord,
    Journal,
    MemoryLine,
    MemoryPoint,
    Pass,
    Phase,
    Sample,
    Status,
    append_ceiling,
    read_ceilings,
    read_journal,
    worst_status,
)
from vsr_model.errors import BadInput


def record(number: int = 0, **fields: Any) -> CellRecord:
    given = {
        "cell": "basicvsr/noise/b1/t4/64x64/cpu", "round": number, "model": "basicvsr", "input": "noise",
        "batch": 1, "frames": 4, "height": 64, "width": 64, "backend": "cpu", "dtype": "float32",
        "fp32_precision": "ieee", "memory_format": "contiguous", "status": "ok",
    }  # fmt: skip
    return CellRecord.model_validate({**given, **fields})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def keep(path: Path, *records: CellRecord) -> None:
    with Journal(path) as journal:
        for item in records:
            journal.append(item)


floats = st.floats(0, allow_infinity=False, allow_nan=False)
counts = st.integers(0, 2**62)
samples = st.builds(
    Sample, pass_=st.sampled_from(Pass), phase=st.sampled_from(Phase), repetition=counts,
    stage=st.just("other"), start_s=floats, wall_s=floats, device_s=st.none() | floats,
)  # fmt: skip
points = st.builds(MemoryPoint, elapsed_s=floats, host_bytes=counts, device_bytes=st.none() | counts)
lines = st.builds(
    MemoryLine, line=counts, source=st.text(), occurrences=counts, increment_bytes=counts.map(int.__neg__),
    host_bytes=counts,
)  # fmt: skip
costs = st.builds(
    StageCost, flops=st.integers(0, 2**80), bytes=counts, fused_bytes=counts, peak_bytes=counts,
    dtype=st.text(),
)  # fmt: skip
records = st.builds(
    CellRecord, schema_version=st.just(SCHEMA_VERSION), cell=st.text(), round=counts, model=st.text(),
    input=st.text(), batch=counts, frames=counts, height=counts, width=counts, backend=st.text(),
    dtype=st.text(), fp32_precision=st.text(), memory_format=st.text(),
    stages=st.lists(st.text(), max_size=2).map(tuple),
    costs=st.dictionaries(st.text(), costs, max_size=2),
    status=st.sampled_from(Status), reason=st.text(), first_forward_s=st.none() | floats,
    output_psnr_db=st.none() | st.floats(),
    warnings=st.lists(st.text(), max_size=2).map(tuple),
    settings=st.dictionaries(st.text(), st.text(), max_size=2),
    samples=st.lists(samples, max_size=2).map(tuple),
    memory=st.lists(points, max_size=2).map(tuple), memory_lines=st.lists(lines, max_size=2).map(tuple),
)  # fmt: skip


def as_text(item: CellRecord) -> str:
    """Equal texts are equal records; NaN is not equal to itself."""
    return repr(item.model_dump())


@settings(max_examples=60)
@given(written=st.lists(records, max_size=3, unique_by=lambda item: (item.cell, item.round)))
def test_what_is_written_comes_back(path: Path, written: list[CellRecord]) -> None:
    path.unlink(missing_ok=True)
    keep(path, *written)
    assert [as_text(item) for item in read_journal(path)] == [as_text(item) for item in written]


def test_a_line_is_plain_json_without_what_is_missing(path: Path) -> None:
    sample = Sample(
        **{"pass": "end_to_end"}, phase=Phase.STEADY, repetition=0, stage="forward", start_s=1.0, wall_s=0.5
    )
    keep(path, record(output_psnr_db=math.inf, samples=(sample,)))
    data = json.loads(path.read_text())
    assert data["schema_version"] == SCHEMA_VERSION
    assert data["output_psnr_db"] == "Infinity"
    assert data["samples"][0] == {
        "pass": "end_to_end", "phase": "steady", "repetition": 0, "stage": "forward", "start_s": 1.0,
        "wall_s": 0.5,
    }  # fmt: skip
    assert "peak_host_bytes" not in data


@pytest.mark.parametrize("torn", [b"", b'{"schema_ver', b"\xff", b'{"cell": "a"}'], ids=repr)
@pytest.mark.parametrize("before", [0, 2])
def test_a_torn_last_line_is_passed_over_and_cut_off(path: Path, torn: bytes, before: int) -> None:
    keep(path, *map(record, range(before)))
    path.write_bytes(path.read_bytes() + torn)
    assert [item.round for item in read_journal(path)] == [*range(before)]
    keep(path, record(before))
    assert [item.round for item in read_journal(path)] == [*range(before + 1)]


OLD = b'{"schema_version": 1, "cell": "noise-b1-t4-64x64-cpu", "round": 0, "flops_alignment": 3}'


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b"not json", "not a line of this journal (the line: Invalid JSON"),
        (b"[]", "not a line of this journal (the line: "),
        (b'{"schema_version": 2, "cell": "a"}', "not a line of this journal (model: Field required)"),
        (OLD, "schema version 1; this program reads 2"),
        (record(0).model_dump_json()[:-1].encode() + b', "mood": 1}', "not a line of this journal (mood: "),
    ],
    ids=["no JSON", "list", "fields missing", "older", "unknown field"],
)
def test_a_damaged_line_is_named(path: Path, damaged: bytes, said: str) -> None:
    keep(path, record(0))
    path.write_bytes(path.read_bytes() + damaged + b"\n")
    keep(path, record(2))
    with pytest.raises(BadInput) as caught:
        read_journal(path)
    assert str(caught.value).startswith(f"{path}:2: {said}")
    assert len(str(caught.value).splitlines()) == 1


def test_no_journal(path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read as a journal"):
        read_journal(path)


def test_a_file_has_one_writer(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(BlockingIOError):
            Journal(path)
        journal.append(record(0))
    assert [item.round for item in read_journal(path)] == [0]


COPY = CeilingSpec(kind=CeilingKind.COPY, device="cpu")


def test_the_last_try_of_a_ceiling_counts(tmp_path: Path) -> None:
    failed = Ceiling(spec=COPY, reason="too little memory")
    measured = Ceiling(spec=COPY, moved_bytes=8, samples_s=(2.0, 1.0))
    other = Ceiling(spec=COPY.model_copy(update={"threads": 1}), reason="too little memory")
    assert read_ceilings(tmp_path) == []
    for ceiling in (failed, other, measured):
        append_ceiling(tmp_path, ceiling)
    assert read_ceilings(tmp_path) == [measured, other]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"moved_bytes": 8, "samples_s": [-1.0]}, "has a sample that no clock can have given"),
        ({}, "needs either samples or a reason"),
        ({"samples_s": [1.0]}, "needs either flops or moved_bytes"),
    ],
)
def test_what_is_no_ceiling_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    line = {"spec": {"kind": "copy", "device": "cpu"}, **fields}
    (tmp_path / CEILINGS_NAME).write_text(json.dumps(line) + "\n")
    with pytest.raises(BadInput, match=rf"{CEILINGS_NAME}:1: not a line of this journal \(.*{said}"):
        read_ceilings(tmp_path)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (["ok", "skipped"], "ok"),
        (["skipped", "skipped"], "skipped"),
        (["inaccurate", "skipped"], "inaccurate"),
        (["timeout", "inaccurate", "ok"], "timeout"),
        (["oom", "timeout"], "oom"),
        (["ok", "error", "oom"], "error"),
    ],
)
def test_the_status_of_a_cell_is_its_worst_round_s(statuses: list[str], worst: str) -> None:
    assert worst_status(map(Status, statuses)) == worst


def test_a_pipe_is_no_journal_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CEILINGS_NAME)
    with pytest.raises(BadInput, match=f"{CEILINGS_NAME}: not a file$"):
        read_ceilings(tmp_path)
