"""Runs that are ended from outside at many moments, each drawn from a seed."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from bench.records import Status
from tests.bench.survival import MARK, ROOT, Survivor, end_at_random, grid, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("isolation", "order", "kills"),
    [("cell", "interleaved", 20), ("backend", "random", 6), ("experiment", "interleaved", 6)],
)
def test_kills_of_the_parent(tmp_path, isolation, order, kills):
    random = Random(f"parent {isolation}")
    survivor = Survivor(tmp_path, grid(rounds=kills * 2, isolation=isolation, order=order))
    for _ in range(kills):
        assert end_at_random(survivor, random, signal.SIGKILL) == -signal.SIGKILL
    assert survivor.finish() == 0
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


def test_kills_of_parent_and_server_at_once(tmp_path):
    random = Random("group")
    survivor = Survivor(tmp_path, grid(rounds=10))
    for _ in range(5):
        assert end_at_random(survivor, random, signal.SIGKILL, group=True) == -signal.SIGKILL
    assert survivor.finish() == 0
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda it: it.name)
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
def test_a_run_that_is_asked_to_end(tmp_path, number, group):
    random = Random(f"{number} {group}")
    survivor = Survivor(tmp_path, grid(rounds=12))
    for _ in range(5):
        status = end_at_random(survivor, random, number, group=group)
        # -number: before Python ran a line of this program.
        assert status in (130, -number)
        if survivor.path.exists():
            assert not [item.name for item in survivor.path.iterdir() if item.name.startswith(".")]
    assert survivor.finish() == 0
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


@pytest.mark.parametrize("isolation", ["cell", "experiment"])
def test_kills_of_workers(tmp_path, isolation):
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
        status = process.wait(300)
    assert killed == 20
    records = survivor.check_finished()
    lost = [record for record in records if record.status is not Status.OK]
    # One that was killed when its work was done has its record; the others are told by their signal.
    assert 0 < len(lost) <= killed
    assert status == 3
    for record in lost:
        assert record.status is Status.ERROR
        assert record.reason.startswith("the worker was killed by SIGKILL")


def test_kills_of_the_server(tmp_path):
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
    records = survivor.check_finished()
    lost = [record for record in records if record.status is not Status.OK]
    assert len(lost) <= 4
    for record in lost:
        assert record.status is Status.ERROR
        assert record.reason == "the process that starts workers was lost: killed by SIGKILL"


DISK = """
set -e
mount -t tmpfs -o size=$3 survival "$1"
set +e
"$2" -m bench run "$4" --output "$1/run"
echo "first $?"
df --output=avail "$1" | tail -n 1
mount -o remount,size=64m "$1"
tail -c 1 "$1/run/journal.jsonl" | od -An -c
cp "$1/run/journal.jsonl" "$5.first"
"$2" -m bench run --resume "$1/run"
echo "second $?"
cp -r "$1/run" "$5"
"""


def _may_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _may_mount(), reason="no small disk can be mounted here (unshare --user --mount)")
@pytest.mark.parametrize("size", ["28k", "40k", "64k", "96k", "128k"])
def test_a_disk_that_is_full(tmp_path, size):
    """A tmpfs in a mount namespace of its own: however the test ends, nothing stays mounted."""
    survivor = Survivor(tmp_path, grid(rounds=8))
    disk, copy = tmp_path / "disk", tmp_path / "run"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", DISK, "sh",
         str(disk), sys.executable, size, str(tmp_path / "grid.yaml"), str(copy)],
        cwd=ROOT, env={**os.environ, MARK: survivor.token}, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    said = done.stdout.split()
    assert "first 70" in done.stdout, done.stderr
    assert "No space left on device; what is done is kept, and the rest is for" in done.stderr
    assert "Traceback" not in done.stderr
    assert said[-2:] == ["second", "0"] or "second 0" in done.stdout, done.stderr
    first = Path(f"{copy}.first").read_bytes()
    whole = first[: first.rfind(b"\n") + 1]
    assert survivor.journal.read_bytes().startswith(whole)
    assert {record.status for record in survivor.check_finished()} == {Status.OK}


def test_a_journal_that_was_cut_anywhere(tmp_path):
    survivor = Survivor(tmp_path, grid(rounds=1))
    assert survivor.finish() == 0
    whole = survivor.journal.read_bytes()
    random = Random("cut")
    for number in range(4):
        other = Survivor(tmp_path, grid(rounds=1))
        other.path = tmp_path / f"cut-{number}"
        shutil.copytree(survivor.path, other.path)
        cut = random.randrange(len(whole))
        other.journal.write_bytes(whole[:cut])
        kept = other.lines()
        assert other.finish() == 0
        assert other.lines()[: len(kept)] == kept
        assert len(other.check_finished()) == 6
