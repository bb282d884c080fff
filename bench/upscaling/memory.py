"""What enlarging a file takes of memory, and the plan that keeps to its limits."""

import ctypes
import os
from dataclasses import dataclass, replace
from typing import Final

import psutil
import torch

from bench.grid.backend_spec import Backend
from bench.machine import host_memory
from bench.measure import backends
from bench.measure.costs import Prepared, streamed
from bench.upscaling.disk import in_memory, spooled_bytes
from bench.upscaling.request import Request
from vsr_model.errors import BadInput
from vsr_model.memory_plan import MemoryPlan
from vsr_model.native.scratch import release_scratch
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.plan_choice import PLAN_NAMES, Limits, Needs, first_that_fits, named_plan
from vsr_model.video import MediaInfo

_SHARE_OF_HOST: Final = 0.8
"""Of the memory that is available, where no limit is given: the rest is for whatever else wants some."""

_SHARE_OF_DEVICE: Final = 0.9
"""Of a GPU's memory, where no limit is given: its driver and what else computes there have some of it."""

_MIB: Final = 2**20
_RGB: Final = 3
_FLOAT_BYTES: Final = 4

_BASE_BYTES: Final = 136 * _MIB
_BASE_BYTES_PER_CORE: Final = 8 * _MIB
"""What a process holds of code, threads and buffers that no trace counts, once all have been used: 72 MiB are
what torch imports to trace on the meta device."""

_CUDA_BASE_BYTES: Final = 1024 * _MIB
"""The same of CUDA's libraries and context in host memory, and of page-locked buffers. No GPU has confirmed
it."""

_CPU_WORKING: Final = 1.6
"""Of resident memory over the tensors that a CPU computes with: convolutions work on reordered copies."""

_CUDA_WORKING: Final = 1.2
"""The same of a GPU, for workspaces of cuDNN and what its allocator rounds up. No GPU has confirmed it:
memory that runs out there is told in a sentence."""

_FRAMES_READ: Final = 3
"""Frames of the input's size, in float32, that are there while one is read."""

_OUTPUTS_HELD: Final = 8
"""Frames of the output's size, in float32, that wait for the encoder or are being converted for it."""

_ENCODER_BYTES_PER_PIXEL: Final = 110
_ENCODER_BYTES_PER_PIXEL_AND_CORE: Final = 10
"""Of the output: an encoder looks ahead for some 40 frames, and each of its threads has frames of its own."""

OUTPUTS_WAITING: Final = 2
"""Of these computed and not written yet, on the device: one at the encoder, one behind it."""

_LOOSE: Final = 1.25
"""What is held over all that is counted here, where the heap keeps freed memory (`give_back_at_once`)."""


_TRACED_CHUNKS: Final = 4
"""Chunks of frames, of as many as have their flow estimated at once, that are traced of a longer clip."""

# mallopt(3) and <malloc.h>
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LEAST_MAPPED_BYTES: Final = 2**20
_MOST_KEPT_BYTES: Final = 2**22


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """A file's frames through the network, as far as memory is concerned."""

    tensors: "Tensors"
    frames: int
    output_pixels: int
    is_video: bool
    on_cpu: bool
    makes_copies: bool  # whether convolutions work on reordered copies
    cores: int
    loose: bool  # whether the heap keeps what was freed
    spool_bytes: int  # of decoded frames, in the scratch folder
    scratch_in_memory: bool  # as a folder of tmpfs is

    def needs(self, plan: MemoryPlan) -> Needs:
        """Return what the process takes beyond its start, and what lies on the device and on disk."""
        kept_frames = len(plan.kept_frames(self.frames))
        kept_bytes = kept_frames * self.tensors.features_bytes
        working_bytes = self.tensors.working_bytes(plan, self.frames)
        disk_bytes = kept_bytes if plan.place == "disk" else 0
        host_bytes = _BASE_BYTES + self.cores * _BASE_BYTES_PER_CORE + self._file_bytes()
        device_bytes = 0
        if self.on_cpu:
            copies = _CPU_WORKING if self.makes_copies else 1.0
            host_bytes += round(copies * working_bytes)
            host_bytes += 0 if plan.place == "disk" else kept_frames * self.tensors.storage_bytes
        else:
            host_bytes += _CUDA_BASE_BYTES + (kept_bytes if plan.place == "host" else 0)
            waiting = OUTPUTS_WAITING * _RGB * _FLOAT_BYTES * self.output_pixels
            on_device = kept_bytes if plan.place == "device" else 0
            device_bytes = round(_CUDA_WORKING * (working_bytes + on_device + waiting))
        host_bytes = round(_LOOSE * host_bytes) if self.loose else host_bytes
        host_bytes += self.spool_bytes + disk_bytes if self.scratch_in_memory else 0
        return Needs(device_bytes=device_bytes, host_bytes=host_bytes, disk_bytes=disk_bytes)

    def _file_bytes(self) -> int:
        """Return what frames take that are read and written, and the encoder."""
        read = _FRAMES_READ * _RGB * _FLOAT_BYTES * self.tensors.height * self.tensors.width
        per_pixel = _OUTPUTS_HELD * _RGB * _FLOAT_BYTES
        if self.is_video:
            per_pixel += _ENCODER_BYTES_PER_PIXEL + self.cores * _ENCODER_BYTES_PER_PIXEL_AND_CORE
        return read + per_pixel * self.output_pixels


class Tensors:
    """What a network holds while it enlarges frames of a size, traced on the meta device."""

    def __init__(self, network: Network, backend: Backend, height: int, width: int) -> None:
        """`network` is on the CPU, and stays as it is."""
        self.height, self.width = height, width
        self._network, self._backend = network, backend
        self._traced: dict[tuple[MemoryPlan, int], int] = {}
        prepared = self._prepared().network
        assert isinstance(prepared, BasicVSR)  # of all networks, the one that can be streamed
        frame = torch.empty(1, _RGB, height, width, device="meta")
        with torch.device("meta"):
            trunk = prepared.propagation.backward_trunk
            features: torch.Tensor = trunk(frame, prepared.propagation.initial_features(frame.unsqueeze(1)))
        self.features_bytes = features.nbytes
        """Of a frame's features in one direction."""
        self.storage_bytes = features.untyped_storage().nbytes()
        """Of the same where the network made them, with what fills its channels up."""

    def working_bytes(self, plan: MemoryPlan, frames: int) -> int:
        """Return the most that is alive at once beside features that the plan keeps: weights, frames, flows,
        features of the segment at hand and what is computed.

        A longer clip than is traced adds features alone: those of a longer segment.
        """
        traced = replace(plan, place="host", interval=min(plan.interval, plan.chunk), folder=None)
        shown = min(frames, _TRACED_CHUNKS * plan.chunk)
        if (traced, shown) not in self._traced:
            self._traced[traced, shown] = self._trace(traced, shown)
        longer = min(plan.interval, frames) - min(traced.interval, shown)
        return self._traced[traced, shown] + longer * self.storage_bytes

    def _trace(self, plan: MemoryPlan, frames: int) -> int:
        """Return the most that is alive at once where what is kept lies in another memory."""
        prepared = self._prepared()
        clip = torch.empty(1, frames, _RGB, self.height, self.width, device="meta")
        release_scratch()
        with torch.device("meta"):
            forward = streamed(prepared.network, plan, holds_clip=False)
            costs = prepared.tracer.trace(forward, clip, holds_clip=False)
        return max(cost.peak_bytes for cost in costs.values())

    def _prepared(self) -> Prepared:
        return Prepared.of(self._network, self._backend, torch.device("meta"))


def enlarging(info: MediaInfo, tensors: Tensors, scale: int, request: Request, frames: int) -> Enlarging:
    """Return so many frames of a file as work. Looks at the request's scratch folder."""
    return Enlarging(
        tensors=tensors,
        frames=frames,
        output_pixels=scale**2 * info.height * info.width,
        is_video=info.kind == "video",
        on_cpu=not request.backend.is_cuda,
        makes_copies=request.backend.convolution != "winograd",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        loose=not request.heap_gives_back,
        spool_bytes=spooled_bytes(info, frames),
        scratch_in_memory=in_memory(request.scratch_folder),
    )


def limits_of(request: Request, disk_bytes: int) -> Limits:
    """Return what the request or the machine allows; the scratch folder has `disk_bytes` for features."""
    host_bytes = request.memory_limit_bytes
    if host_bytes is None:
        available = host_memory.available_bytes()
        if available is None:
            available = psutil.virtual_memory().available
        host_bytes = round(_SHARE_OF_HOST * available)
    device_bytes = request.device_memory_limit_bytes
    if device_bytes is None and request.backend.is_cuda:
        # All that the device has: what others hold of it shows only when memory runs out.
        index = backends.device_of(request.backend).torch_device.index
        device_bytes = round(_SHARE_OF_DEVICE * backends.describe_devices()["devices"][index]["memory_bytes"])
    return Limits(host_bytes=host_bytes, device_bytes=device_bytes, disk_bytes=max(0, disk_bytes))


def plan_of(work: Enlarging, limits: Limits, request: Request) -> MemoryPlan:
    """Return the first plan within the limits, or the one that the request names. Raises BadInput."""
    names = PLAN_NAMES if request.place is None else (request.place,)
    plans = {name: named_plan(name, work.frames, request.scratch_folder) for name in names}
    try:
        return first_that_fits(plans, work.needs, limits)
    except BadInput as error:
        raise BadInput(f"{request.source}: {error}") from None


def give_back_at_once() -> bool:
    """From here on, for this whole process, have glibc return freed memory of a tensor's size to the system.

    Left alone it keeps what it may need again, half as much as is in use and more: 311 MiB were held where
    218 were needed. Fetching it anew costs a few percent of a network's time. Nothing can undo it, so that it
    is for a process's owner to call. False where it did not take: another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(_MMAP_THRESHOLD, _LEAST_MAPPED_BYTES), mallopt(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)]
    return all(taken)
