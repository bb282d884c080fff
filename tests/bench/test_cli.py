"""The command line as a user meets it: a process, its output, its exit status and what it leaves behind."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import yaml

from bench import cli
from bench.commands import console, exits, lifecycle, progress
from bench.commands.lifecycle import Outcome
from bench.commands.run import print_outcome
from bench.errors import ServerDiedError
from bench.figures import DRAWN_UNASKED
from bench.grid import presets
from bench.plotting.plots import EmptyPlot
from bench.process.launcher import Launcher
from bench.records import Status, read_journal
from bench.reporting.rendering import Pages
from tests.bench.fakes import experiment

ROOT = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": [{"name": "noise", "kind": "random"}],
    "grid": {"frames": [1, 2], "size": [[16, 20]]},
    "backends": ["cpu", {"name": "cpu-1", "from": "cpu", "threads": 1}, "cuda"],
    "measure": {"warmup": 1, "repetitions": 2, "timeout_s": 60},
}


def begun(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Begin the program as a user does; its output is text, and read by the caller."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def call(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Return the exit status, the output and the errors."""
    with begun(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run of the tiny grid, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    status, out, err = call("run", "tiny.yaml", "--output", "out", cwd=folder)
    assert status == exits.OK, err
    return folder / "out", out, err


def test_a_run_leaves_every_table_plot_and_the_report(finished: tuple[Path, str, str]) -> None:
    folder, out, err = finished
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    plots = {f"plots/{kind}.{end}" for kind in DRAWN_UNASKED for end in ("png", "svg")}
    assert names == plots | {
        "config.yaml", "environment.json", "run.json", "journal.jsonl", "cells.csv", "samples.csv",
        "memory.csv", "summary.csv", "scaling.csv", "perturbation.csv", "telemetry.csv", "warnings.csv",
        "report.md", "report.html",
    }  # fmt: skip
    assert f"report  {Path('out')}/report.html, report.md" in out
    assert "basicvsr/noise/b1/t2/16x20/cpu-1" in err  # progress, as plain lines
    cells = pd.read_csv(folder / "cells.csv")
    assert [*cells["status"]] == ["ok", "ok", "skipped"] * 2 or torch_has_cuda(folder)
    text = "".join((folder / name).read_text() for name in ("environment.json", "config.yaml", "run.json"))
    assert os.uname().nodename not in json.loads((folder / "environment.json").read_text()).values()
    assert str(Path.home()) not in text


def torch_has_cuda(folder: Path) -> bool:
    return bool(json.loads((folder / "environment.json").read_text())["torch"]["devices"])


def test_report_and_rebuild_of_a_run(
    finished: tuple[Path, str, str],
    tmp_path: Path,
    command: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, *_ = finished
    assert command(tmp_path, "report", folder, "--output", "page") == 0
    assert capfd.readouterr().out.splitlines() == ["page/report.html", "page/report.md"]
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["report.html", "report.md"]
    assert command(tmp_path, "report", folder, "nowhere") == 2
    assert capfd.readouterr().err == ("vsr-bench: nowhere: holds no run (there is no journal.jsonl in it)\n")
    tables = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    for name in tables:
        (folder / name).unlink()
    assert command(tmp_path, "rebuild", folder) == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == tables
    assert command(tmp_path, "run", folder.parent / "tiny.yaml", "--output", folder) == 2
    assert "holds a run already" in capfd.readouterr().err


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture
def planned(
    launcher: Launcher, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Give `plan` in a folder, with one server for all; its exit status."""
    monkeypatch.setattr("bench.process.launcher.Launcher", lambda *_: nullcontext(launcher))
    return lambda folder, *arguments: command(folder, "plan", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("rnu", "No such command 'rnu'"),
        ("run --no-such", "No such option: --no-such"),
        ("plan", "CONFIG: is missing; give a YAML file or a preset, one of ci, "),
        ("plan quickstat", "did you mean 'quickstart'"),
        ("plan tiny.yaml --set grid.size=[[12,64]]",
         "--set grid.size=[[12,64]]: grid.size: [12, 64] is too small for BasicVSR; at least 16 is allowed"),
        ("plan tiny.yaml --set model.mid_channels=0",
         "--set model.mid_channels=0: model.mid_channels: should be greater than or equal to 1, not 0"),
        ("plan tiny.yaml --set 'model=[egvsr, {name: basicvsr, num_block: 3}]' --filter model=basicvsr",
         "model[1].num_block: basicvsr has no such parameter (did you mean 'num_blocks'?)"),
        ("plan tiny.yaml --set 'input=[{name: a, kind: video, path: none.mp4}]'", "none.mp4"),
        ("plan tiny.yaml --set model.checkpoint=none.pth",
         "model.checkpoint: The checkpoint none.pth does not exist"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("planned")
def test_a_bad_request_is_one_sentence_and_writes_nothing(
    grid: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    assert command(grid.parent, *shlex.split(arguments)) == exits.BAD_REQUEST
    out, err = capfd.readouterr()
    assert said in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert [path.name for path in grid.parent.iterdir()] == [grid.name]


def test_without_a_command_the_help_is_shown(
    tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path) == exits.BAD_REQUEST
    out, err = capfd.readouterr()
    assert all(name in out for name in cli.COMMANDS)
    assert err == ""


@pytest.mark.parametrize("name", cli.RETIRED)
def test_a_retired_command_is_refused_with_what_replaces_it(
    name: str, tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, name, "something", "--with", "options") == 2
    said = f"vsr-bench: {name}: this command is no longer there; {cli.RETIRED[name]}\n"
    assert capfd.readouterr() == ("", said)


def test_a_cell_out_of_memory_is_recorded_and_the_rest_goes_on(
    grid: Path, command: Callable[..., int]
) -> None:
    # No machine has the memory that these frames take; torch says so at once.
    assert command(
        grid.parent, "run", grid.name, "--set", "grid={frames: [1], size: [[65536, 65536], [16, 16]]}",
        "--set", "measure={timeout_s: 60, memory_check: force, warmup: 0, repetitions: 1}",
        "--set", "plots=[]", "--filter", "backend=cpu", "--output", "out",
    ) == exits.SOME_FAILED  # fmt: skip
    assert [*pd.read_csv(grid.parent / "out" / "cells.csv")["status"]] == ["oom", "ok"]


def test_an_interrupt_keeps_what_is_done_and_resume_does_the_rest(grid: Path) -> None:
    chosen = ("--set", "grid={frames: [1, 2000], size: [[16, 16]]}", "--filter", "backend=cpu")
    measure = ("--set", "measure.timeout_s=5", "--set", "plots=[]", "--output", "out")
    with begun("run", grid.name, *chosen, *measure, cwd=grid.parent) as process:
        assert process.stderr is not None
        assert "1/2" in process.stderr.readline()  # the first cell has ended
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=600)
    assert process.returncode == exits.INTERRUPTED
    assert "interrupted; the rest: vsr-bench run --resume out" in out
    journal = grid.parent / "out" / "journal.jsonl"
    assert [record.status for record in read_journal(journal)] == ["ok"]
    assert (grid.parent / "out" / "report.md").exists()
    status, _, err = call("run", "--resume", "out", cwd=grid.parent)
    assert status == exits.SOME_FAILED, err
    assert [(record.frames, record.status) for record in read_journal(journal)] == [
        (1, "ok"), (2000, "timeout"),
    ]  # fmt: skip


def test_closed_streams_are_no_error(grid: Path) -> None:
    done = subprocess.run(
        f'exec "{sys.executable}" -m bench run {grid.name} --filter backend=cpu --filter frames=1 '
        "--set plots=[] --output out <&- >&- 2>&-",
        shell=True, cwd=grid.parent, timeout=600, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0
    assert (grid.parent / "out" / "report.md").exists()


@pytest.mark.parametrize(("encoding", "form"), [("ascii", "text"), ("latin-1", "json")])
def test_an_output_of_another_encoding_is_no_error(tmp_path: Path, encoding: str, form: str) -> None:
    """The comparison's text has an arrow between the names of its runs, and a name may have anything."""
    run, other = ROOT / "results" / "quickstart-cpu", tmp_path / "ü\u2192街"
    shutil.copytree(run, other)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "compare", run, other, "--format", form],
        cwd=tmp_path, timeout=600, check=False, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    if form == "text":
        assert rb"quickstart-cpu \u2192 " in done.stdout
        assert rb"\u2192\u8857" in done.stdout
    else:
        assert json.loads(done.stdout)["comparisons"][0]["new"]["name"] == other.name


def test_plan_lists_the_cells_and_runs_none(
    grid: Path, planned: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    networks = "model=[{name: basicvsr, mid_channels: 4, num_blocks: 1}, egvsr]"
    chosen = ("--set", networks, "--set", "grid.frames=[3]", "--filter", "backend=cpu*")
    assert planned(grid.parent, grid.name, *chosen) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [
        "basicvsr/noise/b1/t3/16x20/cpu",
        "basicvsr/noise/b1/t3/16x20/cpu-1",
        "egvsr/noise/b1/t3/16x20/cpu",
        "egvsr/noise/b1/t3/16x20/cpu-1",
    ]
    assert not any("?" in line for line in lines[1:5])
    assert lines[5].startswith("4 cells, 1 round each")
    assert [path.name for path in grid.parent.iterdir()] == [grid.name]
    assert planned(grid.parent, grid.name, *chosen, "--filter", "model=egvsr") == 0
    assert capfd.readouterr().out.splitlines()[3].startswith("2 cells, 1 round each")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("quickstart", "paper/stages") else pytest.mark.slow)
        for name in presets.names()
    ],
)
def test_every_preset_can_be_planned_by_its_name(
    name: str, planned: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert planned(Path.cwd(), name) == 0  # where the server began: paths are relative
    *cells, _, _, _ = capfd.readouterr().out.splitlines()[1:]
    assert all(line.split()[1] != "?" for line in cells)  # GFLOP


def test_schema_knows_the_parameters_of_networks(
    tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "schema") == 0
    schema = json.loads(capfd.readouterr().out)
    assert set(schema["required"]) == {"name", "input", "grid", "backends"}
    assert "num_blocks" in schema["$defs"]["EGVSR"]["properties"]


def test_many_images_are_counted_and_plots_of_one_reason_told_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def shown(images: int, empty: int) -> list[str]:
        print_outcome(
            Outcome(
                folder=Path("out"), statuses={Status.OK: 1}, planned=1, interrupted=False, warnings={},
                images=tuple(Path(f"time-{number}.png") for number in range(images)),
                empty=tuple(EmptyPlot(name=f"speedup-{n}", reason="no baseline") for n in range(empty)),
                report=Pages(markdown=Path("report.md"), html=Path("report.html")),
            )
        )  # fmt: skip
        return capfd.readouterr().out.splitlines()

    few, many = shown(8, 1), shown(9, 3)
    assert "no plot speedup-0: no baseline" in few
    assert f"plots   out/plots/ ({', '.join(f'time-{number}.png' for number in range(8))})" in few
    assert "no plot speedup-0 and 2 more: no baseline" in many
    assert "plots   out/plots/ (9 images)" in many


@pytest.mark.parametrize(
    ("resume", "text"),
    [
        (None, "interrupted before anything was measured; nothing is kept"),
        (Path("out"), "interrupted before anything more was measured; the rest: vsr-bench run --resume out"),
    ],
)
def test_an_early_interrupt_and_a_late_one_name_what_is_kept(
    resume: Path | None, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit), console.report_early_interrupt("run", resume):
        raise KeyboardInterrupt
    with pytest.raises(typer.Exit), console.report_early_interrupt("run", resume):
        raise KeyboardInterrupt("the command")  # as while the report is written
    assert capfd.readouterr().out.splitlines() == [text, "interrupted; the rest: the command"]


def test_tracing_reports_its_progress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "BETWEEN_LINES_S", 0.0)
    with progress.tracing() as report:
        report(3, 40)
    assert capfd.readouterr() == ("", "tracing costs: 3 of 40 cells\n")


def test_output_that_no_one_reads_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with begun("schema", cwd=tmp_path, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (exits.OUTPUT_CLOSED, "")


def test_a_reader_of_the_progress_that_goes_away_does_not_end_the_run(grid: Path) -> None:
    with begun("run", grid.name, "--set", "plots=[]", "--output", "out", cwd=grid.parent) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()
        process.stderr.close()
        assert "report" in process.stdout.read()
    assert process.returncode == 0
    assert len(read_journal(grid.parent / "out" / "journal.jsonl")) == 6


def test_tracing_ends_before_anything_is_measured_and_a_late_interrupt_names_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of tracing is drawn by a thread, which would do so beside what is measured."""
    shown: list[str] = []

    @contextmanager
    def tracing() -> Iterator[Callable[[int, int], None]]:
        shown.append("tracing")
        yield lambda done, total: None
        shown.append("traced")

    @contextmanager
    def display(*_: Any) -> Iterator[Any]:
        shown.append("measuring")
        raise KeyboardInterrupt
        yield

    def derive(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "derive", derive)
    with pytest.raises(KeyboardInterrupt, match=r"vsr-bench run --resume .*/run"):
        lifecycle.start(experiment(), display, output=tmp_path / "run", tracing=tracing)
    assert shown == ["tracing", "traced", "measuring"]


def test_the_death_of_the_process_that_workers_are_forked_from_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exits.explain(ServerDiedError("killed by SIGKILL")) == exits.FAILED
    assert (
        capsys.readouterr().err == "vsr-bench: the process that workers are forked from: killed by SIGKILL\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Missing option '--format'. Choose from: pytest-benchmark, "),
        (["--format", "nope"], "Invalid value for '--format': 'nope' is not one of 'pytest-benchmark', "),
    ],
)
def test_a_wrong_option_is_one_sentence(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "nowhere", *options]) == exits.BAD_REQUEST
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vsr-bench: {said}")


def test_an_export_without_a_standard_output_is_refused() -> None:
    command = f"{shlex.quote(sys.executable)} -m bench export nowhere --format pyperf >&-"
    ended = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == exits.BAD_REQUEST
    assert ended.stderr == "vsr-bench: standard output is closed: name a file for the export by --output\n"
