"""The paper's measurements as a run: nothing of them is lost, moved or made up, and everything reads them."""

import csv
import json
import re
from statistics import median

import pytest

from bench.grid.spans import FORWARD
from bench.machine.environment import in_short
from bench.paper import published
from bench.paper.method import PAPER, Method
from bench.plotting.plots import data
from bench.records import Pass, Status
from bench.results.analysis import Tables
from bench.results.record_check import fault
from bench.results.run_folder import RunFolder
from benchmarks import paper_run
from benchmarks.paper_run import FOLDER, PAPER_DATA, ROLES

WRITTEN = ("config.yaml", "environment.json", "run.json", "journal.jsonl")


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Tables:
    folder = tmp_path_factory.mktemp("published")
    paper_run.write(folder)
    return RunFolder.open(folder).write_tables()


def rows(name: str) -> list[dict[str, str]]:
    with (PAPER_DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cell(name: str, frames: int, method: str) -> str:
    return f"basicvsr/{name}/b1/t{frames}/64x64/{ROLES[method]}"


def wall_s(tables: Tables, cell: str, pass_: Pass, stage: str) -> list[float]:
    """In the order of the repetitions."""
    samples = tables.samples
    found = samples[(samples["cell"] == cell) & (samples["pass"] == pass_) & (samples["stage"] == stage)]
    assert list(found["repetition"]) == list(range(len(found)))
    return list(found["wall_s"])


def figure(tables: Tables, cell: str, stage: str, column: str) -> float:
    summary = tables.summary
    found = summary.loc[(summary["cell"] == cell) & (summary["stage"] == stage), column]
    return float(found.item())


# What is committed.


def test_it_is_written_byte_for_byte_again(tmp_path):
    paper_run.write(tmp_path)
    paper_run.write(tmp_path)  # over what is there
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(WRITTEN)
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_it_opens_as_any_run_does():
    run = RunFolder.open(published.folder())
    run.check_config()
    assert published.folder() == FOLDER
    assert run.baseline == "cpu"
    assert len(run.records()) == len(run.cells()) == 75


def test_every_record_is_one_that_a_run_can_have_left():
    run = RunFolder.open(FOLDER)
    for record, planned in zip(run.records(), run.cells(), strict=True):
        assert record.cell == planned.id
        assert fault(record, planned, 1) is None


def test_a_wheel_has_it_inside_the_package(tmp_path, monkeypatch):
    inside, beside = tmp_path / "bench" / "paper" / published.NAME, tmp_path / "results" / published.NAME
    monkeypatch.setattr(published, "_FOLDERS", (inside, beside))
    with pytest.raises(FileNotFoundError, match="no measurements of the paper"):
        published.folder()
    paper_run.write(beside)
    assert published.folder() == beside
    paper_run.write(inside)
    assert published.folder() == inside
    assert len(RunFolder.open(published.folder()).records()) == 75


def test_the_wheel_takes_it_to_where_it_is_looked_for():
    text = (paper_run.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"results/{published.NAME}" = "bench/paper/{published.NAME}"' in text


# Every published number.


def test_headline(tables: Tables):
    found = {
        row["method"]: wall_s(tables, cell("headline", 60, row["method"]), Pass.END_TO_END, FORWARD)
        for row in rows("headline.csv")
    }
    assert found == {row["method"]: [float(row["total_s"])] for row in rows("headline.csv")}
    assert list(found) == list(ROLES)


@pytest.mark.parametrize("method", ROLES)
def test_repetitions(tables: Tables, method: str):
    published_s = [float(row[f"{method}_s"]) for row in rows("time_by_repetition.csv")]
    assert len(published_s) == 10
    assert wall_s(tables, cell("repetitions", 30, method), Pass.END_TO_END, FORWARD) == published_s


@pytest.mark.parametrize("method", ROLES)
def test_frames(tables: Tables, method: str):
    of_file = {int(row["frames"]): [float(row[f"{method}_s"])] for row in rows("time_by_frames.csv")}
    assert list(of_file) == list(range(1, 62, 3))
    found = {t: wall_s(tables, cell("frames", t, method), Pass.END_TO_END, FORWARD) for t in of_file}
    assert found == of_file


@pytest.mark.parametrize("stage", ["alignment", "propagation", "aggregation", "upsampling"])
@pytest.mark.parametrize("method", ROLES)
def test_stages(tables: Tables, method: str, stage: str):
    published_s = [float(row[f"{stage}_s"]) for row in rows("stage_seconds.csv") if row["method"] == method]
    assert len(published_s) == 3
    assert wall_s(tables, cell("stages", 60, method), Pass.STAGE_SYNC, stage) == published_s


def test_memory(tables: Tables):
    memory = tables.memory
    assert set(memory["cell"]) == {cell("memory", 40, "cpu")}
    assert (memory["host_bytes"] % 4096 == 0).all()
    mib = [f"{value / 2**20:.6f}" for value in memory["host_bytes"]]
    found = list(zip(memory["elapsed_s"], mib, strict=True))
    of_file = [(float(row["elapsed_s"]), row["host_mib"]) for row in rows("memory_by_time.csv")]
    assert found == of_file[:-4]
    assert {mib for _, mib in of_file[-4:]} == {"0.000000"}  # the process is gone
    levels = tables.cells.set_index("cell").loc[cell("memory", 40, "cpu")]
    assert levels["host_before_bytes"] == 381 * 2**20
    assert levels["peak_host_bytes"] == 10_805 * 2**20
    assert levels["host_growth_bytes"] == 10_424 * 2**20


def test_there_is_nothing_beside_what_was_published(tables: Tables):
    assert len(tables.samples) == 3 * (1 + 10 + 21) + 9 * 4
    assert tables.samples["device_s"].isna().all()
    assert tables.memory_lines.empty
    assert tables.telemetry.empty
    assert tables.perturbation.empty


# What its tables say of it.


def test_the_speedup_settles_near_what_the_paper_says(tables: Tables):
    speedups = {}
    for method in ("cuda", "cudnn"):
        of_file = {
            row["frames"]: float(row["cpu_s"]) / float(row[f"{method}_s"])
            for row in rows("time_by_frames.csv")
        }
        speedups[method] = {
            frames: figure(tables, cell("frames", int(frames), method), FORWARD, "speedup")
            for frames in of_file
        }
        assert speedups[method] == pytest.approx(of_file, rel=1e-12)
    medians = {
        method: median(value for frames, value in found.items() if frames != "1")
        for method, found in speedups.items()
    }
    assert medians == pytest.approx({"cuda": 3.45, "cudnn": 3.46}, abs=0.05)
    assert speedups["cuda"]["1"] < 0.2
    assert speedups["cudnn"]["1"] > 10


def test_the_headline_ratios_are_those_of_its_times(tables: Tables):
    found = [figure(tables, cell("headline", 60, method), FORWARD, "speedup") for method in ROLES]
    assert found == pytest.approx([1.0, 14.414279699325562 / 6.09595251083374, 1.964878], rel=1e-5)
    assert [round(value, 2) for value in found] == [1.0, 2.36, 1.96]


@pytest.mark.parametrize("method", ROLES)
def test_medians(tables: Tables, method: str):
    of_file = [float(row[f"{method}_s"]) for row in rows("time_by_repetition.csv")]
    name = cell("repetitions", 30, method)
    assert figure(tables, name, FORWARD, "median_s") == median(of_file)
    assert figure(tables, name, FORWARD, "n") == 10
    for stage in ("alignment", "propagation", "aggregation", "upsampling"):
        three = [float(row[f"{stage}_s"]) for row in rows("stage_seconds.csv") if row["method"] == method]
        assert figure(tables, cell("stages", 60, method), stage, "median_s") == median(three)


def test_only_the_memory_of_gpu_runs_was_not_measured(tables: Tables):
    ended = tables.cells[tables.cells["status"] != Status.OK]
    assert list(ended["cell"]) == [cell("memory", 40, "cuda"), cell("memory", 40, "cudnn")]
    assert set(ended["status"]) == {Status.SKIPPED}
    assert ended["reason"].str.startswith("not in the paper").all()


def test_how_it_was_measured_stands_in_each_record():
    for record in paper_run.records():
        if record.status is Status.OK:
            assert Method.of(record.settings["method"]) == PAPER
            assert record.parameters == 6_291_311
    first = {record.cell: record.first_in_process for record in paper_run.records()}
    assert first[cell("frames", 1, "cuda")] is True
    assert first[cell("frames", 4, "cuda")] is False
    assert first[cell("frames", 1, "cudnn")] is False  # the same process as "CUDA"
    assert first[cell("frames", 1, "cpu")] is None
    assert [first[cell("repetitions", 30, method)] for method in ROLES] == [True] * 3


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("time", ["headline", "repetitions", "frames"]),
        ("speedup", ["headline", "repetitions", "frames"]),
        ("stages", ["stages"]),
        ("repetitions", ["headline", "repetitions", "frames"]),
        ("memory", ["memory"]),
    ],
)
def test_what_its_plots_show(tables: Tables, kind: str, inputs: list[str]):
    groups = [group for group in data(kind, tables) if group.series]
    assert [group.input for group in groups] == inputs
    backends = ["cpu"] if kind == "memory" else [str(role) for role in ROLES.values()]
    assert all([series.backend for series in group.series] == backends for group in groups)


def test_the_machine_in_short():
    environment = json.loads((FOLDER / "environment.json").read_text(encoding="utf-8"))
    assert in_short(environment) == (
        "Intel(R) Xeon(R) CPU E5-2637 v4 @ 3.50GHz (8 cores), 4 × Tesla K80, torch 1.10.1, CUDA 11.3"
    )
    assert environment["source"]["repository"].startswith("https://github.com/")


def test_nothing_private():
    paths = [path for path in (*FOLDER.rglob("*"), *PAPER_DATA.rglob("*")) if path.is_file()]
    assert len(paths) > len(WRITTEN)
    for path in paths:
        content = path.read_bytes()
        for home in (rb"/home/", rb"/root/", rb"/Users/", rb"/tmp/", rb"\\Users\\"):
            assert home not in content, path
    for name in ("CITATION.md", "environment.json", "config.yaml", "run.json"):
        # A student's number has 13 digits; so many stand in no other place there.
        assert not re.search(r"(?<!\d)\d{13}(?!\d)", text_of(name)), name


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_citation_names_every_file_and_input():
    citation = text_of("CITATION.md")
    for path in PAPER_DATA.glob("*.csv"):
        assert f"`{path.name}`" in citation
    for item in paper_run.experiment().input:
        assert f"| `{item.name}` |" in citation
