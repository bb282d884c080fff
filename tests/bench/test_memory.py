"""The memory pass in a worker: nothing else allocates there, and memory_profiler may kill its children."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench.measure.memory import INTERVAL_S
from bench.process.launcher import Launcher

MIB = 2**20
NEEDED = 64 * MIB
TOLERANCE = 0.1
SLACK = 4 * MIB  # that the interpreter, the sampling thread and the C library may take


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


def sent(launcher: Launcher, target: str, count: int) -> list[Any]:
    worker = launcher.spawn(f"tests.bench.faulty_workers:{target}")
    with worker.connection as connection:
        messages = [connection.recv() for _ in range(count)]
    assert launcher.exit_status(worker) == 0, launcher.last_line()
    return messages


def test_memory_of_calls_whose_need_is_known(launcher):
    allocating, idle, with_a_child, lines = sent(launcher, "memory_of_calls", 4)
    assert allocating["host_growth_bytes"] == pytest.approx(NEEDED, rel=TOLERANCE)
    assert 0 <= idle["host_growth_bytes"] < SLACK
    assert 0 <= with_a_child["host_growth_bytes"] < SLACK
    for figures in (allocating, idle, with_a_child):
        assert figures["host_growth_bytes"] == figures["peak_host_bytes"] - figures["host_before_bytes"]
        points = figures["memory"]
        times = [point.elapsed_s for point in points]
        assert times == sorted(times)
        assert 0 < max(point.host_bytes for point in points) <= figures["peak_host_bytes"]
        assert {point.device_bytes for point in points} == {None}
        assert "peak_device_bytes" not in figures
    assert len(idle["memory"]) >= 2  # a call of 30 ms, sampled every 10 ms
    assert idle["memory"][-1].elapsed_s >= INTERVAL_S

    most = max(lines, key=lambda line: line.increment_bytes)
    assert most.source.strip() == "kept = torch.ones(elements)"
    assert most.increment_bytes == pytest.approx(NEEDED, rel=TOLERANCE)
    assert most.occurrences == 1
    assert [line.line for line in lines] == sorted({line.line for line in lines})
    assert all(line.host_bytes > 0 for line in lines)


def test_a_device_is_sampled_too(launcher):
    [figures] = sent(launcher, "memory_on_a_device", 1)
    assert {point.device_bytes for point in figures["memory"]} == {500}
    assert (figures["peak_device_bytes"], figures["peak_device_reserved_bytes"]) == (1001, 2001)
