"""Runs as real processes that are ended at any moment, and what must hold of their folders afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psutil
import yaml

from bench.commands import lifecycle
from bench.records import JOURNAL_NAME, CellRecord, read_journal
from bench.results.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
MARK = "VSR_BENCH_SURVIVAL"
"""An environment variable by which a run's processes are known, whoever their parent has become."""

PATIENCE_S = 600.0

MADE = {
    "config.yaml", "environment.json", "run.json", "journal.jsonl", "cells.csv", "samples.csv", "memory.csv",
    "summary.csv", "perturbation.csv", "report.md", "report.html", "plots",
}  # fmt: skip
"""What a run of `grid` may leave; the analysis may add tables of its own."""


def grid(rounds: int, isolation: str = "cell", **measure: Any) -> dict[str, Any]:
    """Six cells of some ten milliseconds, on two backends of which one checks its output by the other's."""
    return {
        "name": "survival",
        "model": {"mid_channels": 8, "num_blocks": 1},
        "input": [{"name": "noise", "kind": "random"}],
        "grid": {"frames": [1, 2, 3], "size": [[16, 16]]},
        "backends": [
            {"name": "one", "from": "cpu", "threads": 1},
            {"name": "last", "from": "cpu", "threads": 1, "memory_format": "channels_last"},
        ],
        "measure": {
            "warmup": 0, "repetitions": 1, "stages": "off", "memory": "off", "rounds": rounds,
            "isolation": isolation, "timeout_s": 60, **measure,
        },
        "plots": [],
    }  # fmt: skip


class Survivor:
    """A run's folder, and the processes that work on it one after the other."""

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.path = folder / "run"
        self._yaml = folder / "grid.yaml"
        self._yaml.write_text(yaml.safe_dump(data))
        self._kept: list[bytes] = []
        self.token = uuid4().hex

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL_NAME

    def lines(self) -> list[bytes]:
        """The whole lines of the journal."""
        with suppress(FileNotFoundError):
            return self.journal.read_bytes().split(b"\n")[:-1]
        return []

    @contextmanager
    def running(self, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A new run, or the rest of the one that has begun, with its output read by nobody.

        Whatever it leaves is killed in the end.
        """
        begun = self.journal.exists()
        arguments = ["--resume", str(self.path)] if begun else [str(self._yaml), "--output", str(self.path)]
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "run", *arguments],
            cwd=ROOT,
            env={**os.environ, MARK: self.token, "NO_COLOR": "1"},
            **{"start_new_session": True, **options},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for left in self.processes():
                with suppress(psutil.NoSuchProcess):
                    left.kill()

    def processes(self) -> list[psutil.Process]:
        """All that are of this run and live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self, parent: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The workers that live now; mostly one."""
        with suppress(psutil.Error):
            servers = psutil.Process(parent.pid).children()
            return [worker for server in servers for worker in server.children()]
        return []

    def finish(self) -> int:
        """Let the run go to its end; its exit status."""
        with self.running() as process:
            return process.wait(PATIENCE_S * 3)

    def check(self) -> None:
        """Nothing lives, and what was on disk at the last check still is, as it was."""
        assert until(lambda: not self.processes()), self.processes()
        lines = self.lines()
        assert lines[: len(self._kept)] == self._kept
        self._kept = lines
        if self.journal.exists():
            read_journal(self.journal)  # raises where a round is there twice, or a line is none

    def check_finished(self) -> list[CellRecord]:
        """Every round is there once, nothing lies about, and the tables are the journal's. Its records."""
        self.check()
        folder = RunFolder.open(self.path)
        rounds = range(folder.experiment.measure.rounds)
        records = read_journal(self.journal)
        planned = Counter((cell.id, number) for cell in folder.cells() for number in rounds)
        assert Counter((record.cell, record.round) for record in records) == planned
        names = {item.name for item in self.path.iterdir()}
        assert not [name for name in names if name.startswith(".")]
        assert names >= MADE
        assert {Path(name).suffix for name in names - MADE} <= {".csv"}
        derived = [item for item in self.path.rglob("*") if item.suffix in (".csv", ".md", ".png", ".svg")]
        before = {item: item.read_bytes() for item in derived}
        for item in derived:
            item.unlink()
        lifecycle.rebuild(self.path)
        assert {item: item.read_bytes() for item in derived} == before
        return records


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def end_at_random(survivor: Survivor, random: Random, number: signal.Signals, *, group: bool) -> int:
    """Start or resume the run and signal it at a random moment: in one of four while it starts, otherwise
    while it measures its next few rounds. Its exit status."""
    had = len(survivor.lines())
    with survivor.running() as process:
        if random.random() < 0.25:
            delay, wanted = random.uniform(0.0, 3.0), 0
        else:
            delay, wanted = random.uniform(0.0, 0.08), had + random.randint(1, 4)
        until(lambda: len(survivor.lines()) >= wanted or process.poll() is not None)
        until(lambda: process.poll() is not None, delay)
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, number)
        status = process.wait(PATIENCE_S)
        survivor.check()
    return status
