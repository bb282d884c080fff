"""Runs that are ended from outside, some of each way; test_survival_slow.py has the rest."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bench.records import Status
from tests.bench.survival import ROOT, Survivor, grid, until


def test_kills_of_the_parent_and_of_workers(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path, grid(rounds=3))
    with survivor.running() as process:
        assert until(lambda: len(survivor.lines()) >= 2)
        process.kill()
        process.wait()
        survivor.check()
    assert 2 <= len(survivor.lines()) < 18

    killed = 0
    with survivor.running() as process:
        had = len(survivor.lines())
        assert until(lambda: len(survivor.lines()) > had)
        while killed < 3 and process.poll() is None:
            for worker in survivor.workers(process):
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
                    killed += 1
            seen = len(survivor.lines())
            until(lambda: len(survivor.lines()) > seen or process.poll() is not None)  # noqa: B023
        status = process.wait(600)
    records = survivor.check_finished()
    lost = [record for record in records if record.status is not Status.OK]
    assert len(lost) <= killed
    assert status == (3 if lost else 0)
    for record in lost:
        assert record.status is Status.ERROR
        assert "killed by SIGKILL" in record.reason


def test_a_closed_terminal(tmp_path: Path) -> None:
    """The terminal goes away with all that it was: input, output, and whoever could have pressed Ctrl-C."""
    survivor = Survivor(tmp_path, grid(rounds=30))
    ours, theirs = os.openpty()
    with survivor.running(stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=False,
                          preexec_fn=_take_terminal) as process:  # fmt: skip
        os.close(theirs)
        assert until(lambda: len(survivor.lines()) >= 2)
        os.close(ours)
        assert process.wait(600) in (130, 141)  # nobody could be told
    survivor.check()
    assert 2 <= len(survivor.lines()) < 180
    names = {item.name for item in survivor.path.iterdir()}
    assert {"report.md", "cells.csv"} <= names
    assert not [name for name in names if name.startswith(".")]


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415 - in the forked process
    import termios  # noqa: PLC0415

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_full_disk_then_a_second_run_beside_the_first_and_a_reader_that_leaves(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path, grid(rounds=3))
    # No file may grow past this, as on a disk that is full: the journal ends in the middle of a line.
    with survivor.running(preexec_fn=lambda: _limit_files(6000), stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=600)
    survivor.check()
    assert process.returncode == 70, said
    assert b"File too large; what is done is kept" in said.splitlines()[-1]
    had = survivor.lines()
    assert 1 <= len(had) < 12
    assert not survivor.journal.read_bytes().endswith(b"\n")

    # As with `vsr-bench run ... 2>&1 | head -1`: the run does not need its reader.
    with survivor.running(stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.send_signal(signal.SIGSTOP)  # so that it is sure to be there when the other one looks
        second = subprocess.run(
            [sys.executable, "-m", "bench", "run", "--resume", str(survivor.path)],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        process.send_signal(signal.SIGCONT)
        assert process.wait(600) == 141
    assert second.returncode == 2
    assert second.stderr == f"vsr-bench: {survivor.path}: another run is writing to it\n"
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


def _limit_files(size: int) -> None:
    import resource  # noqa: PLC0415 - in the forked process

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_an_interrupt_while_the_program_is_still_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "imported"
    folder.mkdir()
    (folder / "typer.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    with Survivor(tmp_path, grid(rounds=1)).running(
        stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=600)
    assert (process.returncode, said) == (130, b"")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["grid.yaml", "imported"]
