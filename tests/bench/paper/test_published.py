"""The paper's measurements as a run: nothing of them is lost, moved or made up."""

import csv
import re

import pytest

from bench.grid.spans import FORWARD
from bench.paper.experiments import PAPER, method_of
from bench.paper.metrics import STAGES
from bench.paper.sources import PUBLISHED
from bench.records import CellRecord, Pass, Status
from bench.results.run_folder import RunFolder

FOLDER = PUBLISHED[-1]
ROLES = {"cpu": "cpu", "cuda": "cudnn", "cudnn": "cudnn_autotune"}
"""By the names in the files: the paper's "CUDA" never switched cuDNN off."""


@pytest.fixture(scope="module")
def records() -> dict[str, CellRecord]:
    return {record.cell: record for record in RunFolder.open(FOLDER).records()}


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((FOLDER / "published" / name).read_text(encoding="utf-8").splitlines()))


def cell(name: str, frames: int, method: str) -> str:
    return f"basicvsr/{name}/b1/t{frames}/64x64/{ROLES[method]}"


def walls(record: CellRecord, pass_: Pass = Pass.END_TO_END, stage: str = FORWARD) -> list[float]:
    return [sample.wall_s for sample in record.samples if (sample.pass_, sample.stage) == (pass_, stage)]


def test_it_opens_as_any_run_does():
    run = RunFolder.open(FOLDER)
    run.check_config()
    assert len(run.records()) == len(run.cells()) == 75
    measured = [record for record in run.records() if record.status is Status.OK]
    assert all(method_of(record.settings["method"]) == PAPER for record in measured)


@pytest.mark.parametrize("method", ROLES)
def test_every_published_number_is_there(records, method):
    headline = [float(row["total_s"]) for row in rows("headline.csv") if row["method"] == method]
    assert walls(records[cell("headline", 60, method)]) == headline
    repeated = [float(row[f"{method}_s"]) for row in rows("time_by_repetition.csv")]
    assert walls(records[cell("repetitions", 30, method)]) == repeated
    for row in rows("time_by_frames.csv"):
        assert walls(records[cell("frames", int(row["frames"]), method)]) == [float(row[f"{method}_s"])]
    for stage in STAGES:
        of_file = [float(row[f"{stage}_s"]) for row in rows("stage_seconds.csv") if row["method"] == method]
        assert walls(records[cell("stages", 60, method)], Pass.STAGE_SYNC, stage) == of_file


def test_memory_is_the_published_curve_in_whole_pages(records):
    record = records[cell("memory", 40, "cpu")]
    of_file = [row for row in rows("memory_by_time.csv") if float(row["host_mib"]) > 0]
    assert [point.elapsed_s for point in record.memory] == [float(row["elapsed_s"]) for row in of_file]
    pages = [round(float(row["host_mib"]) * 2**20 / 4096) for row in of_file]
    assert [point.host_bytes / 4096 for point in record.memory] == pages
    levels = [int(row["host_mib"]) * 2**20 for row in rows("memory_levels.csv")]
    assert [record.host_before_bytes, record.peak_host_bytes] == levels


def test_nothing_private():
    for path in (path for path in FOLDER.rglob("*") if path.is_file()):
        assert not re.search(rb"/home/|/root/|/Users/|/tmp/|\\Users\\", path.read_bytes()), path
    for name in ("CITATION.md", "environment.json", "config.yaml", "run.json"):
        # A student's number has 13 digits; so many stand in no other place there.
        assert not re.search(r"(?<!\d)\d{13}(?!\d)", (FOLDER / name).read_text(encoding="utf-8")), name
