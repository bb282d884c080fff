"""Bad requests: each is refused in one line with exit status 2, and nothing is written or run.

Fields of a grid are in test_config.py, YAML as such in test_yaml_source.py, checkpoints and media in
tests/vsr_model/bad_files.py, classes of the user's own in test_own_networks.py.
"""

import csv
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.commands import exits
from bench.grid import config, plan
from bench.grid.plan import Job
from bench.messages import blank_record
from bench.process.launcher import Launcher
from bench.records import JOURNAL_NAME, CellRecord, Status
from bench.reporting.markdown import escape
from bench.results.files import inert, to_csv
from bench.results.run_folder import RunFolder
from bench.results.tables import cells_table, tables_of
from tests.bench.fakes import experiment
from tests.bench.pages import render_markdown
from tests.bench.synthetic import BASELINE
from tests.fuzzing import damaged
from tests.vsr_model.bad_files import CHECKPOINTS, MEDIA, File, picture
from vsr_model.errors import BadInput
from vsr_model.one_line import MAX_CHARACTERS, one_line, visible

GOOD: Final = """\
name: a
model: {mid_channels: 4, num_blocks: 1}
input: {name: n, kind: random}
grid: {frames: [1], size: [[16, 16]]}
backends: [cpu]
"""
EXAMPLES: Final = [60, pytest.param(4000, marks=pytest.mark.slow)]
"""Examples of each fuzz test: a look in make test, a search in make test-slow."""

YAMLS: Final[dict[str, tuple[str, str]]] = {
    "no YAML": (GOOD + "plots: [time\n", "bad.yaml:7: not valid YAML"),
    "a field that colours a terminal": (GOOD + '"\\e[31m": 1\n', r"bad.yaml:6: unknown field '\\x1b\[31m'"),
    "a billion laughs": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
        "unfolds to over",
    ),
    "a Python object": (
        GOOD.replace("name: a", "name: !!python/object/apply:os.system [touch PWNED]"),
        "none of YAML's plain types",
    ),
    "a grid of 100 million cells": (
        GOOD.replace("frames: [1]", "batch: {start: 1, stop: 10000}, frames: {start: 1, stop: 10000}"),
        "100,000,000 cells",
    ),
}
"""The CONFIG and a regular expression for the sentence, by the mistake."""

Refused = Callable[..., str]


def left_in(folder: Path) -> dict[str, object]:
    """Everything below the folder: contents of files, targets of links."""
    return {
        str(path.relative_to(folder)): (
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        for path in sorted(folder.rglob("*"))
    }


def is_one_sentence(message: str) -> bool:
    """Return whether a terminal shows one line, without a traceback."""
    line = message.removesuffix("\n")
    return line.isprintable() and line.startswith("vsr-bench: ") and "Traceback" not in line


class _StartedError(Exception):
    """Raised where a request is fit to be run."""


def _start(*_: object) -> None:
    raise _StartedError


@pytest.fixture
def refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: Callable[..., int],
) -> Refused:
    """Give a request to the command line, in tmp_path; its one sentence. It must start no process."""
    monkeypatch.setattr(Launcher, "__enter__", _start)

    def refuse(*arguments: str | Path) -> str:
        there = left_in(tmp_path)
        assert command(tmp_path, *arguments) == exits.BAD_REQUEST
        out, err = capfd.readouterr()
        assert out == ""
        assert is_one_sentence(err), err
        assert left_in(tmp_path) == there
        return err

    return refuse


# Configurations.


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    assert len(plan.cells(config.load(tmp_path / "good.yaml")[0])) == 1


@pytest.mark.parametrize("what", YAMLS)
def test_a_bad_yaml(what: str, tmp_path: Path, refused: Refused) -> None:
    content, message = YAMLS[what]
    (tmp_path / "bad.yaml").write_text(content)
    for command in (["run", "bad.yaml"], ["plan", "bad.yaml"]):
        assert re.search(message, refused(*command))


def special(path: Path, kind: str) -> None:
    """Put something at the path that is no plain file."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")


def _refusal_of(call: Callable[[], object]) -> str:
    """Return the sentence; a call that waits is ended by another error."""
    before = signal.signal(signal.SIGALRM, _start)
    signal.alarm(120)
    try:
        with pytest.raises(BadInput) as caught:
            call()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--set", "name=\x1b[31m"), ("--set", "a\nb=1"), ("--set", "name=" + "a" * 10_000),
        ("--set", "grid.frames=\udcff"), ("--set", "name=\u202etxt"),
        ("--filter", "backend=cup,cpu"), ("--filter", ""), ("--filter", "backend=\x1b[31m"),
        ("--filter", "a\nb/"), ("--filter", "x" * 5000 + "/"),
        ("--output", "good.yaml"), ("--output", "good.yaml/x"), ("--output", "/dev/null/x"),
        ("--output", "loop"), ("--output", "pipe"), ("--output", "a" * 300), ("--output", "a\0b"),
        ("--output", "\x1b[31m" * 300),
    ],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_a_bad_option(option: str, value: str, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert len(refused("run", "good.yaml", option, value)) < MAX_CHARACTERS + 20


@pytest.mark.parametrize(
    "name",
    ["\x1b[31m.yaml", "a\nb.yaml", "\udcff.yaml", "a\0.yaml", "a" * 5000 + ".yaml", ""],
    ids=lambda value: ascii(value)[:30],
)
def test_a_name_that_is_no_file(name: str, refused: Refused) -> None:
    assert len(refused("run", name)) < MAX_CHARACTERS + 20
    refused("rebuild", name)
    refused("run", "--resume", name)


def test_folders_made_for_a_run_that_cannot_begin_are_gone_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput):
        RunFolder.create(tmp_path / "new" / ".." / "file", experiment(), {}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_bad_yaml_to_a_real_process_with_little_memory(tmp_path: Path) -> None:
    content, message = YAMLS["a billion laughs"]
    (tmp_path / "bad.yaml").write_text(content)
    limit = 3 * 2**30
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "bad.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_sentence(done.stderr)
    assert re.search(message, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


# Checkpoints, pictures and videos: each kind is in tests/vsr_model/test_bad_files.py.


UPSCALE: Final = ("upscale", "in.png", "out.png", "--mid-channels", "4", "--num-blocks", "1", "--checkpoint")


@pytest.mark.parametrize(
    ("bad", "arguments"),
    [
        (CHECKPOINTS["code beside weights"], ("run", "grid.yaml", "--set", "model.checkpoint=FILE")),
        (CHECKPOINTS["a name that colours a terminal"], (*UPSCALE, "FILE")),
        (
            MEDIA["a GIF of 25 large frames in 1 KB"],
            ("run", "grid.yaml", "--set", "input={name: n, kind: video, path: FILE}"),
        ),
        (MEDIA["a PNG of 60,000 x 60,000"], ("upscale", "FILE", "out.mp4", "--random-weights")),
    ],
    ids=["run with a checkpoint", "upscale with a checkpoint", "run of a video", "upscale of a video"],
)
def test_a_bad_file(
    bad: File, arguments: tuple[str, ...], tmp_path: Path, command: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name, make, message = bad
    (tmp_path / name).write_bytes(make())
    (tmp_path / "in.png").write_bytes(picture("PNG"))
    (tmp_path / "grid.yaml").write_text(GOOD)
    before = left_in(tmp_path)
    assert command(tmp_path, *(text.replace("FILE", name) for text in arguments)) == exits.BAD_REQUEST
    out, err = capfd.readouterr()
    assert out == ""
    assert is_one_sentence(err)
    assert re.search(message, err)
    assert left_in(tmp_path) == before


# Run folders.


ONE: Final = {"grid": {"frames": [1, 2], "size": [[16, 16]]}, "backends": ["cpu"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with an empty journal and a figure that a rebuild would replace."""
    path = RunFolder.create(tmp_path / "run", experiment(**ONE), {"cpu": "Fast CPU"}, []).path
    (path / "plots").mkdir()
    (path / "plots" / "time.png").write_text("kept")
    return path


def lines(*records: CellRecord) -> bytes:
    return b"".join(
        record.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n" for record in records
    )


def blank(index: int = 0, **fields: Any) -> CellRecord:
    cell = plan.cells(experiment(**ONE))[index]
    return blank_record(Job(cell=cell, round=0), Status.OK, "").model_copy(update=fields)


def of_record(**fields: Any) -> bytes:
    """A journal's first line with other fields, which are JSON's, and a good second one."""
    return json.dumps({**json.loads(lines(blank())), **fields}).encode() + b"\n" + lines(blank(1))


SAMPLE: Final = {
    "pass": "end_to_end", "phase": "steady", "repetition": 0, "stage": "forward", "start_s": 1, "wall_s": 1,
}  # fmt: skip
JOURNALS: Final[list[tuple[bytes, str]]] = [
    (lines(blank(), blank(1), blank()), ":3: round 0 of basicvsr/noise/b1/t1/16x16/cpu stands in line 1 too"),
    (bytes(range(256)) + b"\n", ":1: not a line"),
    (b"[" * 20_000 + b"\n", ":1: not a line"),
    (of_record(cell="basicvsr/noise/b1/t9/16x16/cpu", frames=9), "is not one that config.yaml plans"),
    (of_record(cell="../../x"), r"round 0 of \.\./\.\./x is not"),
    (of_record(round=7), "round 7 of .* is not one"),
    (of_record(backend="<script>"), "has the backend <script>"),
    (of_record(status="fine"), "status: "),
    (of_record(first_forward_s=-1), "first_forward_s: .*greater"),
    (of_record(samples=[{**SAMPLE, "wall_s": 0}]), "samples.0.wall_s: 0 s of forward"),
    (of_record(samples=[{**SAMPLE, "stage": "=1+1"}]), "samples.0.stage: '=1\\+1'"),
    (of_record(telemetry=[{"elapsed_s": 1, "busy_s": "Infinity"}]), "telemetry.0.busy_s: .*finite number"),
]
"""Journals, each with a regular expression for the sentence."""


@pytest.mark.parametrize(("journal", "message"), JOURNALS, ids=[message for _, message in JOURNALS])
def test_a_bad_journal(journal: bytes, message: str, folder: Path, refused: Refused) -> None:
    (folder / JOURNAL_NAME).write_bytes(journal)
    for command in (["rebuild", "run"], ["run", "--resume", "run"]):
        assert re.search(message, refused(*command).strip())


@pytest.mark.parametrize("target", ["run.json", "environment.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "a list, where an object"),
        (b"[" * 5000, "not valid JSON"),
        (b'{"a": "\xe9"}', "not valid JSON"),
        (b'{"schema_version": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    ],
    ids=["empty", "list", "deep", "Latin-1", "digits"],
)
def test_bad_json_in_a_run_folder(
    content: bytes, message: str, target: str, folder: Path, refused: Refused
) -> None:
    (folder / target).write_bytes(content)
    for command in (["rebuild", "run"], ["run", "--resume", "run"]):
        assert re.search(f"{target}.*{message}", refused(*command))


@pytest.mark.parametrize("target", ["run.json", "environment.json", "config.yaml", JOURNAL_NAME])
@pytest.mark.parametrize("kind", ["missing", "folder", "loop", "pipe", "device"])
def test_what_is_no_file_in_a_run_folder(kind: str, target: str, folder: Path) -> None:
    (folder / target).unlink()
    special(folder / target, kind)
    assert re.search(f"{target}|no run|a run that was ended", _refusal_of(lambda: RunFolder.open(folder)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema_version", 99), ("started_at", 5), ("filters", "x"), ("filters", ["\x1b[31m="]),
     ("filters", ["backend=cup"]), ("files", {"a": 1}), ("config", 5)],
    ids=str,
)  # fmt: skip
def test_an_edited_run_json(field: str, value: Any, folder: Path, refused: Refused) -> None:
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, field: value}))
    for command in (["rebuild", "run"], ["run", "--resume", "run"]):
        refused(*command)


# Text of unknown origin in tables, reports and on terminals.


HOSTILE: Final = [
    "=cmd|' /C calc'!A0", "+1+1", "\t=1+1", "\n=1", "  =1+1", "＝1+1", "a\r\nb,\"c\"",
    "\x1b[2J\x1b[31mred", "\u202etxt", "\ud800", "\0", "a\x85b\u2028c", "<script>alert(1)</script>",
    "| a | b |", "`code`", "[x](javascript:alert(1))", "# title", "<!-- -->", "\\| \\`",
]  # fmt: skip
FORMULA: Final = tuple("=+-@＝＋－＠\t\r\n")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_in_tables_and_report(text: str) -> None:
    record = blank(status=Status.ERROR, reason=text, warnings=(text, "b"), started_at=text)
    tables = tables_of([record, blank(1)], BASELINE)
    rows = list(csv.DictReader(io.StringIO(to_csv(tables.cells), newline="")))
    assert len(rows) == 2
    assert rows[0]["reason"] == inert(text)
    for cell in (rows[0]["reason"], rows[0]["warnings"], rows[0]["started_at"]):
        assert cell.isprintable()
        assert not cell.lstrip().startswith(FORMULA)
    report = render_markdown(tables, environment={text: text})
    shown = report.encode("utf-8").decode().splitlines()
    assert all(line.isprintable() for line in shown)
    assert "<" not in report
    failures = shown[shown.index("## Cells that did not end ok") + 2 :]
    pipes = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in failures[: failures.index("")]}
    assert len(pipes) == 1  # as many cells in every row


def test_plain_text_in_a_table_stays_as_it_is() -> None:
    for text in ("", "a - b", "out of memory: 3 = 3", "naïve 日本語", "it's"):
        assert inert(text) == text


@given(st.text())
def test_any_text_becomes_one_visible_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= MAX_CHARACTERS
    assert visible(visible(text)) == visible(text)
    line.encode("utf-8")
    assert not inert(text).lstrip().startswith(FORMULA)
    assert escape(text).isprintable()
    assert "<" not in escape(text)


def test_a_long_sentence_keeps_its_ends() -> None:
    line = one_line("begin " + "x" * 5000 + " end")
    assert len(line) <= MAX_CHARACTERS
    assert line.startswith("begin x")
    assert line.endswith("x end")


@given(st.lists(st.text(), min_size=1, max_size=5))
@settings(max_examples=50)
def test_any_text_comes_back_from_a_csv_as_one_cell(texts: list[str]) -> None:
    records = [blank(index % 2, reason=text, warnings=tuple(texts)) for index, text in enumerate(texts)]
    text = to_csv(cells_table(records))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["reason"] for row in rows] == [inert(text) for text in texts]
    assert text.count("\n") == len(texts) + 1


# Fuzz.


PIECES: Final = st.sampled_from(
    [b"", b"\0", b"\xff", b"\t", b"\n", b"\r", b"-", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: ", b"? ",
     b"!!python/name:os.system ", b": ", b"'", b'"', b"|", b">", b"%", b"@", b"`", b"#", b"---\n", b"...\n",
     b".nan", b"-.inf", b"1:30", b"0x", b"1e999", b"999999999999999999999", b"null", b"true", b"\\U00110000",
     b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b'"NaN"', b"Infinity", b"-1", b"[[", b"../", b"\x1b[31m"]
)  # fmt: skip
EDITS: Final = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(PIECES, st.binary(max_size=4))),
    min_size=1,
    max_size=5,
)
"""The place (as a share), how many bytes go, and those that come in their place."""


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_bytes_are_a_grid_or_one_sentence(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"

    @settings(max_examples=examples)
    @given(EDITS)
    def check(edits: list[tuple[float, int, bytes]]) -> None:
        path.write_bytes(damaged(GOOD.encode(), edits))
        try:
            loaded, _ = config.load(path)
            cells = plan.cells(loaded)
        except BadInput as refusal:
            message = str(refusal)
        else:
            message = f"{path} {cells[0].id}"
            assert re.fullmatch(r"[\w.-]+/[\w.-]+/b\d+/t\d+/\d+x\d+/[\w.-]+", cells[0].id, re.ASCII)
        assert message.isprintable()
        assert message.startswith(str(path))

    check()


def whole_or_refused(folder: Path) -> None:
    """Tables and report can be made of the folder, or one sentence says why not."""
    message = ""
    try:
        opened = RunFolder.open(folder)
        records = opened.records()
    except BadInput as refusal:
        message = str(refusal)
    assert message.isprintable()
    if message:
        return
    tables = tables_of(records, opened.baseline)
    for table in (tables.cells, tables.samples, tables.memory, tables.summary):
        assert len(list(csv.reader(io.StringIO(to_csv(table), newline="")))) == len(table) + 1
    render_markdown(tables, baseline=opened.baseline, environment=opened.environment).encode()


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("target", [JOURNAL_NAME, "run.json", "environment.json", "config.yaml"])
def test_any_bytes_in_a_run_folder_are_read_or_refused(examples: int, target: str, folder: Path) -> None:
    (folder / JOURNAL_NAME).write_bytes(lines(blank(), blank(1)))
    good = (folder / target).read_bytes()

    @settings(max_examples=examples)
    @given(EDITS)
    def check(edits: list[tuple[float, int, bytes]]) -> None:
        (folder / target).write_bytes(damaged(good, edits))
        whole_or_refused(folder)

    check()
