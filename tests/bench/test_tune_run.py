"""vsr-bench tune: the search in its folder, by made-up rounds, and once on a real, tiny network."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from bench.commands import exits, tune_search
from bench.commands.lifecycle import DisplayFactory
from bench.grid import config, plan
from bench.grid.backend_file import read_backends, user_folder
from bench.grid.config import Experiment
from bench.records import JOURNAL_NAME, Status, read_journal
from bench.results.files import write_whole
from bench.results.run_folder import RunFolder, is_begun
from bench.tuning.search import TABLE_COLUMNS
from tests.bench.interrupting import Stops
from tests.bench.sides import ENVIRONMENT, record

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": [{"name": "noise", "kind": "random"}],
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": ["cpu"],
}
FEW = ("--without", "compile", "--without", "convolution", "--device", "cpu")
"""So that one alone is tried, channels_last."""

HERE = ("--folder", "out", "--output", "mine.yaml")

Command = Callable[..., int]


@pytest.fixture
def tune(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Give `tune` in a working directory with a grid, and with a configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(tmp_path, "tune", *arguments)


class Made:
    """Rounds that took so many seconds by the backend's name, and a clock that goes on by as much."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds
        self.status = Status.OK
        self.now_s = 0.0
        self.measured: list[tuple[str, int]] = []

    def clock(self) -> float:
        return self.now_s

    def start_or_resume(
        self, path: Path, experiment: Experiment, display: DisplayFactory, **_: Any
    ) -> SimpleNamespace:
        run = RunFolder.open(path) if is_begun(path) else RunFolder.create(path, experiment, ENVIRONMENT, ())
        done = {(one.cell, one.round) for one in run.records()}
        jobs = plan.schedule(run.cells(), experiment.measure)
        left = [job for job in jobs if (job.cell.id, job.round) not in done]
        with run.journal() as journal, display(left, lambda jobs: [1.0] * len(jobs)) as observer:
            try:
                for job in left:
                    observer.job_started(job)
                    seconds = self.seconds.get(job.cell.backend.name, 1.0)
                    self.now_s += seconds
                    self.measured.append((f"{path.name}/{job.cell.backend.name}", job.round))
                    status = self.status if job.cell.backend.name == "plain" else Status.OK
                    journal.append(record(job.cell, job.round, seconds, status=status, round_wall_s=seconds))
                    observer.job_ended(job, read_journal(path / JOURNAL_NAME)[-1])
            except KeyboardInterrupt:
                return SimpleNamespace(interrupted=True)
        (path / "report.html").touch()
        return SimpleNamespace(interrupted=False)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Measure nothing: what is asked for takes what the test says."""
    made = Made(plain=1.0, channels_last=0.5)
    monkeypatch.setattr(tune_search, "_unavailable", lambda *_: None)
    monkeypatch.setattr(tune_search.runs, "start_or_resume", made.start_or_resume)
    defaults: list[Any] = [tune_search.start.__kwdefaults__, tune_search.resume.__kwdefaults__]
    for of_function in defaults:
        monkeypatch.setitem(of_function, "clock", made.clock)
    return made


def test_the_fastest_is_confirmed_and_written(
    tune: Command, made: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tune("tiny.yaml", *FEW, *HERE) == exits.OK
    rounds = [number for name, number in made.measured if name == "confirm/channels_last"]
    assert rounds == [0, 1, 2, 3, 4, 5]
    out = capfd.readouterr().out
    assert "channels_last: 2.00× as fast as the plain network (2.00× to 2.00×), confirmed in 6 rounds" in out
    assert "use     vsr-bench upscale --backend mine.yaml INPUT OUTPUT" in out
    table = pd.read_csv("out/tune.csv")
    assert tuple(table.columns) == TABLE_COLUMNS
    assert [*table["stage"]] == ["alone"] * 2 + ["confirm"] * 2
    assert Path("out/tuned.yaml").read_text() == Path("mine.yaml").read_text()
    assert read_backends(Path("mine.yaml"))["tuned"]["memory_format"] == "channels_last"


MINE = "backends:\n- {name: tuned, from: cpu, threads: 1}\n"
"""A backend of an earlier search."""


@pytest.mark.parametrize(
    ("seconds", "status", "why"),
    [
        ({"plain": 70.0}, Status.OK, "the time, 1 min, was over before any backend was measured"),
        (
            {},
            Status.TIMEOUT,
            "the plain network, which all is compared with, was not measured in alone",
        ),
    ],
)
def test_without_an_answer_an_earlier_backend_stays(
    tune: Command,
    made: Made,
    capfd: pytest.CaptureFixture[str],
    seconds: dict[str, float],
    status: Status,
    why: str,
) -> None:
    Path("mine.yaml").write_text(MINE)
    made.seconds, made.status = seconds, status
    assert tune("tiny.yaml", *FEW, "--within", "60s", *HERE) == exits.SOME_FAILED
    assert f"no backend is written: {why}" in capfd.readouterr().out
    assert tune("--resume", "out") == exits.SOME_FAILED
    assert Path("mine.yaml").read_text() == MINE
    assert not Path("out/tuned.yaml").exists()


@pytest.mark.parametrize(("within", "rounds"), [("12s", 2), ("8s", 1)])
def test_the_search_leaves_time_for_three_rounds_of_confirmation(
    tune: Command, made: Made, capfd: pytest.CaptureFixture[str], within: str, rounds: int
) -> None:
    made.seconds = {"plain": 2.0, "channels_last": 1.0}
    assert tune("tiny.yaml", *FEW, "--within", within, *HERE) == exits.OK
    counts = Counter(name for name, _ in made.measured)
    assert counts == {
        "1-alone/plain": 2, "1-alone/channels_last": rounds, "confirm/plain": 3, "confirm/channels_last": 3,
    }  # fmt: skip
    assert "note    the time was over before the search was; tried: 1 backend" in capfd.readouterr().out


def test_a_destination_that_fails_at_the_end_leaves_the_answer_in_the_folder(
    tune: Command, made: Made, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:

    def fails(path: Path, text: str) -> None:
        if path.name == "mine.yaml":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        write_whole(path, text)

    monkeypatch.setattr(tune_search, "write_whole", fails)
    assert tune("tiny.yaml", *FEW, *HERE) == exits.FAILED
    assert "mine.yaml: Read-only file system; what is done is kept, and the rest is for vsr-bench tune" in (
        capfd.readouterr().err
    )
    assert config.backend_of("out/tuned.yaml").name == "tuned"
    monkeypatch.setattr(tune_search, "write_whole", write_whole)
    measured = len(made.measured)
    assert tune("--resume", "out") == exits.OK
    assert len(made.measured) == measured
    assert Path("mine.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "CONFIG: is missing; give a YAML file or a preset, one of ci, "),
        (("tiny.yaml", "--filter", "frames=7"), "--filter frames=7: "),
        (("tiny.yaml", "--device", "cpu", "--output", "x.txt"), "--output: x.txt: should end in .yaml"),
        (("tiny.yaml", "--folder", "."), "is not empty"),
        (("--resume", "nowhere"), "nowhere: holds no search for a backend (there is no request.json in it)"),
        (("--resume", "nowhere", "--within", "5min"), "--resume: all is as it began; give nothing else"),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(
    tune: Command, capfd: pytest.CaptureFixture[str], arguments: Sequence[str], said: str
) -> None:
    assert tune(*arguments) == exits.BAD_REQUEST
    out, err = capfd.readouterr()
    assert said in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert [path.name for path in Path().iterdir()] == ["tiny.yaml"]
    assert not user_folder().exists()


def test_a_real_search_interrupted_and_resumed(
    tune: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.process.launcher.Launcher", Stops)
    Stops.after, Stops.spawned = 5, 0
    assert tune("tiny.yaml", *FEW, "--folder", "out", "--name", "fast") == exits.INTERRUPTED
    assert capfd.readouterr().out == "interrupted; the rest: vsr-bench tune --resume out\n"
    journal = Path("out/1-alone") / JOURNAL_NAME
    before = read_journal(journal)
    assert before
    assert not Path("out/tune.csv").exists()
    assert not user_folder().exists()

    Stops.after = 0
    assert tune("--resume", "out") == exits.OK
    assert read_journal(journal)[: len(before)] == before
    assert "vsr-bench upscale --backend fast INPUT OUTPUT" in capfd.readouterr().out
    (found,) = read_backends(user_folder() / "fast.yaml").values()
    assert found["tuned_on"]["torch"]
    used = config.load(Path("tiny.yaml"), ["backends=[cpu, fast]"])[0].backends[1]
    assert (used.name, used.memory_format) == ("fast", found.get("memory_format", "contiguous"))
    assert not list(Path("out").rglob(".references"))


ELSEWHERE = """\
backends:
- {name: fast, from: cpu, memory_format: channels_last, schedule: pipelined,
   tuned_on: {processor: another, cores: 99, torch: "0.1"}}
"""


@pytest.mark.usefixtures("tune")
def test_upscale_takes_it_by_name_and_says_what_is_not_for_frames_one_by_one(
    tmp_path: Path, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    user_folder().mkdir(parents=True)
    (user_folder() / "fast.yaml").write_text(ELSEWHERE)
    Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save("in.png")
    network = ("--random-weights", "--mid-channels", "4", "--num-blocks", "1")
    assert command(tmp_path, "upscale", "in.png", "out.png", *network, "--backend", "fast") == exits.OK
    assert Path("out.png").is_file()
    said = capfd.readouterr().err
    assert "backend fast: tuned on another, and this is " in said
    assert "with torch 0.1, and this is " in said
    assert "backend fast: without schedule: pipelined, which is for whole clips in memory" in said


@pytest.mark.usefixtures("tune")
def test_a_run_says_that_a_backend_was_tuned_elsewhere(
    tmp_path: Path, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("fast.yaml").write_text(ELSEWHERE.replace(", schedule: pipelined", ""))
    chosen = ("--set", "backends=[{name: fast, from: fast.yaml}]", "--set", "plots=[]")
    measure = ("--set", "measure={warmup: 0, repetitions: 1}")
    assert command(tmp_path, "run", "tiny.yaml", *chosen, *measure, "--output", "out") == exits.OK
    assert "note: backend fast: tuned on another, and this is " in capfd.readouterr().out
    assert "> backend fast: tuned on another" in Path("out/report.md").read_text()
