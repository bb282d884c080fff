"""Histories of runs that are there: found, told apart, laid in order, and written."""

import csv
import errno
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench import exits, history_run
from bench.cli_history import LEFT_OUT_NAMED, history
from bench.history import finding
from bench.history.finding import find_runs
from bench.history.reading import deviation, machine_of, moment, read_run
from bench.history.series import History, history_of
from bench.history_run import write
from bench.paper.experiments import PAPER_NAME
from bench.places import ROOT
from bench.plotting.plot_history import (
    LABELLED,
    PANELS,
    history_figure,
    history_groups,
    percent,
    run_labels,
    series_name,
)
from bench.records import JOURNAL_NAME, Status
from bench.results.run_folder import CONFIG_NAME, RUN_NAME, RunFolder
from bench.statistics.stats import IntervalKind, Summary, summarise
from tests.bench import synthetic
from tests.bench.fakes import experiment
from tests.bench.full_disk import a_disk_of
from tests.html_page import Page
from vsr_model.errors import BadInput

BEGAN = datetime(2026, 1, 5, 2, tzinfo=UTC)
MACHINE: Mapping[str, Any] = {
    "cpu": "Fast CPU", "cpu_physical_cores": 2, "kernel": "6.1", "torch": {"torch": "2.12.0", "devices": []},
}  # fmt: skip


def make(
    path: Path,
    *,
    level: float = 1.0,
    day: float = 0,
    environment: Mapping[str, Any] = MACHINE,
    code: str = "a",
    status: Status = Status.OK,
    threads: int = 2,
    rounds: int = 3,
    **changes: Any,
) -> Path:
    """A run of one cell, so many days after the first; `level` is how much slower than usual it is."""
    one = experiment(**{"measure": _measure(rounds), "grid": {"frames": [4], "size": [[64, 64]]}, **changes})
    folder = RunFolder.create(path, one, environment, [])
    random = Random(path.name)
    with folder.journal() as journal:
        for number in range(rounds):
            for cell in folder.cells():
                machine = synthetic.Machine(
                    name=cell.backend.name,
                    per_frame_s=0.024 * level * math.exp(random.gauss(0, 0.005)),
                    psnr_db=None,
                )
                record = synthetic.run(
                    [machine], frames=(cell.frames,), inputs=(cell.input.name,),
                    sizes=((cell.height, cell.width),), rounds=number + 1, spread=0.01,
                )[-1]  # fmt: skip
                record = record.model_copy(
                    update={"cell": cell.id, "threads": threads, "batch": cell.batch,
                            "started_at": (BEGAN + timedelta(days=day)).isoformat()}
                )  # fmt: skip
                journal.append(
                    record if status is Status.OK else synthetic.ended(record, status, "so it was")
                )
    tell(
        path,
        started_at=(BEGAN + timedelta(days=day)).isoformat(),
        code_version={"version": "1", "git_commit": code * 40, "dirty": False, "source_sha256": code * 64},
    )
    return path


def _measure(rounds: int) -> dict[str, Any]:
    return {"warmup": 0, "repetitions": 7, "rounds": rounds, "stages": "off", "memory": "off"}


def tell(path: Path, **fields: Any) -> None:
    """Other fields of run.json."""
    about = json.loads((path / RUN_NAME).read_text(encoding="utf-8"))
    (path / RUN_NAME).write_text(json.dumps(about | fields), encoding="utf-8")


def upgraded(version: str) -> dict[str, Any]:
    return {**MACHINE, "torch": {"torch": version, "devices": []}}


def laid(*paths: Path) -> History:
    return history_of([read_run(path) for path in paths])


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs, from the fifth on with another torch and 20 % slower."""
    root = tmp_path_factory.mktemp("stepped")
    for number in range(8):
        late = number >= 4
        make(
            root / f"run-{7 - number}",  # names do not follow the time
            day=number,
            level=1.2 if late else 1.0,
            environment=upgraded("2.13.0" if late else "2.12.0"),
        )
    return root


class TestFinding:
    def test_runs_lie_in_folders_of_folders(self, tmp_path: Path) -> None:
        paths = [make(tmp_path / "a" / "b" / "c" / "run"), make(tmp_path / "run")]
        make(tmp_path / ".hidden" / "run")
        (tmp_path / "empty").mkdir()
        found = find_runs([tmp_path])
        assert found.given == ()
        assert sorted(found.below) == sorted(paths)

    def test_each_counts_once_however_it_is_reached(self, tmp_path: Path) -> None:
        run = make(tmp_path / "runs" / "run")
        (tmp_path / "link").symlink_to(run)
        (tmp_path / "runs" / "round").symlink_to(tmp_path)  # a circle
        found = find_runs([tmp_path, tmp_path / "runs", tmp_path / "link", run])
        assert [path.resolve() for path in found.given] == [run]
        assert found.below == ()
        assert [path.resolve() for path in find_runs([tmp_path]).below] == [run]

    def test_a_link_to_a_folder_is_not_followed_and_told(self, tmp_path: Path) -> None:
        make(tmp_path / "elsewhere" / "run")
        here = make(tmp_path / "here" / "runs" / "run").parent.parent
        (here / "link").symlink_to(tmp_path / "elsewhere")
        (here / "runs" / "up").symlink_to(here)
        found = find_runs([here])
        assert found.below == (here / "runs" / "run",)
        assert found.unseen == tuple(
            f"{here / name}: is a link to a folder that is no run; it is not followed"
            for name in ("link", "runs/up")
        )
        assert find_runs([here / "link"]).below == (here / "link" / "run",)  # it is named itself

    def test_what_lies_in_a_run_is_its_own(self, tmp_path: Path) -> None:
        run = make(tmp_path / "run")
        shutil.copytree(run, run / "old")
        assert find_runs([tmp_path]).below == (run,)

    def test_there_is_an_end_to_the_search(self, tmp_path: Path) -> None:
        deep = tmp_path.joinpath(*"abcdefghi"[: finding.MAX_DEPTH])
        make(deep)
        assert find_runs([tmp_path]).below == (deep,)
        deep.rename(tmp_path / "moved")
        deeper = deep / "further"
        deep.mkdir()
        (tmp_path / "moved").rename(deeper)
        with pytest.raises(BadInput, match="holds no run"):
            find_runs([tmp_path])

    @pytest.mark.parametrize(("name", "said"), [("nothing", "is not there"), ("file", "is a file")])
    def test_what_is_no_folder_is_refused(self, tmp_path: Path, name: str, said: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(BadInput, match=said):
            find_runs([tmp_path / name])

    def test_a_folder_without_runs_is_refused_beside_one_with_some(self, tmp_path: Path) -> None:
        make(tmp_path / "run")
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            BadInput, match=r"empty: holds no run \(there is no journal.jsonl in or below it\)"
        ):
            find_runs([tmp_path / "run", tmp_path / "empty"])

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
    def test_a_folder_that_is_closed_is_told(self, tmp_path: Path) -> None:
        make(tmp_path / "run")
        (tmp_path / "closed").mkdir(mode=0)
        (told,) = find_runs([tmp_path]).unseen
        assert "closed: cannot be looked into" in told


class TestSeries:
    def test_follow_the_time_and_not_the_names(self, stepped: Path) -> None:
        found = laid(*sorted(stepped.iterdir()))
        assert [run.path.name for run in found.runs] == [f"run-{7 - number}" for number in range(8)]
        (series,) = found.series
        assert series.figure.stage == "forward"
        assert [point.summary.n_rounds for point in series.points] == [3] * 8

    def test_figures_are_those_of_the_summary_table(self, stepped: Path) -> None:
        path = stepped / "run-0"
        row = RunFolder.open(path).write_tables().summary
        row = row[row["stage"] == "forward"].iloc[0]
        (figure,) = read_run(path).cells
        assert figure.summary is not None
        assert (figure.summary.median, figure.summary.low, figure.summary.high) == (
            row["median_s"], row["low_s"], row["high_s"],
        )  # fmt: skip
        assert figure.summary.interval == row["interval"]

    def test_a_new_torch_is_a_step_with_its_cause(self, stepped: Path) -> None:
        ((series, step, changes),) = laid(*stepped.iterdir()).found()
        assert (step.before, step.after) == (3, 4)
        assert step.low < 1.2 < step.high
        assert [(change.name, change.was, change.now) for change in changes] == [
            ("torch", "2.12.0", "2.13.0"),
        ]  # fmt: skip
        assert [series.level_of(place) for place in range(8)] == [1] * 4 + [2] * 4

    def test_code_and_configuration_are_causes_too(self, tmp_path: Path) -> None:
        paths = [
            make(
                tmp_path / f"run-{day}", day=day, level=1 + 0.3 * (day >= 3), code="b" if day >= 3 else "a",
                rounds=4 if day >= 3 else 3,
            )
            for day in range(6)
        ]  # fmt: skip
        ((_, _, changes),) = laid(*paths).found()
        assert [(change.name, change.was, change.now) for change in changes] == [
            ("code", "aaaaaaa", "bbbbbbb"), ("measure.rounds", "3", "4"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "facet"),
        [
            ({"model": {"mid_channels": 8, "num_blocks": 2}}, "network"),
            ({"input": {"name": "noise", "kind": "random", "seed": 7}}, "input"),
            ({"measure": {**_measure(3), "gradients": True}}, "method"),
            ({"threads": 4}, "device"),
        ],
    )
    def test_what_was_measured_otherwise_is_another_series(
        self, tmp_path: Path, change: dict[str, Any], facet: str
    ) -> None:
        paths = [make(tmp_path / f"{day}", day=day, **(change if day == 2 else {})) for day in range(4)]
        found = laid(*paths)
        assert [(one.settings, len(one.points)) for one in found.series] == [(1, 3), (2, 1)]
        (split,) = found.splits
        assert (split.settings, split.since) == (2, 2)
        assert list(split.differs) == [facet]

    def test_another_processor_is_another_machine(self, tmp_path: Path) -> None:
        paths = [
            make(tmp_path / "here"),
            make(tmp_path / "there", environment={**MACHINE, "cpu": "Slow CPU"}),
            make(tmp_path / "more", environment={**MACHINE, "cpu_physical_cores": 4}),
            make(tmp_path / "again", environment={**MACHINE, "kernel": "6.2"}, day=1),
            make(tmp_path / "named", environment={**MACHINE, "host_name": "n1"}),
        ]
        found = laid(*paths)
        counts = {one.figure.machine: len(one.points) for one in found.series}
        assert counts == {
            "Fast CPU (2 cores)": 2, "Slow CPU (2 cores)": 1, "Fast CPU (4 cores)": 1,
            "Fast CPU (2 cores), n1": 1,
        }  # fmt: skip
        assert found.splits == ()

    def test_a_gpu_is_the_machine_of_the_cells_that_run_there(self) -> None:
        def on(device: dict[str, Any]) -> str:
            return machine_of(MACHINE, {"device": device})

        assert on({"gpu": "NVIDIA H200"}) == "NVIDIA H200 in Fast CPU (2 cores)"
        assert on({"gpu": None}) == "a GPU that is not known in Fast CPU (2 cores)"
        assert on({"cpu": "Fast CPU"}) == "Fast CPU (2 cores)"
        assert machine_of({}, {"device": {}}) == "a processor that is not known"

    @pytest.mark.parametrize("status", [Status.ERROR, Status.INACCURATE, Status.OOM])
    def test_a_cell_that_did_not_end_ok_has_no_figure(self, tmp_path: Path, status: Status) -> None:
        paths = [make(tmp_path / f"{day}", day=day) for day in range(2)]
        found = laid(*paths, make(tmp_path / "failed", day=2, status=status))
        (series,) = found.series
        assert len(series.points) == 2
        assert series.otherwise == {str(status): 1}

    def test_a_copy_of_a_run_is_the_same_run(self, tmp_path: Path) -> None:
        run = make(tmp_path / "a")
        shutil.copytree(run, tmp_path / "b")
        found = laid(run, tmp_path / "b")
        assert [one.path for one in found.runs] == [run]

    def test_a_copy_from_before_a_run_went_on_is_the_same_run(self, tmp_path: Path) -> None:
        run = make(tmp_path / "runs" / "z-whole")
        early = tmp_path / "runs" / "a-copy"
        shutil.copytree(run, early)
        lines = (run / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
        (early / JOURNAL_NAME).write_bytes(lines[0] + lines[1][:40])  # its second round was being written
        other = make(tmp_path / "runs" / "other", day=1)
        written = write([tmp_path / "runs"], tmp_path / "out")
        assert [one.path for one in written.history.runs] == [run, other]
        (series,) = written.history.series
        assert [point.summary.n_rounds for point in series.points] == [3, 3]
        assert written.left_out == (
            f"{early}: is a copy of {run} from before that went on; the longer one counts",
        )

    def test_a_copy_that_went_on_by_itself_does_not_count_either(self, tmp_path: Path) -> None:
        run = make(tmp_path / "runs" / "run")
        make(tmp_path / "branched")
        shutil.copytree(run, tmp_path / "runs" / "x")
        first = (run / JOURNAL_NAME).read_bytes().splitlines(keepends=True)[0]
        rest = (tmp_path / "branched" / JOURNAL_NAME).read_bytes().splitlines(keepends=True)[1:2]
        (tmp_path / "runs" / "x" / JOURNAL_NAME).write_bytes(first + rest[0])
        written = write([tmp_path / "runs"], tmp_path / "out")
        assert [one.path for one in written.history.runs] == [run]
        assert written.left_out == (
            f"{tmp_path / 'runs' / 'x'}: has rounds of {run}, which is as long or longer, and counts",
        )


class TestReading:
    @pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01"])
    def test_a_run_has_to_say_when_it_began(self, tmp_path: Path, text: str) -> None:
        tell(make(tmp_path / "run"), started_at=text)
        with pytest.raises(BadInput, match=r"run.json: started_at: .* is no time such as"):
            read_run(tmp_path / "run")

    def test_times_of_other_zones_are_laid_in_one_order(self) -> None:
        assert moment("2026-01-01T01:00:00+02:00") == moment("2025-12-31T23:00") < moment("2026-01-01")
        with pytest.raises(ValueError, match="0001"):
            moment("0001-01-01T00:00:00+10:00")

    def test_without_a_record_there_is_nothing(self, tmp_path: Path) -> None:
        (make(tmp_path / "run") / JOURNAL_NAME).write_text("")
        with pytest.raises(BadInput, match="holds no record yet"):
            read_run(tmp_path / "run")

    def test_the_deviation_is_of_the_interval(self) -> None:
        def of(kind: IntervalKind, rounds: int, low: float | None, high: float | None) -> Summary:
            return Summary(
                n_rounds=rounds, n=9, median=1.0, q1=1.0, q3=1.0, low=low, high=high, interval=kind
            )

        span = math.exp(0.02)
        assert deviation(of(IntervalKind.BETWEEN_ROUNDS, 9, 1 / span, span)) == pytest.approx(0.02 / 1.96)
        assert deviation(of(IntervalKind.BETWEEN_ROUNDS_T, 3, 1 / span, span)) == pytest.approx(
            0.02 / 4.303, rel=1e-3
        )
        assert deviation(of(IntervalKind.NONE, 1, None, None)) is None
        assert deviation(of(IntervalKind.WITHIN_PROCESS, 2, -0.1, 2.0)) is None
        assert deviation(of(IntervalKind.BETWEEN_ROUNDS_T, 3, 0.1, math.inf)) is None


class TestThePage:
    def test_says_the_steps_first(self, stepped: Path, tmp_path: Path) -> None:
        written = write([stepped], tmp_path / "out")
        text = written.pages.markdown.read_text(encoding="utf-8")
        titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert titles == ["Steps", "Run after run", "Fast CPU (2 cores)", "How to read this"]
        steps = text.split("## Steps\n")[1].partition("\n## ")[0]
        assert "Between run-4 (2026-01-08 02:00, aaaaaaa) and run-3 (2026-01-09 02:00, aaaaaaa)" in steps
        assert "also changed there: torch 2.12.0 → 2.13.0" in steps
        said = re.search(
            r"noise/b1/t4/64x64/cpu\*\* on Fast CPU \(2 cores\): \*\*(\d+) % slower \((\d+) to (\d+)\)", steps
        )
        assert said is not None
        ratio, low, high = map(int, said.groups())
        assert low <= ratio <= high
        assert ratio == pytest.approx(20, abs=2)
        page = Page(written.pages.html.read_text(encoding="utf-8"))
        assert page.dangers() == []
        assert len(page.values("src")) == 1
        assert not re.search(r"/tmp|nan\b", text)

    def test_the_csv_has_every_point(self, stepped: Path, tmp_path: Path) -> None:
        written = write([stepped], tmp_path / "out")
        with written.csv.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == list(history_run.COLUMNS)
        assert [row["run"] for row in rows] == [f"run-{7 - number}" for number in range(8)]
        assert [row["segment"] for row in rows] == ["1"] * 4 + ["2"] * 4
        assert [row["torch"] for row in rows] == ["2.12.0"] * 4 + ["2.13.0"] * 4
        assert {row["machine"] for row in rows} == {"Fast CPU (2 cores)"}
        first = read_run(stepped / "run-7").cells[0].summary
        assert first is not None
        assert (float(rows[0]["median_s"]), float(rows[0]["low_s"])) == (first.median, first.low)
        assert rows[0]["started_at"] == "2026-01-05T02:00:00+00:00"

    def test_the_columns_are_those_of_the_docs(self) -> None:
        text = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
        columns = re.findall(
            r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text.split("## history.csv\n")[1], re.M))
        )
        assert tuple(columns) == history_run.COLUMNS

    def test_tells_of_the_last_runs_and_of_none(self, tmp_path: Path) -> None:
        for day in range(7):
            make(tmp_path / "runs" / f"{day}", day=day, level=1.5 if day == 6 else 1.0)
        text = write([tmp_path / "runs"], tmp_path / "out").pages.markdown.read_text(encoding="utf-8")
        assert "## Steps\n\nNone were found." in text
        late = text.split("## Not yet tellable\n")[1].partition("\n## ")[0]
        assert re.search(
            r"the last run, from 6 \(2026-01-11 02:00, aaaaaaa\) on, is \d+ % slower; a level takes 3", late
        )
        table = (tmp_path / "out" / "history.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(table.splitlines()))
        assert [row["segment"] for row in rows] == ["1"] * 6 + [""]

    @pytest.mark.parametrize(
        ("late", "said"),
        [
            (0.5, r"\d\d % faster \(\d\d to \d\d\)"),
            (1.02, r"\d\.\d % slower \(\d\.\d to \d\.\d\)"),
            (5.0, r"\d\.\d\d times as long \(4\.\d\d to 5\.\d\d\)"),
            (0.1, r"\d+(\.\d+)? times as fast \(\d+(\.\d+)? to \d+(\.\d+)?\)"),
            (1e9, r"over 1000 times as long \(over 1000 to over 1000\)"),
        ],
    )
    def test_a_change_is_told_as_people_say_it(self, tmp_path: Path, late: float, said: str) -> None:
        for day in range(12):
            make(tmp_path / "runs" / f"{day}", day=day, level=late if day > 5 else 1.0)
        text = write([tmp_path / "runs"], tmp_path / "out").pages.markdown.read_text(encoding="utf-8")
        (words,) = re.findall(r"\*\*noise/b1/t4/64x64/cpu\*\* on .*: \*\*(.*)\*\*", text)
        assert re.fullmatch(said, words)
        numbers = [float(number) for number in re.findall(r"\d+\.?\d*", words)]
        assert numbers[1] <= numbers[0] <= numbers[2]

    def test_one_run_is_a_page_without_a_figure(self, tmp_path: Path) -> None:
        written = write([make(tmp_path / "run")], tmp_path / "out")
        text = written.pages.markdown.read_text(encoding="utf-8")
        assert text.startswith("# History of 1 run\n")
        assert "fewer than 6 runs" in text
        assert "![" not in text

    def test_hostile_names_are_shown(self, tmp_path: Path) -> None:
        hostile = "<script>alert(1)</script> | [x](http://x) \x1b[31m"
        for day in range(2):
            make(tmp_path / "runs" / f"=cmd|{day}", day=day, environment={**MACHINE, "cpu": hostile})
        written = write([tmp_path / "runs"], tmp_path / "out")
        page = Page(written.pages.html.read_text(encoding="utf-8"))
        assert page.dangers() == []
        table = written.csv.read_text(encoding="utf-8")
        assert "\x1b" not in table + written.pages.markdown.read_text(encoding="utf-8")
        assert all(row["run"].startswith("'=") for row in csv.DictReader(table.splitlines()))

    def test_nothing_stale_stays(self, stepped: Path, tmp_path: Path) -> None:
        plots = tmp_path / "out" / "plots"
        plots.mkdir(parents=True)
        (plots / "history-09-old.png").touch()
        (plots / "mine.png").touch()
        write([stepped], tmp_path / "out")
        assert sorted(path.name for path in plots.iterdir()) == [
            "history-01-noise.png", "history-01-noise.svg", "mine.png",
        ]  # fmt: skip


class TestWhatCannotBeRead:
    def broken(self, root: Path) -> dict[str, Path]:
        paths = {name: make(root / name) for name in ("journal", "version", "empty", "config")}
        (paths["journal"] / JOURNAL_NAME).write_text("{}\n")
        tell(paths["version"], schema_version=99)
        (paths["empty"] / JOURNAL_NAME).write_text("")
        (paths["config"] / CONFIG_NAME).unlink()
        return paths

    def test_is_named_and_left_out_of_many(self, tmp_path: Path) -> None:
        paths = self.broken(tmp_path / "runs")
        make(tmp_path / "runs" / "whole")
        written = write([tmp_path / "runs"], tmp_path / "out")
        assert [run.path.name for run in written.history.runs] == ["whole"]
        assert len(written.left_out) == len(paths)
        for path in paths.values():
            assert any(line.startswith(str(path)) and "\n" not in line for line in written.left_out)
        text = written.pages.markdown.read_text(encoding="utf-8")
        assert text.split("## Left out\n")[1].partition("\n## ")[0].count("\n* ") == len(paths)

    @pytest.mark.parametrize("name", ["journal", "version", "empty", "config"])
    def test_is_refused_where_it_is_named_itself(self, tmp_path: Path, name: str) -> None:
        path = self.broken(tmp_path / "runs")[name]
        make(tmp_path / "runs" / "whole")
        with pytest.raises(BadInput):
            write([tmp_path / "runs" / "whole", path], tmp_path / "out")
        with pytest.raises(BadInput):
            write([tmp_path / "runs", path], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_is_refused_where_nothing_else_is_there(self, tmp_path: Path) -> None:
        self.broken(tmp_path / "runs")
        with pytest.raises(BadInput, match="no run of 4 can be laid in order; the first: "):
            write([tmp_path / "runs"], tmp_path / "out")

    def test_a_run_in_which_nothing_ended_ok_has_no_history(self, tmp_path: Path) -> None:
        make(tmp_path / "run", status=Status.ERROR)
        with pytest.raises(BadInput, match="no run of 1 has a cell that ended ok"):
            write([tmp_path / "run"], tmp_path / "out")

    @pytest.mark.parametrize("name", [JOURNAL_NAME, PAPER_NAME])
    def test_the_page_does_not_go_into_a_run(self, stepped: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).touch()
        with pytest.raises(BadInput, match="name another folder by --output"):
            write([stepped], tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [name]

    def test_a_full_disk_names_the_file(
        self, stepped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with a_disk_of(1000), pytest.raises(OSError) as caught:  # noqa: PT011 - its file is what is asked about
            write([stepped], tmp_path / "out")
        file = tmp_path / "out" / "plots" / "history-01-noise.png"
        assert exits.explain(caught.value) == exits.FAILED
        assert capsys.readouterr().err == f"vsr-bench: {file}: {os.strerror(errno.EFBIG)}\n"
        assert list(file.parent.iterdir()) == []

    def test_nor_where_a_file_is(self, stepped: Path, tmp_path: Path) -> None:
        (tmp_path / "out").touch()
        with pytest.raises(BadInput, match="cannot be written to"):
            write([stepped], tmp_path / "out")


class TestSince:
    @pytest.mark.parametrize(
        ("since", "left"), [("2026-01-09", 4), ("2026-01-09T02:00", 4), ("2026-01-09T02:01", 3)]
    )
    def test_runs_that_began_before_are_left_out(
        self, stepped: Path, tmp_path: Path, since: str, left: int
    ) -> None:
        assert len(write([stepped], tmp_path / "out", since).history.runs) == left

    def test_what_is_no_date_is_refused(self, stepped: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="--since last week: is no date such as"):
            write([stepped], tmp_path / "out", "last week")

    def test_a_date_after_all_runs_leaves_nothing(self, stepped: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="--since 2027-01-01: no run of 8 began since then"):
            write([stepped], tmp_path / "out", "2027-01-01")


class TestTheFigures:
    def test_one_has_so_many_panels_at_most(self, tmp_path: Path) -> None:
        backends = ["cpu", *({"name": f"cpu-{n}", "from": "cpu", "threads": n} for n in range(1, PANELS + 2))]
        runs = [make(tmp_path / f"{day}", day=day, backends=backends) for day in range(2)]
        found = laid(*runs)
        groups = history_groups(found)
        assert [len(group.series) for group in groups] == [4, 4]
        assert [(group.part, group.parts) for group in groups] == [(1, 2), (2, 2)]
        assert len({group.name for group in groups}) == 2
        figure = history_figure(groups[0], found.runs)
        assert len(figure.axes) == 4
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            series_name(one) for one in groups[0].series
        ]

    @pytest.mark.parametrize(
        ("count", "labelled"), [(2, 2), (LABELLED, LABELLED), (LABELLED + 1, 5), (30, 8)]
    )
    def test_not_every_run_of_many_is_labelled(self, tmp_path: Path, count: int, labelled: int) -> None:
        found = laid(*(make(tmp_path / f"{day}", day=day, rounds=1) for day in range(count)))
        (group,) = history_groups(found)
        (axes,) = history_figure(group, found.runs).axes
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert len(labels) == labelled
        assert labels[0] == "2026-01-05\naaaaaaa"
        assert len(axes.get_lines()[-1].get_xdata()) == count

    def test_the_time_of_day_tells_runs_of_one_date_apart(self, stepped: Path) -> None:
        first = read_run(stepped / "run-7")
        assert run_labels([first, first]) == ["2026-01-05\n02:00\naaaaaaa"] * 2
        assert run_labels([first, read_run(stepped / "run-6")]) == [
            "2026-01-05\naaaaaaa",
            "2026-01-06\naaaaaaa",
        ]

    def test_a_step_is_drawn_with_its_percentage(self, stepped: Path) -> None:
        found = laid(*stepped.iterdir())
        (group,) = history_groups(found)
        (axes,) = history_figure(group, found.runs).axes
        ((_, step, _),) = found.found()
        assert percent(step.ratio) in [text.get_text() for text in axes.texts]
        assert axes.get_ylim()[0] > 0

    @pytest.mark.parametrize(
        ("ratio", "said"),
        [
            (1.123, "+12 %"),
            (1.0123, "+1.2 %"),
            (0.966, "−3.4 %"),
            (0.7, "−30 %"),
            (3.5, "×3.5"),
            (0.2, "×0.2"),
        ],
    )
    def test_changes_are_told_in_per_cent_or_times(self, ratio: float, said: str) -> None:
        assert percent(ratio) == said


class TestTheCommand:
    def test_prints_where_its_page_is(
        self,
        stepped: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        history([stepped])
        out = capsys.readouterr()
        assert out.out.splitlines() == [
            "8 runs, 1 series, 1 step",
            "points  history/history.csv",
            "page    history/history.html, history.md",
        ]
        assert out.err == ""

    def test_names_some_of_the_runs_that_are_left_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = make(tmp_path / "runs" / "whole")
        for number in range(LEFT_OUT_NAMED + 2):
            shutil.copytree(whole, tmp_path / "runs" / f"x-{number:02}")
        history([tmp_path / "runs"], output=tmp_path / "out")
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == LEFT_OUT_NAMED + 1
        assert lines[0].endswith(f"x-00: is a copy of {whole}, which counts once")
        assert lines[-1] == "left out: 2 more, named on the page"


def test_every_steady_sample_of_every_round_counts(stepped: Path) -> None:
    rounds = [
        [
            sample.wall_s
            for sample in record.samples
            if (sample.pass_, sample.phase, sample.stage) == ("end_to_end", "steady", "forward")
        ]
        for record in RunFolder.open(stepped / "run-0").records()
    ]
    assert [len(samples) for samples in rounds] == [7, 7, 7]
    assert read_run(stepped / "run-0").cells[0].summary == summarise(rounds)
