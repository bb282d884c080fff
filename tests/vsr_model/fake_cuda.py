"""torch.cuda's streams, events and graphs on a CPU: everything is done at once, and a log has the order.

Streams know what is done before their next step, by vector clocks: how many steps of each stream, as far as
streams, events and the host have waited for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vsr_model.schedules  # noqa: F401 - its annotations name torch's own streams

Times = dict[str, int]
"""How many steps of each stream lie before something."""


class FakeCuda:
    """Stands in for streams, events and graphs of torch.cuda, until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.host: Times = {}  # what the host has waited for
        self._streams = [FakeStream("main", self.log)]
        self._made = 0

        def record_stream(tensor: Tensor, stream: FakeStream) -> None:
            self.log.append(f"{tuple(tensor.shape)} is used on {stream.name}")

        monkeypatch.setattr(torch.cuda, "Stream", self._new_stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: self.stream)
        monkeypatch.setattr(torch.cuda, "stream", self._on)
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: FakeEvent(self.host))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: _Graph(self.log))
        monkeypatch.setattr(torch.cuda, "graph", self._capturing)
        monkeypatch.setattr(Tensor, "record_stream", record_stream)

    @property
    def stream(self) -> "FakeStream":
        return self._streams[-1]

    @property
    def current(self) -> str:
        return self.stream.name

    def _new_stream(self, _device: Any) -> "FakeStream":
        self._made += 1
        return FakeStream(f"stream {self._made}", self.log)

    @contextmanager
    def _on(self, stream: "FakeStream") -> Iterator[None]:
        self._streams.append(stream)
        yield
        self._streams.pop()

    @contextmanager
    def _capturing(self, graph: "_Graph") -> Iterator[None]:
        self.log.append("capture")
        with self._on(FakeStream("capturing stream", self.log)), graph:
            yield


class FakeStream:
    device = torch.device("cpu")

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.known: Times = {}
        self._log = log

    def wait_stream(self, other: "FakeStream") -> None:
        self._log.append(f"{self.name} waits for {other.name}")
        learn(self.known, other.known)

    def wait_event(self, event: "FakeEvent") -> None:
        learn(self.known, event.known)


class FakeEvent:
    def __init__(self, host: Times) -> None:
        self._host = host
        self.known: Times = {}

    def record(self, stream: FakeStream) -> None:
        self.known, self._at_s = dict(stream.known), perf_counter()

    def synchronize(self) -> None:
        learn(self._host, self.known)

    def elapsed_time(self, later: "FakeEvent") -> float:
        return 1000 * (later._at_s - self._at_s)


def learn(known: Times, more: Times) -> None:
    """Add what lies before something to what is known to do."""
    for stream, step in more.items():
        known[stream] = max(known.get(stream, 0), step)


class _Graph(TorchDispatchMode):
    """Keeps every operation with the tensors that it read and made, and does them again there."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log
        self._steps: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self._steps.append((func, args, kwargs or {}, tree_leaves(made)))
        return made

    def replay(self) -> None:
        self._log.append("replay")
        for func, args, kwargs, made in self._steps:
            for old, new in zip(made, tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
