"""Where backward features wait for the forward branch: on the device, in host memory, or in a file."""

from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vsr_model.memory_plan import MemoryPlan
from vsr_model.streaming.copies import Carrier, CudaCopies
from vsr_model.streaming.scratch_file import ScratchFile


class FeatureStore:
    """Features of frames, put there by frame index and taken from there once, inside a `with` block.

    They stay the tensors that they are.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()

    def put(self, index: int, features: Tensor) -> None:
        """Keep `features`, which no one changes, as those of frame `index`."""
        self._kept[index] = features

    def take(self, index: int) -> Tensor:
        """Return what was put there, on the device, bit for bit, and let go of it. Raises KeyError."""
        features: Tensor = self._kept.pop(index)
        return features


class HostStore(FeatureStore):
    """Features are copied to memory of the host, one tensor each."""

    def __init__(self, carrier: Carrier) -> None:
        super().__init__()
        self._carrier = carrier

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        self._kept[index] = torch.empty_like(features, device="cpu")
        self._carrier.store(features, self._kept[index].copy_)

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        kept: Tensor = self._kept.pop(index)
        return self._carrier.load(kept, lambda memory: memory.copy_(kept))


class DiskStore(FeatureStore):
    """Features are copied to a `ScratchFile` in `folder`, of which `size_bytes` are claimed at once."""

    def __init__(self, carrier: Carrier, folder: Path, size_bytes: int) -> None:
        super().__init__()
        self._carrier = carrier
        self._file = ScratchFile(folder, size_bytes)
        self._end = 0

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._file.close()

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        form = torch.empty_like(features, device="meta")  # in the memory format of the network, without gaps
        self._kept[index] = form, self._end
        self._carrier.store(features, partial(self._write, form, self._end))
        self._end += form.numel() * form.itemsize

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        form, offset = self._kept.pop(index)
        return self._carrier.load(form, lambda memory: self._file.read(offset, _bytes_of(memory)))

    def _write(self, form: Tensor, offset: int, features: Tensor) -> None:
        if features.stride() != form.stride():
            features = torch.empty_strided(form.shape, form.stride(), dtype=form.dtype).copy_(features)
        self._file.write(offset, _bytes_of(features))


def _bytes_of(features: Tensor) -> np.ndarray:
    """Return the memory of a tensor without gaps, in whatever order its dimensions lie."""
    array: np.ndarray = features.as_strided((features.numel(),), (1,)).view(torch.uint8).numpy()
    return array


class ShapeStore(FeatureStore):
    """Features that lie elsewhere, of which nothing but their form is known: for calls on the meta device."""

    def put(self, index: int, features: Tensor) -> None:
        """As `FeatureStore.put`."""
        self._kept[index] = features.shape, features.stride(), features.dtype

    def take(self, index: int) -> Tensor:
        """As `FeatureStore.take`."""
        shape, stride, dtype = self._kept.pop(index)
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def carrier_for(device: torch.device) -> Carrier:
    """Return the carrier between host memory and `device`."""
    return Carrier(device, CudaCopies() if device.type == "cuda" else None)


def open_store(plan: MemoryPlan, *, frames: int, features_bytes: int, device: torch.device) -> FeatureStore:
    """Return the store of a plan for a clip of so many frames, whose features take so many bytes each.

    On a CPU the device's memory is the host's, and features stay where they are. On the meta device, which
    stands for another, `host` is another memory than the device's.
    """
    if device.type == "meta" and plan.place != "device":
        return ShapeStore()
    kept = len(plan.kept_frames(frames))
    if plan.place == "disk" and plan.folder is not None and kept:
        return DiskStore(carrier_for(device), plan.folder, kept * features_bytes)
    if plan.place == "host" and device.type != "cpu":
        return HostStore(carrier_for(device))
    return FeatureStore()
