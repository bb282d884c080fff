"""The paper's measurements as records: nothing of them is lost, moved or made up."""

import csv
import json
import re
from pathlib import Path

import pytest

from bench.grid.spans import FORWARD
from bench.machine.environment import in_short
from bench.paper import published
from bench.paper.method import PAPER, Method
from bench.paper.published import FOLDER, ROLES
from bench.records import CellRecord, Pass, Status
from bench.results.record_check import fault
from bench.results.run_folder import RunFolder

DATA = Path(published.__file__).parent / "data"
WRITTEN = ("config.yaml", "environment.json", "run.json", "journal.jsonl")


@pytest.fixture(scope="module")
def records() -> dict[str, CellRecord]:
    return {record.cell: record for record in published.records()}


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cell(name: str, frames: int, method: str) -> str:
    return f"basicvsr/{name}/b1/t{frames}/64x64/{ROLES[method]}"


def walls(record: CellRecord, pass_: Pass, stage: str = FORWARD) -> list[float]:
    return [sample.wall_s for sample in record.samples if (sample.pass_, sample.stage) == (pass_, stage)]


def test_the_committed_run_is_written_byte_for_byte_again(tmp_path):
    published.write(tmp_path)
    published.write(tmp_path)  # over what is there
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(WRITTEN)
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_it_opens_as_any_run_does():
    run = RunFolder.open(FOLDER)
    run.check_config()
    assert str(run.baseline) == "cpu"
    assert len(run.records()) == len(run.cells()) == 75
    for record, planned in zip(run.records(), run.cells(), strict=True):
        assert fault(record, planned, 1) is None


@pytest.mark.parametrize("method", ROLES)
def test_every_published_number_is_there(records, method):
    headline = [float(row["total_s"]) for row in rows("headline.csv") if row["method"] == method]
    assert walls(records[cell("headline", 60, method)], Pass.END_TO_END) == headline
    repeated = [float(row[f"{method}_s"]) for row in rows("time_by_repetition.csv")]
    assert walls(records[cell("repetitions", 30, method)], Pass.END_TO_END) == repeated
    for row in rows("time_by_frames.csv"):
        record = records[cell("frames", int(row["frames"]), method)]
        assert walls(record, Pass.END_TO_END) == [float(row[f"{method}_s"])]
    for stage in ("alignment", "propagation", "aggregation", "upsampling"):
        of_file = [float(row[f"{stage}_s"]) for row in rows("stage_seconds.csv") if row["method"] == method]
        assert walls(records[cell("stages", 60, method)], Pass.STAGE_SYNC, stage) == of_file


def test_memory_is_the_published_curve_in_whole_pages(records):
    record = records[cell("memory", 40, "cpu")]
    of_file = [row for row in rows("memory_by_time.csv") if float(row["host_mib"]) > 0]
    assert [point.elapsed_s for point in record.memory] == [float(row["elapsed_s"]) for row in of_file]
    for point, row in zip(record.memory, of_file, strict=True):
        assert point.host_bytes % 4096 == 0
        assert point.host_bytes / 2**20 == pytest.approx(float(row["host_mib"]), abs=1e-6)
    assert (record.host_before_bytes, record.peak_host_bytes) == (381 * 2**20, 10805 * 2**20)
    others = [records[cell("memory", 40, method)] for method in ("cuda", "cudnn")]
    assert {(other.status, other.reason) for other in others} == {
        (Status.SKIPPED, published.NOT_IN_THE_PAPER)
    }


def test_how_it_was_measured_stands_in_each_record(records):
    for record in records.values():
        if record.status is Status.OK:
            assert Method.of(record.settings["method"]) == PAPER
    assert records[cell("frames", 1, "cuda")].first_in_process is True
    assert records[cell("frames", 1, "cudnn")].first_in_process is False  # the same process as "CUDA"
    assert records[cell("frames", 1, "cpu")].first_in_process is None


def test_the_machine_in_short():
    assert in_short(published.environment()) == (
        "Intel(R) Xeon(R) CPU E5-2637 v4 @ 3.50GHz (8 cores), 4 × Tesla K80, torch 1.10.1, CUDA 11.3"
    )


def test_nothing_private():
    for path in (path for path in (*FOLDER.rglob("*"), *DATA.rglob("*")) if path.is_file()):
        content = path.read_bytes()
        for home in (rb"/home/", rb"/root/", rb"/Users/", rb"/tmp/", rb"\\Users\\"):
            assert home not in content, path
    for name in ("CITATION.md", "environment.json", "config.yaml", "run.json"):
        # A student's number has 13 digits; so many stand in no other place there.
        assert not re.search(r"(?<!\d)\d{13}(?!\d)", (FOLDER / name).read_text(encoding="utf-8")), name


def test_the_citation_names_every_file_and_input():
    citation = (FOLDER / "CITATION.md").read_text(encoding="utf-8")
    for path in DATA.glob("*.csv"):
        assert f"`{path.name}`" in citation
    for item in published.experiment().input:
        assert f"| `{item.name}` |" in citation
    assert json.loads((DATA / "environment.json").read_text())["source"]["repository"].startswith("https://")
