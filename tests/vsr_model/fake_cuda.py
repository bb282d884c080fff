"""torch.cuda's streams and graphs on a CPU: everything is done at once, and a log has the order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class FakeCuda:
    """Stands in for streams and graphs of torch.cuda, until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self._streams = [_Stream("main", self.log)]
        self._made = 0
        monkeypatch.setattr(torch.cuda, "Stream", self._new_stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: self._streams[-1])
        monkeypatch.setattr(torch.cuda, "stream", self._on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: _Graph(self.log))
        monkeypatch.setattr(torch.cuda, "graph", self._capturing)

        def record_stream(tensor: Tensor, stream: _Stream) -> None:
            self.log.append(f"{tuple(tensor.shape)} is used on {stream.name}")

        monkeypatch.setattr(Tensor, "record_stream", record_stream)

    @property
    def current(self) -> str:
        return self._streams[-1].name

    def _new_stream(self, _device: Any) -> "_Stream":
        self._made += 1
        return _Stream(f"stream {self._made}", self.log)

    @contextmanager
    def _on(self, stream: "_Stream") -> Iterator[None]:
        self._streams.append(stream)
        yield
        self._streams.pop()

    @contextmanager
    def _capturing(self, graph: "_Graph") -> Iterator[None]:
        self.log.append("capture")
        with self._on(_Stream("capturing stream", self.log)), graph:
            yield


class _Stream:
    device = torch.device("cpu")

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "_Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


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
