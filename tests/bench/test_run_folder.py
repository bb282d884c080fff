"""A run's folder, and whole runs into one (bench.commands.lifecycle) with real workers."""

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.commands import lifecycle as run
from bench.errors import RunStoppedError
from bench.grid import config
from bench.grid.baseline import Baseline
from bench.grid.config import Experiment
from bench.grid.plan import Job
from bench.messages import blank_record
from bench.process.launcher import Launch, shared_launchers
from bench.records import JOURNAL_NAME, Journal, Status, read_journal
from bench.results.run_folder import RunFolder, check_free, free_path
from tests.bench.fakes import Watching, experiment, jobs_of
from tests.networks import build_basicvsr
from vsr_model.errors import BadInput

TWO_BY_TWO = {
    "grid": {"frames": [1, 2], "size": [[16, 16]]},
    "backends": ["cpu", {"name": "one", "from": "cpu", "threads": 1}],
    "measure": {"warmup": 0, "repetitions": 2, "rounds": 2, "stages": "sync", "memory": "off"},
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Launch]:
    with shared_launchers() as shared:
        yield shared


@pytest.fixture(autouse=True)
def _warm(shared: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runs of this process use the same servers, which import torch once."""
    for function in (run.start, run.resume):
        monkeypatch.setitem(function.__kwdefaults__, "launch", shared)  # type: ignore[arg-type]


def create(path: Path, one: Experiment | None = None) -> RunFolder:
    return RunFolder.create(path, one or experiment(), {"cpu": "Fast CPU"}, ["frames=1"])


def test_what_is_created_opens_again(tmp_path):
    made = create(tmp_path / "new" / "run")
    found = RunFolder.open(made.path)
    assert found == made
    assert found.baseline == Baseline(backend="cpu")
    assert found.filters == ("frames=1",)
    assert [cell.frames for cell in found.cells()] == [1]
    assert found.records() == []
    assert sorted(item.name for item in made.path.iterdir()) == [
        "config.yaml", "environment.json", "journal.jsonl", "run.json",
    ]  # fmt: skip


def test_the_config_in_the_folder_is_the_experiment(tmp_path):
    for name in ("weights.pth", "clip.mp4"):
        (tmp_path / name).touch()
    one = experiment(
        **TWO_BY_TWO,
        model={"mid_channels": 8, "num_blocks": 1, "checkpoint": str(tmp_path / "weights.pth")},
        input=[
            {"name": "noise", "kind": "random", "seed": 7, "grid": {"batch": [1, 2]}},
            {"name": "clip", "kind": "video", "path": str(tmp_path / "clip.mp4"), "fit": "crop"},
        ],
        baseline="one",
    )
    folder = create(tmp_path / "run", one)
    loaded, _ = config.load(folder.path / "config.yaml")
    assert loaded == one
    assert RunFolder.open(folder.path).baseline == Baseline(backend="one")


@pytest.mark.parametrize("through_a_link", [False, True])
def test_relative_paths_still_lead_to_their_files(tmp_path, monkeypatch, through_a_link):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "clip.mp4").write_bytes(b"here")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    results = tmp_path / "results"
    if through_a_link:
        results.symlink_to(tmp_path / "elsewhere" / "deep")
    monkeypatch.chdir(tmp_path)
    clip = {"name": "clip", "kind": "video", "path": "media/clip.mp4"}
    folder = create(Path("results/run"), experiment(input=clip))
    assert str(tmp_path) not in (folder.path / "config.yaml").read_text()
    monkeypatch.chdir("/")
    (item,) = RunFolder.open(results / "run").experiment.input
    assert Path(item.path).read_bytes() == b"here"


def test_the_frames_of_a_folder_belong_to_a_run(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("9.png", "10.png"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    clip = {"name": "clip", "kind": "video", "path": str(tmp_path / "in")}
    folder = create(tmp_path / "run", experiment(input=clip))
    (tmp_path / "in" / "readme.txt").touch()
    folder.check_same({"cpu": "Fast CPU"})
    (tmp_path / "in" / "9.png").write_bytes(b"other")
    with pytest.raises(BadInput, match="the file of 'clip' has changed since the run began"):
        folder.check_same({"cpu": "Fast CPU"})


@pytest.mark.parametrize(
    ("what", "reason"),
    [("run", "holds a run already"), ("other", "is not empty"), ("below a file", "is a file")],
)
def test_a_place_that_is_taken(tmp_path, what, reason):
    path = tmp_path / "here"
    if what == "run":
        create(path)
    elif what == "other":
        path.mkdir()
        (path / "thesis.tex").touch()
    else:
        path.touch()
        path = path / "run"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=reason):
        check_free(path)
    with pytest.raises(BadInput, match=reason):
        create(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(BadInput, match="is not writable"):
        check_free(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("journal.jsonl", None, "holds no run"),
        ("run.json", '{"schema_version": 99}', "schema version 99; this program reads"),
        (
            "run.json",
            '{"schema_version": 2, "started_at": "", "filters": 5, "files": {}}',
            "run.json: filters: ",
        ),
        ("run.json", None, "was ended before its first cell; remove it"),
        ("environment.json", None, "cannot be read"),
        ("config.yaml", "name: [", "config.yaml"),
        ("config.yaml", None, "config.yaml"),
    ],
)
def test_a_damaged_folder(tmp_path, name, text, reason):
    path = create(tmp_path / "run").path
    if text is None:
        (path / name).unlink()
    else:
        (path / name).write_text(text)
    with pytest.raises(BadInput, match=reason) as caught:
        RunFolder.open(path)
    assert len(str(caught.value).splitlines()) == 1


def test_records_are_in_the_plans_order(tmp_path):
    one = experiment(**TWO_BY_TWO)
    folder = RunFolder.create(tmp_path / "run", one, {}, ())
    jobs = jobs_of(one)
    with folder.journal() as journal:
        for job in reversed(jobs):
            journal.append(blank_record(job, Status.SKIPPED, "for no reason"))
    found = [(record.cell, record.round) for record in folder.records()]
    assert found == [(cell.id, number) for cell in folder.cells() for number in range(2)]


def test_one_run_writes_at_a_time(tmp_path):
    folder = create(tmp_path / "run")
    with folder.journal(), pytest.raises(BadInput, match="another run is writing to it"):
        folder.journal()
    folder.journal().close()


def test_a_path_that_is_not_given_is_free(tmp_path):
    first = free_path("tiny", tmp_path)
    assert first.parent == tmp_path
    assert first.name.startswith("tiny-20")
    paths = []
    for _ in range(4):  # at least three of them within a second
        paths.append(free_path("tiny", tmp_path))
        paths[-1].mkdir()
    assert len(set(paths)) == 4


# Whole runs.


class Display(Watching):
    """Shows nothing; interrupts after so many jobs."""

    def __init__(self, interrupt_after: int = 0) -> None:
        super().__init__(ended=self._count)
        self._interrupt_after = interrupt_after

    def __call__(self, jobs: Sequence[Job], _measure: Any) -> "Display":
        self.jobs = jobs
        return self

    def _count(self, ended: int) -> None:
        if ended == self._interrupt_after:
            raise KeyboardInterrupt


def once_each(path: Path) -> bool:
    """Every (cell, round) of the plan is in the journal exactly once."""
    folder = RunFolder.open(path)
    rounds = folder.experiment.measure.rounds
    expected = Counter((cell.id, number) for cell in folder.cells() for number in range(rounds))
    return Counter((record.cell, record.round) for record in read_journal(path / JOURNAL_NAME)) == expected


def derived(path: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in path.iterdir() if item.suffix in (".csv", ".md")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[run.Outcome]:
    path = tmp_path_factory.mktemp("runs") / "finished"
    yield run.start(experiment(**TWO_BY_TWO), Display(), output=path)  # noqa: PT022 - and stays as it is


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, to be damaged."""
    path = tmp_path / "run"
    path.mkdir()
    for item in finished.folder.iterdir():
        if item.is_file():
            (path / item.name).write_bytes(item.read_bytes())
    return path


def test_a_finished_run(finished):
    assert finished.statuses == {Status.OK: 4}
    assert (finished.planned, finished.failed, finished.interrupted) == (4, 0, False)
    assert once_each(finished.folder)
    assert finished.report.markdown.is_file()
    assert finished.report.html.is_file()
    names = {item.name for item in finished.folder.iterdir()}
    assert {"cells.csv", "samples.csv", "memory.csv", "summary.csv", "perturbation.csv"} <= names
    assert "memory_lines.csv" not in names
    assert not any(name.startswith(".") for name in names)  # no references, no partial files
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["torch"]["threads"] >= 1
    assert environment["workers_environment"]["MALLOC_MMAP_MAX_"] == "0"


def test_a_run_without_time_measures_its_first_cell_and_says_what_it_left_out(tmp_path):
    small = {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off", "budget_s": 0.01}
    one = experiment(
        grid={"frames": [1, 2], "size": [[16, 16]]},
        backends=["cpu", {"name": "one", "from": "cpu", "threads": 1}],
        measure=small,
    )
    outcome = run.start(one, Display(), output=tmp_path / "run")
    assert outcome.statuses == {Status.OK: 1, Status.SKIPPED: 3}
    first, *others = read_journal(tmp_path / "run" / JOURNAL_NAME)
    assert (first.cell, first.status) == ("basicvsr/noise/b1/t1/16x16/cpu", Status.OK)
    assert {record.reason for record in others} == {
        "left out: it does not fit into the run's 0.01 s (measure.budget_s)"
    }


def test_a_rebuild_and_resuming_a_finished_run_measure_and_change_nothing(copied):
    before, journal = derived(copied), (copied / JOURNAL_NAME).read_bytes()
    assert len(before) >= 6
    for name in before:
        (copied / name).unlink()
    assert run.rebuild(copied).statuses == {Status.OK: 4}
    assert derived(copied) == before
    display = Display()
    assert run.resume(copied, display).statuses == {Status.OK: 4}
    assert display.jobs == []
    assert derived(copied) == before
    assert (copied / JOURNAL_NAME).read_bytes() == journal


def test_resume_runs_what_is_missing_after_a_torn_line(copied):
    journal = copied / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-2]) + lines[-2][: len(lines[-2]) // 2])
    display = Display()
    outcome = run.resume(copied, display)
    assert len(display.jobs) == 2
    assert once_each(copied)
    assert journal.read_bytes().splitlines(keepends=True)[:-2] == lines[:-2]
    assert outcome.statuses == {Status.OK: 4}
    assert not (copied / ".references").exists()


def test_a_run_goes_on_only_on_the_machine_where_it_began(copied):
    environment = copied / "environment.json"
    described = json.loads(environment.read_text())
    journal = copied / JOURNAL_NAME
    environment.write_text(json.dumps({**described, "cpu": "Another CPU"}))
    assert run.resume(copied, Display()).statuses == {Status.OK: 4}  # nothing is left to measure
    before = journal.read_bytes()
    journal.write_bytes(b"".join(before.splitlines(keepends=True)[:-1]))
    environment.write_text(json.dumps({**described, "cpu": "Another CPU"}))
    with pytest.raises(BadInput, match=r"begun with another cpu \(Another CPU\) than here"):
        run.resume(copied, Display())
    environment.write_text(json.dumps({**described, "memory_bytes": 1, "host_name": "elsewhere"}))
    run.resume(copied, Display())
    assert once_each(copied)


def lose_the_last_round(path: Path) -> None:
    journal = path / JOURNAL_NAME
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("was", "is_now", "said"),
    [
        ("  rounds: 2", "  rounds: 3", "measure.rounds: 2, and config.yaml has 3"),
        ("  - 2", "  - 3", "grid.frames: 1, 2, and config.yaml has 1, 3"),
        ("  threads: 1\n", "", "backends.1.threads: 1, and config.yaml has nothing"),
    ],
)
def test_a_run_goes_on_only_with_the_configuration_that_it_began_with(copied, was, is_now, said):
    path = copied / "config.yaml"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, is_now, 1))
    lose_the_last_round(copied)
    before = (copied / JOURNAL_NAME).read_bytes()
    with pytest.raises(BadInput, match=re.escape(f"begun with {said}; a run goes on only as it began")):
        run.resume(copied, Display())
    assert (copied / JOURNAL_NAME).read_bytes() == before


def test_an_argument_of_another_type_is_another_configuration(tmp_path):
    own = {"name": "mine", "import": "here:Mine", "stages": {"body": ["body"]}}
    number, text = (experiment(model=[{**own, "arguments": {"depth": depth}}]) for depth in (1, "1"))
    number, text = (config.in_folder(one, tmp_path) for one in (number, text))
    folder = RunFolder.create(tmp_path / "run", number, {}, [])
    folder.check_config(number)
    with pytest.raises(BadInput, match="begun with values of other types than those in the CONFIG given"):
        folder.check_config(text)


def test_a_configuration_that_is_given_is_compared(copied):
    lose_the_last_round(copied)
    changed = experiment(**{**TWO_BY_TWO, "measure": {**TWO_BY_TWO["measure"], "rounds": 3}})
    with pytest.raises(BadInput, match=r"begun with measure.rounds: 2, and the CONFIG given has 3"):
        run.resume(copied, Display(), given=changed)
    run.resume(copied, Display(), given=experiment(**TWO_BY_TWO))
    assert once_each(copied)


@pytest.mark.parametrize(("config", "said"), [(None, "is missing"), ({"name": 5}, "run.json: config.")])
def test_what_a_run_began_with_must_be_known(copied, config, said):
    about = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**about, "config": config}))
    with pytest.raises(BadInput, match=said):
        run.resume(copied, Display())
    run.rebuild(copied)


def test_a_run_goes_on_only_with_the_code_that_it_began_with(copied):
    about = json.loads((copied / "run.json").read_text())
    code = {**about["code_version"], "source_sha256": "0" * 64, "git_commit": "f" * 40, "dirty": False}
    (copied / "run.json").write_text(json.dumps({**about, "code_version": code}))
    lose_the_last_round(copied)
    with pytest.raises(
        BadInput, match=r"begun with other code \(version .*, commit ffffffffffff, source 0000"
    ):
        run.resume(copied, Display())


def test_two_runs_that_begin_in_one_folder(tmp_path, monkeypatch):
    """Both found it free; the one that comes second harms nothing of the first."""
    path = tmp_path / "run"
    first = create(path)
    before = {item.name: item.read_bytes() for item in path.iterdir()}
    monkeypatch.setattr("bench.results.run_folder.check_free", lambda path: None)
    with pytest.raises(BadInput, match="holds a run already"):
        create(path)
    assert {item.name: item.read_bytes() for item in path.iterdir()} == before
    assert RunFolder.open(path) == first


def test_a_run_goes_on_only_with_the_files_that_it_began_with(tmp_path):
    checkpoint = tmp_path / "weights.pth"
    model = {"mid_channels": 4, "num_blocks": 1, "checkpoint": str(checkpoint)}
    torch.save(build_basicvsr(4, 1, seed=1).state_dict(), checkpoint)
    path = tmp_path / "run"
    run.start(experiment(model=model, backends=["cpu"]), Display(), output=path)
    torch.save(build_basicvsr(4, 1, seed=2).state_dict(), checkpoint)
    (path / JOURNAL_NAME).write_bytes(b"")
    with pytest.raises(BadInput, match="the file of 'checkpoint of basicvsr' has changed"):
        run.resume(path, Display())


def test_a_full_disk_says_what_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "run"

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "journal.jsonl")

    monkeypatch.setattr(Journal, "append", refuse)
    with pytest.raises(
        RunStoppedError, match=rf"No space left on device; what is done is kept.*--resume {path}"
    ):
        run.start(experiment(), Display(), output=path)
    monkeypatch.undo()
    run.resume(path, Display())
    assert once_each(path)


def test_a_folder_that_cannot_be_filled_is_removed_again(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bench.results.run_folder.write_whole", refuse)
    with pytest.raises(BadInput, match="cannot be written to"):
        create(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_can_be_resumed(tmp_path):
    path = tmp_path / "run"
    outcome = run.start(experiment(**TWO_BY_TWO), Display(interrupt_after=3), output=path)
    assert outcome.interrupted
    assert sum(outcome.statuses.values()) == 3
    assert len(read_journal(path / JOURNAL_NAME)) == 3
    assert not (path / ".references").exists()
    assert "5 rounds are not done yet" in outcome.report.markdown.read_text()

    outcome = run.resume(path, Display())
    assert not outcome.interrupted
    assert once_each(path)
    assert outcome.statuses == {Status.OK: 4}
    assert "not done yet" not in outcome.report.markdown.read_text()


def test_skipped_cells_and_filters(tmp_path):
    one = experiment(
        **{**TWO_BY_TWO, "backends": ["cpu", {"name": "far", "from": "cudnn", "device": "cuda:99"}]}
    )
    outcome = run.start(one, Display(), filters=["frames=1"], output=tmp_path / "run")
    assert outcome.statuses == {Status.OK: 1, Status.SKIPPED: 1}
    assert (outcome.planned, outcome.failed) == (2, 0)
    assert once_each(tmp_path / "run")
    skipped = [record for record in RunFolder.open(outcome.folder).records() if record.backend == "far"]
    assert all(record.reason.startswith("no ") for record in skipped)


def test_a_request_that_cannot_be_met_writes_nothing(tmp_path):
    clip = {"name": "clip", "kind": "video", "path": str(tmp_path / "none.mp4")}
    with pytest.raises(BadInput, match="does not exist"):
        run.start(experiment(input=clip), Display(), output=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
