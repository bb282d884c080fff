import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from threading import Thread

import pytest

from bench.process import interrupts


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interrupts.SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_an_interrupt_and_waits_while_held_back(number):
    interrupts.listen()
    finished = []

    def work() -> None:
        with interrupts.held_back():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            finished.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert finished == ["all"]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_ignored_and_unhandled_signals_stay_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    interrupts.listen()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with interrupts.held_back():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_within_is_not_lost():
    interrupts.listen()
    with pytest.raises(OSError, match="full"), interrupts.held_back():
        raise OSError("full")


def test_other_threads_are_never_interrupted():
    reached = []

    def work() -> None:
        with interrupts.held_back():
            reached.append("end")

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert reached == ["end"]


LATE = """
import atexit, os, signal
from bench import __main__, cli
from bench.process import interrupts

def main():
    interrupts.listen()
    {doing}

cli.main = main
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
__main__.entry_point()
"""


@pytest.mark.parametrize(("doing", "status"), [("return 3", 3), ("os.kill(os.getpid(), signal.SIGINT)", 130)])
def test_a_signal_after_the_last_message_changes_nothing(doing: str, status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LATE.format(doing=doing)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "")
