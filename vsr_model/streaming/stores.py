"""Stores of backward features: on the device, in host memory, or in a file."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsr_model.memory_plan import MemoryPlan
from vsr_model.streaming.scratch_file import ScratchFile


def _unchanged(features: Tensor) -> Tensor:
    return features


class FeatureStore:
    """Features of frames, put there by frame index and taken from there once.

    `keep` brings features to the place where they wait, and `fetch` brings what it returned back to the
    device, bit for bit. Without them features stay the tensors that they are.
    """

    def __init__(
        self, keep: Callable[[Tensor], Any] = _unchanged, fetch: Callable[[Any], Tensor] = _unchanged
    ) -> None:
        self._keep, self._fetch = keep, fetch
        self._kept: dict[int, Any] = {}

    def put(self, index: int, features: Tensor) -> None:
        """Keep `features`, which no one changes, as those of frame `index`."""
        self._kept[index] = self._keep(features)

    def take(self, index: int) -> Tensor:
        """Return what was put there, on the device, and let go of it. Raises KeyError."""
        return self._fetch(self._kept.pop(index))


@contextmanager
def open_store(
    plan: MemoryPlan, *, frames: int, features_bytes: int, device: torch.device
) -> Iterator[FeatureStore]:
    """Give the store of a plan for a clip of so many frames, whose features take so many bytes each.

    On a CPU the device's memory is the host's, and features stay where they are. On the meta device, which
    stands for another, `host` and `disk` keep the form of features alone. Raises OSError for a full disk.
    """
    kept = len(plan.kept_frames(frames))
    if device.type == "meta" and plan.place != "device":
        yield FeatureStore(_form, _blank)
    elif plan.place == "host" and device.type != "cpu":
        yield FeatureStore(lambda features: features.cpu(), lambda features: features.to(device))
    elif plan.folder is not None and kept:
        with closing(ScratchFile(plan.folder, kept * features_bytes)) as file:
            on_disk = _OnDisk(file, device)
            yield FeatureStore(on_disk.write, on_disk.read)
    else:
        yield FeatureStore()


class _OnDisk:
    """Appends features to a file, and reads them back from there."""

    def __init__(self, file: ScratchFile, device: torch.device) -> None:
        self._file, self._device = file, device
        self._end = 0

    def write(self, features: Tensor) -> tuple[Tensor, int]:
        form = torch.empty_like(features, device="meta")  # in the memory format of the network, without gaps
        if features.device.type != "cpu" or features.stride() != form.stride():
            features = torch.empty_like(features, device="cpu").copy_(features)
        offset = self._end
        self._file.write(offset, _bytes_of(features))
        self._end += form.nbytes
        return form, offset

    def read(self, kept: tuple[Tensor, int]) -> Tensor:
        form, offset = kept
        features = torch.empty_like(form, device="cpu")
        self._file.read(offset, _bytes_of(features))
        return features.to(self._device)


def _bytes_of(features: Tensor) -> np.ndarray:
    """Return the bytes of a tensor without gaps, in the order of its memory."""
    array: np.ndarray = features.as_strided((features.numel(),), (1,)).view(torch.uint8).numpy()
    return array


def _form(features: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    return features.shape, features.stride(), features.dtype


def _blank(form: tuple[torch.Size, tuple[int, ...], torch.dtype]) -> Tensor:
    shape, stride, dtype = form
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
