"""Streams that are terminals and streams that are none, under variables that speak of colour."""

import io
import os
import pty

import pytest

from bench.commands.console import StreamConsole, table_of
from bench.commands.progress import Display
from bench.reporting.markdown import Column
from tests.bench.fakes import experiment, jobs_of

LONG = "basicvsr/" + 30 * "a_long_name_" + "/b1/t3/16x16/cpu"

VARIABLES = [
    {}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "COLUMNS": "40"}, {"TTY_COMPATIBLE": "1"},
    {"TTY_INTERACTIVE": "1", "FORCE_COLOR": "3"}, {"PY_COLORS": "1", "CLICOLOR_FORCE": "1"},
    {"FORCE_COLOR": "1", "NO_COLOR": "1"},
]  # fmt: skip


@pytest.fixture(params=VARIABLES, ids=str)
def variables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in {name for each in VARIABLES for name in each}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    chosen: dict[str, str] = request.param
    return chosen


def test_a_pipe_is_no_terminal(variables: dict[str, str]) -> None:
    stream = io.StringIO()
    console = StreamConsole(stream)
    one = experiment()
    display = Display(jobs_of(one), lambda jobs: [1.0] * len(jobs), console)
    with display.bar:
        display.job_started(jobs_of(one)[0])
    assert stream.getvalue() == ""  # no bar
    console.print(table_of([Column(title="cell", cells=[LONG])]))
    assert LONG in stream.getvalue()
    colours = "FORCE_COLOR" in variables
    assert ("\x1b[" in stream.getvalue()) == colours  # a bold title, also without colours


@pytest.mark.parametrize(("term", "bar"), [("xterm", True), ("dumb", False)])
def test_a_terminal_is_one_by_itself(monkeypatch: pytest.MonkeyPatch, term: str, *, bar: bool) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    monkeypatch.setenv("TERM", term)
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w") as stream:
            console = StreamConsole(stream)
            assert console.is_terminal
            assert Display([], lambda _: [], console).bar.disable is not bar
    finally:
        os.close(ours)
