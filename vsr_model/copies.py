"""Features on their way between a device and host memory: the seam behind which CUDA is."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
from torch import Tensor

_BUFFERS: Final = 2  # one travels while the other is filled or emptied


class CopyEngine(Protocol):
    """Copies that run on while the caller does something else."""

    def buffer(self, like: Tensor) -> Tensor:
        """Host memory that copies may run to and from, with shape, strides and dtype of `like`."""
        ...

    def start(self, source: Tensor, target: Tensor) -> Callable[[], None]:
        """Begin to copy between a buffer and a tensor of the device, in the order of the device's work.

        The result waits until the copy is done. Until then the buffer belongs to the copy; a tensor of the
        device may be used at once, as what uses it comes later in that order.
        """
        ...


class CudaCopies:
    """Copies by the device itself, on its current stream, to and from page-locked memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def buffer(self, like: Tensor) -> Tensor:
        """As `CopyEngine.buffer`."""
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, pin_memory=True)

    def start(self, source: Tensor, target: Tensor) -> Callable[[], None]:
        """As `CopyEngine.start`."""
        target.copy_(source, non_blocking=True)
        done: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))
        wait: Callable[[], None] = done.synchronize
        return wait


class Carrier(Protocol):
    """Takes features to a record in host memory, and back."""

    def store(self, features: Tensor, record: Tensor) -> None:
        """Copy `features` into `record`, at the latest until the first `load`."""
        ...

    def load(self, record: Tensor) -> Tensor:
        """The features, on the device; what becomes of `record` does not matter afterwards."""
        ...


class PlainCarrier:
    """Copies that are done when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def store(self, features: Tensor, record: Tensor) -> None:
        """As `Carrier.store`."""
        record.copy_(features)

    def load(self, record: Tensor) -> Tensor:
        """As `Carrier.load`."""
        return record.to(self._device, copy=True)


class _Slot:
    """A buffer, and what has to happen before it is used again."""

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self._finish: Callable[[], None] | None = None

    def busy_until(self, finish: Callable[[], None]) -> None:
        self._finish = finish

    def free(self) -> Tensor:
        """The buffer, once nothing needs what it holds."""
        if self._finish is not None:
            self._finish()
            self._finish = None
        return self.buffer


class StagedCarrier:
    """Copies through two buffers in turn, so that the device goes on meanwhile.

    Only the buffers are page-locked: what is kept may be most of the machine's memory, or a file.
    """

    def __init__(self, device: torch.device, engine: CopyEngine) -> None:
        self._device, self._engine = device, engine
        self._slots: list[_Slot] = []
        self._turn = 0
        self._storing = False

    def store(self, features: Tensor, record: Tensor) -> None:
        """As `Carrier.store`."""
        slot = self._next(record)
        buffer = slot.free()
        arrived = self._engine.start(features, buffer)

        def finish() -> None:
            arrived()
            record.copy_(buffer)

        slot.busy_until(finish)
        self._storing = True

    def load(self, record: Tensor) -> Tensor:
        """As `Carrier.load`."""
        if self._storing:  # what is still on its way may be what is asked for
            for slot in self._slots:
                slot.free()
            self._storing = False
        slot = self._next(record)
        buffer = slot.free().copy_(record)
        features = torch.empty_strided(record.shape, record.stride(), dtype=record.dtype, device=self._device)
        slot.busy_until(self._engine.start(buffer, features))
        return features

    def _next(self, like: Tensor) -> _Slot:
        if len(self._slots) < _BUFFERS:
            self._slots.append(_Slot(self._engine.buffer(like)))
        slot = self._slots[self._turn % len(self._slots)]
        self._turn += 1
        return slot


def carrier_for(device: torch.device) -> Carrier:
    """The carrier between host memory and `device`."""
    return StagedCarrier(device, CudaCopies(device)) if device.type == "cuda" else PlainCarrier(device)
