"""A network whose stages spin for a given time, in the real worker: its own, and as a class of a user's.

The stages are told apart by the probe that the network is called with (`probed`), or by hooks round
submodules (`hooked`), as those of a class that knows nothing of this project are.
"""

import time
from multiprocessing.connection import Connection
from typing import Final

import torch
from torch import Tensor, nn

from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.measure import clips, networks, worker
from bench.messages import Message
from bench.records import CellRecord
from benchmarks.known_length import CYCLES_PER_S, HOOKED, PROBED, SHARES, length_of
from vsr_model.adapted import Adapted
from vsr_model.network import Facts, Network
from vsr_model.stages import StageProbe, no_probe

WAKE_S: Final = 0.5
"""Work before the first call on a GPU, whose clock takes a while to come up from idle."""


def own_clock_s() -> float:
    """Return seconds on a clock that the harness does not use."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) / 1e9


def spin(length_s: float) -> float:
    """Keep the processor busy until the clock has passed so many seconds; return how many it really were."""
    begin = own_clock_s()
    while (passed := own_clock_s() - begin) < length_s:
        pass
    return passed


class Stage(nn.Module):
    """Works for a share of a call's length."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def forward(self, lrs: Tensor, length_s: float) -> float:
        """Return the seconds that it took, or the cycles that a GPU was asked for."""
        if not lrs.is_cuda:
            return spin(self._share * length_s)
        cycles = round(self._share * length_s * CYCLES_PER_S)
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        return cycles


class Spinning(nn.Module):
    """Keeps in `calls`, for each call, the true length of its stages and of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.length_s = 0.0
        self.calls: list[dict[str, float]] = []
        for stage, share in SHARES.items():
            self.add_module(stage, Stage(share))

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        if lrs.is_cuda and not self.calls:  # a part of the cold call, which nothing is concluded from
            torch.cuda._sleep(round(WAKE_S * CYCLES_PER_S))  # type: ignore[no-untyped-call]
        begin = own_clock_s()
        true: dict[str, float] = {}
        for stage, part in self.named_children():
            with probe(stage):
                true[stage] = part(lrs, self.length_s)
        output = lrs.repeat_interleave(4, 3).repeat_interleave(4, 4)
        true[FORWARD] = sum(true.values()) if lrs.is_cuda else own_clock_s() - begin
        self.calls.append(true)
        return output


class Probed(Network):
    """Hands its probe on."""

    facts = Facts(title="Spinning", source=__name__, stages=dict.fromkeys(SHARES, "Spins."))

    def __init__(self, spinning: Spinning) -> None:
        super().__init__()
        self._spinning = spinning

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        output: Tensor = self._spinning(lrs, probe)
        return output


def serve(connection: Connection) -> None:
    """Run the real worker with these networks in it; an input's name is the length of its calls.

    After each record it sends what the network's calls of that round really took.
    """
    spinning = Spinning()
    stages = {stage: (stage,) for stage in SHARES}
    made = {PROBED: Probed(spinning), HOOKED: Adapted(spinning, title="Spinning", stages=stages, scale=4)}
    make_clip = clips.make_clip

    def make_clip_and_set_length(cell: Cell, facts: Facts) -> Tensor:
        spinning.length_s = length_of(cell.input.name)
        return make_clip(cell, facts)

    networks.build = lambda model: made[model.name]
    clips.make_clip = make_clip_and_set_length
    worker.main(_Telling(connection, spinning.calls))  # type: ignore[arg-type]  # as much as it uses


class _Telling:
    """A worker's end of the connection that sends the calls' true lengths after their record."""

    def __init__(self, connection: Connection, calls: list[dict[str, float]]) -> None:
        self.recv = connection.recv
        self._connection = connection
        self._calls = calls

    def send(self, message: Message) -> None:
        self._connection.send(message)
        if isinstance(message, CellRecord):
            self._connection.send(self._calls)
            self._calls.clear()
