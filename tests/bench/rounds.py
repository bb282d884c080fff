"""Rounds run in the test's own process: on a tiny network, or with exact answers on a fake clock."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.grid.config import Experiment
from bench.measure import backends, calls, networks, passes, worker
from bench.measure.timing import timed
from bench.messages import Message, Progress, Ready
from bench.records import CellRecord, Pass, Phase
from tests.bench.fakes import TICK_S, FakeClock, FakeDevice, FakeNetwork, NoQueue, task_of
from tests.networks import STAGES
from vsr_model.stages import PROPAGATION, StageProbe, no_probe

STAGE_NAMES = list(STAGES)


class Ran:
    """One round: its record, and the messages before it."""

    def __init__(self, one: Experiment, reference: Path, **task: Any) -> None:
        self.messages: list[Message] = []
        self.record: CellRecord = worker.run(
            task_of(one, reference, **task), self.messages.append, lambda: self.messages.append(Ready())
        )

    @property
    def progress(self) -> list[Progress]:
        return [message for message in self.messages if isinstance(message, Progress)]


def measure(**changes: Any) -> dict[str, Any]:
    return {"warmup": 1, "repetitions": 2, "stages": "both", "memory": "off"} | changes


COSTS = {stage: quarters * 64 * TICK_S for quarters, stage in enumerate(STAGES, start=1)}
WORK_S = sum(COSTS.values())  # of a frame


def exact(
    monkeypatch: Any,
    run: Any,
    device_type: type[FakeDevice],
    network: Callable[[FakeDevice], nn.Module] = lambda device: FakeNetwork(device, COSTS),
    **changes: Any,
) -> CellRecord:
    """A round on a fake clock that begins at 0, with a network whose cost is given."""
    clock = FakeClock(0.0)
    device = device_type(clock)
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    monkeypatch.setattr(worker, "perf_counter", clock)
    monkeypatch.setattr(passes, "perf_counter", clock)
    monkeypatch.setattr(calls, "perf_counter", clock)
    monkeypatch.setattr(calls, "timed", partial(timed, clock=clock))
    monkeypatch.setattr(networks, "build", lambda _: network(device))
    return run(**changes).record


def steady(record: CellRecord, pass_: Pass, stage: str, clock: str = "wall_s") -> list[float]:
    return [
        getattr(sample, clock)
        for sample in record.samples
        if (sample.pass_, sample.phase, sample.stage) == (pass_, Phase.STEADY, stage)
    ]


class Uneven(FakeNetwork):
    """Takes so many ticks per call, by turns; the last goes on."""

    def __init__(self, device: FakeDevice, ticks: Sequence[int]) -> None:
        super().__init__(device, {})
        self._ticks = deque(ticks)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        with probe(PROPAGATION):
            self._device.work((self._ticks.popleft() if len(self._ticks) > 1 else self._ticks[0]) * TICK_S)
        return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4)


def uneven(monkeypatch: Any, run: Any, ticks: Sequence[int], **changes: Any) -> CellRecord:
    return exact(monkeypatch, run, NoQueue, lambda device: Uneven(device, ticks), measure=measure(**changes))
