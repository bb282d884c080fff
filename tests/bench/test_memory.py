"""The memory pass in a worker: nothing else allocates there, and memory_profiler may kill its children."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench.measure.backends import CpuDevice, Device
from bench.measure.memory import INTERVAL_S, HostMemory, by_stage
from bench.measure.timing import Probe
from bench.process.launcher import Launcher
from bench.records import StageMemory

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
    allocating, idle, with_a_child, lines, stages = sent(launcher, "memory_of_calls", 5)
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

    assert [*stages] == ["other", "frees", "keeps", "idles"]
    kept = {stage: one.host_kept_bytes for stage, one in stages.items()}
    assert kept == pytest.approx(
        {"other": 0, "frees": 0, "keeps": NEEDED / 2, "idles": 0}, abs=SLACK + TOLERANCE * NEEDED
    )
    grown = {stage: one.host_growth_bytes for stage, one in stages.items()}
    if None not in grown.values():  # this kernel can reset its high-water mark
        expected = {"other": NEEDED / 2, "frees": NEEDED, "keeps": 1.5 * NEEDED, "idles": NEEDED / 2}
        assert grown == pytest.approx(expected, abs=SLACK + TOLERANCE * NEEDED)


def test_a_device_is_sampled_too(launcher):
    [figures] = sent(launcher, "memory_on_a_device", 1)
    assert {point.device_bytes for point in figures["memory"]} == {500}
    assert (figures["peak_device_bytes"], figures["peak_device_reserved_bytes"]) == (1001, 2001)


class Host(HostMemory):
    """A host whose allocator keeps what is freed until it is told to give it back."""

    def __init__(self, *, has_mark: bool) -> None:
        self.alive, self.free, self.peak = 1000, 200, 5000
        self.has_mark = has_mark

    def use(self, change: int) -> None:
        self.alive += change
        self.free = max(0, self.free - change)
        self.peak = max(self.peak, self.resident_bytes())

    def release_free_memory(self) -> None:
        self.free = 0

    def resident_bytes(self) -> int:
        return self.alive + self.free

    def reset_peak_bytes(self) -> bool:
        if self.has_mark:
            self.peak = self.resident_bytes()
        return self.has_mark

    def peak_bytes(self) -> int:
        return self.peak


class Gpu(Device):
    def __init__(self) -> None:
        self.alive, self.peak = 500, 900

    def use(self, change: int) -> None:
        self.alive += change
        self.peak = max(self.peak, self.alive)

    def reset_peak_bytes(self) -> None:
        self.peak = self.alive

    def peak_bytes(self) -> tuple[int, int]:
        return self.peak, 2 * self.peak

    def allocated_bytes(self) -> int:
        return self.alive


def two_frames(probe: Probe, *memories: Host | Gpu) -> None:
    """A call whose first stage needs most and keeps little; the second has an interval per frame."""

    def use(*changes: int) -> None:
        for change in changes:
            for memory in memories:
                memory.use(change)

    use(8)
    with probe("alignment"):
        use(50, -40)
    with probe("propagation"):
        use(30, -25)
    use(-3)
    with probe("propagation"):
        use(20, -16, 4)
    use(2)


GROWN = {"other": 30, "alignment": 58, "propagation": 48}  # peaks of the worst interval
KEPT = {"other": 8 - 3 + 2, "alignment": 10, "propagation": 5 + 8}


def test_each_stage_has_its_own_peak_and_what_it_keeps() -> None:
    host, gpu = Host(has_mark=True), Gpu()
    found = by_stage(lambda probe: two_frames(probe, host, gpu), device=gpu, host=host)
    assert found == {
        stage: StageMemory(
            peak_host_bytes=1000 + grown, host_growth_bytes=grown, host_kept_bytes=KEPT[stage],
            peak_device_bytes=500 + grown, device_growth_bytes=grown, device_kept_bytes=KEPT[stage],
        )
        for stage, grown in GROWN.items()
    }  # fmt: skip


def test_without_a_mark_or_a_device_what_is_kept_is_known_alone() -> None:
    host = Host(has_mark=False)
    found = by_stage(lambda probe: two_frames(probe, host), device=CpuDevice(), host=host)
    assert found == {stage: StageMemory(host_kept_bytes=kept) for stage, kept in KEPT.items()}
