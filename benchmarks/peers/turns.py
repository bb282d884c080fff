"""Calls of several networks in turns, in one process: what the machine does meanwhile hits all of them."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bench.grid.backend_spec import Backend
from bench.measure import backends
from bench.measure.backends import Device
from bench.measure.draft import in_words
from bench.measure.timing import MONOTONIC, Clock, Timed, timed
from benchmarks.peers.others import PLAIN

WARMUP_CALLS: Final = 2
"""Of each, before what counts: the first makes what later ones find, the second finds it."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A network as a call from a clip (n, t, 3, h, w) to its output, and the settings it is called under."""

    name: str
    settings: Backend
    call: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One timed call."""

    turn: int
    place: int  # of the contestant in the turn
    contestant: str
    span: Timed


def order_of(contestants: Sequence[Contestant], turn: int) -> list[Contestant]:
    """Who is called when in a turn: over a multiple of twice as many turns as contestants, each as often
    before another as after it, and as often in each place."""
    count = len(contestants)
    start = turn % count
    order = [*contestants[start:], *contestants[:start]]
    return order[::-1] if turn // count % 2 else order


def first_calls(
    contestants: Sequence[Contestant], clip: Tensor, device: Device, tell: Callable[[str], None]
) -> dict[str, Tensor]:
    """The outputs, on the host, of those that can be called; of each that cannot, a sentence is told.

    Raises what the plain network raises: without it there is nothing to compare.
    """
    outputs = {}
    for contestant in contestants:
        try:
            for _ in range(WARMUP_CALLS):
                output, _ = _called(contestant, clip, device, MONOTONIC)
                # A network that uses its output's memory again has lent it, no more.
                outputs[contestant.name] = output.to("cpu", torch.float32, copy=True)
                del output
        except Exception as error:
            if contestant.name == PLAIN:
                raise
            outputs.pop(contestant.name, None)
            tell(f"{contestant.name}: left out, its call failed: {in_words(error)}")
    return outputs


def take_turns(
    contestants: Sequence[Contestant], clip: Tensor, device: Device, *, turns: int, clock: Clock = MONOTONIC
) -> Iterator[Turn]:
    """Every contestant's call, turn by turn, timed with the device waited for on both sides."""
    with _no_collector():
        for turn in range(turns):
            for place, contestant in enumerate(order_of(contestants, turn)):
                output, span = _called(contestant, clip, device, clock)
                del output  # not two at once
                yield Turn(turn=turn, place=place, contestant=contestant.name, span=span)


def _called(contestant: Contestant, clip: Tensor, device: Device, clock: Clock) -> tuple[Tensor, Timed]:
    with backends.applied(contestant.settings), torch.inference_mode():
        return timed(lambda: contestant.call(clip), device=device, clock=clock)


@contextmanager
def _no_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
