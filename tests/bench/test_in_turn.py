"""Sides measured in turn: the order of their rounds, what a stop leaves, and how a run is resumed."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from time import sleep
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench.commands import in_turn
from bench.commands.in_turn import OUTPUTS_NAME, ReadySide, Side
from bench.commands.progress import shown
from bench.grid import plan
from bench.grid.config import Experiment
from bench.grid.plan import Job
from bench.measure import preflight
from bench.messages import blank_record
from bench.process import launcher, load
from bench.process.launcher import Launcher
from bench.records import JOURNAL_NAME, Status, read_journal
from bench.results import identity
from bench.results.outputs import OutputDifference
from tests.bench.fakes import Watching, experiment, jobs_of
from tests.bench.instant import InstantRounds
from vsr_model.errors import BadInput

TWO_CELLS = {
    "grid": {"frames": [1, 2], "size": [[16, 16]]},
    "measure": {"warmup": 0, "repetitions": 1, "rounds": 3, "stages": "off", "memory": "off"},
}
SIDES = ("A", "B")


def orders(one: Experiment) -> list[str]:
    """Return side, frames and round of every job, a text for each group."""
    return [
        " ".join(f"{side}{job.cell.frames}/{job.round}" for job in jobs)
        for jobs, side in in_turn.in_order(jobs_of(one), SIDES, one.measure)
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
    """A display that keeps which jobs it was given, and of which sides it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: Sequence[Job] = ()
        self.sides: list[str] = []

    def __call__(self, jobs: Sequence[Job], _measure: Any) -> "Shown":
        self.jobs = jobs
        return self

    def of_side(self, name: str, /) -> "Shown":
        self.sides.append(name)
        return self


class Measuring:
    """Two sides of one experiment, measured in two folders by rounds that end at once."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one = experiment(**TWO_CELLS)
        self.paths = [folder / name for name in SIDES]
        self.rounds = InstantRounds(monkeypatch)

    def side(self, name: str, **fields: Any) -> ReadySide:
        known = {
            "name": name,
            "launcher": Path(name),
            "answer": preflight.Answer(),
            "environment": {"cpu": "Fast CPU", "git_commit": "a" * 40},
            "code": identity.code_version(None),
        }
        return ReadySide(**known | fields)

    def __call__(self, shown: Shown | None = None, **changes: Any) -> Sequence[OutputDifference]:
        given = {"experiment": self.one, "sides": [*map(self.side, SIDES)], "paths": self.paths, **changes}
        return in_turn.measure(display=shown or Shown(), again="vsr-bench it --resume here", **given)

    def until(self, jobs: int) -> None:
        """Measure until the user presses Ctrl-C after so many jobs."""
        self.rounds.stop(after=jobs)
        with pytest.raises(KeyboardInterrupt):
            self()

    def journals(self) -> list[bytes]:
        return [(path / JOURNAL_NAME).read_bytes() for path in self.paths]

    def is_whole(self) -> bool:
        """Return whether each side has each round of each cell once."""
        known = [[(record.cell, record.round) for record in read_journal(path / JOURNAL_NAME)]
                 for path in self.paths]  # fmt: skip
        return known == [[(cell.id, number) for number in range(3) for cell in plan.cells(self.one)]] * 2


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    return Measuring(tmp_path, monkeypatch)


@pytest.mark.parametrize("after", [1, 7])
def test_each_side_is_a_run_whose_order_goes_on_after_an_interrupt(measuring, after):
    measuring.until(after)
    assert sum(len(read_journal(path / JOURNAL_NAME)) for path in measuring.paths) == after
    assert "not done yet" in (measuring.paths[0] / "report.md").read_text()
    shown = Shown()
    measuring(shown)
    assert len(shown.jobs) == 12 - after
    assert measuring.rounds.log == orders(measuring.one)
    assert shown.sides == [entry[0] for entry in measuring.rounds.log[after:]]
    assert measuring.is_whole()
    for path in measuring.paths:
        assert (path / "report.html").is_file()
        assert (path / "summary.csv").is_file()
    before = measuring.journals()
    measuring()
    assert measuring.journals() == before


@pytest.mark.parametrize(("after", "compared"), [(1, []), (3, [1]), (4, [1, 2])])
def test_outputs_are_compared_and_kept_across_an_interrupt(measuring, after, compared):
    clips = {frames: f"basicvsr-noise-b1-t{frames}-16x16" for frames in (1, 2)}
    measuring.rounds.outputs["B"] = 0.5
    measuring.until(after)
    kept = measuring.paths[0].parent / OUTPUTS_NAME
    found = json.loads(kept.read_text()) if kept.exists() else []
    assert [(item["clip"], item["max_abs"]) for item in found] == [(clips[n], 0.5) for n in compared]
    assert not any((path / ".references").exists() for path in measuring.paths)
    assert [item.clip for item in measuring()] == [*clips.values()]
    assert [item.clip for item in measuring()] == [*clips.values()]  # with nothing left to measure


def test_a_side_whose_folder_was_only_being_made_begins(measuring):
    measuring.until(1)
    second = measuring.paths[1]
    for path in second.iterdir():
        if path.is_file() and path.name != JOURNAL_NAME:
            path.unlink()
        elif path.is_dir():
            path.rmdir()
    measuring()
    assert measuring.is_whole()
    (second / "run.json").unlink()
    (second / "thesis.tex").touch()
    with pytest.raises(BadInput, match=r"/B: holds no run that can be gone on with"):
        measuring()
    assert (second / "thesis.tex").exists()


def test_sides_are_resumed_only_as_they_began(measuring):
    measuring.until(5)
    before = measuring.journals()
    other_code = identity.code_version(None).model_copy(update={"source_sha256": "0" * 64})
    other_grid = experiment(**{**TWO_CELLS, "grid": {"frames": [1, 3], "size": [[16, 16]]}})
    changes: list[tuple[dict[str, Any], str]] = [
        ({"sides": [measuring.side("A"), measuring.side("B", code=other_code)]},
         "/B: begun with other code"),
        ({"sides": [measuring.side("A", environment={"cpu": "Slow CPU"}), measuring.side("B")]},
         "/A: begun with another cpu"),
        ({"filters": ["frames=1"]}, r"/A: begun with the filters \[\], and not \['frames=1'\]"),
        ({"experiment": other_grid}, "/A: begun with grid.frames: 1, 2"),
    ]  # fmt: skip
    for change, said in changes:
        with pytest.raises(BadInput, match=said):
            measuring(**change)
    assert measuring.journals() == before


def test_progress_says_which_side_and_a_reason_of_skipped_cells_once():
    one = experiment(**TWO_CELLS)
    jobs = jobs_of(one)
    said = StringIO()
    with shown(jobs, lambda left: [1.0] * len(left), Console(file=said, width=200)) as display:
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
    """Make a network that is no more than this text."""
    (folder / "vsr_model").mkdir(parents=True)
    (folder / "vsr_model" / "__init__.py").write_text(text)
    return folder


def refused(folder: Path, text: str) -> str:
    """Return the refusal of a network of that text."""
    side = Side(name="head", network=network(folder, text), commit="a" * 40, origin="--head topic (aaaa)")
    one = experiment()
    with pytest.raises(BadInput) as caught, in_turn.ready(one, plan.cells(one), [side]):
        pytest.fail("it was measured")
    return str(caught.value)


UNUSABLE = "--head topic (aaaa): its vsr_model cannot be measured by this program"
NO_CONTRACT = "it has no vsr_model.channels, by which clips are made:"
ENDED = "it ended while it was being imported"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os; os._exit(0)", f"{ENDED}: exit status 0"),
        ("raise LookupError('[bold]first\\nlast')", "LookupError: [bold]first"),
        ("", f"{NO_CONTRACT} a revision from before that needs the vsr-bench of its time"),
    ],
)
def test_a_network_that_cannot_be_imported_is_refused_with_its_side(tmp_path, text, why):
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
    InstantRounds(monkeypatch)
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
    for name in ("harness_commit", "timer"):
        assert base.environment[name] == head.environment[name]
    assert identity.environment_sha256(head.environment) == identity.environment_sha256(base.environment)
