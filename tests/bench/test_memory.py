"""The memory pass in a worker: nothing else allocates there, and memory_profiler may kill its children."""

from collections.abc import Iterator

import pytest

from bench.measure.memory import INTERVAL_S, MemoryProfile
from bench.process.launcher import Launcher
from bench.records import MemoryLine

MIB = 2**20
NEEDED = 64 * MIB
TOLERANCE = 0.1
SLACK = 4 * MIB  # what the interpreter, the sampling thread and the C library may take in passing

Found = tuple[MemoryProfile, MemoryProfile, MemoryProfile, tuple[MemoryLine, ...]]


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture(scope="module")
def found(launcher: Launcher) -> Found:
    worker = launcher.spawn("tests.bench.faulty_workers:memory_of_calls")
    with worker.connection as connection:
        said = tuple(connection.recv() for _ in range(4))
    assert launcher.exit_status(worker) == 0, launcher.last_line()
    return said


def growth(profile: MemoryProfile) -> int:
    return profile.peak_bytes - profile.before_bytes


def test_growth_is_what_the_call_allocates(found):
    assert growth(found[0]) == pytest.approx(NEEDED, rel=TOLERANCE)


def test_a_call_that_allocates_nothing_grows_by_next_to_nothing(found):
    assert 0 <= growth(found[1]) < SLACK


def test_children_are_left_out(found):
    assert 0 <= growth(found[2]) < SLACK


def test_points_are_monotone_and_between_the_levels(found):
    for profile in found[:3]:
        times = [point.elapsed_s for point in profile.points]
        assert times[0] == 0
        assert times == sorted(times)
        assert profile.peak_bytes >= max(point.host_bytes for point in profile.points)
        assert all(point.host_bytes > 0 for point in profile.points)
        assert {point.device_bytes for point in profile.points} == {None}
    assert len(found[1].points) >= 2  # a call of 30 ms, looked at every 10 ms
    assert found[1].points[-1].elapsed_s >= INTERVAL_S


def test_the_allocating_line_is_found(found):
    lines = found[3]
    most = max(lines, key=lambda line: line.increment_bytes)
    assert most.source.strip() == "kept = torch.ones(elements)"
    assert most.increment_bytes == pytest.approx(NEEDED, rel=TOLERANCE)
    assert most.occurrences == 1
    assert [line.line for line in lines] == sorted({line.line for line in lines})
    assert all(line.host_bytes > 0 for line in lines)


def test_a_device_is_read_beside(launcher):
    worker = launcher.spawn("tests.bench.faulty_workers:memory_on_a_device")
    with worker.connection as connection:
        profile = connection.recv()
    assert launcher.exit_status(worker) == 0, launcher.last_line()
    assert {point.device_bytes for point in profile.points} == {500}
