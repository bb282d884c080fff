"""Fixtures of several modules of tests."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import cli
from bench.process.interrupts import SIGNALS


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Give a command in a folder to the command line, in this process; its exit status."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def run(folder: Path, *arguments: str | Path) -> int:
        monkeypatch.chdir(folder)
        return cli.main([str(argument) for argument in arguments])

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
