"""Sides measured in turn: the order of their rounds, what a stop leaves, and what may be gone on with."""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import psutil
import pytest
from rich.console import Console

from bench.commands import in_turn
from bench.commands.in_turn import OUTPUTS_NAME, ReadySide, Side
from bench.commands.progress import shown
from bench.errors import RunStoppedError
from bench.grid import plan
from bench.grid.config import Experiment
from bench.grid.plan import Job
from bench.measure import preflight
from bench.messages import blank_record
from bench.process import launcher, load
from bench.process.launcher import Launcher
from bench.process.runner import Run
from bench.records import JOURNAL_NAME, Status, read_journal
from bench.results import identity
from bench.results.outputs import OutputDifference
from bench.results.run_folder import RunFolder
from tests.bench.fakes import Watching, experiment, jobs_of
from vsr_model.errors import BadInput

AGAIN = "vsr-bench it --resume here"
BASICVSR = preflight.NetworkInfo(title="BasicVSR", min_size=16, min_frames=1, arguments={})

TWO_CELLS = {
    "grid": {"frames": [1, 2], "size": [[16, 16]]},
    "measure": {"warmup": 0, "repetitions": 1, "rounds": 3, "stages": "off", "memory": "off"},
}


def orders(one: Experiment) -> list[str]:
    """Side, frames and round of every job, a text for each group."""
    return [
        " ".join(f"{side}{job.cell.frames}/{job.round}" for job in jobs)
        for jobs, side in in_turn.in_order(jobs_of(one), "AB", one.measure)
    ]


@pytest.mark.parametrize(
    ("measure", "groups"),
    [
        ({}, ["A1/0", "B1/0", "A2/0", "B2/0", "B1/1", "A1/1", "B2/1", "A2/1", "A1/2", "B1/2"]),
        ({"isolation": "backend"}, ["A1/0 A2/0", "B1/0 B2/0", "B1/1 B2/1", "A1/1 A2/1", "A1/2 A2/2"]),
        ({"order": "blocked"}, ["A1/0", "B1/0", "B1/1", "A1/1", "A1/2", "B1/2"]),
    ],
)
def test_sides_take_turns_forth_in_even_rounds_and_back_in_odd_ones(
    measure: dict[str, str], groups: list[str]
) -> None:
    one = experiment(**{**TWO_CELLS, "measure": {**TWO_CELLS["measure"], **measure}})
    assert orders(one)[: len(groups)] == groups


class Shown(Watching):
    """A display that knows whose job it is told of, and may interrupt after so many."""

    def __init__(self, stop_after: int = 0) -> None:
        super().__init__(ended=self._count)
        self._stop_after = stop_after
        self.jobs: Sequence[Job] = ()
        self.sides: list[str] = []

    def __call__(self, jobs: Sequence[Job], _measure: Any) -> "Shown":
        self.jobs = jobs
        return self

    def of_side(self, name: str, /) -> "Shown":
        self.sides.append(name)
        return self

    def _count(self, ended: int) -> None:
        if ended == self._stop_after:
            raise KeyboardInterrupt


class Measuring:
    """Two sides of an experiment whose rounds end as soon as they begin; `log` has them in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, names: str = "AB") -> None:
        self.one = experiment(**TWO_CELLS)
        self.paths = [folder / name for name in names]
        self.sides = [self.side(name) for name in names]
        self.log: list[str] = []
        monkeypatch.setattr(in_turn, "execute", self._execute)

    def side(self, name: str, **fields: Any) -> ReadySide:
        known = {
            "name": name,
            "launcher": name,
            "answer": preflight.Answer(),
            "environment": {"cpu": "Fast CPU", "git_commit": "a" * 40},
            "code": identity.code_version(None),
        }
        return ReadySide(**known | fields)

    def _execute(self, jobs: Sequence[Job], run: Run, workers: Any, observer: Shown) -> None:
        for job in jobs:
            self.log.append(f"{workers}{job.cell.frames}/{job.round}")
            record = blank_record(job, Status.SKIPPED, "for no reason")
            run.keep(record)
            observer.job_ended(job, record)

    def __call__(self, shown: Shown | None = None, **changes: Any) -> Sequence[OutputDifference]:
        given = {"experiment": self.one, "sides": self.sides, "paths": self.paths, **changes}
        return in_turn.measure(display=shown or Shown(), again=AGAIN, **given)

    def until(self, jobs: int) -> None:
        """Measure until the user presses Ctrl-C after so many jobs."""
        with pytest.raises(KeyboardInterrupt):
            self(Shown(stop_after=jobs))


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    return Measuring(tmp_path, monkeypatch)


def once_each(path: Path) -> bool:
    known = [(record.cell, record.round) for record in read_journal(path / JOURNAL_NAME)]
    folder = RunFolder.open(path)
    planned = [(cell.id, number) for number in range(3) for cell in folder.cells()]
    return known == planned


@pytest.mark.parametrize("after", [0, 1, 7])
def test_each_side_is_a_run_whose_order_goes_on_after_an_interrupt(measuring, after):
    if after:
        measuring.until(after)
        assert sum(len(read_journal(path / JOURNAL_NAME)) for path in measuring.paths) == after
        assert "not done yet" in (measuring.paths[0] / "report.md").read_text()
    shown = Shown()
    measuring(shown)
    assert len(shown.jobs) == 12 - after
    assert measuring.log == orders(measuring.one)
    assert shown.sides == [entry[0] for entry in measuring.log[after:]]
    for path in measuring.paths:
        assert once_each(path)
        assert (path / "report.html").is_file()
        assert (path / "summary.csv").is_file()
        assert not (path / ".references").exists()
    before = [(path / JOURNAL_NAME).read_bytes() for path in measuring.paths]
    measuring()
    assert [(path / JOURNAL_NAME).read_bytes() for path in measuring.paths] == before


@pytest.mark.parametrize(("after", "compared"), [(1, []), (3, ["t1"]), (4, ["t1", "t2"])])
def test_outputs_are_compared_and_kept_across_an_interrupt(measuring, monkeypatch, after, compared):
    def execute(jobs: Sequence[Job], run: Run, workers: Any, observer: Shown) -> None:
        for job in jobs:
            output = np.full((1, 1, 3, 4, 4), 0.5 if workers == "B" else 0.0, dtype=np.float32)
            run.references.mkdir(exist_ok=True)
            np.save(run.references / f"t{job.cell.frames}.npy", output)
        measuring._execute(jobs, run, workers, observer)

    monkeypatch.setattr(in_turn, "execute", execute)
    measuring.until(after)
    kept = measuring.paths[0].parent / OUTPUTS_NAME
    found = json.loads(kept.read_text()) if kept.exists() else []
    assert [(item["clip"], item["max_abs"]) for item in found] == [(clip, 0.5) for clip in compared]
    assert not any((path / ".references").exists() for path in measuring.paths)
    assert [item.clip for item in measuring()] == ["t1", "t2"]
    assert [item.clip for item in measuring()] == ["t1", "t2"]  # with nothing left to measure


def test_a_run_that_had_not_begun_on_one_side_begins(measuring):
    """Killed where the second folder was being made."""
    measuring.until(1)
    second = measuring.paths[1]
    for path in second.iterdir():
        if path.is_file() and path.name != JOURNAL_NAME:
            path.unlink()
        elif path.is_dir():
            path.rmdir()
    measuring()
    assert all(map(once_each, measuring.paths))
    (second / "run.json").unlink()
    (second / "thesis.tex").touch()
    with pytest.raises(BadInput, match=r"/B: holds no run that can be gone on with"):
        measuring()
    assert (second / "thesis.tex").exists()


def another_code(name: str) -> dict[str, Any]:
    code = identity.code_version(None)
    return {"code": code.model_copy(update={"source_sha256": "0" * 64})} if name == "B" else {}


def another_machine(name: str) -> dict[str, Any]:
    return {"environment": {"cpu": "Slow CPU"}} if name == "A" else {}


@pytest.mark.parametrize(
    ("fields", "said"),
    [(another_code, "/B: begun with other code"), (another_machine, "/A: begun with another cpu")],
)
def test_going_on_only_as_it_began(measuring, fields, said):
    measuring.until(5)
    before = [(path / JOURNAL_NAME).read_bytes() for path in measuring.paths]
    with pytest.raises(BadInput, match=said):
        measuring(sides=[measuring.side(name, **fields(name)) for name in "AB"])
    with pytest.raises(BadInput, match=r"/A: begun with the filters \[\], and not \['frames=1'\]"):
        measuring(filters=["frames=1"])
    other = experiment(**{**TWO_CELLS, "grid": {"frames": [1, 3], "size": [[16, 16]]}})
    with pytest.raises(BadInput, match=r"/A: begun with grid.frames: 1, 2"):
        measuring(experiment=other)
    assert [(path / JOURNAL_NAME).read_bytes() for path in measuring.paths] == before
    measuring()
    assert all(map(once_each, measuring.paths))


def test_a_full_disk_names_the_command_that_goes_on(measuring, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(in_turn, "execute", refuse)
    with pytest.raises(RunStoppedError, match=f"No space left on device; what is done is kept.*{AGAIN}"):
        measuring()


def test_progress_says_which_side_and_a_reason_of_skipped_cells_once():
    one = experiment(**TWO_CELLS)
    jobs = jobs_of(one)
    said = StringIO()
    with shown(jobs, one.measure, Console(file=said, width=200)) as display:
        told = display.of_side("base")
        told.job_started(jobs[0])
        told.job_ended(jobs[0], blank_record(jobs[0], Status.ERROR, "[/red] as it is"))
        for job in jobs[1:]:
            told.job_ended(job, blank_record(job, Status.SKIPPED, "no [room]"))
    first, second = said.getvalue().splitlines()
    assert first.startswith("1/6  base basicvsr/noise/b1/t1/16x16/cpu  error: [/red] as it is")
    assert second == "skipped 2 cells: no [room]"


# Real workers.


def network(folder: Path, text: str) -> Path:
    """A folder with a network that is no more than this."""
    (folder / "vsr_model").mkdir(parents=True)
    (folder / "vsr_model" / "__init__.py").write_text(text)
    return folder


def refused(folder: Path, text: str) -> str:
    """What is said of a network of that text."""
    side = Side(name="head", network=network(folder, text), commit="a" * 40, origin="--head topic (aaaa)")
    one = experiment()
    with pytest.raises(BadInput) as caught, in_turn.ready(one, plan.cells(one), [side]):
        pytest.fail("it was measured")
    return str(caught.value)


UNUSABLE = "--head topic (aaaa): its vsr_model cannot be measured by this program"
ENDED = "it ended while it was being imported"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os; os._exit(0)", f"{ENDED}: exit status 0"),
        ("raise LookupError('[bold]first\\nlast')", "LookupError: [bold]first"),
    ],
)
def test_a_network_that_ends_the_server_is_named(tmp_path, text, why):
    assert refused(tmp_path / "head", f"{text}\n") == f"{UNUSABLE} ({why})"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(0), f"{ENDED} (SystemExit: 0)"),
        (LookupError("x" * 100_000), f"LookupError: {'x' * 400}"),
        (load.RefusedError("as it is"), "as it is"),
    ],
)
def test_why_a_network_was_not_imported_is_one_line(error, said):
    assert load.why(error) == said


def test_a_network_that_does_not_load(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "NETWORK_TIMEOUT_S", 1.0)
    told, own = tmp_path / "pid", Launcher._loaded

    def loaded(self: Launcher, what: str, timeout_s: float) -> Any:
        while what == "network" and not (told.exists() and told.read_text().count(" ")):
            sleep(0.01)  # its second begins when it hangs, however busy the machine is
        return own(self, what, timeout_s)

    monkeypatch.setattr(Launcher, "_loaded", loaded)
    text = (
        "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(told)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(1000)\n"
    )
    said = refused(tmp_path / "head", text)
    assert said == f"{UNUSABLE} (it does not load within 1 s)"
    server, child = map(int, told.read_text().split())
    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_the_server_proves_where_the_network_came_from(tmp_path):
    """A folder without one: Python goes on to the next, which is this program's."""
    with pytest.raises(
        RuntimeError, match=rf"vsr_model was imported from .*, and {tmp_path} is to be measured"
    ):
        Launcher({}, tmp_path).__enter__()


def test_a_refusal_of_preflight_names_the_side(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise BadInput("There is no network 'egvsr'; there are basicvsr.")

    monkeypatch.setattr(preflight, "ask", refuse)
    one = experiment()
    side = Side(name="base", network=tmp_path, commit="a" * 40, origin="--base main (aaaa)")
    with (
        pytest.raises(BadInput, match=r"^--base main \(aaaa\): There is no network 'egvsr'; there are basic"),
        in_turn.ready(one, plan.cells(one), [side], launch=lambda *_: nullcontext(None)),
    ):
        pytest.fail("it was measured")


def test_a_side_is_described_by_its_own_commit(tmp_path, monkeypatch):
    one = experiment()
    monkeypatch.setattr(preflight, "ask", lambda *_, **__: preflight.Answer(networks={"basicvsr": BASICVSR}))
    sides = [
        Side(name=name, network=network(tmp_path / name, f"# {name}"), commit=commit, origin=f"--{name}")
        for name, commit in (("base", "a" * 40), ("head", f"{'b' * 40}-dirty"))
    ]
    with in_turn.ready(one, plan.cells(one), sides, launch=lambda *_: nullcontext(None)) as ready:
        base, head = ready
    assert (base.code.git_commit, base.code.dirty) == ("a" * 40, False)
    assert (head.code.git_commit, head.code.dirty) == ("b" * 40, True)
    assert base.code.source_sha256 != head.code.source_sha256
    assert head.environment["git_commit"] == f"{'b' * 40}-dirty"
    assert base.environment["harness_commit"] == head.environment["harness_commit"]
    assert base.environment["timer"] == head.environment["timer"]
    folder = RunFolder.create(tmp_path / "run", one, head.environment, (), head.code)
    about = json.loads((folder.path / "run.json").read_text())
    assert about["code_version"]["git_commit"] == "b" * 40
    assert about["environment_sha256"] == identity.environment_sha256(base.environment)
