"""vsr-bench tune on a real, tiny network: as a user meets it, interrupted, killed, out of time, and used."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from PIL import Image

from bench.commands import exits, progress
from bench.commands import tune as cli_tune
from bench.commands import tune_search as tune_run
from bench.errors import RunStoppedError
from bench.grid import config
from bench.grid.backend_file import read_backends, user_folder
from bench.process.launcher import SharedLaunchers
from bench.records import JOURNAL_NAME, read_journal
from bench.results.files import write_whole
from bench.tuning.request import Request, request
from bench.tuning.search import TABLE_COLUMNS
from tests.bench.interrupting import Stops
from vsr_model.errors import BadInput

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": [{"name": "noise", "kind": "random"}],
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": ["cpu"],
}
LEFT = ("compile", "convolution")
FEW = (*(word for field in LEFT for word in ("--without", field)), "--device", "cpu")
"""So that one alone is tried, channels_last."""


def ask(*arguments: str | Path) -> int:
    app = typer.Typer()
    app.command()(cli_tune.tune)
    return int(app(args=[str(argument) for argument in arguments], standalone_mode=False) or 0)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid's file beside an empty working directory, with a configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedLaunchers]:
    with SharedLaunchers() as shared:
        yield shared


@pytest.fixture
def _warm(shared: SharedLaunchers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have searches of one process use the same servers, which import torch once."""
    monkeypatch.setattr(tune_run, "SharedLaunchers", lambda: nullcontext(shared))


def records_of(folder: Path) -> int:
    return sum(len(read_journal(path)) for path in folder.glob(f"*/{JOURNAL_NAME}"))


def check(out: Path, file: Path, name: str = "tuned") -> dict[str, Any]:
    """What every search that has ended leaves; the backend that it found."""
    table = pd.read_csv(out / "tune.csv")
    assert tuple(table.columns) == TABLE_COLUMNS
    assert {"plain", "channels_last"} <= set(table[table["stage"] == "alone"]["backend"])
    assert (out / "tuned.yaml").read_text() == file.read_text()
    (found,) = read_backends(file).values()
    assert found["name"] == name
    assert found["tuned_on"]["torch"]
    assert (out / "1-alone" / "report.html").is_file()
    assert not list(out.rglob(".references"))
    return found


def test_a_search_interrupted_gone_on_with_and_its_answer_used_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.process.launcher.Launcher", Stops)
    Stops.after, Stops.spawned = 5, 0
    assert ask(tiny, *FEW, "--folder", "out", "--name", "fast") == exits.INTERRUPTED
    assert capsys.readouterr().out == "interrupted; the rest: vsr-bench tune --resume out\n"
    out = Path("out")
    before = read_journal(out / "1-alone" / JOURNAL_NAME)
    assert before
    assert not (out / "tune.csv").exists()
    assert not user_folder().exists()

    Stops.after = 0
    assert ask("--resume", out) == exits.OK
    assert read_journal(out / "1-alone" / JOURNAL_NAME)[: len(before)] == before
    told = capsys.readouterr().out
    assert "as fast as the plain network" in told or "the plain network" in told
    assert "vsr-bench upscale --backend fast INPUT OUTPUT" in told
    found = check(out, user_folder() / "fast.yaml", "fast")
    assert "# Use: vsr-bench upscale --backend fast INPUT" in (out / "tuned.yaml").read_text()

    # In a grid, by its name.
    used = config.load(tiny, ["backends=[cpu, fast]"])[0].backends[1]
    assert (used.name, used.memory_format) == ("fast", found.get("memory_format", "contiguous"))

    # Once more, with nothing left to measure: the same answer.
    measured = records_of(out)
    assert ask("--resume", out) == exits.OK
    assert records_of(out) == measured
    assert read_backends(user_folder() / "fast.yaml")["fast"] == found


MINE = "backends:\n- {name: tuned, from: cpu, threads: 1}\n"
"""A backend of an earlier search."""


def with_clock(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """A clock that goes on by so much whenever it is read."""
    now = [0.0]

    def clock() -> float:
        now[0] += step_s
        return now[0]

    defaults: list[Any] = [tune_run.start.__kwdefaults__, tune_run.resume.__kwdefaults__]
    for of_function in defaults:
        monkeypatch.setitem(of_function, "clock", clock)


@pytest.mark.usefixtures("_warm")
def test_where_nothing_was_tried_an_earlier_backend_stays(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine.yaml").write_text(MINE)
    with_clock(monkeypatch, 40.0)
    where = ("--folder", "out", "--output", "mine.yaml")
    assert ask(tiny, *FEW, "--within", "60s", *where) == exits.SOME_FAILED
    told = capsys.readouterr().out
    assert "no backend is written: the time, 1 min, was over before any backend was measured" in told
    assert "faster than the plain network" not in told
    assert records_of(Path("out")) == 1  # the plain network, once
    assert Path("mine.yaml").read_text() == MINE
    assert not Path("out/tuned.yaml").exists()
    assert ask("--resume", "out") == exits.SOME_FAILED
    assert Path("mine.yaml").read_text() == MINE


@pytest.mark.usefixtures("_warm")
def test_a_destination_that_fails_at_the_end_leaves_the_answer_in_the_folder(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fails(path: Path, text: str) -> None:
        if path.name == "mine.yaml":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        write_whole(path, text)

    monkeypatch.setattr(tune_run, "write_whole", fails)
    with pytest.raises(RunStoppedError, match="Read-only file system; what is done is kept"):
        ask(tiny, *FEW, "--folder", "out", "--output", "mine.yaml")
    assert config.backend_of("out/tuned.yaml").name == "tuned"


@pytest.mark.usefixtures("_warm")
def test_the_clock_leaves_time_for_the_confirmation(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the test moves: after the first stage so much is spent that only that has room."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    def asked(device: str) -> Request:
        return request(device=device, cores=2, within="1h", without=LEFT, output=Path("mine.yaml"))

    def say(text: str) -> None:
        if not text.startswith("1-"):
            assert text.startswith("confirm:")

    measure = tune_run._Tuning._run

    def late(self: tune_run._Tuning, *arguments: Any) -> None:
        measure(self, *arguments)
        now[0] += 3600

    monkeypatch.setattr(tune_run._Tuning, "_run", late)
    experiment = config.load(tiny)[0]
    found = tune_run.start(
        experiment, asked, progress.shown, say, device="cpu", folder=Path("out"), clock=clock
    )
    assert [stage.name for stage in found.stages] in (["alone"], ["alone", "confirm"])
    if len(found.stages) > 1:  # three rounds are measured whatever the clock says, and no more
        assert found.out_of_time
        counts = {
            len(levels) for answer in found.stages[1].answers.values() for levels in answer.levels.values()
        }
        assert counts == {3}


def test_upscale_takes_it_by_name_and_says_what_is_not_for_frames_one_by_one(
    tiny: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    user_folder().mkdir(parents=True)
    text = """\
backends:
- {name: fast, from: cpu, memory_format: channels_last, schedule: pipelined,
   tuned_on: {processor: another, cores: 99, torch: "0.1"}}
"""
    (user_folder() / "fast.yaml").write_text(text)
    Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save("in.png")
    network = ("--random-weights", "--mid-channels", "4", "--num-blocks", "1")
    assert command(Path.cwd(), "upscale", "in.png", "out.png", *network, "--backend", "fast") == exits.OK
    assert Path("out.png").is_file()
    said = capfd.readouterr().err
    assert "backend fast: tuned on another, and this is " in said
    assert "with torch 0.1, and this is " in said
    assert "backend fast: without schedule: pipelined, which is for whole clips in memory" in said


def test_a_run_says_that_a_backend_was_tuned_elsewhere(
    tiny: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_text(yaml.safe_dump({**TINY, "measure": {"warmup": 0, "repetitions": 1}, "backends": [
        {"name": "fast", "from": "cpu", "tuned_on": {"processor": "another", "cores": 99, "torch": "0.1"}},
    ]}))  # fmt: skip
    assert command(Path.cwd(), "run", tiny, "--output", "out") == exits.OK
    assert "note: backend fast: tuned on another, and this is " in capsys.readouterr().out
    assert "> backend fast: tuned on another" in Path("out/report.md").read_text()


@pytest.mark.usefixtures("_warm")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "CONFIG: is missing; give a YAML file or a preset, one of ci, "),
        (["tiny", "--device", "cuda"], "--device cuda: no CUDA"),
        (["tiny", "--filter", "frames=7"], "--filter frames=7: "),
        (["tiny", "--device", "cpu", "--output", "x.txt"], "--output: x.txt: should end in .yaml"),
        (["tiny", "--folder", ".."], "is not empty"),
        (["--resume", "nowhere"], "nowhere: holds no search for a backend (there is no request.json in it)"),
        (["--resume", "nowhere", "--within", "5min"], "--resume: all is as it began; give nothing else"),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(tiny: Path, arguments: list[str], said: str) -> None:
    given = [str(tiny) if argument == "tiny" else argument for argument in arguments]
    with pytest.raises(BadInput) as caught:
        ask(*given)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list((tiny.parent / "here").iterdir()) == []
    assert not user_folder().exists()


@pytest.mark.usefixtures("_warm")
def test_a_plain_network_that_cannot_be_measured_is_no_answer(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--folder", "out", "--output", "mine.yaml")
    assert ask(tiny, *FEW, "--set", "measure.timeout_s=0.001", *where) == exits.SOME_FAILED
    told = capsys.readouterr().out
    assert (
        "no backend is written: the plain network, which all is compared with, was not measured in alone"
        in told
    )
    assert "(timeout" in told
    assert "folder  out\n" in told
    assert not Path("mine.yaml").exists()
    assert len(pd.read_csv("out/tune.csv")) == 2
