"""Pages of runs that are there: one, several, interrupted, read-only, and none at all."""

import errno
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from bench import cli
from bench.commands import exits
from bench.commands.report import LEFT_OUT_NAMED
from bench.plotting.plots import write_plots
from bench.records import JOURNAL_NAME, CellRecord, Status
from bench.reporting import folders
from bench.reporting.folders import default_folder, report
from bench.reporting.rendering import Pages
from bench.results.run_folder import RunFolder, run_names
from tests.bench import synthetic
from tests.bench.fakes import experiment
from tests.bench.full_disk import a_disk_of
from tests.bench.pages import rows, section
from tests.html_page import Page
from vsr_model.errors import BadInput

BACKENDS = ["cpu", {"name": "cpu-1-thread", "from": "cpu", "threads": 1}, "cuda"]


def records_of(folder: RunFolder, slower: float = 1.0) -> list[CellRecord]:
    """Return made-up records of what the folder's run is to measure."""
    kinds = {one.name: one for one in (synthetic.CPU, synthetic.CPU_1, synthetic.NO_CUDA[0])}
    found = []
    for cell in folder.cells():
        kind = kinds[cell.backend.name]
        machine = synthetic.Machine(
            **{**vars(kind), "per_frame_s": kind.per_frame_s * slower, "name": cell.backend.name}
        )
        (record,) = synthetic.run(
            [machine], frames=(cell.frames,), inputs=(cell.input.name,), sizes=((cell.height, cell.width),)
        )
        found.append(record.model_copy(update={"cell": cell.id}))
    return found


def make(
    path: Path,
    *,
    slower: float = 1.0,
    kept: int | None = None,
    derived: bool = True,
    drawn: bool = False,
    environment: dict[str, object] | None = None,
    frames: Sequence[int] = (4,),
    records: Sequence[CellRecord] | None = None,
) -> RunFolder:
    """Make a run with `kept` of its rounds; with tables where it is `derived`, and figures where `drawn`."""
    one = experiment(
        grid={"frames": list(frames), "size": [[64, 64]]}, backends=BACKENDS, plots=["time", "stages"]
    )
    folder = RunFolder.create(path, one, environment or {"cpu": "Fast CPU", "timer": {"cost_s": slower}}, [])
    with folder.journal() as journal:
        for record in (records_of(folder, slower) if records is None else records)[:kept]:
            journal.append(record)
    tables = folder.write_tables() if derived else None
    if drawn and tables is not None:
        write_plots(tables, baseline=folder.baseline, kinds=one.plots, folder=path / "plots")
    return folder


def page_of(pages: Pages) -> Page:
    page = Page(pages.html.read_text(encoding="utf-8"))
    assert page.dangers() == []
    return page


def times_of(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_the_page_of_a_run_lies_in_its_folder_and_nothing_else_is_touched(tmp_path: Path) -> None:
    make(tmp_path / "run", drawn=True)
    before = times_of(tmp_path)
    pages = report([tmp_path / "run"])
    after = times_of(tmp_path)
    assert after.keys() - before.keys() == {pages.html, pages.markdown}
    assert {path: after[path] for path in before} == before
    assert pages.markdown == tmp_path / "run" / "report.md"
    page = page_of(pages)
    assert page.texts["h1"] == ["tiny"]
    assert len(page.values("src")) == 2
    assert {"summary.csv", "cells.csv", "journal.jsonl", "config.yaml"} <= set(page.values("href"))
    assert not page.texts.get("blockquote")


def test_elsewhere_it_links_what_is_there_and_draws_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path / "run", drawn=True)
    (tmp_path / "run" / "plots" / "time.svg").unlink()
    before = times_of(tmp_path / "run")
    pages = report([tmp_path / "run"], tmp_path / "pages" / "of it")
    assert times_of(tmp_path / "run") == before
    drawn = (tmp_path / "pages" / "of it" / "plots").iterdir()
    assert {path.name for path in drawn} == {"time.png", "time.svg"}
    page = page_of(pages)
    assert "../../run/summary.csv" in page.values("href")
    assert len(page.values("src")) == 2
    for target in re.findall(r"\]\(([^#)]*)\)", pages.markdown.read_text(encoding="utf-8")):
        assert (pages.markdown.parent / target).is_file()


@pytest.mark.parametrize("stale", [False, True])
def test_a_run_that_was_killed_has_a_note_and_links_no_stale_tables(tmp_path: Path, stale: bool) -> None:
    folder = make(tmp_path / "run", kept=1, derived=stale, drawn=stale)
    old = times_of(tmp_path / "run" / "plots")
    with folder.journal() as journal:
        journal.append(records_of(folder)[1])
    page = page_of(report([tmp_path / "run"]))
    (note,) = page.texts["blockquote"]
    assert "1 round is not done yet: the run was interrupted, or is going on." in note
    assert ("vsr-bench rebuild run brings them up to date" in note) is stale
    assert len(page.values("src")) == 2
    assert not [href for href in page.values("href") if href.endswith(".csv")]
    assert all(path.stat().st_mtime_ns > time for path, time in old.items())


def test_a_place_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "no")

    make(tmp_path / "run")
    monkeypatch.setattr(folders, "write", refuse)
    with pytest.raises(BadInput, match=r"run: cannot be written to \(no\); name another folder by --output"):
        report([tmp_path / "run"])


@pytest.mark.parametrize("several", [False, True])
def test_a_full_disk_names_what_could_not_be_written(tmp_path: Path, several: bool) -> None:
    runs = [make(tmp_path / name).path for name in ("run", "other")[: 1 + several]]
    with a_disk_of(1000), pytest.raises(OSError) as caught:  # noqa: PT011 - its file is what is asked about
        report(runs, tmp_path / "out")
    assert caught.value.errno == errno.EFBIG
    plots = tmp_path / "out" / "plots"
    assert Path(caught.value.filename) == plots / ("relative.png" if several else "time.png")


def test_names_and_reasons_stay_text(tmp_path: Path) -> None:
    reason = "<script>alert('x')</script> ](javascript:alert(1)) \u202e" + "w" * 300
    folder = make(tmp_path / "empty", derived=False, kept=0)
    failed = [
        synthetic.ended(record, Status.ERROR, reason) if record.backend == "cpu-1-thread" else record
        for record in records_of(folder)
    ]
    hostile = make(tmp_path / "a <b> \"c\" ']('", records=failed, environment={"cpu": reason}).path
    page = page_of(report([hostile]))
    shown = reason.replace("\u202e", "\\u202e")
    assert shown in page.texts["td"]
    assert any(text.endswith(f"On {shown}.") for text in page.texts["p"])
    pages = report([hostile, make(tmp_path / "other").path], tmp_path / "both")
    page = page_of(pages)
    assert shown in page.texts["td"]
    assert page.texts["h1"] == ["Side by side: a <b> \"c\" '](', other"]
    linked = [href for href in page.values("href") if not href.startswith("#")]
    assert len(linked) == 2 * 11 - 2 + 1  # no memory_lines.csv, and devices.csv
    assert all((pages.html.parent / unquote(href)).is_file() for href in linked)


def test_several_runs_stand_beside_each_other(tmp_path: Path) -> None:
    first = make(tmp_path / "first", frames=(1, 4))
    second = make(tmp_path / "second", slower=2.0, frames=(4, 7), environment={"cpu": "Slow | CPU"})
    pages = report([first.path, second.path], tmp_path / "out", "first")
    text = pages.markdown.read_text(encoding="utf-8")
    assert "3 of 9 cells are in both runs." in text
    environments = section(text, "What differs in the environments")
    assert rows(environments)[1:] == [["cpu", "Fast CPU", "Slow \\| CPU"]]  # not the timer's cost
    configurations = section(text, "What differs in the configurations")
    assert rows(configurations)[1:] == [["grid.frames", "1, 4", "4, 7"]]
    header, *cells = rows(section(text, "Forward time and speedup"))
    named = [dict(zip(header, row, strict=True)) for row in cells]
    assert [(row["frames"], row["backend"], row["run"]) for row in named] == [
        (frames, name, run)
        for frames, runs in (("1", ["first"]), ("4", ["first", "second"]), ("7", ["second"]))
        for name in ("cpu", "cpu-1-thread")
        for run in runs
    ]
    assert named[3]["speedup"] == "baseline"
    assert 0.45 < float(named[3]["relative (×)"].split()[0]) < 0.55
    assert [row[:3] for row in rows(section(text, "Cells that did not end ok"))[1:]] == [
        ["first", "cuda", "all 2"], ["second", "cuda", "all 2"],
    ]  # fmt: skip
    kinds = ("relative", "speedup", "stages", "time")
    files = [f"{kind}.{ending}" for kind in kinds for ending in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / "out" / "plots").iterdir()) == files
    page = page_of(pages)
    assert len(page.values("src")) == 4
    assert {"../first/summary.csv", "../second/summary.csv"} <= set(page.values("href"))
    table = pd.read_csv(tmp_path / "out" / "devices.csv")
    assert list(table["device"])[:3] == ["Fast CPU", "Fast CPU", "GPU, unknown"]
    assert set(table["reference"].dropna()) == {"first:cpu"}


def test_a_folder_stands_for_all_runs_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "deep/er/c", ".hidden/d", "a/plots/e"):
        make(tmp_path / "from everywhere" / name)
    (tmp_path / "from everywhere" / "empty").mkdir()
    (tmp_path / "from everywhere" / "note.txt").touch()
    (tmp_path / "from everywhere" / "round").symlink_to(".", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    pages = report([Path("from everywhere")])
    assert pages.html == Path("report-from-everywhere/report.html")
    assert [str(path) for path in pages.found] == [
        "from everywhere/a", "from everywhere/b", "from everywhere/deep/er/c",
    ]  # fmt: skip
    assert not pages.left_out
    page = page_of(pages)
    assert page.texts["h1"] == ["Side by side: a, b, c"]
    assert "Left out" not in page.texts["h2"]


def test_a_run_below_a_folder_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        make(Path("runs") / name)
    for name, broken in (("config.yaml", b"backends: ["), ("run.json", b"{"), (JOURNAL_NAME, b"{}\nx\n")):
        make(Path("runs") / f"no {name}")
        (Path("runs") / f"no {name}" / name).write_bytes(broken)
    make(Path("runs/z none"), kept=0, derived=False)
    make(Path("runs/by a script"), environment={"method": "a script"})
    names = ["by a script", "no config.yaml", f"no {JOURNAL_NAME}", "no run.json", "z none"]
    for number in range(LEFT_OUT_NAMED - 3):
        make(Path(f"runs/zz {number}"), kept=0, derived=False)
        names.append(f"zz {number}")

    assert cli.main(["report", "runs", "--output", "out", "--reference", "b"]) == exits.OK
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["out/report.html", "out/report.md", "of 2 runs: runs/a, runs/b"]
    *named, more = printed.err.splitlines()
    for line, name in zip(named, names[:LEFT_OUT_NAMED], strict=True):
        assert line.startswith(f"left out: runs/{name}")
    assert more == "left out: 2 more, named on the page"
    page = Page(Path("out/report.html").read_text(encoding="utf-8"))
    (note,) = page.texts["blockquote"]
    assert note.strip() == f"Left out, for reasons at the end of this page: {len(names)}."
    assert {line.removeprefix("left out: ") for line in named} <= set(page.texts["li"])
    assert "as fast as **b:cpu**" in Path("out/report.md").read_text(encoding="utf-8")


def test_names_tell_runs_apart() -> None:
    assert run_names([Path("/x/a/run"), Path("/x/b/run"), Path("/x/b/other")]) == ["a/run", "b/run", "other"]
    assert run_names([Path("/run"), Path("/a/run")]) == ["//run", "a/run"]
    assert default_folder(["a/run", "../x y"]) == "report-a-run-x-y"
    assert default_folder(["街", "b"]) == "report-run-b"
    assert default_folder(["n" * 90] * 3) == f"report-{'n' * 50}-and-2-more"


@pytest.mark.parametrize(
    ("named", "output", "reference", "message"),
    [
        (["none"], "out", None, "none: holds no run"),
        (["one", "empty"], "out", None, "empty: holds no run"),
        (["one", "two", "one"], "out", None, "one: is named twice"),
        (["begun"], None, None, "holds no record yet; there is nothing to report"),
        (["one"], "two", None, "holds a run with a report of its own"),
        (["one", "two"], "two", None, "holds a run with a report of its own"),
        (["one"], "out", "one", "is for several runs side by side, and this is one"),
        (["one", "two"], "out", "three", "--reference three: is none of the runs"),
    ],
)
def test_a_request_that_is_wrong_writes_nothing(
    tmp_path: Path, named: Sequence[str], output: str | None, reference: str | None, message: str
) -> None:
    for name in ("one", "two"):
        make(tmp_path / name)
    make(tmp_path / "begun", kept=0, derived=False)
    (tmp_path / "empty").mkdir()
    before = times_of(tmp_path)
    with pytest.raises(BadInput, match=message):
        report([tmp_path / name for name in named], output and tmp_path / output, reference)
    assert times_of(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_committed_run_has_a_page(tmp_path: Path) -> None:
    page_of(report([Path(__file__).parents[2] / "results" / "roofline-cpu"], tmp_path))
