"""Where backward features wait for the forward branch: on the device, in host memory, or in a file."""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

from vsr_model.copies import Carrier, carrier_for
from vsr_model.memory_plan import MemoryPlan
from vsr_model.scratch_file import ScratchFile


class FeatureStore(Protocol):
    """Features of frames, put there by frame index and taken from there once, inside a `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def put(self, index: int, features: Tensor) -> None:
        """Keep `features`, which no one changes, as those of frame `index`."""
        ...

    def take(self, index: int) -> Tensor:
        """What was put there, on the device, bit for bit; the store lets go of it. Raises KeyError."""
        ...


class DeviceStore:
    """Features stay the tensors that they are."""

    def __init__(self) -> None:
        self._features: dict[int, Tensor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._features.clear()

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        self._features[index] = features

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        return self._features.pop(index)


class HostStore:
    """Features are copied to memory of the host, one tensor each."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._records: dict[int, Tensor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._records.clear()

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        record = torch.empty_like(features, device="cpu")
        self._carrier.store(features, record)
        self._records[index] = record

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        return self._carrier.load(self._records.pop(index))


class DiskStore:
    """Features are copied to a file without a name in `folder`, whose space for `capacity` of them, of
    `features_bytes` each, is claimed at once. `ScratchFile` says what that raises."""

    def __init__(self, carrier: Carrier, folder: Path, *, capacity: int, features_bytes: int) -> None:
        self._carrier = carrier
        self._features_bytes = features_bytes
        self._places: dict[int, int] = {}  # by frame, in the order in which they came
        self._like: Tensor | None = None
        self._file = ScratchFile(folder, capacity * features_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`. Raises ValueError for features of another size than was claimed."""
        if features.numel() * features.itemsize != self._features_bytes:
            raise ValueError(
                f"Features of {self._features_bytes} bytes were announced, not of shape"
                f" {tuple(features.shape)} in {features.dtype}."
            )
        self._places[index] = len(self._places)
        self._like = torch.empty_like(features, device="meta")  # in the memory format of the network
        self._carrier.store(features, self._record(index, self._like))
        self._file.forget()

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        if self._like is None:
            raise KeyError(index)
        features = self._carrier.load(self._record(index, self._like))
        self._file.forget()
        del self._places[index]
        return features

    def _record(self, index: int, like: Tensor) -> Tensor:
        return self._file.part(self._places[index] * self._features_bytes, like)


class ShapeStore:
    """Features that lie elsewhere, of which nothing but their form is known: for calls on the meta device."""

    def __init__(self) -> None:
        self._forms: dict[int, tuple[torch.Size, tuple[int, ...], torch.dtype]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._forms.clear()

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        self._forms[index] = features.shape, features.stride(), features.dtype

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        shape, stride, dtype = self._forms.pop(index)
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def open_store(plan: MemoryPlan, *, frames: int, features_bytes: int, device: torch.device) -> FeatureStore:
    """The store of a plan for a clip of so many frames, whose backward features take so many bytes each.

    On a CPU the device's memory is the host's, and features stay where they are. On the meta device, which
    stands for another, `host` is another memory than the device's.
    """
    if device.type == "meta" and plan.place != "device":
        return ShapeStore()
    kept = len(plan.kept_frames(frames))
    if plan.place == "disk" and plan.folder is not None and kept:
        return DiskStore(carrier_for(device), plan.folder, capacity=kept, features_bytes=features_bytes)
    if plan.place == "host" and device.type != "cpu":
        return HostStore(carrier_for(device))
    return DeviceStore()
