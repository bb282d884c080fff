"""Runs that are ended from outside at many moments, each drawn from a seed."""

import signal
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from bench.records import Status
from tests.bench.survival import Survivor, end_at_random, grid, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("isolation", "order", "group", "kills"),
    [
        ("cell", "interleaved", False, 20),
        ("cell", "interleaved", True, 5),  # the server, too
        ("backend", "random", False, 6),
        ("experiment", "interleaved", False, 6),
    ],
)
def test_kills_of_the_parent(tmp_path: Path, isolation: str, order: str, group: bool, kills: int) -> None:
    random = Random(f"parent {isolation} {group}")
    survivor = Survivor(tmp_path, grid(rounds=kills * 2, isolation=isolation, order=order))
    for _ in range(kills):
        assert end_at_random(survivor, random, signal.SIGKILL, group=group) == -signal.SIGKILL
    assert survivor.finish() == 0
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda it: it.name)
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
def test_a_run_that_is_asked_to_end(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    random = Random(f"{number} {group}")
    survivor = Survivor(tmp_path, grid(rounds=12))
    for _ in range(5):
        # -number: before Python ran a line of this program.
        assert end_at_random(survivor, random, number, group=group) in (130, -number)
        if survivor.path.exists():
            assert not [item.name for item in survivor.path.iterdir() if item.name.startswith(".")]
    assert survivor.finish() == 0
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


@pytest.mark.parametrize("isolation", ["cell", "experiment"])
def test_kills_of_workers(tmp_path: Path, isolation: str) -> None:
    random = Random(f"worker {isolation}")
    survivor = Survivor(tmp_path, grid(rounds=40, isolation=isolation))
    killed = 0
    with survivor.running() as process:
        assert until(lambda: len(survivor.lines()) > 0)
        while killed < 20 and process.poll() is None:
            pause = random.uniform(0.0, 0.2)
            until(lambda: process.poll() is not None, pause)
            for worker in survivor.workers(process)[:1]:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
                    killed += 1
        assert process.wait(300) == 3
    assert killed == 20
    lost = [record for record in survivor.check_finished() if record.status is not Status.OK]
    # One that was killed when its work was done has its record; the others are told by their signal.
    assert 0 < len(lost) <= killed
    for record in lost:
        assert record.status is Status.ERROR
        assert record.reason.startswith("the worker was killed by SIGKILL")


def test_kills_of_the_server(tmp_path: Path) -> None:
    random = Random("server")
    survivor = Survivor(tmp_path, grid(rounds=10))
    with survivor.running() as process:
        for _ in range(4):
            seen = len(survivor.lines())
            assert until(lambda: len(survivor.lines()) > seen)  # noqa: B023
            pause = random.uniform(0.0, 0.1)
            until(lambda: process.poll() is not None, pause)
            with suppress(psutil.Error, IndexError):
                psutil.Process(process.pid).children()[0].kill()
        process.wait(300)
    lost = [record for record in survivor.check_finished() if record.status is not Status.OK]
    assert len(lost) <= 4
    for record in lost:
        assert record.status is Status.ERROR
        assert record.reason == "the process that starts workers was lost: killed by SIGKILL"
