"""What other tools make of a run: the tools themselves where they can be run, their schemas where not."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyperf
import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats
from typer.testing import CliRunner, Result

from bench.commands import export as cli_export
from bench.export.formats import Format, export_text
from bench.export.pytest_benchmark import pytest_statistics
from bench.export.selection import Export, export_of
from bench.grid.baseline import Baseline
from bench.records import CellRecord, Pass, Phase, Sample, Status
from bench.results.run_folder import RunFolder
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.fakes import experiment
from vsr_model.errors import BadInput

ROOT: Final = Path(__file__).resolve().parents[2]
QUICKSTART: Final = ROOT / "results" / "quickstart-cpu"

MACHINES: Final = {one.name: one for one in (*synthetic.GPU[:3], synthetic.CPU_1)}
ROUNDS: Final = 3

ODD: Final = "\x1b[31mCPU\n\u202e<b>$(id)\r\n  日本"
"""A processor's name as nobody would have it."""

ENVIRONMENT: Final[dict[str, Any]] = {
    "python": "3.11.7", "os": "Debian", "kernel": "6.1", "machine": "x86_64", "cpu": "Fast CPU",
    "cpu_logical_cores": 4, "torch": {"torch": "2.13.0", "devices": [{"name": "H200"}]},
}  # fmt: skip


def records_of(folder: RunFolder, slower: float = 1.0) -> list[CellRecord]:
    """Made-up rounds of what the folder's run is to measure, a minute apart and in a schedule's order."""
    found = []
    for cell in folder.cells():
        kind = MACHINES[cell.backend.name]
        machine = synthetic.Machine(**{**vars(kind), "per_frame_s": kind.per_frame_s * slower})
        found += [
            record.model_copy(update={"cell": cell.id, "input": cell.input.name})
            for record in synthetic.run([machine], frames=(cell.frames,), sizes=((64, 64),), rounds=ROUNDS)
        ]
    found.sort(key=lambda record: record.round)
    return [
        record.model_copy(update={"started_at": f"2026-01-02T03:{minute:02}:05.250+00:00"})
        for minute, record in enumerate(found)
    ]


def make(
    path: Path,
    records: Sequence[CellRecord] | None = None,
    *,
    slower: float = 1.0,
    kept: int | None = None,
    environment: dict[str, Any] = ENVIRONMENT,
    backends: Sequence[object] = ("cpu", "cuda", "cudnn"),
) -> RunFolder:
    """A run that is there, with the records or made-up ones."""
    one = experiment(
        grid={"frames": [1, 4], "size": [[64, 64]]},
        backends=list(backends),
        measure={"warmup": 2, "repetitions": 7, "rounds": ROUNDS},
    )
    folder = RunFolder.create(path, one, environment, [])
    with folder.journal() as journal:
        for record in (records_of(folder, slower) if records is None else records)[:kept]:
            journal.append(record)
    return folder


def exported(
    folder: RunFolder,
    records: Sequence[CellRecord] | None = None,
    *,
    stages: Sequence[str] = (),
    baseline: str = "cpu",
) -> Export:
    known = folder.records() if records is None else records
    return export_of(folder, tables_of(known, Baseline.of(baseline), folder.environment), stages)


def changed(record: CellRecord, *stages: str, **values: float) -> CellRecord:
    """The record with other values in the samples of the stages, of all where none is named."""
    samples = [
        sample.model_copy(update=values) if not stages or sample.stage in stages else sample
        for sample in record.samples
    ]
    return record.model_copy(update={"samples": tuple(samples)})


def command(*arguments: object) -> Result:
    """The command in this process, its options parsed as from a shell."""
    app = typer.Typer()
    app.command()(cli_export.export)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The sentence with which the command refuses."""
    result = command(*arguments)
    assert isinstance(result.exception, BadInput)
    assert result.stdout == ""
    return str(result.exception)


def data_of(folder: Path, format_: Format, *options: object) -> Any:
    result = command(folder, "--format", format_, *options)
    assert result.exception is None, result.exception
    assert result.stdout.isascii()
    assert result.stdout.endswith("\n")
    return json.loads(result.stdout)


def tool(*arguments: object) -> str:
    """What the tool itself prints; it must take the files without complaint."""
    ended = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert ended.stderr == ""
    return ended.stdout


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The second takes twice as long."""
    root = tmp_path_factory.mktemp("runs")
    make(root / "a")
    make(root / "b", slower=2.0)
    return root / "a", root / "b"


def files_of(runs: Sequence[Path], format_: Format, *options: object) -> list[Path]:
    """Each run's export beside its folder."""
    files = []
    for run in runs:
        file = run.parent / f"{run.name}-{format_}.json"
        assert command(run, "--format", format_, "--output", file, "--overwrite", *options).exit_code == 0
        files.append(file)
    return files


class TestPytestBenchmark:
    def test_the_tool_compares_two_runs(self, two_runs: tuple[Path, Path], tmp_path: Path) -> None:
        files = files_of(two_runs, Format.PYTEST_BENCHMARK)
        storage = f"--storage=file://{tmp_path / 'storage'}"
        shown = tool("pytest_benchmark", storage, "compare", *files, "--name=long", "--columns=median,rounds")
        assert "Failed" not in shown
        for bench in data_of(two_runs[0], Format.PYTEST_BENCHMARK)["benchmarks"]:
            assert f"benchmark '{bench['group']}': 6 tests" in shown  # three backends of two runs
            rows = [line for line in shown.splitlines() if line.startswith(f"{bench['fullname']} (")]
            assert len(rows) == 2
            assert all(line.split()[-1] == str(bench["stats"]["rounds"]) for line in rows)

    @given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=40))
    @example([0.1])
    @example([0.1, 0.2, 0.3, 0.4, 50.0])
    @example([3.0, 1.0, 2.0, 2.0, 2.0, 100.0, 0.001])
    @example([0.1 + 0.2] * 7)
    def test_its_figures_are_those_it_makes_itself(self, values: list[float]) -> None:
        theirs = Stats()
        for value in values:
            theirs.update(value)
        ours = pytest_statistics(values)
        # In earlier versions hd15iqr was the first sample above the fence, not the last within.
        for name in {*Stats.fields} - {"hd15iqr"}:
            expected = getattr(theirs, name)
            assert ours[name] == (pytest.approx(expected) if isinstance(expected, float) else expected), name
        fence = theirs.q3 + 1.5 * theirs.iqr
        assert ours["hd15iqr"] == max(value for value in values if value <= fence)
        assert ours["data"] == values


class TestPyperf:
    def test_the_tool_compares_two_runs(self, two_runs: tuple[Path, Path]) -> None:
        files = files_of(two_runs, Format.PYPERF, "--stage", "forward", "--stage", "upsampling")
        shown = tool("pyperf", "compare_to", *files)
        names = [
            f"basicvsr/noise/b1/t{t}/64x64/{b}/forward" for t in (1, 4) for b in ("cpu", "cuda", "cudnn")
        ]
        for name in names:
            line = next(line for line in shown.splitlines() if line.startswith(f"{name}: Mean"))
            assert line.endswith("x slower")
        assert "Benchmarks with tag 'forward':" in shown
        assert "Geometric mean" in shown

    def test_it_takes_what_is_in_a_round_for_a_run(self, two_runs: tuple[Path, Path]) -> None:
        text = command(two_runs[0], "--format", "pyperf").stdout
        ours = {one.name: one for one in exported(RunFolder.open(two_runs[0])).benchmarks}
        suite = pyperf.BenchmarkSuite.loads(text)
        assert suite.get_benchmark_names() == list(ours)
        for bench in suite.get_benchmarks():
            # Adding them one by one, pyperf holds each run's metadata against the first one's.
            again = pyperf.Benchmark(bench.get_runs())
            assert again.get_values() == tuple(ours[bench.get_name()].pooled_s)
            assert bench.get_unit() == "second"


def test_what_each_format_says_of_a_benchmark(two_runs: tuple[Path, Path]) -> None:
    """A cold call, and seven steady ones of 1 to 7 s for four frames."""
    folder = RunFolder.open(two_runs[0])
    walls = [(Phase.COLD, 9.0), *((Phase.STEADY, wall_s) for wall_s in (3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0))]
    samples = tuple(
        Sample(pass_=Pass.END_TO_END, phase=phase, repetition=i, stage="forward", start_s=i, wall_s=wall_s)
        for i, (phase, wall_s) in enumerate(walls)
    )
    record = folder.records()[9].model_copy(update={"samples": samples})
    made = {
        format_: json.loads(export_text(exported(folder, [record]), format_))
        for format_ in Format
        if format_ is not Format.CHROME_TRACE
    }
    name = "basicvsr/noise/b1/t4/64x64/cpu/forward"
    assert made[Format.GITHUB_ACTION_BENCHMARK] == [
        {
            "name": name, "unit": "s", "value": 4.0, "range": "± 3",
            "extra": "samples 7, rounds 1\npass end_to_end, clock wall\n"
            "95 % interval 1 to 7 s (within_process)\n1 frames/s",
        }
    ]  # fmt: skip
    assert made[Format.BENCHER] == {
        name: {
            "latency": {"value": 4e9, "lower_value": 1e9, "upper_value": 7e9},
            "throughput": {"value": 1.0, "lower_value": 4 / 7, "upper_value": 4.0},
        }
    }
    (suite,) = made[Format.PYPERF]["benchmarks"]
    assert suite["metadata"] == {
        "name": name, "tags": ["forward"], "model": "basicvsr", "input": "noise", "batch": 1, "frames": 4,
        "size": "64x64", "backend": "cpu", "stage": "forward", "pass": "end_to_end", "clock": "wall",
    }  # fmt: skip
    (run,) = suite["runs"]
    assert run["values"] == [3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0]
    assert run["warmups"] == [[1, 9.0]]
    assert run["metadata"] == {
        "round": 0, "date": record.started_at.replace("T", " ").removesuffix("+00:00").ljust(26, "0"),
        "peak_host_bytes": record.peak_host_bytes,
    }  # fmt: skip
    (bench,) = made[Format.PYTEST_BENCHMARK]["benchmarks"]
    assert (bench["group"], bench["fullname"]) == ("basicvsr/noise/b1/t4/64x64/forward", name)
    assert bench["extra_info"] == {
        "cell": record.cell, "pass": "end_to_end", "clock": "wall", "n_rounds": 1, "round_medians_s": [4.0],
        "median_s": 4.0, "low_s": 1.0, "high_s": 7.0, "interval": "within_process", "frames_per_s": 1.0,
        "speedup": 1.0, "baseline": "cpu",
    }  # fmt: skip
    assert bench["options"] == {"disable_gc": True, "timer": "perf_counter", "warmup": True}


class TestAllFormats:
    def test_networks_have_names_groups_and_stages_of_their_own(self, two_runs: tuple[Path, Path]) -> None:
        nets = (synthetic.BASICVSR, synthetic.MINE)
        records = synthetic.run(synthetic.GPU[:2], nets=nets, frames=(4,), rounds=ROUNDS)
        export = exported(RunFolder.open(two_runs[0]), records, baseline="basicvsr/cpu")
        clip = "random/b1/t4/64x64"
        assert {one.name for one in export.benchmarks} == {
            f"{net.name}/{clip}/{backend}/{stage}"
            for net in nets
            for backend in ("cpu", "cuda")
            for stage in (*net.shares, "forward", "total")
        }
        benches = json.loads(export_text(export, Format.PYTEST_BENCHMARK))["benchmarks"]
        (found,) = (one for one in benches if one["name"] == f"mine/{clip}/cpu/forward")
        assert (found["group"], found["params"]["model"]) == (f"mine/{clip}/forward", "mine")
        assert found["extra_info"]["speedup"] == pytest.approx(2, rel=0.1)

    def test_only_the_stages_asked_for(self, two_runs: tuple[Path, Path]) -> None:
        data = data_of(two_runs[0], Format.BENCHER, "--stage", "forward", "--stage", "other")
        assert {name.rpartition("/")[2] for name in data} == {"forward", "other"}

    def test_nothing_of_an_odd_environment_is_obeyed(self, tmp_path: Path) -> None:
        odd: dict[str, Any] = {
            "cpu": ODD, "os": " \n", "kernel": 7, "python": None, "cpu_logical_cores": "many",
            "torch": {"torch": ["2"], "devices": [{"name": ODD}, 5, {}]}, "host_name": ODD,
            "timer": {"cost_s": 1e-7}, "cpu_max_mhz": float("nan"), "more": {"deep": [float("inf")]},
        }  # fmt: skip
        make(tmp_path / "run", environment=odd)
        suite = json.dumps(data_of(tmp_path / "run", Format.PYPERF))
        metadata = pyperf.BenchmarkSuite.loads(suite).get_metadata()
        assert metadata["cpu_model_name"].startswith("\\x1b[31mCPU \\u202e<b>")
        assert metadata["gpu"] == metadata["hostname"] == metadata["cpu_model_name"]
        assert not metadata.keys() & {"platform", "python_version", "torch_version", "cpu_count"}
        machine = data_of(tmp_path / "run", Format.PYTEST_BENCHMARK)["machine_info"]["environment"]
        assert (machine["cpu_max_mhz"], machine["more"]) == (None, {"deep": [None]})
        assert "timer" not in machine  # differs from start to start, and the tool warns of what differs

    @pytest.mark.parametrize("value", [1e-12, 9e11])
    def test_times_as_far_as_they_go_are_numbers_in_every_format(self, tmp_path: Path, value: float) -> None:
        """Three rounds, one of which is as far from the others as it can be."""
        folder = make(tmp_path / "run", backends=["cpu"])
        records = [changed(record, wall_s=value if record.round == 1 else 1.0) for record in folder.records()]
        export = exported(folder, records)
        assert len(export.benchmarks) == 2 * 7
        for format_ in Format:
            assert json.loads(export_text(export, format_), parse_constant=pytest.fail)

    @pytest.mark.parametrize("name", ["start_s", "device_s"])
    def test_a_time_that_no_run_can_have_is_refused(self, tmp_path: Path, name: str) -> None:
        folder = make(tmp_path / "run", backends=["cpu"])
        records = [changed(record, **{name: 1e300}) for record in folder.records()]
        with pytest.raises(
            BadInput, match=r"run: round 0 of basicvsr/noise/b1/t1/64x64/cpu has a time of 1e\+300 s"
        ):
            exported(folder, records)


class TestWhatIsLeftOut:
    def test_cells_that_did_not_end_ok_are_counted_with_their_reasons(self, tmp_path: Path) -> None:
        make(tmp_path / "a")
        ended = {
            ("basicvsr/noise/b1/t1/64x64/cuda", 1): (Status.INACCURATE, "40.2 dB"),
            ("basicvsr/noise/b1/t4/64x64/cuda", 2): (Status.OOM, "killed\n\x1b[2J at 3 GiB"),
        }
        records = [
            synthetic.ended(record, *end) if (end := ended.get((record.cell, record.round))) else record
            for record in RunFolder.open(tmp_path / "a").records()
        ]
        make(tmp_path / "run", records)
        result = command(tmp_path / "run", "--format", "bencher", "--stage", "forward")
        assert result.exit_code == 0
        assert result.stderr == (
            "left out 2 of 6 cells: 1 inaccurate (40.2 dB), 1 oom (killed \\x1b[2J at 3 GiB)\n"
        )
        assert list(json.loads(result.stdout)) == [
            f"basicvsr/noise/b1/t{t}/64x64/{backend}/forward" for t in (1, 4) for backend in ("cpu", "cudnn")
        ]
        trace = data_of(tmp_path / "run", Format.CHROME_TRACE)["traceEvents"]
        named = [event["args"]["name"] for event in trace if event["name"] == "process_name"]
        assert len(named) == 4 * ROUNDS
        assert not any("/cuda " in name for name in named)

    def test_rounds_that_are_missing_are_told(self, tmp_path: Path) -> None:
        make(tmp_path / "run", kept=16)
        result = command(tmp_path / "run", "--format", "pyperf")
        assert result.stderr == "the run is not whole: 2 of 18 rounds are still to come\n"
        runs = [len(bench["runs"]) for bench in json.loads(result.stdout)["benchmarks"]]
        assert set(runs) == {2, 3}

    def test_a_sample_that_is_too_small_is_told(self, tmp_path: Path) -> None:
        folder = make(tmp_path / "run", backends=["cpu"])
        records = [changed(record, "other", wall_s=-1e-9) for record in folder.records()]
        export = exported(folder, records)
        stages = {one.row["stage"] for one in export.benchmarks}
        assert stages == {"alignment", "propagation", "aggregation", "upsampling", "forward", "total"}
        (note,) = export.notes
        assert note.startswith(
            "left out basicvsr/noise/b1/t1/64x64/cpu/other, basicvsr/noise/b1/t4/64x64/cpu/other: "
        )

    def test_a_run_without_a_cell_that_ended_ok_is_refused(self, tmp_path: Path) -> None:
        make(tmp_path / "a", backends=["cpu"])
        records = [
            synthetic.ended(record, Status.TIMEOUT, "no answer within 60 s")
            for record in RunFolder.open(tmp_path / "a").records()
        ]
        make(tmp_path / "run", records, backends=["cpu"])
        assert refused(tmp_path / "run", "--format", "bencher", "--output", tmp_path / "file") == (
            f"{tmp_path / 'run'}: no cell ended ok, so that there is nothing to export: 2 of 2 cells: 2 "
            "timeout (no answer within 60 s)"
        )
        assert not (tmp_path / "file").exists()

    @pytest.mark.parametrize(
        ("format_", "stage"), [(Format.BENCHER, "host_to_device"), (Format.CHROME_TRACE, "other")]
    )
    def test_a_stage_that_no_cell_has_is_refused(
        self, two_runs: tuple[Path, Path], format_: Format, stage: str
    ) -> None:
        assert refused(two_runs[0], "--format", format_, "--stage", stage) == (
            f"--format {format_}: there is nothing of {stage} to export; the cells that ended ok have "
            "times of forward, total, alignment, propagation, aggregation, upsampling, other, "
            "forward_unprobed"
        )


class TestOutput:
    def test_a_file_is_kept_unless_it_may_be_replaced(
        self, two_runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        file = tmp_path / "run.json"
        file.write_text("mine")
        sentence = refused(two_runs[0], "--format", "bencher", "--output", file)
        assert sentence == f"--output {file}: is there already; name another file, or give --overwrite"
        assert file.read_text() == "mine"
        result = command(two_runs[0], "--format", "bencher", "--output", file, "--overwrite")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
        assert file.read_text() == command(two_runs[0], "--format", "bencher").stdout
        assert list(tmp_path.iterdir()) == [file]

    def test_a_runs_own_file_is_never_replaced(self, tmp_path: Path) -> None:
        make(tmp_path / "run")
        file = tmp_path / "run" / "config.yaml"
        before = file.read_bytes()
        assert "lies in a run's folder" in refused(
            tmp_path / "run", "--format", "pyperf", "--output", file, "--overwrite"
        )
        assert file.read_bytes() == before

    def test_what_is_no_file_is_not_replaced(self, two_runs: tuple[Path, Path], tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        places = [tmp_path / "folder", tmp_path / "link", Path("/dev/null")]
        for place in places:
            sentence = refused(two_runs[0], "--format", "pyperf", "--output", place, "--overwrite")
            assert sentence == f"--output {place}: is no regular file, which it would replace"
        assert Path("/dev/null").is_char_device()
        assert "does not exist" in refused(
            two_runs[0], "--format", "pyperf", "--output", tmp_path / "no" / "file"
        )


def test_the_page_names_every_format() -> None:
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert all(f"\n| `{format_}` | " in page for format_ in Format)


def test_the_samples_are_those_of_the_pass_that_the_figure_is_of(two_runs: tuple[Path, Path]) -> None:
    folder = RunFolder.open(two_runs[0])
    records = {(record.cell, record.round): record for record in folder.records()}
    for one in exported(folder, stages=["alignment"]).benchmarks:
        source = ("stage_sync", "wall") if one.row["backend"] == "cpu" else ("stage_events", "device")
        assert (one.row["pass"], one.row["clock"]) == source
        for part in one.rounds:
            assert list(part.steady_s) == [
                getattr(sample, f"{source[1]}_s")
                for sample in records[part.cell["cell"], part.cell["round"]].samples
                if (sample.pass_, sample.stage) == (source[0], "alignment")
            ]
